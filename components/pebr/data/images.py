"""Decodes images from bytes, and rejects unusable ones with the reason."""

import base64
import io
import struct
import warnings
import zlib

import numpy as np
from PIL import Image, ImageOps

# The formats in public data sets. Pillow reads many more, and starts other programs for some of them.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
MAX_PIXELS = 2**26  # of an image before resizing (8192 x 8192); a larger one is a decompression bomb or a mistake
ORIENTATION = 0x0112  # EXIF tag
ON_ITS_SIDE = {5, 6, 7, 8}  # orientations that swap width and height
DEEP = ("I", "F")  # first letters of Pillow's modes of more than 8 bits: I, I;16, I;16B, F
MAX_FLOAT, MAX_INTEGER = 255, 65535
# Errors of Pillow's decoders on broken files; tests/data/test_images.py damages files at random to check this list.
BROKEN = (OSError, SyntaxError, ValueError, EOFError, RuntimeError, LookupError, struct.error, zlib.error)

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # MAX_PIXELS is stricter


class ImageError(ValueError):
    """An image that cannot be used; the message is the reason."""


def size_of(data: bytes) -> tuple[int, int]:
    """(width, height) in pixels as displayed, without decoding pixels.

    If a PNG stores its orientation after the pixels, width and height may be swapped.

    Raises:
        ImageError: the bytes are not an image.
    """
    with _open(data) as image:
        try:
            # Not image.getexif(): for a PNG without EXIF data it decodes the pixels, to look for EXIF data after them.
            turned = Image.Image.getexif(image).get(ORIENTATION, 1) in ON_ITS_SIDE
        except BROKEN as error:
            raise ImageError(f"broken image: {_line(error)}") from error
        return (image.height, image.width) if turned else image.size


def decode(data: bytes) -> Image.Image:
    """The fully decoded RGB image, rotated by its EXIF orientation; transparent pixels are shown on white.

    Raises:
        ImageError: the bytes are not an image, an image that is cut off, or one whose values have no known range.
    """
    with _open(data) as image:
        try:
            upright = ImageOps.exif_transpose(image)
            if upright.mode[0] in DEEP:
                return eight_bits(upright).convert("RGB")
            if not upright.has_transparency_data:
                return upright.convert("RGB")
            white = Image.new("RGBA", upright.size, "white")
            return Image.alpha_composite(white, upright.convert("RGBA")).convert("RGB")
        except ImageError:
            raise
        except BROKEN as error:
            raise ImageError(f"broken image: {_line(error)}") from error


def eight_bits(image: Image.Image) -> Image.Image:
    """A grey image of 16 or 32 bits per pixel with 8 bits; Pillow's own conversion would clip it to black and white.

    Integers up to 65535 are scaled to 255, also where no value is above 4095; integers up to 255 stay as they are.
    Fractions up to 1 are scaled to 255, up to 255 they stay.

    Raises:
        ImageError: there are other values, so that black and white are not known.
    """
    values = np.asarray(image).astype(np.float64)
    most = values.max()
    if not (values.min() >= 0 and most <= (MAX_FLOAT if image.mode == "F" else MAX_INTEGER)):  # also of NaN
        raise ImageError(f"values {values.min():g} to {most:g} of mode {image.mode}: save the image with 8 bits")
    if most > MAX_FLOAT:
        values /= MAX_INTEGER / MAX_FLOAT
    elif most <= 1 and image.mode == "F":
        values *= MAX_FLOAT
    return Image.fromarray(np.rint(values).astype(np.uint8))


def _open(data: bytes) -> Image.Image:
    if not data:
        raise ImageError("empty image")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except (*BROKEN, Image.DecompressionBombError) as error:
        raise ImageError(f"not an image: {type(error).__name__}") from error
    if image.width * image.height > MAX_PIXELS:
        raise ImageError(f"{image.width} x {image.height} px, at most {MAX_PIXELS} pixels are read")
    return image


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__


def data_uri(data: bytes, side: int = 448) -> str:
    """An image as a PNG data URI, shrunk to at most `side` px per side.

    Raises:
        ImageError: see `decode`.
    """
    image = decode(data)
    image.thumbnail((side, side))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
