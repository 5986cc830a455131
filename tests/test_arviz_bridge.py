import subprocess
import sys
import warnings

import numpy as np
import pytest

from bayes_splat import arviz_bridge as bridge

with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)
    import arviz as az


def make_container():
    rng = np.random.default_rng(0)
    return bridge.from_groups(
        {
            "posterior": {
                "depth": (("chain", "draw", "gaussian"), rng.random((2, 6, 5), np.float32)),
                "noise_scale": (("chain", "draw"), rng.random((2, 6))),
            },
            "sample_stats": {"diverging": (("chain", "draw"), rng.random((2, 6)) < 0.5)},
            "warmup_sample_stats": {"lp": (("chain", "draw"), rng.random((2, 9)))},
            "predictions": {"depth": (("chain", "draw", "pixel"), rng.random((2, 6, 3)))},
            "observed_data": {"image": (("view", "height"), rng.random((2, 4)))},
            "my_own_group": {"seed": ((), 7), "name": (("view",), np.array(["a", "Ä 2"]))},
        },
        coords={"view": ["left", "right"]},
        attrs={"version": "0.1", "seconds": 1.5, "is_interrupted": False, "nothing": None},
    )


def check(container):
    assert set(bridge.group_names(container)) == {
        "posterior",
        "sample_stats",
        "warmup_sample_stats",
        "predictions",
        "observed_data",
        "my_own_group",
    }
    fresh = make_container()
    for name in bridge.group_names(fresh):
        assert bridge.group(container, name).equals(bridge.group(fresh, name)), name
    assert bridge.group(container, "posterior")["depth"].dtype == np.float32
    assert bridge.group(container, "posterior")["depth"].dims == ("chain", "draw", "gaussian")
    # one variable name may have different axes in different groups
    assert bridge.group(container, "predictions")["depth"].dims == ("chain", "draw", "pixel")
    assert bridge.group(container, "sample_stats")["diverging"].dtype == bool
    assert bridge.group(container, "warmup_sample_stats").sizes["draw"] == 9
    assert bridge.group(container, "observed_data")["view"].values.tolist() == ["left", "right"]
    assert bridge.group(container, "my_own_group")["name"].values.tolist() == ["a", "Ä 2"]
    assert bridge.attributes(container) == {
        "version": "0.1",
        "seconds": 1.5,
        "is_interrupted": 0,
        "nothing": "None",
    }


def test_groups_hold_what_was_put_in():
    check(make_container())


def test_round_trip(tmp_path):
    path = tmp_path / "x.nc"
    bridge.to_netcdf(make_container(), path)
    loaded = bridge.from_netcdf(path)
    path.unlink()  # nothing is read later
    check(loaded)
    bridge.to_netcdf(loaded, path)
    check(bridge.from_netcdf(path))


def test_arviz_opens_the_file_itself(tmp_path):
    path = tmp_path / "x.nc"
    bridge.to_netcdf(make_container(), path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(az.from_netcdf(str(path)))


def test_arviz_works_on_the_container():
    table = az.summary(make_container(), var_names=["noise_scale"])
    assert "noise_scale" in table.index


def test_file_is_compressed(tmp_path):
    zeros = {"posterior": {"x": (("chain", "draw", "pixel"), np.zeros((4, 100, 1000)))}}
    path = tmp_path / "x.nc"
    bridge.to_netcdf(bridge.from_groups(zeros), path)
    assert path.stat().st_size < 4 * 100 * 1000 * 8 / 20


def test_no_draws_yet(tmp_path):
    path = tmp_path / "x.nc"
    groups = {"posterior": {"x": (("chain", "draw", "pixel"), np.zeros((4, 0, 10)))}}
    bridge.to_netcdf(bridge.from_groups(groups), path)
    loaded = bridge.group(bridge.from_netcdf(path), "posterior")
    assert loaded["x"].shape == (4, 0, 10)


def test_missing_group_is_named():
    container = make_container()
    assert not bridge.has_group(container, "prior")
    with pytest.raises(KeyError, match=r"'prior'; there are posterior"):
        bridge.group(container, "prior")


def test_axes_of_one_name_must_agree():
    with pytest.raises(ValueError, match="pixel"):
        bridge.from_groups({"a": {"x": (("pixel",), [1, 2]), "y": (("pixel",), [1, 2, 3])}})


def test_imports_without_torch():
    """The bridge alone runs where torch is not installed, which is how ArviZ 1.x is tried."""
    code = (
        "import sys; import bayes_splat.arviz_bridge; "
        "sys.exit('imported torch' if 'torch' in sys.modules else 0)"
    )
    ran = subprocess.run(
        [sys.executable, "-W", "error::FutureWarning", "-c", code],
        check=False,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
