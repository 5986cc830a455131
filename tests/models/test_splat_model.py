from dataclasses import replace
from functools import partial

import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import MCMC, NUTS
from scipy import stats
from torch import Tensor

from bayes_splat.models.minibatch import TileBatches
from bayes_splat.models.settings import WEAK_NOISE_PRIOR
from bayes_splat.models.splat_model import SplatModel
from bayes_splat.rendering.renderer import CountingRenderer, RenderCount, make_renderer
from bayes_splat.samplers.potential import PyroTarget
from tests import helpers_scenes as scenes

KINDS = [
    {},
    {"noise": "per_view", "opacity_prior": [2.0, 0.7]},
    {"prior": "proposal", "order": "center"},
    {"prior": "smooth", "smoothness": 8.0, "contrast": 1.0},
    {"colors": "sampled", "color_scale": 0.2},
    {"background": "mean"},
    {"background": "mean", "colors": "sampled", "color_scale": 0.2},
]
exact_model = partial(scenes.tiny_model, dtype=torch.float64)


def log_joint_by_hand(model: SplatModel, sites: dict[str, Tensor]) -> Tensor:
    """Of one chain, from the formulas alone."""
    proposal, (a, b), (c, d) = (
        model.proposal,
        model.config.opacity_prior,
        model.noise_concentration,
    )
    depth, opacity, noise = sites["depth"], sites["opacity"], sites["noise_scale"].reshape(-1)
    if model.config.prior == "proposal":
        total = proposal.log_prob(depth).sum()
    else:
        total = -(depth**2 * (1 / proposal.near - 1 / proposal.far)).log().sum()
    if model.config.prior == "smooth":
        total -= coupling_by_hand(model, depth)
    total += stats.beta(a, b, scale=0.999).logpdf(opacity).sum()
    total += (stats.invgamma(c, scale=d).logpdf(noise**2) + (2 * noise).log().numpy()).sum()
    key = None
    if model.config.order == "bucket":
        key = proposal.sort_depths(depth[None], proposal.cameras)
    scene = proposal.gaussians(depth[None], opacity[None])
    if model.config.colors == "sampled":
        spread = 0.2 / 0.28209479177387814  # colour = 0.5 + Y_0 harmonics
        total += stats.norm(proposal.harmonics, spread).logpdf(sites["harmonics"]).sum()
        scene = replace(scene, harmonics=sites["harmonics"][None])
    seen = model.renderer.render(scene, proposal.cameras, sort_depths=key)
    pictures = seen.colors[0]
    if model.config.background == "mean":
        behind = torch.tensor(scenes.BACKGROUND, dtype=torch.float64)
        pictures = pictures + (1.0 - seen.alphas[0, ..., None]) * behind
    for view, scale in enumerate(noise.expand(2)):
        photograph = model.views.images[view].movedim(0, -1)
        total += stats.norm(pictures[view], scale).logpdf(photograph).sum()
    return total


def coupling_by_hand(model: SplatModel, depth: Tensor) -> Tensor:
    images, (near, far) = model.views.images, (1.0, 4.0)
    height, width = images.shape[-2:]
    where = ((1 / near - 1 / depth) / (1 / near - 1 / far)).reshape(2, height, width)
    total = torch.zeros((), dtype=torch.float64)
    for axis in (1, 2):
        contrast = images.diff(dim=axis + 1).abs().mean(1)
        weight = torch.exp(-contrast / model.config.contrast)
        total += model.config.smoothness * (weight * where.diff(dim=axis).abs()).sum()
    return total


@pytest.mark.parametrize("kind", KINDS)
def test_log_joint_is_that_of_the_formulas(kind):
    model = exact_model(**kind)
    sites = {name: value[0] for name, value in scenes.prior_draws(model, 1).items()}
    trace = poutine.trace(poutine.condition(model, data=sites)).get_trace()
    assert float(trace.log_prob_sum()) == pytest.approx(float(log_joint_by_hand(model, sites)))
    assert {n for n, node in trace.nodes.items() if node["type"] == "sample"} >= {
        "depth",
        "opacity",
        "noise_scale",
        "image",
    }


@pytest.mark.parametrize("kind", KINDS)
def test_chains_together_are_chains_one_by_one(kind):
    model = exact_model(**kind)
    sites = scenes.prior_draws(model, 3)
    together = PyroTarget(model, vectorized=True)
    position = together.unconstrain(sites)
    energy, gradient = together.potential_and_gradient(position)
    alone, gradient_alone = PyroTarget(model, vectorized=False).potential_and_gradient(position)
    assert energy == pytest.approx(alone, rel=1e-12)
    assert len(set(energy.tolist())) == 3
    for site, slope in gradient.items():
        assert slope == pytest.approx(gradient_alone[site], rel=1e-9, abs=1e-9)
    assert PyroTarget(model).is_vectorized, "found out by itself"


def test_gradient_is_the_slope_of_the_energy():
    model = exact_model(opacity_prior=[2.0, 0.7])
    target = PyroTarget(model, vectorized=True)
    position = target.unconstrain(scenes.prior_draws(model, 2))
    _, gradient = target.potential_and_gradient(position)
    generator = torch.Generator().manual_seed(0)
    for site, slope in gradient.items():
        way = torch.randn(slope.shape, generator=generator, dtype=torch.float64)
        ahead, behind = (
            target.potential_energy({**position, site: position[site] + step * way})
            for step in (1e-6, -1e-6)
        )
        along = (slope * way).reshape(2, -1).sum(-1)
        assert (ahead - behind) / 2e-6 == pytest.approx(along, rel=1e-4)


# ----- parts of the photographs -----


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fraction", [0.25, 0.4])
def test_minibatch_gradients_average_to_the_full_one(kind, fraction):
    """Exactly: every start that ``TileBatches`` can draw is tried."""
    model = exact_model(image_shape=(3, 5), **kind)
    target = PyroTarget(model, vectorized=True)
    position = target.unconstrain(scenes.prior_draws(model, 1))
    starts = model.num_pixels
    position = {site: value.expand(starts, *value.shape[1:]) for site, value in position.items()}
    batches = TileBatches(2, (3, 5), fraction, tile=2)
    batch = scenes.every_batch(batches, model.num_pixels)
    assert batch["pixels"].shape[1] < model.num_pixels
    energy, gradient = target.potential_and_gradient(position, batch)
    full, full_gradient = target.potential_and_gradient(position)
    assert energy.std() > 0.1
    assert energy.mean() == pytest.approx(full[0])
    for site, slope in gradient.items():
        assert torch.allclose(slope.mean(0), full_gradient[site][0], rtol=1e-9, atol=1e-9)


def test_only_the_wanted_pixels_are_rendered():
    count = RenderCount()
    model = exact_model()
    model = replace(model, renderer=CountingRenderer(model.renderer, count))
    sites = scenes.prior_draws(model, 2)
    pixels = torch.tensor([[0, 5, 23], [7, 8, 12]])
    some = model.predict_pixels(sites["depth"], sites["opacity"], pixels)
    assert count.forward == pytest.approx(2 * 3 / 12)
    everything = model.predict_pixels(sites["depth"], sites["opacity"])
    assert some == pytest.approx(everything.gather(1, pixels[..., None].expand(-1, -1, 3)))
    observed, view = model.observed(pixels)
    assert view.tolist() == [[0, 0, 1], [0, 0, 1]]
    whole, _ = model.observed()
    assert torch.equal(observed, whole[pixels])
    height_first = model.views.images[1, :, 2, 3]
    assert torch.equal(whole[-1], height_first.double())


# ----- the likelihood -----


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("renderer", ["reference", "cpu"])
def test_energies_of_cells_are_the_likelihood(kind, renderer):
    model = scenes.tiny_model(renderer=renderer, **kind)
    sites = scenes.prior_draws(model, 3)
    energies = model.cell_energies(sites, 2)
    assert energies.shape == (3, 2, 2, 2)
    model = model.given(sites)
    image = model.likelihood(sites["depth"], sites["opacity"], padded(model, sites))
    whole = image.log_prob(model.photographs())
    assert energies.sum((1, 2, 3)) == pytest.approx(-whole[:, 0])
    normal = torch.distributions.Normal(
        model.predict_pixels(sites["depth"], sites["opacity"]),
        scenes.noise_per_pixel(model, sites),
    )
    by_pixel = normal.log_prob(model.observed()[0]).sum(-1).reshape(3, 2, 3, 4)
    assert energies[:, :, 0, 1] == pytest.approx(-by_pixel[:, :, :2, 2:].sum((2, 3)))
    assert energies[:, :, 1, 0] == pytest.approx(-by_pixel[:, :, 2:, :2].sum((2, 3)))


def padded(model: SplatModel, sites: dict[str, Tensor]) -> Tensor:
    """Noise scales with the axis that plates take."""
    noise = sites["noise_scale"]
    return noise if model.config.noise == "per_view" else noise[:, None]


def test_photographs_drawn_from_the_model_come_from_its_likelihood():
    model = exact_model(noise="per_view")
    sites = {name: value[0] for name, value in scenes.prior_draws(model, 1).items()}
    free = poutine.condition(poutine.uncondition(model), data=sites)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        node = poutine.trace(free).get_trace().nodes["image"]
    drawn, noise = node["value"], node["fn"]
    assert drawn is not None
    colors = model.predict_pixels(sites["depth"], sites["opacity"]).reshape(2, 3, 4, 3)
    assert drawn.shape == colors.shape
    standard = (drawn - colors) / sites["noise_scale"][:, None, None, None]
    assert abs(float(standard.mean())) < scenes.LIMIT / 72**0.5
    assert abs(float(standard.square().mean()) - 1) < scenes.LIMIT * (2 / 72) ** 0.5
    assert torch.equal(noise.mean, colors)


@pytest.mark.parametrize("engine", ["reference", "cpu"])
def test_chains_that_cannot_be_drawn_have_infinite_energy(engine):
    """Pictures of NaN, no gradient, no exception."""
    model = replace(exact_model(), renderer=make_renderer(engine))
    target = PyroTarget(model, vectorized=True)
    position = target.unconstrain(scenes.prior_draws(model, 2))
    position["depth"][1, 3] = torch.nan
    energy, gradient = target.potential_and_gradient(position)
    assert energy.isfinite().tolist() == [True, False]
    assert energy[1] == torch.inf
    for slope in gradient.values():
        assert slope[0].isfinite().all()
        assert (slope[1] == 0).all()
    energies = model.cell_energies(target.constrain(position), 2)
    assert energies[0].isfinite().all()
    assert energies[1].isnan().all()


# ----- a background -----


def with_and_without(**config: object) -> tuple[SplatModel, SplatModel]:
    """The same scene over a colour and over black, neither of them clipped."""
    model = exact_model(background="mean", **config)
    return model, replace(model, background=None)


def test_the_background_shows_where_light_gets_through():
    model, black = with_and_without()
    sites = scenes.prior_draws(model, 3)
    place = sites["depth"], sites["opacity"]
    seen, plain = (one.render(*place, model.views.cameras) for one in (model, black))
    through = 1.0 - plain.alphas[..., None]
    assert model.background is not None
    assert float(through.max()) > 0.4
    torch.testing.assert_close(seen.colors, plain.colors + through * model.background)
    assert torch.equal(seen.alphas, plain.alphas)
    assert torch.equal(seen.depths, plain.depths)


def test_the_likelihood_is_that_of_whole_pictures():
    """Pictures and photographs are compared over the background: the difference is the same."""
    model, _ = with_and_without(noise="per_view")
    assert model.background is not None
    sites = scenes.prior_draws(model, 3)
    place = sites["depth"], sites["opacity"]
    whole = model.render(*place, model.views.cameras).colors
    torch.testing.assert_close(model.pictures(*place), whole - model.background)
    noise = sites["noise_scale"][:, :, None, None, None]
    photographs = model.views.images.movedim(1, -1)
    by_hand = torch.distributions.Normal(whole, noise).log_prob(photographs).flatten(1).sum(1)
    found = model.likelihood(*place, sites["noise_scale"]).log_prob(model.photographs())
    torch.testing.assert_close(found[:, 0], by_hand)
    observed, _ = model.observed()
    torch.testing.assert_close(observed, (photographs - model.background).reshape(-1, 3))
    some = torch.tensor([[1, 20]])
    torch.testing.assert_close(model.photographs(some), observed[some])
    torch.testing.assert_close(model.observed(some)[0], observed[some])


def test_what_viewers_get_has_its_own_colors():
    model, black = with_and_without()
    sites = scenes.prior_draws(model, 2)
    place = sites["depth"], sites["opacity"]
    own = model.scene(*place)
    assert torch.equal(own.harmonics[0], model.proposal.harmonics)
    assert torch.equal(own.means, model.gaussians(*place).means)
    composited = model.gaussians(*place).harmonics
    torch.testing.assert_close(own.harmonics - model.background_harmonics, composited)
    assert float((own.harmonics - composited).abs().min()) > 0.1
    assert not black.background_harmonics.any()
    assert torch.equal(black.gaussians(*place).harmonics, own.harmonics)


def test_without_a_noise_prior_it_is_weak():
    weak = exact_model(noise_prior=None)
    assert weak.noise_concentration == WEAK_NOISE_PRIOR
    assert exact_model(noise_prior=[3.0, 0.2]).noise_concentration == (3.0, 0.2)
    prior = weak.noise_prior()
    wanted = stats.invgamma(WEAK_NOISE_PRIOR[0], scale=WEAK_NOISE_PRIOR[1])
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        drawn = prior.sample((4000,)).square()
    assert stats.kstest(drawn.numpy(), wanted.cdf).pvalue > 1e-4


# ----- the smooth prior -----


def test_the_field_looks_at_photographs_and_not_at_the_proposal():
    model = exact_model(**KINDS[3])
    field = model.smoothness
    assert field is not None
    flat = torch.full_like(model.proposal.probabilities, 0.25)
    wrong = scenes.replaced(model, scenes.with_probabilities(model.proposal, flat))
    assert wrong.smoothness is not None
    assert torch.equal(field.right, wrong.smoothness.right)
    assert exact_model().smoothness is None
    assert exact_model(prior="proposal").smoothness is None


def test_the_field_needs_a_gaussian_a_pixel():
    model = exact_model(**KINDS[3])
    wide = scenes.tiny_model(image_shape=(3, 5)).proposal
    with pytest.raises(ValueError, match="needs one Gaussian a pixel, got 30 Gaussians and 24"):
        _ = scenes.replaced(model, wide).smoothness


# ----- noise and order -----


def test_noise_of_a_view_concerns_that_view_only():
    model = exact_model(noise="per_view")
    target = PyroTarget(model, vectorized=True)
    sites = scenes.prior_draws(model, 1)
    residual = model.observed()[0] - model.predict_pixels(sites["depth"], sites["opacity"])[0]
    squares = residual.square().reshape(2, -1).sum(-1)
    before = target.potential_energy(target.unconstrain(sites))
    for view in range(2):
        old = sites["noise_scale"][0, view]
        new = 1.5 * old
        louder = sites["noise_scale"].clone()
        louder[:, view] = new
        moved = target.unconstrain({**sites, "noise_scale": louder})
        change = target.potential_energy(moved) - before
        by_hand = 0.5 * squares[view] * (1 / new**2 - 1 / old**2) + 36 * torch.log(new / old)
        prior = model.noise_prior().log_prob
        by_hand -= prior(new) - prior(old) + torch.log(new / old)  # the coordinate is the log
        assert float(change) == pytest.approx(float(by_hand))


def test_order_changes_the_picture_where_buckets_hide_it():
    """Of two depths in one bucket the order of centres sees which is nearer."""
    by_bucket, by_center = (exact_model(order=order) for order in ("bucket", "center"))
    sites = scenes.prior_draws(by_bucket, 4)
    pictures = [m.predict_pixels(sites["depth"], sites["opacity"]) for m in (by_bucket, by_center)]
    assert (pictures[0] - pictures[1]).abs().max() > 0.01
    assert by_center.sort_depths(sites["depth"], by_center.views.cameras) is None
    in_centres = by_bucket.proposal.bucket_centre(by_bucket.proposal.bucket(sites["depth"]))
    same = [m.predict_pixels(in_centres, sites["opacity"]) for m in (by_bucket, by_center)]
    assert same[0] == pytest.approx(same[1])


def test_the_picture_is_smooth_inside_buckets_and_jumps_between_them():
    model = exact_model()
    sites = scenes.prior_draws(model, 1)
    proposal, depth = model.proposal, sites["depth"]

    def jump(relative: float) -> float:
        """Largest change of a pixel while one Gaussian crosses a place."""
        colors = []
        for side in (-1e-7, 1e-7):
            moved = depth.clone()
            near, far = proposal.near[5], proposal.far[5]
            moved[:, 5] = 1 / ((1 - relative - side) / near + (relative + side) / far)
            colors.append(model.predict_pixels(moved, sites["opacity"]))
        return float((colors[0] - colors[1]).abs().max())

    edges, insides = [1 / 4, 2 / 4, 3 / 4], [0.1, 0.3, 0.6, 0.9]
    assert max(map(jump, edges)) > 1e-3
    assert max(map(jump, insides)) < 1e-5


def test_pictures_of_sampled_colors_need_the_colors():
    model = exact_model(colors="sampled")
    sites = scenes.prior_draws(model, 2)
    with pytest.raises(ValueError, match=r"take pictures of model.given\(position\)"):
        model.pictures(sites["depth"], sites["opacity"])


def test_sampled_colors_are_seen_without_a_clip():
    """The mean picture is the picture of the mean, also where that is darker than black."""
    model = exact_model(colors="sampled")
    sites = scenes.prior_draws(model, 2)
    place = sites["depth"][:1], sites["opacity"][:1]
    dark = sites["harmonics"] - 3.0
    seen = [model.given({"harmonics": h[None]}).pictures(*place) for h in (*dark, dark.mean(0))]
    assert seen[2].min() < -0.1
    torch.testing.assert_close(seen[2], 0.5 * (seen[0] + seen[1]))


# ----- with Pyro -----


@pytest.mark.parametrize("kind", KINDS)
def test_runs_unchanged_under_pyros_own_nuts(kind):
    pyro.set_rng_seed(0)
    model = scenes.tiny_model(image_shape=(1, 2), **kind)
    nuts = NUTS(model, step_size=0.02, adapt_step_size=False, max_tree_depth=3)
    mcmc = MCMC(nuts, num_samples=3, warmup_steps=1, disable_progbar=True)
    mcmc.run()
    draws = mcmc.get_samples()
    views = (2,) if model.config.noise == "per_view" else ()
    assert draws["depth"].shape == draws["opacity"].shape == (3, 4)
    assert draws["noise_scale"].shape == (3, *views)
    assert ((draws["depth"] > 1) & (draws["depth"] < 4)).all()
    assert draws["depth"].unique().numel() > 4, "it moves"
