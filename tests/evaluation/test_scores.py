import numpy as np
import pytest

from bayes_splat import metrics
from bayes_splat.evaluation import scores
from tests.helpers_evaluation import record

FOUND = scores.maps(*record())
TRUTH = record()[1]


def test_a_distribution_that_is_right_scores_well():
    found, truth = record(draws=100)
    numbers = scores.score(scores.maps(found, truth), truth)
    assert numbers["coverage_90"] == pytest.approx(0.9, abs=0.03)
    assert numbers["ece"] < 0.03
    assert numbers["auroc_never_seen"] == 1.0
    assert np.isnan(numbers["auroc_outside"])
    assert (numbers["outside_pixels"], numbers["never_seen_pixels"]) == (0, 192)
    assert numbers["ause_mae"] < numbers["random_ause_mae"]
    assert numbers["spearman"] > 0.5
    assert numbers["relative_width_90"] < 0.9  # half of the pixels are known well
    assert 0.7 < numbers["explained_share"] < 1.0  # the rest is noise
    assert numbers["depth_coverage_90"] == pytest.approx(0.9, abs=0.08)
    assert numbers["ssim"] < 1


def test_numbers_are_those_of_the_plain_functions():
    numbers = scores.score(FOUND, TRUTH)
    error = np.abs(FOUND.mean - TRUTH.colors)
    assert numbers["psnr"] == metrics.psnr(FOUND.mean, TRUTH.colors)
    assert numbers["mae"] == pytest.approx(error.mean())
    assert numbers["nll"] == pytest.approx(FOUND.nll.mean())
    std = np.sqrt(np.square(FOUND.std).mean(-1))
    assert numbers["ause_mae"] == metrics.ause(error.mean(-1), std)
    assert numbers["width_90"] == pytest.approx((FOUND.high - FOUND.low).mean())


def test_one_view_is_a_part_of_all():
    one = scores.score(FOUND.view(1), TRUTH.view(1))
    both = [scores.score(FOUND.view(i), TRUTH.view(i))["nll"] for i in range(2)]
    assert one["nll"] == both[1]
    assert scores.score(FOUND, TRUTH)["nll"] == pytest.approx(np.mean(both))


def test_maps_of_a_stretched_mixture_need_no_second_look():
    found, truth = record()
    quick = scores.stretched(scores.maps(found, truth), found, truth, 1.7)
    for one, other in zip(quick, scores.maps(found.scaled(1.7), truth), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-3, atol=2e-3)


def test_pixels_without_a_surface_leave_the_second_correlation():
    found, truth = record()
    alphas = found.alphas.copy()
    alphas[:, :, 8:] = 0.2
    maps = scores.maps(found, truth)._replace(alphas=alphas.astype(np.float64))
    numbers = scores.score(maps, truth)
    left = [np.abs(maps.mean - truth.colors).mean(-1)[..., :8]]
    left.append(np.sqrt(np.square(maps.std).mean(-1))[..., :8])
    assert numbers["spearman_surface"] == pytest.approx(metrics.spearman(*left))


def test_strays_bound_the_density_of_depth():
    found, truth = record()
    far = truth._replace(depths=np.full_like(truth.depths, 4.0))
    numbers = scores.score(scores.maps(found, far), far)
    assert numbers["depth_nll"] == pytest.approx(-np.log(scores.STRAYS / 3.0), abs=1e-6)


def test_without_depth_its_numbers_are_unknown():
    found, truth = record()
    blind = truth._replace(depths=np.full_like(truth.depths, np.nan))
    numbers = scores.score(scores.maps(found, blind), blind)
    assert all(np.isnan(numbers[key]) for key in numbers if "depth" in key)


def test_small_pictures_have_no_ssim():
    found, truth = record(shape=(6, 8))
    assert np.isnan(scores.score(scores.maps(found, truth), truth)["ssim"])
