import errno
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from bayes_splat import arviz_bridge as bridge
from bayes_splat import diagnostics, results
from bayes_splat.draw_arrays import DrawArray
from bayes_splat.errors import OutputError
from bayes_splat.types import Cameras, Views

with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)
    import arviz

ROOT = Path(__file__).parents[1]
CHAINS, DRAWS, WARMUP, GAUSSIANS = 2, 6, 9, 5
GRID = diagnostics.fixed_grid((4, 6), 3, max_pixels=24)
NUM_PIXELS = len(GRID.view)


def make_views(names, seed):
    generator = torch.Generator().manual_seed(seed)
    count = len(names)
    cameras = Cameras(
        extrinsics=torch.eye(4).repeat(count, 1, 1),
        intrinsics=torch.eye(3).repeat(count, 1, 1),
        near=torch.full((count,), 0.5),
        far=torch.full((count,), 5.0),
        image_shape=(4, 6),
    )
    return Views(cameras, torch.rand(count, 3, 4, 6, generator=generator), names)


CONTEXT, TARGETS = make_views(("a", "b"), 1), make_views(("x", "y", "z"), 2)


def build(num_draws=DRAWS, **changes):
    return results.build(**(parts(num_draws) | changes))


def parts(num_draws=DRAWS):
    rng = np.random.default_rng(0)
    return {
        "sites": {
            "depth": torch.from_numpy(rng.random((CHAINS, num_draws, GAUSSIANS), np.float32)),
            "opacity": rng.random((CHAINS, num_draws, GAUSSIANS)),
            "harmonics": rng.random((CHAINS, num_draws, GAUSSIANS, 3, 4)),
            "noise_scale": rng.random((CHAINS, num_draws)),
            "bucket": rng.integers(0, 8, (CHAINS, num_draws, GAUSSIANS)),
            "my_site": rng.random((CHAINS, num_draws, 2)),
        },
        "stats": {
            "lp": rng.normal(size=(CHAINS, num_draws)) * 1e5,
            "diverging": torch.zeros(CHAINS, num_draws, dtype=torch.bool),
            "acceptance_rate": rng.random((CHAINS, num_draws)),
        },
        "warmup_stats": {"lp": rng.normal(size=(CHAINS, WARMUP))},
        "context": CONTEXT,
        "targets": TARGETS,
        "grid": GRID,
        "color": rng.random((CHAINS, num_draws, NUM_PIXELS, 3)),
        "depth": rng.random((CHAINS, num_draws, NUM_PIXELS)),
        "alpha": rng.random((CHAINS, num_draws, NUM_PIXELS)),
        "constants": {
            "mode_depth": (("gaussian",), np.arange(GAUSSIANS)),
            "seed": ((), 7),
        },
        "attrs": {"is_interrupted": True},
    }


def check(container):
    posterior = bridge.group(container, "posterior")
    assert posterior["depth"].dims == ("chain", "draw", "gaussian")
    assert posterior["harmonics"].dims == ("chain", "draw", "gaussian", "channel", "harmonic")
    assert posterior["noise_scale"].dims == ("chain", "draw")
    assert posterior["my_site"].dims == ("chain", "draw", "my_site_dim_0")
    assert posterior["depth"].dtype == np.float32
    assert posterior["opacity"].dtype == np.float64, "the precision in which they were kept"
    assert posterior["bucket"].dtype.kind == "i"

    stats = bridge.group(container, "sample_stats")
    assert stats["lp"].dtype == np.float64
    assert stats["diverging"].dtype == bool
    assert bridge.group(container, "warmup_sample_stats")["lp"].shape == (CHAINS, WARMUP)

    predictions = bridge.group(container, "predictions")
    assert predictions["color"].dims == ("chain", "draw", "pixel", "channel")
    assert predictions["depth"].dims == predictions["alpha"].dims == ("chain", "draw", "pixel")
    assert predictions["channel"].values.tolist() == ["red", "green", "blue"]

    observed = bridge.group(container, "observed_data")["image"]
    assert observed.dims == ("view", "height", "width", "channel")
    np.testing.assert_array_equal(observed.sel(view="b"), CONTEXT.images[1].movedim(0, -1))

    constant = bridge.group(container, "constant_data")
    assert constant["context_extrinsics"].shape == (2, 4, 4)
    assert constant["target_intrinsics"].shape == (3, 3, 3)
    assert constant["target_view"].values.tolist() == ["x", "y", "z"]
    assert [int(constant[n]) for n in ("target_height", "target_width", "seed")] == [4, 6, 7]
    assert constant["mode_depth"].dims == ("gaussian",)

    attrs = bridge.attributes(container)
    assert attrs["inference_library"] == "bayes_splat"
    assert attrs["is_interrupted"] == 1


def test_groups_and_axes():
    check(build())


def test_round_trip(tmp_path):
    path = tmp_path / "out" / "posterior.nc"
    results.save(build(), path)
    check(results.load(path))
    assert [p.name for p in path.parent.iterdir()] == ["posterior.nc"]


def lazily(**parts):
    """The same parts, draws and renders as pieces of what lies elsewhere."""
    result = dict(parts)
    result["sites"] = {name: DrawArray(parts["sites"], name) for name in parts["sites"]}
    for name in ("color", "depth", "alpha"):
        result[name] = DrawArray({name: np.asarray(parts[name], np.float32)}, name)
    return result


@pytest.mark.parametrize("num_draws", [0, 1, DRAWS])
def test_written_piece_by_piece_it_is_the_same_file(tmp_path, monkeypatch, num_draws):
    whole = build(num_draws)
    path = tmp_path / "out" / "posterior.nc"
    for piece in (2**20, 50):  # everything at once, and a draw or two at a time
        monkeypatch.setattr(bridge, "_CHUNK_BYTES", piece)
        results.write(path, **lazily(**parts(num_draws)))
        loaded = results.load(path)
        assert bridge.group_names(loaded) == bridge.group_names(whole)
        for name in bridge.group_names(whole):
            xr.testing.assert_identical(bridge.group(loaded, name), bridge.group(whole, name))
        assert [p.name for p in path.parent.iterdir()] == ["posterior.nc"]


def test_arviz_opens_what_was_written_piece_by_piece(tmp_path):
    results.write(tmp_path / "posterior.nc", **lazily(**parts()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(arviz.from_netcdf(str(tmp_path / "posterior.nc")))


def test_half_precision_becomes_single(tmp_path):
    half = torch.rand(CHAINS, DRAWS, GAUSSIANS).half()
    given = parts() | {"sites": {"depth": DrawArray({"depth": half}, "depth")}}
    results.write(tmp_path / "posterior.nc", **given)
    depth = bridge.group(results.load(tmp_path / "posterior.nc"), "posterior")["depth"]
    assert depth.dtype == np.float32
    np.testing.assert_array_equal(depth, half.float())


def test_draws_that_do_not_fit_are_refused(tmp_path):
    given = lazily(**parts())
    given["depth"] = DrawArray({"depth": np.zeros((CHAINS, DRAWS + 1, NUM_PIXELS))}, "depth")
    with pytest.raises(ValueError, match="draw"):
        results.write(tmp_path / "posterior.nc", **given)


def test_chosen_groups_alone_are_read(tmp_path):
    results.write(tmp_path / "posterior.nc", **parts())
    loaded = results.load(tmp_path / "posterior.nc", only=("predictions", "absent"))
    assert bridge.group_names(loaded) == ["predictions"]


FULL_DISK = """
import resource, sys
from bayes_splat import results
from bayes_splat.errors import OutputError
from tests import test_results

given = test_results.lazily(**test_results.parts(num_draws=200))
for room in (100, 140_000, 160_000, 200_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
    try:
        results.write(sys.argv[1], **given)
    except OutputError as error:
        print(error)
"""


def test_full_disk_while_writing_piece_by_piece(tmp_path):
    """In a process of its own, which HDF5 would take along."""
    path = tmp_path / "posterior.nc"
    results.write(path, **parts())
    before = path.read_bytes()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FULL_DISK, str(path)],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    refusal = "posterior.nc: the file would be larger than this system allows"
    assert done.stdout.count(refusal) == 4
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["posterior.nc"]


def test_observed_colors_are_those_of_the_grid_pixels():
    constant = bridge.group(build(), "predictions_constant_data")
    for i in (0, 5, NUM_PIXELS - 1):
        view, row, column = (int(constant[f"pixel_{k}"][i]) for k in ("view", "row", "column"))
        np.testing.assert_array_equal(
            constant["observed_color"][i], TARGETS.images[view, :, row, column]
        )


def test_noise_scale_of_every_view_is_labelled():
    container = build(sites={"noise_scale": np.ones((CHAINS, DRAWS, 2))})
    noise = bridge.group(container, "posterior")["noise_scale"]
    assert noise.dims == ("chain", "draw", "view")
    assert noise["view"].values.tolist() == ["a", "b"]


def test_run_stopped_before_its_first_draw(tmp_path):
    results.save(build(num_draws=0), tmp_path / "posterior.nc")
    loaded = results.load(tmp_path / "posterior.nc")
    assert bridge.group(loaded, "posterior").sizes["draw"] == 0
    assert bridge.group(loaded, "warmup_sample_stats").sizes["draw"] == WARMUP


def test_no_warmup_statistics_no_group():
    assert not bridge.has_group(build(warmup_stats={}), "warmup_sample_stats")


def test_axes_that_do_not_fit():
    with pytest.raises(ValueError, match="draw"):
        build(stats={"a": np.zeros((2, 5)), "b": np.zeros((2, 6))})


def test_full_disk_keeps_the_earlier_file(tmp_path, monkeypatch):
    path = tmp_path / "posterior.nc"
    results.save(build(), path)
    before = path.read_bytes()

    def fail(self, data):
        with self.open("wb") as file:
            file.write(data[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OutputError, match=r"posterior\.nc: the disk is full; .*out="):
        results.save(build(), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["posterior.nc"]


def test_saving_below_a_file(tmp_path):
    (tmp_path / "out").write_text("I am a file")
    with pytest.raises(OutputError, match="a file stands where a folder should be"):
        results.save(build(), tmp_path / "out" / "posterior.nc")


def test_loading_what_is_not_there_or_no_result(tmp_path):
    with pytest.raises(OutputError, match=r"none\.nc does not exist"):
        results.load(tmp_path / "none.nc")
    (tmp_path / "text.nc").write_text("hello")
    with pytest.raises(OutputError, match=r"text\.nc cannot be read"):
        results.load(tmp_path / "text.nc")
    results.save(build(), tmp_path / "posterior.nc")
    half = (tmp_path / "posterior.nc").read_bytes()[:3000]
    (tmp_path / "half.nc").write_bytes(half)
    with pytest.raises(OutputError, match=r"half\.nc cannot be read"):
        results.load(tmp_path / "half.nc")
