"""The PLY file says in the standard layout what the Gaussians say, and appears whole or not."""

import errno

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plyfile import PlyData

from bayes_splat.errors import OutputError, SceneError
from bayes_splat.export import read_ply, write_ply
from bayes_splat.types import Gaussians


def make(num=5, d_sh=1, seed=0, chains=()):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*chains, num, *shape, generator=generator)

    return Gaussians(
        means=3 * normal(3),
        scales=normal(3).exp(),
        rotations=torch.nn.functional.normalize(normal(4), dim=-1),
        opacities=normal().sigmoid(),
        harmonics=normal(3, d_sh),
    )


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(1, 40), st.sampled_from([1, 4, 9, 16]), st.integers(0, 10_000))
def test_round_trip(tmp_path_factory, num, d_sh, seed):
    path = tmp_path_factory.mktemp("ply") / "scene.ply"
    gaussians = make(num, d_sh, seed)
    write_ply(path, gaussians)
    back = read_ply(path)
    for name in ("means", "scales", "rotations", "opacities", "harmonics"):
        torch.testing.assert_close(getattr(back, name), getattr(gaussians, name))


def test_layout_is_the_standard_one(tmp_path):
    gaussians = make(num=2, d_sh=4)
    write_ply(tmp_path / "scene.ply", gaussians)
    header = (tmp_path / "scene.ply").read_bytes().split(b"end_header\n")[0].decode().split("\n")
    assert header[:2] == ["ply", "format binary_little_endian 1.0"]
    assert "element vertex 2" in header
    properties = [line.split() for line in header if line.startswith("property")]
    assert {kind for _, kind, _ in properties} == {"float"}
    assert " ".join(name for _, _, name in properties) == (
        "x y z nx ny nz f_dc_0 f_dc_1 f_dc_2 "
        "f_rest_0 f_rest_1 f_rest_2 f_rest_3 f_rest_4 f_rest_5 f_rest_6 f_rest_7 f_rest_8 "
        "opacity scale_0 scale_1 scale_2 rot_0 rot_1 rot_2 rot_3"
    )


def test_values_are_the_standard_ones(tmp_path):
    harmonics = torch.arange(12.0).reshape(1, 3, 4)  # red 0..3, green 4..7, blue 8..11
    gaussians = Gaussians(
        means=torch.tensor([[1.0, 2, 3]]),
        scales=torch.tensor([[0.1, 1, 10]]),
        rotations=torch.tensor([[2.0, 0, 0, 0]]),  # wxyz, not normalised
        opacities=torch.tensor([0.8]),
        harmonics=harmonics,
    )
    write_ply(tmp_path / "scene.ply", gaussians)
    vertex = PlyData.read(str(tmp_path / "scene.ply"))["vertex"].data[0]
    values = np.array(vertex.tolist())
    expected = [1, 2, 3, 0, 0, 0, 0, 4, 8, 1, 2, 3, 5, 6, 7, 9, 10, 11]
    expected += [np.log(4), np.log(0.1), 0, np.log(10), 1, 0, 0, 0]
    np.testing.assert_allclose(values, expected, rtol=1e-6)


@pytest.mark.parametrize("opacity", [0.0, 1.0])
def test_opacities_at_the_ends_stay_finite(tmp_path, opacity):
    gaussians = make(num=1)
    gaussians.opacities.fill_(opacity)
    write_ply(tmp_path / "scene.ply", gaussians)
    back = read_ply(tmp_path / "scene.ply").opacities.item()
    assert back == pytest.approx(opacity, abs=2e-6)
    assert 0 < back < 1


def test_float64_and_gradients_are_accepted(tmp_path):
    gaussians = make().to(torch.float64)
    gaussians.means.requires_grad_()
    write_ply(tmp_path / "scene.ply", gaussians)
    torch.testing.assert_close(
        read_ply(tmp_path / "scene.ply").means, gaussians.means.detach().float()
    )


@pytest.mark.parametrize(
    ("field", "value", "fragment"),
    [
        ("means", torch.nan, "mean"),
        ("scales", torch.inf, "log scale"),
        ("scales", 0.0, "log scale"),
        ("scales", -1.0, "log scale"),
        ("opacities", 1.5, "opacity"),
        ("opacities", torch.nan, "opacity"),
        ("rotations", 0.0, "rotation"),
        ("harmonics", torch.nan, "harmonics of degree 0"),
    ],
)
def test_first_senseless_gaussian_is_named_and_nothing_written(tmp_path, field, value, fragment):
    gaussians = make()
    getattr(gaussians, field)[3] = value
    getattr(gaussians, field)[4] = value
    with pytest.raises(OutputError, match=f"Gaussian 3 has no finite {fragment};"):
        write_ply(tmp_path / "scene.ply", gaussians)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("chains", [(1,), (4,)])
def test_chain_axis_is_refused(tmp_path, chains):
    with pytest.raises(ValueError, match="choose one chain"):
        write_ply(tmp_path / "scene.ply", make(chains=chains))


def test_missing_folder_is_made(tmp_path):
    write_ply(tmp_path / "new" / "scene.ply", make())
    assert len(read_ply(tmp_path / "new" / "scene.ply")) == len(make())


def test_file_for_a_folder_is_an_output_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        OutputError, match=r"Cannot write .*scene\.ply: a file stands where a folder"
    ):
        write_ply(tmp_path / "file" / "scene.ply", make())


def test_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    write_ply(tmp_path / "scene.ply", make())
    before = (tmp_path / "scene.ply").read_bytes()

    def write(self, stream):
        stream.write(b"half a header")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(PlyData, "write", write)
    with pytest.raises(OutputError, match=r"disk is full; free some space"):
        write_ply(tmp_path / "scene.ply", make(seed=1))
    assert (tmp_path / "scene.ply").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["scene.ply"]


@pytest.mark.parametrize("content", [b"", b"no ply", b"ply\nformat ascii 1.0\nend_header\n"])
def test_unreadable_file_is_a_scene_error(tmp_path, content):
    (tmp_path / "a.ply").write_bytes(content)
    with pytest.raises(SceneError, match=r"a\.ply is not a readable PLY file"):
        read_ply(tmp_path / "a.ply")


def test_missing_file_is_a_scene_error(tmp_path):
    with pytest.raises(SceneError, match=r"gone\.ply is not a readable PLY file"):
        read_ply(tmp_path / "gone.ply")


def test_missing_column_is_named(tmp_path):
    write_ply(tmp_path / "a.ply", make())
    content = (tmp_path / "a.ply").read_bytes().replace(b"opacity", b"density")
    (tmp_path / "a.ply").write_bytes(content)
    with pytest.raises(SceneError, match="lacks the column opacity"):
        read_ply(tmp_path / "a.ply")
