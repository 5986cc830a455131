"""Options of ``proposal=encoder``. No PyTorch here, so that ``--help`` answers at once."""

from dataclasses import dataclass
from typing import ClassVar

from bayes_splat.options import Options, option


@dataclass(kw_only=True)
class EncoderConfig(Options):
    """proposal=encoder: a network that learned to see depth: the shipped one, or pixelSplat's."""

    section: ClassVar[str] = "proposal"

    name: str = option("encoder", "what proposes depths", choices=("encoder",))
    checkpoint: str | None = option(
        None,
        "null: the small encoder that is shipped; or an official pixelSplat checkpoint (.ckpt, "
        "models/README.md says where to get one); or what bayes-splat train wrote (.safetensors)",
    )
    num_buckets: int = option(
        32,
        "with range=scene, depth buckets between near and far, even in disparity",
        at_least=2,
        at_most=1024,
    )
    range: str = option(
        "scene",
        "depths that the buckets cover: near to far of the scene, so that the posterior is that of "
        "any other proposal, or pixelSplat's own range, bucket by bucket as it says",
        choices=("scene", "encoder"),
    )
    appearance: str = option(
        "auto",
        "where shapes and colours of the Gaussians come from: the encoder, or as with the plane "
        "sweep the photographs; auto: from the encoder where it is pixelSplat's",
        choices=("auto", "encoder", "photograph"),
    )
    footprint: float = option(
        0.4,
        "with the appearance of photographs, standard deviation of a Gaussian, pixels of its view",
        above=0,
        at_most=100,
    )
    sharpening: int = option(
        2,
        "with the appearance of photographs, iterations that sharpen colours until blurred by "
        "their footprints they are those of the photograph; 0: the pixels' own colours",
        at_least=0,
        at_most=100,
    )
    floor: float = option(
        0.001,
        "probability spread over all buckets, so that no depth is impossible",
        at_least=0,
        below=1,
    )
    device: str = option(
        "auto",
        "where the encoder runs; auto: a GPU if there is one",
        choices=("auto", "cpu", "cuda"),
    )
    half: bool = option(False, "of pixelSplat: bfloat16 in all but geometry; on GPUs only")
    compile: bool = option(
        False, "of pixelSplat: compile the backbone first; takes a minute or more"
    )
