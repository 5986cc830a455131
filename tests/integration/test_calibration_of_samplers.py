"""Simulation-based calibration of the default sampler, in small; ``benchmarks/sbc.py`` in full.

Beside the right sampler, the same check must see planted faults with as many replications.
"""

from dataclasses import replace

import pytest
import torch

from bayes_splat import inference
from bayes_splat.models.splat_model import SplatModel
from bayes_splat.sampler_config import GibbsConfig, Sampler
from bayes_splat.samplers.base import Kernel
from bayes_splat.samplers.potential import PyroTarget
from tests import helpers_sbc as sbc
from tests import helpers_scenes as scenes

MISS = 1e-3 / 11
"""Probability for one of eleven quantities to leave its band by chance."""


def calibrate(make_kernel=inference.make_kernel) -> sbc.Calibration:
    model = scenes.tiny_model(3, image_shape=(1, 3), renderer="cpu", noise_prior=[20.0, 0.2])
    return sbc.calibrate(
        model,
        GibbsConfig(step_size=0.3),
        replications=40,
        draws=15,
        thinning=5,
        warmup=15,
        make_kernel=make_kernel,
    )


def wrong_noise_prior(model: scenes.ManyDataModel, target: PyroTarget, sampler: Sampler) -> Kernel:
    """Three times the variance is expected.

    Leaving the prior out would not do: a flat one is calibrated for every truth there is.
    """
    concentration, rate = model.noise_concentration
    wrong = replace(model.config, noise_prior=[concentration, 3.0 * rate])
    return other_kernel(replace(model, config=wrong), sampler)


def likelihood_twice(model: scenes.ManyDataModel, target: PyroTarget, sampler: Sampler) -> Kernel:
    """Every photograph is looked at twice."""
    views, cameras = model.views, model.views.cameras
    again = replace(
        cameras,
        **{
            name: getattr(cameras, name).repeat(2, *[1] * (getattr(cameras, name).ndim - 1))
            for name in ("extrinsics", "intrinsics", "near", "far")
        },
    )
    names = tuple(f"{name} {time}" for time in (1, 2) for name in views.names)
    doubled = replace(views, cameras=again, images=torch.cat([views.images] * 2), names=names)
    assert model.data is not None
    data = torch.cat([model.data, model.data], dim=1)
    return other_kernel(replace(model, views=doubled, data=data), sampler)


def other_kernel(model: SplatModel, sampler: Sampler) -> Kernel:
    return inference.make_kernel(model, PyroTarget(model, vectorized=True), sampler)


def test_the_default_sampler_is_calibrated():
    name, strays = calibrate().worst(MISS)
    assert strays < 1.0, name


@pytest.mark.parametrize("fault", [wrong_noise_prior, likelihood_twice])
def test_planted_faults_are_seen(fault):
    name, strays = calibrate(fault).worst(MISS)
    assert strays > 1.0, name
