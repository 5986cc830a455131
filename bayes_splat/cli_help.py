"""What ``bayes-splat <command> --help`` prints below the usage: every option, and examples.

No PyTorch here, so that it answers at once.
"""

from textwrap import fill
from typing import Any

from bayes_splat import (
    compare_config,
    config,
    evaluate_encoder_config,
    inspect_config,
    thermalize_config,
    train_config,
)
from bayes_splat.evaluation import config as evaluate_config
from bayes_splat.evaluation import next_view_config
from bayes_splat.options import Options, describe

_EXAMPLES = """\
examples:
  bayes-splat reconstruct
      a small scene made on the spot
  bayes-splat reconstruct scene=photos/garden context=[0,4] targets=[2]
      a folder with images/ and transforms.json: frames 0 and 4 are seen, 2 is held out
  bayes-splat reconstruct scene=photos/garden split=pair_small_0 resolution=48 chains=2
      frames from the folder's splits.json, smaller pictures, fewer chains
  bayes-splat reconstruct sampler=mala sampler.step_size=0.1 out=results/mala
      another sampler, one of its settings, and a place for the results

Some shells read [ ] themselves: write 'context=[0,4]' there."""

_THERMALIZE_EXAMPLES = """
examples:
  bayes-splat thermalize samplers=[gibbs,mala] steps=200 warmup=50
      two samplers on the rays of the scene made on the spot
  bayes-splat thermalize scene=photos/garden seconds=60 model.prior=proposal
      every sampler for a minute; the teacher looks like the photographed scene
  bayes-splat thermalize samplers=[mala] mala.step_size=0.1 chains=8 out=results/mala"""


_COMPARE_EXAMPLES = """
examples:
  bayes-splat compare samplers=[mala,gibbs] seconds=30 resolution=32
      two samplers on the scene made on the spot, half a minute of sampling each
  bayes-splat compare samplers=[mala] scene=photos/garden warmup=200 mala.step_size=0.1
  bayes-splat compare runs=[results/monday,results/tuesday] out=results/both
      nothing is sampled"""


_INSPECT_EXAMPLES = """
examples:
  bayes-splat inspect-proposal
      three pixels of the scene made on the spot, as the shipped encoder sees them
  bayes-splat inspect-proposal scene=photos/garden view=1 columns=[20,31] rows=[10,12]
  bayes-splat inspect-proposal proposal=encoder proposal.checkpoint=re10k.ckpt resolution=256"""


_EVALUATE_ENCODER_EXAMPLES = """
examples:
  bayes-splat evaluate-encoder number=100
      the encoder and the plane sweep on random scenes with exact depth
  bayes-splat evaluate-encoder scenes=none data=photos most=20 plane_sweep.window=5
      every split of two context views in photos/*/splits.json, or 20 of them
  bayes-splat evaluate-encoder proposals=[encoder] encoder.checkpoint=re10k.ckpt scenes=none
      re10k=datasets/re10k index=evaluation_index_re10k.json resolution=256
      (on one line) an official checkpoint on RealEstate10K"""


def evaluate() -> str:
    """Of ``evaluate``."""
    parts = [
        "options of evaluate, written key=value (here with their defaults):",
        _options(evaluate_config.EvaluateConfig),
        _paragraph(evaluate_config.OTHERS, 2),
        evaluate_config.EXAMPLES,
    ]
    return "\n".join(parts)


def next_view() -> str:
    """Of ``next-view``."""
    parts = [
        "options of next-view, written key=value (here with their defaults):",
        _options(next_view_config.NextViewConfig),
        _paragraph("Options of reconstruct but targets, sampler, out and save may follow.", 2),
        next_view_config.EXAMPLES,
    ]
    return "\n".join(parts)


def inspect() -> str:
    """Of ``inspect-proposal``."""
    parts = [
        "options of inspect-proposal, written key=value (here with their defaults):",
        _options(inspect_config.InspectConfig),
        _paragraph(
            "Options of reconstruct for the scene and the proposal may follow: scene, split, "
            "context, resolution, near, far, proposal.",
            2,
        ),
        _INSPECT_EXAMPLES,
    ]
    return "\n".join(parts)


_TRAIN_EXAMPLES = """
examples:
  bayes-splat train cache=scenes precision=bf16 out=small
      the shipped encoder, from random scenes; the same command resumes it
  bayes-splat train experiment=pixelsplat data=re10k precision=bf16 out=faithful
  accelerate launch -m bayes_splat train experiment=pixelsplat data=re10k out=faithful
      on all GPUs of this machine"""


def train() -> str:
    """Of ``train``."""
    parts = []
    for name, cls in train_config.EXPERIMENTS.items():
        parts += [f"experiment={name}", _paragraph(cls.__doc__ or "", 2), _options(cls), ""]
    return "\n".join([*parts, _TRAIN_EXAMPLES.lstrip()])


def evaluate_encoder() -> str:
    """Of ``evaluate-encoder``."""
    parts = [
        "options of evaluate-encoder, written key=value (here with their defaults):",
        _options(evaluate_encoder_config.EvaluateEncoderConfig),
        f"\nproposals: {', '.join(config.GROUPS['proposal'])}",
        _paragraph(
            "<proposal>.<option> goes to that proposal, renderer=<name> chooses what draws; "
            "bayes-splat reconstruct --help explains these.",
            2,
        ),
        _EVALUATE_ENCODER_EXAMPLES,
    ]
    return "\n".join(parts)


def thermalize() -> str:
    """Of ``thermalize``."""
    parts = [
        "options of thermalize, written key=value (here with their defaults):",
        _options(thermalize_config.ThermalizeConfig),
        f"\nsamplers: {', '.join(config.GROUPS['sampler'])}",
        _paragraph(
            "Any option of reconstruct but "
            f"{', '.join(thermalize_config.NOT_HERE)} may follow: scene, model, proposal, "
            "renderer, chains (of each start), warmup, seed; <sampler>.<option> goes to that "
            "sampler.",
            2,
        ),
        _paragraph(
            "Energies meet at step t if their means over steps t/2 to t agree within two Monte "
            "Carlo standard errors, keep agreeing up to step 2t, and never differ by four "
            "afterwards.",
            2,
        ),
        _THERMALIZE_EXAMPLES,
    ]
    return "\n".join(parts)


def compare() -> str:
    """Of ``compare``."""
    samplers = ", ".join(config.GROUPS["sampler"])
    parts = [
        "options of compare, written key=value (here with their defaults):",
        _options(compare_config.CompareConfig),
        f"\nsamplers: {samplers}",
        _paragraph(
            "Any option of reconstruct but draws, time_limit, sampling_limit and sampler may "
            "follow and goes to every run; <sampler>.<option> goes to the run of that sampler.",
            2,
        ),
        _COMPARE_EXAMPLES,
    ]
    return "\n".join(parts)


def reconstruct() -> str:
    """Every option with its default, its meaning and its range."""
    parts = ["options of reconstruct, written key=value (here with their defaults):"]
    parts += [_options(config.RunConfig)]
    for group, choices in config.GROUPS.items():
        default, *others = choices
        alternatives = f" (or {', '.join(others)})" if others else ""
        parts.append(f"\n{group}={default}{alternatives}")
        for cls in dict.fromkeys(choices.values()):
            parts += [_paragraph(cls.__doc__ or "", 2), _options(cls)]
    return "\n".join([*parts, "", _EXAMPLES])


def _options(cls: type[Options]) -> str:
    lines = []
    for entry in describe(cls):
        if cls.section and entry.field == "name":
            continue  # chosen with <group>=<name>
        allowed = f" ({entry.rule.allowed})" if entry.rule.allowed else ""
        lines += [f"    {entry.key}={_shown(entry.default)}"]
        lines += [_paragraph(entry.rule.meaning + allowed, 8)]
    return "\n".join(lines)


def _paragraph(text: str, indent: int) -> str:
    return fill(
        " ".join(text.split()), 80, initial_indent=" " * indent, subsequent_indent=" " * indent
    )


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return f"[{','.join(map(str, value))}]"
    return "null" if value is None else str(value)
