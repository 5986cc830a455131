"""What the encoder says of photographs, as a ``DepthProposal`` in our own conventions.

**Depth.** The encoder's buckets are even in the disparity of ray *length*. On the ray of one pixel
camera z is the length times a constant, the ray's z, so the same buckets are even in the disparity
of z between ``near`` and ``far`` times that constant, and probabilities and offsets stay as they
are (``range=encoder``). With ``range=scene`` they are told anew in buckets between the scene's near
and far (``rebin``).

**Gaussians.** The encoder draws three depths for a pixel, independently and with replacement, from
one distribution; the three share their ray, colour, and shape in pixels. We have one Gaussian on
that ray, whose depth has the whole distribution. A drawn Gaussian has opacity p(z)/3 if its bucket
is z. Ours starts with what the three are expected to cover together,
``1 - (1 - sum_z p(z)^2 / 3)^3``. Where there is one Gaussian a pixel, 3 reads 1.

**Shapes and colours.** Standard deviations grow with depth, as ours do; at z = 1 they are those at
length 1 over the ray's z. Harmonics go through ``official_harmonics``.
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from scipy.spatial.transform import Rotation
from torch import Tensor

from bayes_splat import geometry
from bayes_splat.errors import ConfigError
from bayes_splat.models import devices
from bayes_splat.models.encoder import border, checkpoints, official_harmonics
from bayes_splat.models.encoder.border import Frame
from bayes_splat.models.encoder.encoder import EncoderOutput, PixelSplatEncoder
from bayes_splat.models.encoder.rays import Context
from bayes_splat.models.encoder.rebin import rebin
from bayes_splat.models.encoder.settings import EncoderConfig
from bayes_splat.models.pixel_gaussians import Appearance, appearance
from bayes_splat.models.proposal import DepthProposal
from bayes_splat.types import Gaussians, Views

_OPACITIES = 0.01, 0.99  # starting values stay inside


class Encoded(NamedTuple):
    """What the encoder said of some views, in its own conventions, on the CPU, float32.

    Attributes:
        context, frame: what it was shown.
        output: what it said, padding included.
    """

    context: Context
    frame: Frame
    output: EncoderOutput


def propose(views: Views, config: EncoderConfig) -> DepthProposal:
    """Depth distributions for every pixel of two or more context views.

    Args:
        views: the context views; with ``range=scene`` their cameras' near and far are the range.
        config: settings; ``checkpoint`` is needed.

    Raises:
        ConfigError: no checkpoint is given.
        ModelError: views that the encoder cannot take, or a file that is no checkpoint.
    """
    encoder = load(config)
    return to_proposal(encode(views, encoder, config), views, encoder, config)


def load(config: EncoderConfig) -> PixelSplatEncoder:
    """The encoder that the settings ask for.

    Raises:
        ConfigError: no checkpoint is given, or there is no GPU.
        ModelError: as ``checkpoints.load_checkpoint``.
    """
    if config.checkpoint is None:
        raise ConfigError(
            "pixelSplat's encoder needs weights: write proposal.checkpoint=<file> with an official "
            "checkpoint; models/README.md says where to get one"
        )
    return checkpoints.load_checkpoint(config.checkpoint)


def encode(
    views: Views,
    encoder: PixelSplatEncoder,
    config: EncoderConfig | None = None,
    *,
    keep_attention: bool = False,
) -> Encoded:
    """Show photographs to the encoder; every pixel's most probable depth is chosen.

    Raises:
        ConfigError: ``device=cuda`` or ``half`` without a GPU.
        ModelError: views that the encoder cannot take.
    """
    config = config or EncoderConfig()
    device = devices.chosen(config.device)
    if config.half and device.type == "cpu":
        raise ConfigError("proposal.half=true is for NVIDIA GPUs; leave it out on a CPU")
    context, frame = border.to_context(views, encoder.sizes.patch_multiple)
    encoder.to(device)
    if config.compile:
        encoder.backbone.compile()
    there = Context(*(part.to(device) for part in context))
    with torch.no_grad(), devices.one_thread():
        output = encoder(there, keep_attention=keep_attention, half=config.half)
    return Encoded(context, frame, _on_cpu(output))


def to_proposal(
    encoded: Encoded, views: Views, encoder: PixelSplatEncoder, config: EncoderConfig
) -> DepthProposal:
    """The proposal that an encoder's answer stands for (see above)."""
    answer = _pixels(encoded)
    cameras = views.cameras
    near, far = answer.near, answer.far
    probabilities, offsets = answer.pdf, answer.offset
    origins, directions = (part.reshape(-1, 3) for part in geometry.camera_rays(cameras))
    if config.range == "scene":
        num_pixels = cameras.image_shape[0] * cameras.image_shape[1]
        wanted = tuple(
            end.double().repeat_interleave(num_pixels) for end in (cameras.near, cameras.far)
        )
        probabilities, offsets = rebin(
            probabilities, offsets, (near, far), (wanted[0], wanted[1]), config.num_buckets
        )
        near, far = wanted
    floor = config.floor / probabilities.shape[-1]
    if config.appearance == "photograph":
        looks = appearance(views, config.footprint, config.sharpening)
    else:
        directions = answer.directions
        looks = Appearance(answer.footprints, answer.rotations, answer.harmonics)
    return DepthProposal(
        origins=origins,
        directions=directions,
        near=near,
        far=far,
        probabilities=(1.0 - config.floor) * probabilities + floor,
        offsets=offsets,
        opacities=coverage(answer.pdf, encoder.sizes.gaussians_per_pixel).clamp(*_OPACITIES),
        cameras=cameras,
        **looks._asdict(),
    )


def to_gaussians(encoded: Encoded, views: Views) -> Gaussians:
    """The official Gaussians of an encoder's answer, official opacities included, in our terms.

    Rendered by us over black they look as the official renderer shows them, but for its cutoffs.
    """
    answer = _pixels(encoded)
    lengths, opacities = encoded.output.lengths, encoded.output.opacities
    depth = _crop(lengths, encoded) * (answer.ray_z * encoded.frame.scale)[:, None].float()
    origins = geometry.camera_rays(views.cameras)[0].reshape(-1, 1, 3)
    num = depth.shape[-1]

    def each(values: Tensor) -> Tensor:
        return values.repeat_interleave(num, dim=0)

    return Gaussians(
        means=(origins + depth[..., None] * answer.directions[:, None]).flatten(0, 1),
        scales=(depth[..., None] * answer.footprints[:, None]).flatten(0, 1),
        rotations=each(answer.rotations),
        opacities=_crop(opacities, encoded).flatten(),
        harmonics=each(answer.harmonics),
    )


def coverage(pdf: Float[Tensor, "*ray bucket"], gaussians_per_pixel: int) -> Float[Tensor, "*ray"]:
    """Expected opacity of a pixel's Gaussians together, buckets drawn independently."""
    n = gaussians_per_pixel
    together: Tensor = 1.0 - (1.0 - pdf.square().sum(-1) / n) ** n
    return together


class _Pixels(NamedTuple):
    """The answer for every pixel of the photographs, over (view, row, column), in our terms.

    Attributes:
        pdf, offset: over the encoder's own buckets.
        near, far: their ends, camera z in scene units, float64.
        ray_z: camera z of the unit direction, float64.
        directions: world, with camera z = 1, through the points that the encoder chose.
        footprints: standard deviations at camera z = 1.
        rotations: own axes to world, wxyz.
        harmonics: in our basis.
    """

    pdf: Float[Tensor, "gaussian bucket"]
    offset: Float[Tensor, "gaussian bucket"]
    near: Float[Tensor, " gaussian"]
    far: Float[Tensor, " gaussian"]
    ray_z: Float[Tensor, " gaussian"]
    directions: Float[Tensor, "gaussian 3"]
    footprints: Float[Tensor, "gaussian 3"]
    rotations: Float[Tensor, "gaussian 4"]
    harmonics: Float[Tensor, "gaussian 3 d_sh"]


def _pixels(encoded: Encoded) -> _Pixels:
    context, frame, output = encoded
    num_views = context.images.shape[1]
    num_pixels = frame.image_shape[0] * frame.image_shape[1]

    def per_pixel(values: Tensor) -> Tensor:
        return values.repeat_interleave(num_pixels, dim=0)

    xy = _crop(output.pixels.xy, encoded).double()
    inverse = per_pixel(context.intrinsics[0].double().inverse())
    local = torch.einsum("gij,gj->gi", inverse, torch.cat([xy, torch.ones_like(xy[:, :1])], -1))
    ray_z = 1.0 / local.norm(dim=-1)
    own = frame.pose[:3, :3]
    turns = own @ border.orthonormal(context.extrinsics[0].double())[:, :3, :3]
    views_turn = torch.from_numpy(Rotation.from_matrix(turns.cpu().numpy()).as_quat()).to(turns)
    rotations = multiply_xyzw(
        per_pixel(views_turn), _crop(output.pixels.rotations, encoded).double()
    )
    scale = ray_z * frame.scale
    near, far = (per_pixel(end[0].double()) for end in (context.near, context.far))
    assert len(xy) == num_views * num_pixels
    return _Pixels(
        pdf=_crop(output.depth.pdf, encoded),
        offset=_crop(output.depth.offset, encoded),
        near=near * scale,
        far=far * scale,
        ray_z=ray_z,
        directions=torch.einsum("gij,gj->gi", per_pixel(turns), local).float(),
        footprints=(_crop(output.pixels.scales, encoded) / ray_z[:, None]).float(),
        rotations=rotations.roll(1, dims=-1).float(),
        harmonics=official_harmonics.to_ours(_crop(output.pixels.harmonics, encoded), own),
    )


def _crop(values: Tensor, encoded: Encoded) -> Tensor:
    """[1 view pixel ...] without the pixels that were padded, flat over (view, row, column)."""
    height, width = encoded.frame.image_shape
    padded_width = encoded.context.images.shape[-1]
    rows = values[0].unflatten(1, (-1, padded_width))
    kept: Tensor = rows[:, :height, :width].flatten(0, 2)
    return kept


def multiply_xyzw(
    first: Float[Tensor, "*#batch 4"], second: Float[Tensor, "*#batch 4"]
) -> Float[Tensor, "*batch 4"]:
    """The quaternion that turns by the second, then by the first; all xyzw."""
    a, b = first[..., :3], second[..., :3]
    u, v = first[..., 3:], second[..., 3:]
    a, b = torch.broadcast_tensors(a, b)
    return torch.cat(
        [u * b + v * a + torch.linalg.cross(a, b), u * v - (a * b).sum(-1, keepdim=True)], dim=-1
    )


def _on_cpu(value: Any) -> Any:
    """Tensors inside tuples and lists, moved to the CPU."""
    if isinstance(value, Tensor):
        return value.cpu()
    if isinstance(value, list):
        return [_on_cpu(item) for item in value]
    if isinstance(value, tuple):
        return type(value)(*(_on_cpu(item) for item in value))
    return value
