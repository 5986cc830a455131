"""A bad chain becomes NaN pictures without gradient, and no other chain notices."""

from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import settings as example_settings
from hypothesis import strategies as st

from bayes_splat.rendering.renderer import CountingRenderer, Renderer, make_renderer
from bayes_splat.rendering.settings import CUTOFFS, RenderSettings
from bayes_splat.types import Gaussians, Rendering
from tests import helpers_engines

FIELDS = [f.name for f in fields(Gaussians)]
ENGINES = ("reference", "cpu")
BAD_NUMBERS = [float("nan"), float("inf"), -float("inf")]


def scene(seed, d_sh=1, chains=3):
    gaussians = helpers_engines.cloud(chains, 40, seed, d_sh)
    return gaussians, helpers_engines.cameras_in_a_row(2, 9, 14)


def options_for(chosen, keyed, chains=3):
    generator = torch.Generator().manual_seed(1)
    options: dict[str, Any] = {"non_finite": "nan"}
    if chosen:
        options["pixels"] = torch.randint(0, 252, (chains, 30), generator=generator)
    if keyed:
        options["sort_depths"] = torch.rand(chains, 2, 40, generator=generator)
    return options


def drawn(renderer: Renderer, gaussians, cameras, **options) -> tuple[Rendering, dict]:
    """Pictures, and gradients of the mean square that a likelihood would have."""
    leaves = {n: getattr(gaussians, n).clone().requires_grad_() for n in FIELDS}
    picture = renderer.render(Gaussians(**leaves), cameras, **options)
    energy = torch.stack([p.square().sum() for p in picture]).sum()
    gradients = torch.autograd.grad(energy, list(leaves.values()))
    return picture, dict(zip(FIELDS, gradients, strict=True))


@pytest.mark.parametrize("engine", ENGINES)
@example_settings(max_examples=8)
@given(
    cutoff=st.sampled_from(CUTOFFS),
    field=st.sampled_from(FIELDS),
    number=st.sampled_from(BAD_NUMBERS),
    chains=st.sets(st.integers(0, 2), min_size=1),
    d_sh=st.sampled_from([1, 4]),
    chosen=st.booleans(),
    keyed=st.booleans(),
    seed=st.integers(0, 2**20),
)
def test_bad_chains_are_nan_and_the_others_keep_their_bits(
    engine, cutoff, field, number, chains, d_sh, chosen, keyed, seed
):
    gaussians, cameras = scene(seed, d_sh)
    options = options_for(chosen, keyed)
    renderer = make_renderer(engine, RenderSettings(cutoff=cutoff))
    fine, fine_gradients = drawn(renderer, gaussians, cameras, **options)
    broken = replace(gaussians, **{field: getattr(gaussians, field).clone()})
    bad = torch.tensor(sorted(chains))
    getattr(broken, field)[bad, 17] = number
    picture, gradients = drawn(renderer, broken, cameras, **options)
    good = torch.tensor([c for c in range(3) if c not in chains], dtype=torch.long)
    for mine, expected in zip(picture, fine, strict=True):
        assert mine[bad].isnan().all()
        assert torch.equal(mine[good], expected[good])
    for name in FIELDS:
        assert not gradients[name][bad].any()  # NaN would be true
        assert torch.equal(gradients[name][good], fine_gradients[name][good])


@pytest.mark.parametrize("engine", ENGINES)
def test_too_large_for_the_number_type_is_bad_too(engine):
    gaussians, cameras = scene(0)
    gaussians.scales[1, 5] = 1e30
    picture = make_renderer(engine).render(gaussians, cameras, non_finite="nan")
    assert picture.colors.isnan().flatten(1).all(1).tolist() == [False, True, False]
    assert picture.colors[[0, 2]].isfinite().all()


@pytest.mark.parametrize("engine", ENGINES)
def test_raising_is_the_default_and_finite_scenes_do_not_care(engine):
    renderer, (gaussians, cameras) = make_renderer(engine), scene(0)
    default = renderer.render(gaussians, cameras)
    asked = renderer.render(gaussians, cameras, non_finite="nan")
    assert all(torch.equal(a, b) for a, b in zip(default, asked, strict=True))
    gaussians.means[2, 3, 1] = torch.nan
    with pytest.raises(ValueError, match=r"Gaussians.means\[2, 3, 1\] is nan"):
        renderer.render(gaussians, cameras)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_argument_is_one_of_two_words(engine):
    with pytest.raises(ValueError, match="non_finite is 'skip'; it must be one of raise, nan"):
        make_renderer(engine).render(*scene(0), non_finite="skip")


def test_counting_passes_it_on():
    gaussians, cameras = scene(0)
    gaussians.means[1] = torch.inf
    counting = CountingRenderer(make_renderer("reference"))
    picture = counting.render(gaussians, cameras, non_finite="nan")
    assert picture.alphas[1].isnan().all()
    assert counting.count.forward == 6
