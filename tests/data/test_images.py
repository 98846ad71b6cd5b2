"""Images are decoded completely, or rejected with the reason."""

import contextlib
import io
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from pebr.data.images import FORMATS, ImageError, decode, size_of


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "CMYK"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    form = "TIFF" if mode == "CMYK" else "PNG"
    assert decode(encoded(Image.new(mode, (30, 40)), form)).mode == "RGB"


@pytest.mark.parametrize(("orientation", "size"), [(1, (30, 40)), (3, (30, 40)), (6, (40, 30)), (8, (40, 30))])
def test_pictures_are_turned_as_their_camera_says(orientation: int, size: tuple[int, int]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.new("RGB", (30, 40)), "JPEG", exif=exif)
    assert decode(data).size == size_of(data) == size


def test_a_png_is_turned_too_where_it_says_so_before_its_pixels() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(Image.new("RGB", (30, 40)), exif=exif)
    assert decode(data).size == size_of(data) == (40, 30)


def test_a_png_that_says_so_after_its_pixels_has_the_same_sides() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(Image.new("RGB", (30, 40)), exif=exif)
    start = data.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(data[start : start + 4], "big")
    late = data[:start] + data[end:-12] + data[start:end] + data[-12:]  # before the last chunk, which is empty
    assert decode(late).size == (40, 30)
    assert sorted(size_of(late)) == [30, 40]


@pytest.mark.parametrize("form", FORMATS)
def test_a_size_costs_no_decoding(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(Image.new("RGB", (30, 40)), form)
    loads: list[str] = []
    load = ImageFile.ImageFile.load
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: loads.append(image.format) or load(image))
    assert size_of(data) == (30, 40)
    assert not loads
    decode(data)
    assert loads


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "WEBP"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.9])
def test_a_file_cut_short_is_refused(form: str, share: float) -> None:
    data = encoded(Image.effect_noise((64, 64), 90).convert("RGB"), form)
    with pytest.raises(ImageError):
        decode(data[: int(len(data) * share)])


@pytest.mark.parametrize("data", [b"", b"<!doctype html>", b"\x89PNG\r\n\x1a\n" + bytes(100)])
def test_what_is_not_an_image_is_refused(data: bytes) -> None:
    with pytest.raises(ImageError):
        size_of(data)
    with pytest.raises(ImageError):
        decode(data)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_black_on_nothing_is_seen_as_black_on_white(mode: str) -> None:
    image = Image.new("RGBA", (30, 30), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (10, 10, 20, 20))
    seen = decode(encoded(image.convert(mode) if mode != "P" else image.quantize(4)))
    assert seen.getpixel((0, 0)) == (255, 255, 255)
    assert seen.getpixel((15, 15)) == (0, 0, 0)


RAMP = np.arange(64 * 64).reshape(64, 64)  # 0 to 4095


@pytest.mark.parametrize(
    ("values", "form", "expected"),
    [
        ((RAMP * 16).astype(np.uint16), "PNG", RAMP * 16 / 257),
        ((RAMP * 16).astype(np.uint16), "TIFF", RAMP * 16 / 257),
        ((RAMP * 16).astype(">u2"), "TIFF", RAMP * 16 / 257),
        (RAMP.astype(np.uint16), "PNG", RAMP / 257),
        ((RAMP % 256).astype(np.uint16), "PNG", RAMP % 256),
        ((RAMP * 16).astype(np.int32), "TIFF", RAMP * 16 / 257),
        ((RAMP / 4095).astype(np.float32), "TIFF", RAMP / 4095 * 255),
        ((RAMP / 4095 * 255).astype(np.float32), "TIFF", RAMP / 4095 * 255),
    ],
)
def test_deep_images_are_scaled_and_not_clipped(values: np.ndarray, form: str, expected: np.ndarray) -> None:
    seen = np.asarray(decode(encoded(Image.fromarray(values), form)))
    assert (seen[..., 0] == seen[..., 1]).all()
    assert np.abs(seen[..., 0] - expected).max() <= 0.501


@pytest.mark.parametrize(
    "values",
    [
        np.full((8, 8), 70_000, np.int32),
        np.full((8, 8), -1, np.int32),
        np.full((8, 8), 1e6, np.float32),
        np.full((8, 8), -0.5, np.float32),
        np.where(np.eye(8) > 0, np.nan, 0.5).astype(np.float32),
        np.where(np.eye(8) > 0, np.inf, 0.5).astype(np.float32),
    ],
)
def test_deep_images_without_a_known_range_are_refused(values: np.ndarray) -> None:
    with pytest.raises(ImageError, match="save the image with 8 bits"):
        decode(encoded(Image.fromarray(values), "TIFF"))


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_that_is_named_is_read(form: str) -> None:
    assert decode(encoded(Image.new("RGB", (30, 40)), form)).size == (30, 40)


@pytest.mark.parametrize("form", ["EPS", "PDF", "ICO", "PPM"])
def test_formats_that_no_data_set_holds_are_refused(form: str) -> None:
    with pytest.raises(ImageError, match="not an image"):
        size_of(encoded(Image.new("RGB", (30, 40)), form))


@pytest.mark.parametrize("form", FORMATS)
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_spoiled_file_is_an_image_or_refused(form: str, seed: int) -> None:
    draw = random.Random(seed)
    data = bytearray(encoded(Image.effect_noise((40, 30), 80), form))
    for _ in range(draw.randrange(1, 6)):
        place = draw.randrange(min(len(data), draw.choice([20, 200, 10**6])))
        spoil = draw.choice(["change", "drop", "insert"])
        data[place : place + (spoil != "insert")] = b"" if spoil == "drop" else draw.randbytes(1)
    for read in (size_of, decode):
        with contextlib.suppress(ImageError):
            read(bytes(data))


def test_a_decompression_bomb_is_refused() -> None:
    bomb = encoded(Image.new("1", (20_000, 20_000)))
    assert len(bomb) < 100_000
    with pytest.raises(ImageError, match=r"Bomb|pixels are read"):
        decode(bomb)
