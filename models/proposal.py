"""The depth proposal: for every pixel of every context view, a distribution over depth buckets.

Buckets are spaced evenly in relative disparity (0 at near, 1 at far), as in pixelSplat (Charatan et
al. 2024, section 4.2). The proposal starts chains and offers independence jumps; it is not the
posterior.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bayes_splat import geometry
from bayes_splat.types import Cameras, Gaussians


@dataclass(frozen=True)
class DepthProposal:
    """One Gaussian a pixel, its depth uncertain; pixels run over (view, height, width).

    Attributes:
        origins, directions: rays with camera z = 1, so that depth along them is camera z.
        near, far: ends of the depth range, scene units, float64 (coordinates are derived from
            them, and a map must undo its inverse to the last bits).
        probabilities: of the buckets, near first; rows sum to one.
        offsets: the best relative position inside each bucket, in [0, 1].
        footprints: standard deviations of the Gaussian at depth 1 (they grow with depth, so that
            its size in pixels stays).
        rotations: own axes to world, wxyz.
        opacities: starting values in (0, 1).
        harmonics: colours.
        cameras: the context cameras that the pixels belong to.
    """

    origins: Float[Tensor, "gaussian 3"]
    directions: Float[Tensor, "gaussian 3"]
    near: Float[Tensor, " gaussian"]
    far: Float[Tensor, " gaussian"]
    probabilities: Float[Tensor, "gaussian bucket"]
    offsets: Float[Tensor, "gaussian bucket"]
    footprints: Float[Tensor, "gaussian 3"]
    rotations: Float[Tensor, "gaussian 4"]
    opacities: Float[Tensor, " gaussian"]
    harmonics: Float[Tensor, "gaussian 3 d_sh"]
    cameras: Cameras

    def __len__(self) -> int:
        return self.origins.shape[0]

    @property
    def num_buckets(self) -> int:
        """How many buckets lie between near and far."""
        return self.probabilities.shape[-1]

    def bucket(self, depth: Float[Tensor, "*chain gaussian"]) -> Int[Tensor, "*chain gaussian"]:
        """Index of the bucket that a depth lies in."""
        start, slope = self._bucket_line
        # Truncation is downward here, and what rounding leaves outside the range is put back.
        scaled = start - slope * depth.reciprocal()
        return scaled.long().clamp_(0, self.num_buckets - 1)

    @cached_property
    def _bucket_line(self) -> tuple[Tensor, Tensor]:
        """a and b of a - b / depth, the relative disparity in buckets."""
        slope = self.num_buckets / (1.0 / self.near - 1.0 / self.far)
        return slope / self.near, slope

    @cached_property
    def disparities(self) -> tuple[Tensor, Tensor]:
        """1/near and 1/far of every Gaussian."""
        return 1.0 / self.near, 1.0 / self.far

    def bucket_centre(
        self, bucket: Int[Tensor, "*chain gaussian"]
    ) -> Float[Tensor, "*chain gaussian"]:
        """Depth at the middle of a bucket."""
        return self.depth_at((bucket + 0.5) / self.num_buckets)

    def mode(self) -> Float[Tensor, " gaussian"]:
        """Depth at the best position inside the most probable bucket."""
        best = self.probabilities.argmax(-1, keepdim=True)
        offset = self.offsets.gather(-1, best)
        return self.depth_at(((best + offset) / self.num_buckets).squeeze(-1))

    def mean(self) -> Float[Tensor, " gaussian"]:
        """Depth at the mean disparity (the mean of depth itself would be ruled by far buckets)."""
        bucket = torch.arange(self.num_buckets, device=self.offsets.device)
        relative = (bucket + self.offsets) / self.num_buckets
        return self.depth_at((self.probabilities * relative).sum(-1))

    def sample(self, generators: Sequence[torch.Generator]) -> Float[Tensor, "chain gaussian"]:
        """A depth for every Gaussian of every chain: bucket from its probabilities, uniform inside.

        Args:
            generators: one a chain.
        """
        return torch.stack([self._sample_one(generator) for generator in generators])

    def _sample_one(self, generator: torch.Generator) -> Tensor:
        uniform = torch.rand(2, len(self), generator=generator, dtype=torch.float64)
        uniform = uniform.to(self.probabilities)
        cumulative = self.probabilities.cumsum(-1)
        threshold = uniform[0, :, None] * cumulative[:, -1:]
        bucket = torch.searchsorted(cumulative, threshold, right=True).squeeze(-1)
        return self.depth_at(
            (bucket.clamp_max(self.num_buckets - 1) + uniform[1]) / self.num_buckets
        )

    def log_prob(self, depth: Float[Tensor, "*chain gaussian"]) -> Float[Tensor, "*chain gaussian"]:
        """Log density over depth of :meth:`sample`; -inf outside (near, far)."""
        buckets = self.bucket(depth)
        rows = self.probabilities.expand(*depth.shape, self.num_buckets)
        log_bucket = rows.gather(-1, buckets[..., None]).squeeze(-1).log()
        inside = (depth >= self.near) & (depth <= self.far)
        density = log_bucket + torch.log(self.num_buckets * self.disparity_slope(depth))
        return torch.where(inside, density, torch.full_like(density, -torch.inf))

    def disparity_slope(
        self, depth: Float[Tensor, "*chain gaussian"]
    ) -> Float[Tensor, "*chain gaussian"]:
        """d(relative disparity) / d(depth), per scene unit."""
        return 1.0 / (depth**2 * (1.0 / self.near - 1.0 / self.far))

    def gaussians(
        self,
        depth: Float[Tensor, "*chain gaussian"],
        opacity: Float[Tensor, "*chain gaussian"],
    ) -> Gaussians:
        """The scene with its Gaussians at these depths; shapes and colours are the proposal's."""
        lead = depth.shape[:-1]
        means, scales = self._placed(depth)
        return Gaussians(
            means=means,
            scales=scales,
            rotations=self.rotations.expand(*lead, *self.rotations.shape),
            opacities=opacity,
            harmonics=self.harmonics.expand(*lead, *self.harmonics.shape),
        )

    def _placed(self, depth: Tensor) -> tuple[Tensor, Tensor]:
        """Means and scales."""
        if depth.ndim == 2 and self._is_compiled(depth):
            from bayes_splat.rendering import cpu_rays

            return cpu_rays.place(depth, self.origins, self.directions, self.footprints)
        depth = depth[..., None].to(self.origins.dtype)
        return self.origins + depth * self.directions, depth * self.footprints

    def sort_depths(
        self, depth: Float[Tensor, "*chain gaussian"], cameras: Cameras
    ) -> Float[Tensor, "*chain view gaussian"]:
        """Bucket order: camera z of every Gaussian's *bucket centre* in every camera.

        A function of the buckets alone, so that the picture is smooth in the depths inside them
        (design/posterior.md, section 4b). In the precision of the rays.
        """
        start, slope = self.camera_lines if cameras is self.cameras else self._camera_lines(cameras)
        if depth.ndim == 2 and self._is_compiled(depth):
            from bayes_splat.rendering import cpu_rays  # late: loading numba takes a second

            return cpu_rays.sort_keys(
                depth, *self._bucket_line, *self.disparities, self.num_buckets, start, slope
            )
        centres = self.bucket_centre(self.bucket(depth.detach()))[..., None, :]
        return (start + slope * centres).to(self.origins.dtype)

    @cached_property
    def camera_lines(self) -> tuple[Tensor, Tensor]:
        """a and b [view gaussian] of a + b depth, camera z in the proposal's cameras, float64."""
        return self._camera_lines(self.cameras)

    def _camera_lines(self, cameras: Cameras) -> tuple[Tensor, Tensor]:
        """a and b [view gaussian] of a + b depth, camera z in other cameras, float64."""
        towards = cameras.extrinsics[:, None, :3, 2].double()
        offset = self.origins.double() - cameras.extrinsics[:, None, :3, 3].double()
        return (
            geometry.sum_terms(offset * towards, axis=-1),
            geometry.sum_terms(self.directions.double() * towards, axis=-1),
        )

    def _is_compiled(self, depth: Tensor) -> bool:
        return depth.device.type == "cpu" and self.origins.dtype == torch.float32

    def relative_disparity(
        self, depth: Float[Tensor, "*chain gaussian"]
    ) -> Float[Tensor, "*chain gaussian"]:
        """Where a depth lies in disparity: 0 at near, 1 at far."""
        return geometry.depth_to_relative_disparity(depth, self.near, self.far)

    def depth_at(
        self, relative: Float[Tensor, "*chain gaussian"]
    ) -> Float[Tensor, "*chain gaussian"]:
        """The inverse of :meth:`relative_disparity`."""
        return geometry.relative_disparity_to_depth(relative, self.near, self.far)
