"""RealEstate10K and ACID from pixelSplat's chunks: examples to test on, and endless ones to train.

Everything follows pixelSplat (Charatan et al. 2024): scenes with a field of view beyond 100
degrees, of another size than 640 x 360, or whose two context cameras hardly move, are passed over;
the distance of two context cameras becomes the unit of length; pictures are scaled and cut to 256 x
256; near and far follow from the context cameras. Cameras come out in our terms: camera-to-world,
pixels.
"""

import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import torch
from torch.utils.data import IterableDataset, get_worker_info

from bayes_splat.errors import ConfigError, SceneError
from bayes_splat.scenes import re10k_cameras, re10k_chunks, re10k_pictures, re10k_views
from bayes_splat.scenes.examples import Example, Planned
from bayes_splat.scenes.re10k_chunks import Entry
from bayes_splat.scenes.re10k_views import Choice, EvaluationViews, Unsuitable, ViewSampler
from bayes_splat.types import Cameras, Views


@dataclass(frozen=True)
class Re10kOptions:
    """How scenes become examples.

    Attributes:
        image_shape: (height, width) of the examples.
        stored_shape: (height, width) that pictures must have; None takes any, if all are alike.
        most_fov: widest field of view of any frame, degrees.
        is_baseline_one: whether the distance of two context cameras becomes 1.
        least_baseline: scenes in which it is less are passed over then, units of the file.
    """

    image_shape: tuple[int, int] = (256, 256)
    stored_shape: tuple[int, int] | None = (360, 640)
    most_fov: float = 100.0
    is_baseline_one: bool = True
    least_baseline: float = 1e-3


def make_example(entry: Entry, choice: Choice, options: Re10kOptions | None = None) -> Example:
    """The chosen frames of a scene as views named by their frames.

    Raises:
        SceneError: a picture or pose that cannot be used; ``Unsuitable`` for a scene that is to be
            passed over.
    """
    options = options or Re10kOptions()
    widest = float(re10k_cameras.fields_of_view(entry.cameras).max())
    if not widest <= options.most_fov:  # also NaN
        raise Unsuitable(
            f"{entry.where} has a field of view of {widest:.0f} degrees, more than "
            f"{options.most_fov:g}"
        )
    frames = [*choice.context, *choice.targets]
    photos = [re10k_chunks.decode(entry, frame) for frame in frames]
    stored = options.stored_shape or photos[0].shape[:2]
    for photo in photos:
        if photo.shape[:2] != stored:
            raise Unsuitable(
                f"{entry.where} has pictures of {photo.shape[1]}x{photo.shape[0]} pixels, not "
                f"{stored[1]}x{stored[0]}"
            )
    lenses = re10k_cameras.intrinsics(entry.cameras[frames], stored)
    pairs = [
        re10k_pictures.rescale_and_crop(photo, lens, options.image_shape)
        for photo, lens in zip(photos, lenses, strict=True)
    ]
    unknown = torch.zeros(len(frames))
    cameras = Cameras(
        extrinsics=re10k_cameras.poses(entry.cameras[frames], entry.where),
        intrinsics=torch.stack([lens for _, lens in pairs]),
        near=unknown,
        far=unknown,
        image_shape=options.image_shape,
    )
    count = len(choice.context)
    cameras = _with_range(_scaled(cameras, count, entry.where, options), count)
    names = [f"{'context' if i < count else 'target'}_{frame}" for i, frame in enumerate(frames)]
    views = Views(cameras, torch.stack([photo for photo, _ in pairs]), tuple(names))
    return Example(entry.key, views[:count], views[count:])


def reflected(example: Example) -> Example:
    """The example in a mirror: pictures left-right, the world's x axis turned about."""
    return example._replace(
        context=_reflected(example.context), targets=_reflected(example.targets)
    )


def evaluation_examples(
    folder: Path, index: Path, options: Re10kOptions | None = None, num_context: int = 2
) -> list[Planned]:
    """The examples of an evaluation index, chunk by chunk.

    Args:
        folder: holds ``test/`` with its chunks.
        index: see ``re10k_views.read_evaluation_index``.
        options: None takes pixelSplat's.
        num_context: 2 or 3.

    Returns:
        Scenes that the index does not leave out; one that the data lacks is an example whose
        ``load`` says so.

    Raises:
        SceneError: an index cannot be read, or leaves every scene out.
    """
    sampler = EvaluationViews(re10k_views.read_evaluation_index(index), num_context)
    chunk_of = re10k_chunks.read_index(folder / "test")
    keys = [key for key, choice in sampler.index.items() if choice is not None]
    if not keys:
        raise SceneError(f"{index} leaves every scene out; give one with scenes in it")
    entry = lru_cache(maxsize=1)(_entries)  # of neighbours in one chunk it is read once

    def load(key: str) -> Example:
        if key not in chunk_of:
            raise SceneError(
                f"{folder / 'test' / re10k_chunks.INDEX} has no scene {key}, which {index} names; "
                "fetch its chunk or give an index made for this data"
            )
        found = entry(chunk_of[key])
        if key not in found:
            raise SceneError(
                f"{chunk_of[key]} holds no scene {key} though {re10k_chunks.INDEX} says so; make "
                f"{re10k_chunks.INDEX} again"
            )
        choice = sampler.choose(key, len(found[key]), torch.Generator(), step=0)
        return make_example(found[key], choice, options)

    keys.sort(key=lambda key: str(chunk_of.get(key, "")))  # stable: else in the index's order
    return [Planned("re10k", key, lambda key=key: load(key)) for key in keys]  # type: ignore[misc]


@dataclass
class Re10kTraining(IterableDataset[Example]):
    """Endless examples to train on, the same ones for the same arguments.

    The chunks are put in a new order in every epoch and dealt out to the workers of all ranks; so
    are the scenes inside a chunk. What is chosen of a scene depends on seed, epoch, key and step
    alone. Make a DataLoader of it with ``batch_size=None``.

    pixelSplat shares the step between processes while it trains, so that an example may depend on
    who was faster. Here every worker counts its own examples instead: the n-th of worker w of W
    belongs to step ``first_step + (n W + w) // batch_size``.

    Attributes:
        folder: holds ``train/`` with its chunks.
        sampler: chooses frames.
        seed: of all randomness.
        options: how scenes become examples.
        is_augmented: half of the examples are mirrored.
        batch_size: examples a step, over all ranks.
        first_step, first_epoch: where to begin.
        rank, ranks: of the process, in training on several GPUs.
        stage: the folder inside ``folder``.
    """

    folder: Path
    sampler: ViewSampler
    seed: int
    options: Re10kOptions = field(default_factory=Re10kOptions)
    is_augmented: bool = True
    batch_size: int = 1
    first_step: int = 0
    first_epoch: int = 0
    rank: int = 0
    ranks: int = 1
    stage: str = "train"

    def __iter__(self) -> Iterator[Example]:
        """Raises SceneError for a broken file, and if a whole epoch has no suitable scene."""
        files = sorted((self.folder / self.stage).glob("*.torch"))
        if not files:
            raise SceneError(
                f"{self.folder / self.stage} holds no .torch chunks; give the folder that holds "
                f"{self.stage}/ with pixelSplat's chunks"
            )
        shard, shards = self._shard()
        if len(files) < shards:
            raise ConfigError(
                f"{self.folder / self.stage} holds {len(files)} chunks, too few for {shards} "
                "workers over all ranks; use fewer"
            )
        count, epoch = 0, self.first_epoch
        while True:
            before, skipped = count, Counter[str]()
            order = torch.randperm(len(files), generator=self._generator(epoch, "chunks"))
            for number in order[shard::shards].tolist():
                for entry in self._shuffled(files[number], epoch):
                    step = self.first_step + (count * shards + shard) // self.batch_size
                    try:
                        example = self._example(entry, epoch, step)
                    except Unsuitable as reason:
                        skipped[str(reason)] += 1
                        continue
                    count += 1
                    yield example
            if count == before:
                raise SceneError(
                    f"{self.folder / self.stage} has no suitable scene for worker {shard}: "
                    f"{next(iter(skipped), 'its chunks are empty')}; change options or sampler"
                )
            epoch += 1

    def _shard(self) -> tuple[int, int]:
        worker = get_worker_info()
        own, workers = (0, 1) if worker is None else (worker.id, worker.num_workers)
        return self.rank * workers + own, self.ranks * workers

    def _shuffled(self, path: Path, epoch: int) -> list[Entry]:
        entries = re10k_chunks.read_chunk(path)
        order = torch.randperm(len(entries), generator=self._generator(epoch, path.name))
        return [entries[i] for i in order.tolist()]

    def _example(self, entry: Entry, epoch: int, step: int) -> Example:
        generator = self._generator(epoch, entry.key)
        choice = self.sampler.choose(entry.key, len(entry), generator, step)
        example = make_example(entry, choice, self.options)
        is_mirrored = bool(torch.rand((), generator=generator) < 0.5)
        return reflected(example) if self.is_augmented and is_mirrored else example

    def _generator(self, epoch: int, name: str) -> torch.Generator:
        text = f"{self.seed} {epoch} {name}"
        return torch.Generator().manual_seed(zlib.crc32(text.encode("utf-8")))


def _entries(path: Path) -> dict[str, Entry]:
    return {entry.key: entry for entry in re10k_chunks.read_chunk(path)}


def _scaled(cameras: Cameras, count: int, where: str, options: Re10kOptions) -> Cameras:
    if count != 2 or not options.is_baseline_one:
        return cameras
    scale = float((cameras.extrinsics[0, :3, 3] - cameras.extrinsics[1, :3, 3]).norm())
    if scale < options.least_baseline:
        raise Unsuitable(f"{where}: the context cameras are {scale:.2g} apart and hardly move")
    return re10k_cameras.with_baseline_one(cameras, scale)


def _with_range(cameras: Cameras, count: int) -> Cameras:
    near, far = re10k_cameras.depth_range(cameras[:count])
    size = len(cameras)
    return replace(
        cameras.to(torch.float32), near=torch.full((size,), near), far=torch.full((size,), far)
    )


def _reflected(views: Views) -> Views:
    mirror = torch.diag(torch.tensor([-1.0, 1.0, 1.0, 1.0]))
    cameras = views.cameras
    intrinsics = cameras.intrinsics.clone()
    intrinsics[:, 0, 2] = cameras.image_shape[1] - intrinsics[:, 0, 2]
    return replace(
        views,
        cameras=replace(
            cameras, extrinsics=mirror @ cameras.extrinsics @ mirror, intrinsics=intrinsics
        ),
        images=views.images.flip(-1),
        depths=None if views.depths is None else views.depths.flip(-1),
    )
