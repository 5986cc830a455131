"""What joint-distribution tests compare: functions of a scene that every site shows in."""

import torch
from torch import Tensor

from bayes_splat import geometry
from bayes_splat.models import smoothness
from bayes_splat.models.splat_model import SplatModel
from bayes_splat.samplers.potential import PyroTarget


def noise_per_pixel(model: SplatModel, sites: dict[str, Tensor]) -> Tensor:
    """[chain, pixel, 1]."""
    noise = sites["noise_scale"].reshape(len(sites["depth"]), -1).expand(-1, model.num_views)
    return noise.repeat_interleave(model.num_pixels // model.num_views, dim=-1)[..., None]


def statistics(
    model: SplatModel, target: PyroTarget, sites: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Functions of sites and photographs that between them see any wrong step; [chain] each."""
    proposal, (depth, opacity) = model.proposal, (sites["depth"], sites["opacity"])
    where = geometry.depth_to_relative_disparity(depth, proposal.near, proposal.far)
    buckets, inside = proposal.bucket(depth), torch.frac(where * proposal.num_buckets)
    likely = proposal.probabilities.expand(*depth.shape, -1).gather(-1, buckets[..., None])[..., 0]
    colors = model.given(sites).predict_pixels(depth, opacity)
    observed, _ = model.observed()
    residual = (observed - colors) / noise_per_pixel(model, sites)
    noise = sites["noise_scale"].reshape(len(depth), -1)
    values = {
        "disparity": where,
        "disparity^2": where**2,
        "bucket probability": likely.log(),
        "first bucket": (buckets == 0),
        "offset": inside,
        "offset^2": (inside - 0.5) ** 2,
        "opacity": opacity,
        "opacity^2": opacity**2,
        "opacity disparity": opacity * where,
        "log noise": noise.log(),
        "noise difference": noise[:, :1].log() - noise[:, -1:].log(),
        "residual": residual,
        "residual^2": residual**2,
        "residual color": residual * colors,
        "color": colors[:, 0],
        "color^2": colors**2,
        "energy": target.potential_energy(target.unconstrain(sites)),
        **_markov_statistics(model, sites, buckets),
        **_presence_statistics(model, sites, where),
    }
    if "harmonics" in sites:
        values |= _color_statistics(model, sites)
    if model.smoothness is not None:
        values["roughness"] = smoothness.edge_energies(model.smoothness, where)
    return {name: value.double().reshape(len(depth), -1).mean(-1) for name, value in values.items()}


def _color_statistics(model: SplatModel, sites: dict[str, Tensor]) -> dict[str, Tensor]:
    away = sites["harmonics"] - model.proposal.harmonics.double()
    seen = away * sites["opacity"][..., None, None]
    return {"harmonics": away, "harmonics^2": away**2, "harmonics opacity": seen}


def _markov_statistics(
    model: SplatModel, sites: dict[str, Tensor], buckets: Tensor
) -> dict[str, Tensor]:
    if not model.is_markov:
        return {}
    size = model.proposal.num_buckets
    transition = sites["log_transition"].exp()
    counts = model.lines.transition_counts(buckets, size)
    first = buckets[:, model.lines.order[:, 0]]
    values = {
        "staying": transition.diagonal(dim1=-2, dim2=-1),
        "transition^2": transition**2,
        "transition to the last": transition[..., -1],
        "stays": counts.diagonal(dim1=-2, dim2=-1),
        "counts^2": counts**2,
        "expected": counts * transition,
        "last bucket": buckets == size - 1,
        "start of a line": first == 0,
        "end of a line": buckets[:, model.lines.order[:, -1]] == size - 1,
    }
    if "log_layers" in sites:
        layers = sites["log_layers"].exp()
        values |= {
            "first layer": layers[:, 0],
            "layers^2": layers**2,
            "layers transition": layers[:, None] * transition,
            "layers counts": layers[:, None] * counts,
        }
    return values


def _presence_statistics(
    model: SplatModel, sites: dict[str, Tensor], where: Tensor
) -> dict[str, Tensor]:
    if not model.is_variable:
        return {}
    present, inclusion = sites["present"], sites["inclusion"][:, None]
    shown = sites["opacity"] * present
    count = present.mean(-1, keepdim=True)
    first, second = present.chunk(2, dim=-1)
    return {
        "count": count,
        "count^2": count**2,
        "inclusion": inclusion,
        "inclusion^2": inclusion**2,
        "count inclusion": count * inclusion,
        "shown disparity": where * present,
        "shown disparity^2": where**2 * present,
        "shown opacity": shown,
        "shown opacity^2": shown**2,
        "shown opacity count": shown * count,
        "both views": first * second,
        "light of both views": first * second * torch.log1p(-shown).sum(-1, keepdim=True),
        "brightness": shown.square() * model.proposal.harmonics[:, 0, 0],
    }
