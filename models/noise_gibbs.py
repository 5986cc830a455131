"""Exact draws of the noise scale: InverseGamma is conjugate to the variance of Normal noise.

The squared residuals that a draw needs are all that the likelihood needs, so this block knows the
energy of the joint afterwards without another picture.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import biject_to
from torch.distributions.transforms import Transform

from bayes_splat.models import blocks, likelihood, smoothness, tile_sums
from bayes_splat.models.blocks import BlockInfo, Generators, Position
from bayes_splat.models.log_simplex import LogDirichlet, LogStickBreaking
from bayes_splat.models.presence import Presence
from bayes_splat.models.splat_model import SplatModel
from bayes_splat.rendering import squared_errors


@dataclass(frozen=True)
class NoiseGibbs:
    """Draws ``noise_scale`` from its full conditional.

    Given the residuals r of n observed colours, noise_scale^2 is
    InverseGamma(a + n / 2, b + sum(r^2) / 2); n and the sum run over all views for a global scale
    and over each view for one a view.
    """

    model: SplatModel
    name: str = "noise_scale"

    def init(self, position: Position) -> None:
        """Nothing to tune."""

    @torch.no_grad()
    def step(
        self, generators: Generators, position: Position, tuning: None, is_warmup: bool
    ) -> tuple[Position, None, BlockInfo]:
        """One exact draw in every chain; reports the energy of the joint."""
        to = blocks.coordinates(self.model)
        per_view = squared_residuals(
            self.model.given(position),
            to.depth(position["depth"]),
            to.opacity(position["opacity"]),
        )
        squares = per_view
        if self.model.config.noise == "global":
            squares = squares.sum(-1, keepdim=True)
        count = 3 * self.model.num_pixels / squares.shape[-1]
        concentration, rate = self.model.noise_concentration
        gamma = torch.stack(
            [
                torch._standard_gamma(torch.full_like(row, concentration + 0.5 * count), generator)
                for row, generator in zip(squares, generators, strict=True)
            ]
        )
        noise_scale = torch.sqrt((rate + 0.5 * squares) / gamma)
        moved = noise_scale.reshape(position["noise_scale"].shape)
        position = {**position, "noise_scale": to.noise_scale.inv(moved)}
        info = blocks.block_info(torch.ones(len(moved), dtype=torch.float64))
        energy = joint_energy(self.model, position, per_view)
        return position, None, info._replace(potential_energy=energy)


def joint_energy(
    model: SplatModel, position: Position, squares: Float[Tensor, "chain view"]
) -> Float[Tensor, " chain"]:
    """Minus the log joint density over the unconstrained coordinates, Jacobians included, float64.

    Args:
        model: of the joint.
        position: unconstrained.
        squares: the squared residuals there, see :func:`squared_residuals`.
    """
    to = blocks.coordinates(model)
    noise = blocks.noise_per_view(model, to.noise_scale(position["noise_scale"]))
    count = 3.0 * model.num_pixels / model.num_views
    terms = [
        _log_density(
            model.depth_prior(blocks.log_transition(model, position)), to.depth, position["depth"]
        ),
        _log_density(model.opacity_prior(), to.opacity, position["opacity"]),
        _log_density(model.noise_prior(), to.noise_scale, position["noise_scale"]),
        -likelihood.normal_energy(squares, count, noise),
        *_transition_terms(model, position),
        *_color_terms(model, position),
        *_presence_terms(model, position),
    ]
    rows = torch.cat([term.reshape(len(squares), -1) for term in terms], dim=1)
    # One after another: torch's own sum depends on the number of threads.
    energy = -tile_sums.block_sums(rows, torch.zeros(rows.shape, dtype=torch.long), 1)[:, 0]
    if model.smoothness is not None:
        relative = model.proposal.relative_disparity(to.depth(position["depth"]))
        energy = energy + smoothness.energy(model.smoothness, relative)
    return energy


def _transition_terms(model: SplatModel, position: Position) -> list[Tensor]:
    """Log densities of what rules the scanlines of a Markov prior; none for others."""
    if not model.is_markov:
        return []
    to, log_layers, terms = LogStickBreaking(), None, []
    if "log_layers" in position:
        log_layers = to(position["log_layers"])
        layers = LogDirichlet(model.transitions.layers())
        terms.append(_log_density(layers, to, position["log_layers"]))
    rows = LogDirichlet(model.transitions.rows(log_layers))
    return [*terms, _log_density(rows, to, position["log_transition"])]


def _color_terms(model: SplatModel, position: Position) -> list[Tensor]:
    """Log densities of the colours, which are their own coordinates; none where they are fixed."""
    if "harmonics" not in position:
        return []
    return [model.harmonics_prior().log_prob(position["harmonics"])]


def _presence_terms(model: SplatModel, position: Position) -> list[Tensor]:
    """Log densities of which slots hold a Gaussian; none where all do."""
    if not model.is_variable:
        return []
    prior, coordinate = model.inclusion_prior(), position["inclusion"]
    inclusion = biject_to(prior.support)(coordinate)[:, None]
    return [
        _log_density(prior, biject_to(prior.support), coordinate),
        Presence(inclusion).log_prob(position["present"]),
    ]


def _log_density(prior: TorchDistribution, to: Transform, coordinate: Tensor) -> Tensor:
    """Over a coordinate, as ``PyroTarget`` computes it."""
    if hasattr(prior, "log_prob_unconstrained"):
        known: Tensor = prior.log_prob_unconstrained(coordinate)
        return known
    value = to(coordinate)
    density: Tensor = prior.log_prob(value) + to.log_abs_det_jacobian(coordinate, value)
    return density


def squared_residuals(
    model: SplatModel,
    depth: Float[Tensor, "chain gaussian"],
    opacity: Float[Tensor, "chain gaussian"],
) -> Float[Tensor, "chain view"]:
    """Sum of squared colour differences to every context photograph, float64."""
    sums = likelihood.cell_sums(
        model.pictures(depth, opacity), model.photographs(), squared_errors.STRIP
    )
    return sums.sum(-1).sum(-1)
