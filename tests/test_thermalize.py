"""Teacher and student on tiny scenes: who meets, who does not, and what it cost."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from bayes_splat import geometry, inference, thermalize
from bayes_splat.models import smoothness
from bayes_splat.models.splat_model import SplatModel
from bayes_splat.rendering.renderer import RenderCount
from bayes_splat.sampler_config import GibbsConfig, MALAConfig
from bayes_splat.samplers.positions import make_generators
from bayes_splat.samplers.potential import PyroTarget
from bayes_splat.thermalize_config import compose_thermalize
from bayes_splat.thermalize_report import row
from tests import helpers_scenes as scenes

STEPS = 40
EASY = ["resolution=8", "proposal.num_buckets=8"]


def plan(*overrides: str):
    return compose_thermalize([*EASY, *overrides])


@pytest.fixture(scope="module")
def teacher() -> thermalize.Teacher:
    return thermalize.make_teacher(plan().run)


@pytest.fixture(scope="module")
def tiny() -> thermalize.Teacher:
    """On two by three pixels, where the default sampler forgets in some tens of steps."""
    blank = scenes.tiny_model(3, image_shape=(2, 3), renderer="cpu", noise_prior=[4.0, 0.05])
    sites = thermalize.draw_prior(blank, 3)
    model = thermalize.photograph(blank, sites, 4)
    return thermalize.Teacher(model, sites, model)


def test_teachers_are_photographed_with_the_noise_of_the_model():
    teacher = thermalize.make_teacher(plan("model.prior=uniform").run)
    model, sites = teacher.model, teacher.sites
    pictures = model.predict_pixels(sites["depth"], sites["opacity"])[0]
    residuals = model.observed()[0] - pictures
    size = float(residuals.std() / sites["noise_scale"])
    assert size == pytest.approx(1.0, abs=4.0 / np.sqrt(2 * residuals.numel()))
    assert float(residuals.mean().abs()) < 4.0 * float(residuals.std()) / residuals.numel() ** 0.5
    near, far = model.proposal.near, model.proposal.far
    where = geometry.depth_to_relative_disparity(sites["depth"][0], near, far)
    assert float(where.mean()) == pytest.approx(0.5, abs=4.0 / np.sqrt(12 * len(where)))


def test_teachers_differ_by_seed_and_repeat(teacher):
    again = thermalize.make_teacher(plan().run)
    assert torch.equal(again.sites["depth"], teacher.sites["depth"])
    assert torch.equal(again.model.views.images, teacher.model.views.images)
    other = thermalize.make_teacher(plan("seed=5").run)
    assert not torch.equal(other.sites["depth"], teacher.sites["depth"])


def test_colors_of_teachers_are_drawn_where_they_are_sampled():
    teacher = thermalize.make_teacher(plan("model.colors=sampled").run)
    colors, own = teacher.sites["harmonics"][0], teacher.model.proposal.harmonics.double()
    assert torch.equal(own, teacher.start.proposal.harmonics.double())
    assert float((colors - own).std()) == pytest.approx(0.1 / 0.2821, rel=0.1)
    model, sites = teacher.model.given(teacher.sites), teacher.sites
    residuals = model.observed()[0] - model.predict_pixels(sites["depth"], sites["opacity"])[0]
    size = float(residuals.std() / sites["noise_scale"])
    assert size == pytest.approx(1.0, abs=4.0 / np.sqrt(2 * residuals.numel()))


def test_a_prior_does_not_look_at_the_teachers_photographs():
    believed = thermalize.make_teacher(plan("model.prior=proposal").run)
    seen, swept = believed.model.proposal.probabilities, believed.start.proposal.probabilities
    assert not torch.equal(seen, swept), "chains start from another proposal than the prior"
    plain = thermalize.make_teacher(plan().run)
    assert torch.equal(plain.model.proposal.probabilities, plain.start.proposal.probabilities), (
        "jumps use the new proposal"
    )
    assert torch.equal(plain.model.proposal.harmonics, believed.model.proposal.harmonics)


def test_teachers_of_a_smooth_prior_are_smooth_and_keep_its_contrast():
    settings = ["model.prior=smooth", "model.smoothness=100", "model.contrast=1.0"]
    uniform = ["model.prior=uniform"]
    smooth, even = (thermalize.make_teacher(plan(*extra).run) for extra in (settings, uniform))
    field = smooth.model.smoothness
    assert field is smooth.start.smoothness
    assert field.strength == smooth.model.config.smoothness
    # Not the contrast of the teacher's own photographs, in which neighbours differ by its noise.
    seen = SplatModel(*(getattr(smooth.model, f.name) for f in fields(SplatModel)))
    assert not torch.equal(field.right, seen.smoothness.right)

    def roughness(teacher):
        near, far = teacher.model.proposal.near, teacher.model.proposal.far
        where = geometry.depth_to_relative_disparity(teacher.sites["depth"], near, far)
        return float(smoothness.energy(field, where))

    # In one field strength x sum w |r_i - r_j| is a Gamma of as many units as there are Gaussians,
    # less one a view, but for the ends of the range.
    size = len(smooth.model.proposal)
    assert roughness(smooth) == pytest.approx(size - 2, rel=4.0 / size**0.5)
    assert roughness(even) > 3 * size


def test_the_default_sampler_stays_with_a_teacher_of_a_smooth_prior(monkeypatch):
    """Its chains start in equilibrium: energies do not drift, as they do for another field."""
    teacher = thermalize.make_teacher(
        plan("model.prior=smooth", "model.smoothness=150", "model.contrast=1.0").run
    )

    def drift(teacher):
        run = thermalize.run_sampler("gibbs", teacher, GibbsConfig(), steps=24, warmup=4)
        later = run.teacher.energy[:, 12:].mean(1)
        spread = float(run.teacher.energy[:, 12:].std()) + 1.0
        return (float(later.mean()) - float(run.teacher.energy[0, 0])) / spread

    fine = drift(teacher)
    assert isinstance(teacher.model, thermalize.HeldPrior)
    plain = thermalize.draw_prior(replace(teacher.model, field=None), 0)
    other = teacher._replace(sites=plain)
    assert abs(fine) < 4.0
    assert drift(other) < -10.0


def test_the_default_sampler_meets_its_teacher(tiny):
    found = thermalize.run_sampler("gibbs", tiny, GibbsConfig(), steps=160, warmup=8)
    judged = row(found)
    assert judged.has_met, judged.sentence


def test_chains_that_stand_still_do_not_meet(tiny):
    settings = MALAConfig(step_size=1e-9)
    found = thermalize.run_sampler("mala", tiny, settings, steps=64, warmup=0)
    judged = row(found)
    assert not judged.has_met
    assert "FAILS" in judged.sentence
    assert judged.score > 10


def test_a_wrong_sampler_leaves_its_teacher(tiny, monkeypatch):
    """The teacher's own chains move away when the kernel looks at other photographs."""

    def drift():
        kwargs = {"chains": 4, "steps": 12, "warmup": 0}
        run = thermalize.run_sampler("gibbs", tiny, GibbsConfig(), **kwargs)
        return float(run.teacher.energy[:, 6:].mean() - run.teacher.energy[:, 0].mean())

    def blind(model, target, sampler, num_warmup):
        images = torch.full_like(model.views.images, 0.5)
        other = replace(model, views=replace(model.views, images=images))
        return right(other, PyroTarget(other, vectorized=True), sampler)

    right = inference.make_kernel
    fine = drift()
    monkeypatch.setattr(inference, "make_kernel", blind)
    assert drift() > abs(fine) + 10.0


class TestTrace:
    def trace(self, teacher, **budget):
        model = teacher.model
        target = PyroTarget(model, vectorized=True)
        generators = make_generators(0, 2)
        start = inference.starting_position(teacher.start, target, generators)
        kernel = inference.make_kernel(model, target, MALAConfig())
        count = model.renderer.count
        return (
            target,
            start,
            thermalize.trace(kernel, target, start, generators, count, warmup=2, **budget),
        )

    def test_looking_at_energies_costs_nothing(self, teacher):
        target, start, found = self.trace(teacher, steps=5)
        assert found.energy.shape == (2, 6)
        assert found.energy[:, 0] == pytest.approx(target.potential_energy(start).numpy())
        # MALA draws each chain's two views once for its start and once a step.
        assert found.renders.tolist() == [0, 8, 12, 16, 20, 24]
        assert (np.diff(found.seconds) > 0).all()

    def test_time_is_a_budget(self, teacher):
        _, _, found = self.trace(teacher, steps=1000, seconds=1e-3)
        assert found.energy.shape[1] < 20

    def test_renderers_that_do_not_count(self, teacher):
        target, start, _ = self.trace(teacher, steps=1)
        kernel = inference.make_kernel(teacher.model, target, MALAConfig())
        found = thermalize.trace(kernel, target, start, make_generators(0, 2), RenderCount(), 2, 0)
        assert found.renders.tolist() == [0, 0, 0]


def test_samplers_run_one_after_the_other(tmp_path):
    told: list[str] = []
    ready = plan("samplers=[sgld,mala]", "steps=16", "warmup=4", "chains=2", "threads=1")
    runs = list(thermalize.thermalize(ready, told.append))
    assert [run.sampler for run in runs] == ["sgld", "mala"]
    assert [line.split(":")[0] for line in told] == ["sgld", "mala"]
    assert runs[0].teacher.energy.shape == runs[1].proposal.energy.shape == (2, 17)
    first = runs[1].teacher.energy[:, 0]
    assert first[0] == first[1] == runs[0].teacher.energy[0, 0], "all start at the one teacher"
