"""Every bit depth and channel layout comes out as RGB in [0, 1]; what cannot be read says so."""

import numpy as np
import pytest
import torch
from PIL import Image

from bayes_splat.errors import SceneError
from bayes_splat.scenes.images import load_image

HEIGHT, WIDTH = 5, 7


def ramp(high, dtype, channels=None):
    shape = (HEIGHT, WIDTH) if channels is None else (HEIGHT, WIDTH, channels)
    values = np.random.default_rng(0).integers(0, high, size=shape, endpoint=True)
    values.flat[0], values.flat[-1] = 0, high
    return values.astype(dtype)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_8_bit_colour_is_divided_by_255(tmp_path, suffix):
    values = ramp(255, np.uint8, 3)
    Image.fromarray(values).save(tmp_path / f"a.{suffix}")
    image = load_image(tmp_path / f"a.{suffix}")
    assert image.shape == (3, HEIGHT, WIDTH)
    assert image.dtype == torch.float32
    torch.testing.assert_close(image, torch.from_numpy(values / 255).permute(2, 0, 1).float())


def test_jpeg_reads_close_to_what_was_saved(tmp_path):
    values = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    Image.fromarray(values).save(tmp_path / "a.jpg", quality=95)
    image = load_image(tmp_path / "a.jpg")
    assert (image[:, 8, 8] - torch.tensor([200, 100, 50]) / 255).abs().max() < 0.02


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_keeps_every_level_and_fills_three_channels(tmp_path, suffix):
    values = ramp(65535, np.uint16)
    Image.fromarray(values).save(tmp_path / f"a.{suffix}")
    image = load_image(tmp_path / f"a.{suffix}")
    assert image.shape == (3, HEIGHT, WIDTH)
    assert torch.equal(image[0], image[2])
    np.testing.assert_array_equal((image[1].numpy() * 65535).round(), values)


def test_32_bit_integers_up_to_16_bits_are_divided_by_65535(tmp_path):
    values = ramp(65535, np.int32)
    Image.fromarray(values).save(tmp_path / "a.tif")
    assert Image.open(tmp_path / "a.tif").mode == "I"
    np.testing.assert_allclose(load_image(tmp_path / "a.tif")[0], values / 65535, atol=1e-7)


def test_32_bit_integers_beyond_16_bits_are_refused(tmp_path):
    Image.fromarray(ramp(70000, np.int32)).save(tmp_path / "a.tif")
    with pytest.raises(SceneError, match=r"a\.tif holds integers from 0 to 70000.*0\.\.65535"):
        load_image(tmp_path / "a.tif")


def test_floats_in_the_unit_interval_are_taken_as_they_are(tmp_path):
    values = ramp(1000, np.float32) / np.float32(1000)
    Image.fromarray(values).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(load_image(tmp_path / "a.tif")[1], values)


@pytest.mark.parametrize("bad", [1.5, -0.1, np.nan, np.inf])
def test_floats_outside_the_unit_interval_are_refused(tmp_path, bad):
    values = np.full((HEIGHT, WIDTH), 0.5, np.float32)
    values[2, 3] = bad
    Image.fromarray(values).save(tmp_path / "a.tif")
    with pytest.raises(SceneError, match=r"a\.tif holds floating-point values.*\[0, 1\]"):
        load_image(tmp_path / "a.tif")


def test_grey_is_repeated(tmp_path):
    values = ramp(255, np.uint8)
    Image.fromarray(values).save(tmp_path / "a.png")
    image = load_image(tmp_path / "a.png")
    np.testing.assert_allclose(image, np.broadcast_to(values / 255, (3, HEIGHT, WIDTH)), atol=1e-7)


def test_bilevel_is_black_and_white(tmp_path):
    Image.fromarray(ramp(1, np.uint8) * 255).convert("1").save(tmp_path / "a.png")
    assert set(load_image(tmp_path / "a.png").unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("channels", [2, 4])
def test_transparency_is_composited_over_black(tmp_path, channels):
    values = ramp(255, np.uint8, channels)
    Image.fromarray(values, {2: "LA", 4: "RGBA"}[channels]).save(tmp_path / "a.png")
    colors = np.broadcast_to(values[..., :-1] / 255, (HEIGHT, WIDTH, 3))
    expected = colors * (values[..., -1:] / 255)
    np.testing.assert_allclose(load_image(tmp_path / "a.png").permute(1, 2, 0), expected, atol=1e-6)


def test_palette_gives_its_colours_and_its_transparency(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "opaque.png")
    assert load_image(tmp_path / "opaque.png")[:, 0].T.tolist() == [[1, 0, 0], [0, 0, 1]]
    image.save(tmp_path / "clear.png", transparency=1)
    assert load_image(tmp_path / "clear.png")[:, 0].T.tolist() == [[1, 0, 0], [0, 0, 0]]


def test_cmyk_becomes_rgb(tmp_path):
    Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(tmp_path / "a.tif")
    red = load_image(tmp_path / "a.tif")[:, 0, 0]
    torch.testing.assert_close(red, torch.tensor([1.0, 0, 0]))


@pytest.mark.parametrize(
    ("wanted", "stored_shape"),
    [
        (None, (HEIGHT, WIDTH)),  # nothing known: as stored
        ((HEIGHT, WIDTH), (HEIGHT, WIDTH)),  # the cameras describe the stored pixels
        ((WIDTH * 4, HEIGHT * 4), (WIDTH, HEIGHT)),  # they describe the upright picture
        ((9, 100), (HEIGHT, WIDTH)),  # neither: left alone, for the loader to complain
    ],
)
def test_orientation_is_applied_only_where_the_cameras_ask_for_it(tmp_path, wanted, stored_shape):
    values = ramp(255, np.uint8)
    image = Image.fromarray(values)
    exif = image.getexif()
    exif[0x0112] = 6  # turn 90 degrees clockwise for display
    image.save(tmp_path / "a.png", exif=exif)
    loaded = load_image(tmp_path / "a.png", wanted)
    assert loaded.shape[1:] == stored_shape
    if stored_shape == (WIDTH, HEIGHT):
        np.testing.assert_allclose(loaded[0], np.rot90(values, -1) / 255, atol=1e-7)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(SceneError, match=r"gone\.png does not exist; restore"):
        load_image(tmp_path / "gone.png")


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_truncated_file_is_named(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(SceneError, match=rf"a\.{suffix} cannot be read as an image.*save it again"):
        load_image(path)


@pytest.mark.parametrize(
    "content", [b"", b"not a picture at all", b"\x89PNG\r\n\x1a\n" + b"\0" * 20]
)
def test_garbage_is_named(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(SceneError, match=r"a\.png cannot be read as an image"):
        load_image(tmp_path / "a.png")


def test_folder_is_not_an_image(tmp_path):
    with pytest.raises(SceneError, match="does not exist"):
        load_image(tmp_path)
