import errno
import os

import numpy as np
import pytest
import torch
from matplotlib import image
from matplotlib.figure import Figure

from bayes_splat import diagnostics, metrics, report, verdict
from bayes_splat.errors import OutputError
from bayes_splat.types import Rendering
from bayes_splat.uncertainty import PredictionAccumulator

CHAINS, DRAWS, VIEWS, HEIGHT, WIDTH = 4, 12, 2, 12, 20
NAMES = ("frame 1", "side")


def make_run(with_truth=True):
    """Draws scattered around a picture, with a corner that nothing covers."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    truth = torch.rand(VIEWS, 3, HEIGHT, WIDTH, generator=generator, dtype=torch.float64)
    grid = diagnostics.fixed_grid((HEIGHT, WIDTH), VIEWS, max_pixels=100)
    accumulator = PredictionAccumulator(truth if with_truth else None)
    colors, depths = [], []
    covered = torch.ones(CHAINS, VIEWS, HEIGHT, WIDTH, dtype=torch.float64)
    covered[:, :, :3, :4] = 0
    for _ in range(DRAWS):
        color = truth.movedim(1, -1) + 0.05 * normal(CHAINS, VIEWS, HEIGHT, WIDTH, 3)
        color = color * covered[..., None]
        depth = (3 + 0.1 * normal(CHAINS, VIEWS, HEIGHT, WIDTH)) * covered
        accumulator.add(Rendering(color, depth, covered), torch.full((CHAINS,), 0.05))
        colors.append(color[:, grid.view, grid.row, grid.column])
        depths.append(depth[:, grid.view, grid.row, grid.column])
    pixels = diagnostics.diagnose_pixels(
        torch.stack(colors, 1).numpy(), torch.stack(depths, 1).numpy()
    )
    rhat = diagnostics.rhat_map(pixels, grid, (VIEWS, HEIGHT, WIDTH))
    found = verdict.verdict(pixels, grid, (HEIGHT, WIDTH), NAMES)
    return accumulator.result(), truth.numpy(), pixels, rhat, found


PREDICTION, TRUTH, PIXELS, RHAT, FOUND = make_run()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    return report.write_targets(
        out, NAMES, PREDICTION, images=TRUTH, rhat=RHAT, depth_unit="metres"
    )


def test_every_target_has_its_folder_of_files(written):
    assert [folder.name for folder in written] == ["frame_1", "side"]
    for folder in written:
        assert sorted(p.name for p in folder.iterdir()) == [
            "depth.png",
            "depth_std.png",
            "maps.npz",
            "mean.png",
            "panel.png",
            "std.png",
        ]


def test_mean_picture_is_the_mean_enlarged_by_a_whole_factor(written):
    picture = image.imread(written[1] / "mean.png")[..., :3]
    factor = picture.shape[1] // WIDTH
    assert picture.shape == (HEIGHT * factor, WIDTH * factor, 3)
    assert picture.shape[1] >= 512
    small = picture[factor // 2 :: factor, factor // 2 :: factor]
    np.testing.assert_allclose(small, np.clip(PREDICTION.mean[1], 0, 1), atol=0.51 / 255)


def test_large_pictures_keep_their_size(tmp_path):
    report._write_picture(tmp_path / "x.png", np.zeros((600, 3, 3)))
    assert image.imread(tmp_path / "x.png").shape[:2] == (600, 3)


def test_figures_are_not_blank(written):
    for name in ("std", "depth", "depth_std", "panel"):
        picture = image.imread(written[0] / f"{name}.png")
        assert min(picture.shape[:2]) > 200
        assert picture[..., :3].std() > 0.05


def test_maps_hold_the_numbers(written):
    with np.load(written[1] / "maps.npz") as maps:
        np.testing.assert_allclose(maps["std"], PREDICTION.std[1], rtol=1e-6)
        np.testing.assert_allclose(maps["quantiles"], PREDICTION.quantiles[:, 1], rtol=1e-6)
        np.testing.assert_allclose(maps["photo"], TRUTH[1].transpose(1, 2, 0), rtol=1e-6)
        np.testing.assert_allclose(maps["rhat"], RHAT[1], rtol=1e-6)
        assert np.isnan(maps["depth_mean"][:3, :4]).all()
        assert {"pit", "nll", "epistemic_std", "aleatoric_std", "alpha_mean"} <= set(maps)
        assert all(values.dtype == np.float32 for values in maps.values())


def titles(figure):
    return [axes.get_title() for axes in figure.axes if axes.get_title()]


def test_panel_tells_the_scores_and_shares_one_scale():
    figure = report.panel_figure(
        "side", report.view_maps(PREDICTION, 1), TRUTH[1].transpose(1, 2, 0), RHAT[1], "metres"
    )
    assert titles(figure) == [
        "photograph",
        "posterior mean",
        "absolute error",
        "standard deviation",
        "mean depth",
        "R-hat of colour and depth",
    ]
    score = metrics.psnr(PREDICTION.mean[1], TRUTH[1].transpose(1, 2, 0))
    covered = 100 * metrics.coverage_from_pit(PREDICTION.pit[1], 0.9)
    assert f"PSNR {score:.2f} dB" in figure.get_suptitle()
    assert f"covers {covered:.1f} %" in figure.get_suptitle()
    by_title = {axes.get_title(): axes for axes in figure.axes}
    error, std = (by_title[t].images[0] for t in ("absolute error", "standard deviation"))
    assert error.get_clim() == std.get_clim()
    labels = [bar.get_ylabel() for axes in figure.axes for bar in axes.child_axes]
    assert "depth (metres)" in labels


def test_without_photographs_there_is_no_error(tmp_path):
    prediction, *_ = make_run(with_truth=False)
    folders = report.write_targets(tmp_path, NAMES, prediction)
    figure = report.panel_figure("side", report.view_maps(prediction, 1))
    assert "absolute error" not in titles(figure)
    assert "photograph" not in titles(figure)
    assert "no photograph" in figure.get_suptitle()
    with np.load(folders[0] / "maps.npz") as maps:
        assert not {"photo", "pit", "nll", "rhat"} & set(maps)


def test_maps_without_a_single_number_can_be_drawn(tmp_path):
    nothing = np.full_like(PREDICTION.depth_mean, np.nan)
    blind = PREDICTION._replace(
        depth_mean=nothing, depth_std=nothing, std=np.zeros_like(PREDICTION.std)
    )
    rhat = np.full_like(RHAT, np.nan)
    assert report.write_targets(tmp_path, NAMES, blind, images=TRUTH, rhat=rhat)


def test_rhat_of_infinity_is_drawn_as_the_worst_and_not_as_unknown():
    rhat = np.where(np.isnan(RHAT[0]), np.nan, np.inf)
    shown = report.rhat_picture(rhat)
    assert np.nanmin(shown.values) > report.RHAT_STEPS[-1]
    assert np.isfinite(shown.values).any()


def test_rhat_between_grid_pixels_is_the_nearest():
    values = np.full((6, 7), np.nan)
    values[1, [1, 4]], values[4, [1, 4]] = (1.0, 2.0), (3.0, 4.0)
    filled = report.fill_grid(values)
    assert filled[0].tolist() == [1, 1, 1, 2, 2, 2, 2]
    assert filled[5].tolist() == [3, 3, 3, 4, 4, 4, 4]
    values[4] = np.nan
    values = np.concatenate([values, np.full((40, 7), np.nan)])
    values[5, :] = 9
    assert np.isnan(report.fill_grid(values)[30:]).all()


def test_folder_names_are_safe_and_different():
    assert report.folder_names(["a/b", "a b", "A_B", "..", "", "ok-1.png", "été"]) == [
        "a_b",
        "a_b_2",
        "A_B_3",
        "view",
        "view_2",
        "ok-1.png",
        "été",
    ]


def test_full_disk(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(np, "savez_compressed", fail)
    with pytest.raises(OutputError, match=r"maps\.npz: the disk is full"):
        report.write_targets(tmp_path, NAMES, PREDICTION)


def test_summary_has_five_lines_the_verdict_and_the_place():
    text = report.summary_text(
        PREDICTION, PIXELS, FOUND, out="out/run", seconds=151.4, images=TRUTH
    )
    lines = text.splitlines()
    assert len(lines) == 7
    mean = np.mean(
        [metrics.psnr(m, t.transpose(1, 2, 0)) for m, t in zip(PREDICTION.mean, TRUTH, strict=True)]
    )
    assert f"{mean:.2f} dB" in lines[0]
    assert f"{100 * metrics.coverage_from_pit(PREDICTION.pit, 0.9):.1f} %" in lines[1]
    assert f"{PIXELS.worst_rhat:.3g}, {PIXELS.least_ess:.3g}" in lines[2]
    assert "4 chains of 12 draws" in lines[3]
    assert "2 min 31 s" in lines[4]
    assert lines[5] == FOUND.sentence
    assert lines[6].endswith("out/run")


def test_summary_without_photographs():
    prediction, *_ = make_run(with_truth=False)
    text = report.summary_text(prediction, PIXELS, FOUND, out="o", seconds=5.0)
    assert len(text.splitlines()) == 7
    assert text.count("unknown") == 2


@pytest.mark.parametrize("shape", [(60, 20), (20, 60), (1, 1)])
def test_any_aspect_can_be_drawn(shape, tmp_path):
    maps = {
        "mean": np.full((*shape, 3), 0.5),
        "std": np.full((*shape, 3), 0.1),
        "depth_mean": np.full(shape, 2.0),
        "depth_std": np.full(shape, 0.0),
        "alpha_mean": np.ones(shape),
    }
    figure = report.panel_figure("x", maps, np.zeros((*shape, 3)), np.ones(shape))
    assert isinstance(figure, Figure)
    report.save_figure(tmp_path / "x.png", figure)
    assert (tmp_path / "x.png").exists()
