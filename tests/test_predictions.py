import numpy as np
import pytest
import torch
from scipy import stats

from bayes_splat import depth_error, discrepancy, error_law, inference, predictions, remoteness
from bayes_splat.discrepancy import Discrepancy
from bayes_splat.errors import ModelError
from bayes_splat.samplers.store import DiskStore
from tests import helpers_scenes as scenes


@pytest.fixture(scope="module")
def model():
    return scenes.tiny_model()


@pytest.fixture(scope="module")
def draws(model):
    return inference.sample_posterior(model, chains=3, draws=6, warmup=2)


def stopped(draws, chain, at):
    sites = {name: value.clone() for name, value in draws.sites.items()}
    for value in sites.values():
        value[chain, at:] = torch.nan
    flags = draws.stats["stopped"].clone()
    flags[chain, at:] = True
    return draws._replace(sites=sites, stats={**draws.stats, "stopped": flags})


def only(draws, chains):
    return draws._replace(
        sites={name: value[chains] for name, value in draws.sites.items()},
        stats={name: value[chains] for name, value in draws.stats.items()},
    )


def test_on_disk_it_is_the_same(model, draws, tmp_path):
    targets = model.views
    maps, judged, mapped = predictions.predict(model, draws, targets)
    stored = predictions.predict(model, draws, targets, DiskStore(tmp_path / "draws"))
    np.testing.assert_array_equal(maps.mean, stored[0].mean)
    for one, other in ((judged, stored[1]), (mapped, stored[2])):
        for name in ("color", "depth", "alpha"):
            assert torch.equal(one.renders[name], other.renders[name])
    mine, theirs = (predictions.judge(p, targets, draws) for p in (judged, stored[1]))
    np.testing.assert_array_equal(mine[0].statistics.rhat, theirs[0].statistics.rhat)
    assert mine[1].sentence == theirs[1].sentence


def test_a_stopped_chain_is_nan_and_counts_nowhere(model, draws):
    broken = stopped(draws, 1, 3)
    maps, judged, _ = predictions.predict(model, broken, model.views)
    good, whole, _ = predictions.predict(model, only(draws, [0, 2]), model.views)
    np.testing.assert_allclose(maps.mean, good.mean, rtol=1e-12)
    assert judged.chains == [0, 2]
    color = judged.renders["color"]
    assert color[1, 3:].isnan().all()
    assert color[1, :3].isfinite().all()
    assert torch.equal(color[[0, 2]], whole.renders["color"])
    found, verdict = predictions.judge(judged, model.views, broken)
    assert found.num_chains == 2
    assert "chain 1 was stopped on the way and left out" in verdict.sentence
    scene = predictions.mean_scene(model, broken)
    expected = predictions.mean_scene(model, only(draws, [0, 2]))
    assert torch.equal(scene.means, expected.means)


def test_if_all_were_stopped_their_draws_until_then_are_shown(model, draws):
    broken = draws
    for chain in range(3):
        broken = stopped(broken, chain, 4)
    maps, judged, _ = predictions.predict(model, broken, model.views)
    assert maps.num_draws == 12
    _, verdict = predictions.judge(judged, model.views, broken)
    assert "no complete chain" in verdict.sentence
    assert predictions.mean_scene(model, broken).means.isfinite().all()


def test_no_finite_draw_is_refused(model, draws):
    broken = draws
    for chain in range(3):
        broken = stopped(broken, chain, 0)
    with pytest.raises(ModelError, match="no draw of any chain is finite"):
        predictions.predict(model, broken, model.views)


def test_median_depth_and_mean_opacity(model, draws):
    scene = predictions.mean_scene(model, draws)
    opacity = draws.sites["opacity"].flatten(0, 1).mean(0)
    torch.testing.assert_close(scene.opacities, opacity)
    depth = draws.sites["depth"].flatten(0, 1).median(0).values
    expected = model.proposal.gaussians(depth, opacity)
    torch.testing.assert_close(scene.means, expected.means)


def test_sampled_colors_are_those_of_the_draws():
    model = scenes.tiny_model(colors="sampled", renderer="cpu")
    draws = inference.sample_posterior(model, chains=2, draws=3, warmup=1)
    maps, judged, _ = predictions.predict(model, draws, model.views)
    colors = []
    for index in range(3):
        sites = {name: value[:, index].double() for name, value in draws.sites.items()}
        colors.append(model.given(sites).pictures(sites["depth"], sites["opacity"]))
    torch.testing.assert_close(
        torch.from_numpy(maps.mean), torch.stack(colors).double().mean((0, 1))
    )
    assert predictions.score(model, draws, maps, judged.diagnose(), model.views)["psnr_of_mode"]
    scene = predictions.mean_scene(model, draws)
    torch.testing.assert_close(scene.harmonics, draws.sites["harmonics"].flatten(0, 1).mean(0))
    broken = stopped(draws, 0, 1)
    broken.sites["depth"][0], broken.sites["opacity"][0] = 2.0, 0.5
    seen = predictions.predict(model, broken, model.views)[1].array("color").block(1, 2)
    assert np.isnan(seen[0]).all()
    assert np.isfinite(seen[1]).all()


def test_of_an_unknown_number_the_scene_holds_those_in_most_draws():
    model = scenes.tiny_model(image_shape=(3, 3), count="variable", renderer="cpu")
    draws = inference.sample_posterior(model, chains=2, draws=9, warmup=0)
    present = draws.sites["present"].flatten(0, 1) == 1
    assert present.any()
    assert not present.all()
    kept = present.double().mean(0) > 0.5
    assert 0 < kept.sum() < len(kept)
    scene = predictions.mean_scene(model, draws)
    assert len(scene.opacities) == kept.sum()
    for place, slot in enumerate(kept.nonzero()[:, 0].tolist()):
        there = present[:, slot]
        depth, opacity = (draws.sites[n].flatten(0, 1)[there, slot] for n in ("depth", "opacity"))
        at = model.proposal.origins[slot] + depth.median() * model.proposal.directions[slot]
        torch.testing.assert_close(scene.means[place], at)
        torch.testing.assert_close(scene.opacities[place], opacity.double().mean().float())


def test_predictions_show_what_is_present():
    model = scenes.tiny_model(image_shape=(3, 3), count="variable", renderer="cpu")
    draws = inference.sample_posterior(model, chains=2, draws=2, warmup=0)
    blind = draws._replace(sites={**draws.sites, "present": 0 * draws.sites["present"]})
    seen, *_ = predictions.predict(model, draws, model.views)
    unseen, *_ = predictions.predict(model, blind, model.views)
    assert np.abs(seen.mean).max() > 0.1
    assert np.abs(unseen.mean).max() < 1e-9


# ----- the error of new views -----

LOCAL = Discrepancy((0.01, 0.5, 0.04), 0.08, 0.4)


def pictures_of(model, draws):
    """Every draw of every chain: colours and light let through, flat over both."""
    colors, through = [], []
    for index in range(draws.num_draws):
        depth, opacity = (draws.sites[n][:, index].double() for n in ("depth", "opacity"))
        seen = model.render(depth, opacity, model.views.cameras)
        colors.append(seen.colors.double())
        through.append(1.0 - seen.alphas.double())
    return torch.cat(colors).numpy(), torch.cat(through).numpy()


def test_errors_are_those_of_the_mean_picture(model, draws):
    """Pixel by pixel: the draws' own variance is part of the scale, and only that."""
    maps, *_ = predictions.predict(model, draws, model.views, discrepancy=LOCAL)
    plain, *_ = predictions.predict(model, draws, model.views)
    colors, through = pictures_of(model, draws)
    summary = discrepancy.Pictures(colors.mean(0), colors.var(0), through.mean(0))
    cameras = model.views.cameras
    scale = np.sqrt(LOCAL.squared_scale(summary, remoteness.of_views(cameras, cameras)))
    assert np.ptp(scale) > 0.01, "not the same everywhere"
    for name in ("mean", "epistemic_std", "alpha_mean", "depth_mean"):
        np.testing.assert_array_equal(getattr(maps, name), getattr(plain, name))
    np.testing.assert_allclose(maps.std, error_law.std() * scale, rtol=1e-5)
    squares = maps.epistemic_std**2 + maps.aleatoric_std**2
    np.testing.assert_allclose(squares, np.maximum(maps.std, maps.epistemic_std) ** 2, rtol=1e-9)
    truth = model.views.images.movedim(1, -1).double().numpy()
    ratios = (truth - colors.mean(0)) / scale
    law = stats.norm(scale=error_law.multipliers()[:, None, None, None, None])
    np.testing.assert_allclose(maps.pit, law.cdf(ratios).mean(0), atol=1e-4)
    density = law.pdf(ratios).mean(0) / scale
    np.testing.assert_allclose(maps.nll, -np.log(density), rtol=1e-3, atol=1e-3)
    low, median, high = maps.quantiles
    np.testing.assert_allclose(median, maps.mean, atol=1e-9)
    np.testing.assert_allclose(high - median, median - low, rtol=1e-6)
    at_end = law.cdf((high - maps.mean) / scale).mean(0)
    np.testing.assert_allclose(at_end, 0.95, atol=1e-4)


def test_depths_are_wrong_by_more_than_draws_differ(model, draws):
    """The spread of draws, what is around each, and the width of a bucket: squares add up."""
    maps, *_ = predictions.predict(model, draws, model.views, discrepancy=LOCAL)
    plain, *_ = predictions.predict(model, draws, model.views)
    np.testing.assert_array_equal(plain.depth_std, plain.depth_epistemic_std)
    np.testing.assert_array_equal(maps.depth_epistemic_std, plain.depth_std)
    of_proposal = depth_error.proposal_spread(model, model.views.cameras)
    bucket = depth_error.bucket_std(model, plain.depth_mean)
    of_both = (depth_error.DRAWS * plain.depth_std) ** 2 + (depth_error.PROPOSAL * of_proposal) ** 2
    wanted = plain.depth_std**2 + of_both + bucket**2
    np.testing.assert_allclose(maps.depth_std**2, wanted, rtol=1e-9)
    known = np.isfinite(plain.depth_std)
    assert known.any()
    assert (maps.depth_std[known] > plain.depth_std[known]).all()


def test_a_stopped_chain_has_no_say_in_the_error(model, draws):
    broken, rest = stopped(draws, 1, 3), only(draws, [0, 2])
    found, *_ = predictions.predict(model, broken, model.views, discrepancy=LOCAL)
    wanted, *_ = predictions.predict(model, rest, model.views, discrepancy=LOCAL)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9)
    for chain in (0, 2):
        broken = stopped(broken, chain, 0)
    broken = stopped(broken, 1, 0)
    with pytest.raises(ModelError, match="no draw of any chain is finite"):
        predictions.predict(model, broken, model.views, discrepancy=LOCAL)


def test_viewers_get_the_colors_of_the_gaussians_and_not_those_over_the_background():
    model = scenes.tiny_model(background="mean", renderer="cpu")
    draws = inference.sample_posterior(model, chains=2, draws=3, warmup=1)
    scene = predictions.mean_scene(model, draws)
    assert torch.equal(scene.harmonics, model.proposal.harmonics)
    maps, judged, _ = predictions.predict(model, draws, model.views)
    colors, _ = pictures_of(model, draws)
    np.testing.assert_allclose(maps.mean, colors.mean(0), rtol=1e-5)
    assert judged.renders["color"].shape[-1] == 3
