"""Tiny splat scenes with everything random, for tests of kernels against the model itself."""

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

from bayes_splat import geometry, harmonics
from bayes_splat.models.proposal import DepthProposal
from bayes_splat.models.splat_model import ModelConfig, SplatModel
from bayes_splat.rendering.renderer import make_renderer
from bayes_splat.types import Cameras, Views


def pair_of_cameras(height: int = 3, width: int = 4, dtype: torch.dtype = torch.float32) -> Cameras:
    """Two cameras side by side that see the same few depths."""
    extrinsics = torch.eye(4, dtype=dtype).repeat(2, 1, 1)
    extrinsics[1, 0, 3] = 0.4
    focal = 1.2 * width
    intrinsics = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]], dtype=dtype)
    return Cameras(
        extrinsics=extrinsics,
        intrinsics=intrinsics.repeat(2, 1, 1),
        near=torch.full((2,), 1.0, dtype=dtype),
        far=torch.full((2,), 4.0, dtype=dtype),
        image_shape=(height, width),
    )


def random_proposal(cameras: Cameras, num_buckets: int = 4, seed: int = 0) -> DepthProposal:
    """Random colours and bucket probabilities on the rays of the cameras."""
    generator = torch.Generator().manual_seed(seed)
    origins, directions = geometry.camera_rays(cameras)
    size = origins.shape[0] * origins.shape[1]
    dtype = cameras.extrinsics.dtype

    def rand(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=torch.float64).to(dtype)

    pixels = size // len(cameras)
    focal = cameras.intrinsics[:, 0, 0].repeat_interleave(pixels)
    return DepthProposal(
        origins=origins.reshape(-1, 3),
        directions=directions.reshape(-1, 3),
        near=cameras.near.repeat_interleave(pixels).double(),
        far=cameras.far.repeat_interleave(pixels).double(),
        probabilities=torch.softmax(2.0 * rand(size, num_buckets), dim=-1),
        offsets=rand(size, num_buckets),
        footprints=(0.4 / focal)[:, None].expand(-1, 3),
        rotations=torch.tensor([1.0, 0, 0, 0], dtype=dtype).expand(size, 4),
        opacities=0.2 + 0.6 * rand(size),
        harmonics=harmonics.from_colors(rand(size, 3)),
        cameras=cameras,
    )


@dataclass(frozen=True)
class ManyDataModel(SplatModel):
    """The same model with photographs of its own for every chain: [chain pixel 3]."""

    data: Tensor | None = None

    def observed(self, pixels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        assert self.data is not None
        _, view = super().observed(pixels)
        if pixels is None:
            return self.data, view
        return self.data.gather(1, pixels[..., None].expand(-1, -1, 3)), view


def tiny_model(
    num_buckets: int = 4, seed: int = 0, dtype: torch.dtype = torch.float32, **config: object
) -> SplatModel:
    """A two-view scene of 24 Gaussians whose photographs are noise."""
    cameras = pair_of_cameras(dtype=dtype)
    proposal = random_proposal(cameras, num_buckets, seed)
    generator = torch.Generator().manual_seed(seed + 1)
    images = torch.rand((2, 3, *cameras.image_shape), generator=generator, dtype=torch.float64)
    views = Views(cameras, images.to(dtype), ("left", "right"))
    settings = {"noise_prior": [4.0, 0.05], **config}
    return SplatModel(proposal, views, make_renderer(), ModelConfig(**settings))  # type: ignore[arg-type]


def with_data(model: SplatModel, sites: dict[str, Tensor], generator: torch.Generator) -> SplatModel:
    """The model observing photographs drawn from its own likelihood, one set a chain."""
    colors = model.predict_pixels(sites["depth"], sites["opacity"])
    noise = sites["noise_scale"].reshape(len(colors), -1)
    per_pixel = noise.expand(-1, model.num_views).repeat_interleave(
        model.num_pixels // model.num_views, dim=-1
    )
    scatter = torch.randn(colors.shape, generator=generator, dtype=colors.dtype)
    return ManyDataModel(
        model.proposal,
        model.views,
        model.renderer,
        model.config,
        data=colors + per_pixel[..., None] * scatter,
    )


def as_images(colors: Tensor, model: SplatModel) -> Tensor:
    """Flat pixels [view height width, 3] to images [view 3 height width]."""
    height, width = model.views.cameras.image_shape
    return rearrange(colors, "(v h w) c -> v c h w", h=height, w=width)
