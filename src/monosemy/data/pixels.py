"""One picture as 8-bit RGB: upright, without transparency, and scaled where it has more than 8 bits.

| picture | becomes |
|---|---|
| RGB, grey, 1 bit, palette, CMYK, YCbCr, LAB | what Pillow makes of it; JPEG's inverted CMYK is Pillow's business too |
| transparent in any way | laid over the background colour |
| integers of more than 8 bits, grey or RGB | scaled by the white level of its data set, rounded |
| floats | the same; NaN, infinity and negative values are refused |
| several frames | the first frame |
| turned by EXIF | upright |

A picture that all this would make one colour, although it is not, is refused.
"""

import io
import re
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageColor, ImageFile, TiffImagePlugin

from monosemy.errors import InputError, shown

Colour = tuple[int, int, int]
Depth = Literal["integers", "floats"]
Note = Literal["frames", "transparent", "upright"]
"""What was done to a picture, for messages: first frame of several, laid over the background, turned."""

_NOT_OPENED = {"EPS", "BUFR", "GRIB", "HDF5", "MPEG", "WMF"}
"""Formats that Pillow identifies but cannot decode without a program or handler; EPS would run Ghostscript."""
_BY_CONTENT = (
    "PNG",
    "JPEG",
    "MPO",
    "GIF",
    "WEBP",
    "BMP",
    "TIFF",
    "JPEG2000",
    "AVIF",
    "PPM",
    "QOI",
    "PSD",
    "HEIF",
    "JXL",
)
"""Formats with a signature that no text begins with; a file whose name promises no image is tried as these."""
_PLUGINS = ("pillow_heif", "pillow_avif", "pillow_jxl")
_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""By the number of EXIF's orientation, as in Pillow's ``ImageOps.exif_transpose``, which also writes the metadata
anew and fails where a tag of them is damaged."""
INTEGER_WHITES = (2**8 - 1, 2**10 - 1, 2**12 - 1, 2**14 - 1, 2**16 - 1)
FLOAT_WHITES = (1, 255)
_WIDE = re.compile("(RGB|RGBX|RGBA|R|G|B|A);16[BLN]")
"""Pillow's names of encodings with 16 bits a channel, all channels together or one after the other."""
_PHOTOMETRIC = 262
"""TIFF's tag whose value 0 means that the smallest value is white."""


class RefusedPictureError(ValueError):
    """A picture that cannot become 8-bit RGB without losing what it shows; the message completes "3 images ..."."""


class UnknownWhiteError(Exception):
    """A picture has more than 8 bits, but the largest value of its data set is not known."""


@dataclass(frozen=True)
class Whites:
    """The values of a data set that become 255; None where it has no such pictures."""

    integers: float | None = None
    floats: float | None = None


@dataclass(frozen=True)
class Conversion:
    """The settings that all pictures of a data set are converted by."""

    background: Colour = (255, 255, 255)
    whites: Whites = Whites()


class Converted(NamedTuple):
    """A picture as 8-bit RGB, and what was done to it."""

    image: Image.Image
    notes: frozenset[Note]


def background_colour(name: str) -> Colour:
    """Return the RGB values of a colour's CSS name, or of a form such as `#808080`.

    Raises:
        InputError: there is no such colour.
    """
    try:
        red, green, blue = ImageColor.getrgb(name)[:3]
    except ValueError as error:
        raise InputError(f"data.background={shown(name)} is not a colour; give white, black or #rrggbb.") from error
    return red, green, blue


@cache
def formats() -> tuple[str, ...]:
    """Return the formats that Pillow decodes by itself and with the plugins that are installed."""
    for name in _PLUGINS:
        with suppress(ImportError):
            plugin: Any = __import__(name)  # the others register themselves
            getattr(plugin, "register_heif_opener", lambda: None)()
    Image.init()
    return tuple(name for name in Image.ID if name not in _NOT_OPENED)


@cache
def endings() -> frozenset[str]:
    """Return the endings of the formats that can be read, in lower case with the dot."""
    readable = set(formats())
    return frozenset(ending for ending, name in Image.registered_extensions().items() if name in readable)


def open_picture(source: bytes | Path) -> ImageFile.ImageFile:
    """Open an encoded picture; the format is found by its content, and its pixels are decoded when they are used."""
    return Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=formats())


def is_picture(path: Path) -> bool:
    """Return whether the content of a file begins as one of the common formats does, whatever its name."""
    try:
        with Image.open(path, formats=[name for name in formats() if name in _BY_CONTENT]):
            return True
    except Exception:  # Pillow's readers raise nearly every type on what is not theirs
        return False


def size_of(image: ImageFile.ImageFile) -> tuple[int, int]:
    """Return height and width of an opened picture when it is upright."""
    if image.format == "TIFF":  # Pillow turns these itself when it loads them
        image.load()
    turned = _orientation(image) in (5, 6, 7, 8)
    return (image.width, image.height) if turned else (image.height, image.width)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged metadata are no reason to refuse a picture
        return 1


def depth_of(image: ImageFile.ImageFile) -> Depth | None:
    """Return the kind of values of an opened picture that needs a white level; None for 8 bits and fewer."""
    if image.mode == "F":
        return "floats"
    return "integers" if image.mode.startswith("I") or _is_wide(image) else None


def _is_wide(image: ImageFile.ImageFile) -> bool:
    """Return whether a picture has 16 bits a channel, of which Pillow decodes the high bytes alone.

    One of a 12-bit camera would be nearly black then.
    """
    return image.format in ("PNG", "TIFF") and bool(image.tile) and all(map(_WIDE.fullmatch, map(_rawmode, image.tile)))


def _rawmode(tile: Any) -> str:
    rawmode = tile.args[0] if isinstance(tile.args, tuple) and tile.args else tile.args
    return rawmode if isinstance(rawmode, str) else ""


def deep_values(image: ImageFile.ImageFile) -> np.typing.NDArray[Any]:
    """Return the values of an opened picture with a depth, (H, W, C): grey, RGB, or RGB and opacity.

    Raises:
        RefusedPictureError: a value is negative, NaN or infinite.
    """
    if _is_wide(image):
        low = _low_bytes(image)
        values: np.typing.NDArray[Any] = np.asarray(image).astype(np.uint16) << 8 | low
    else:
        values = np.asarray(image)
    if not np.isfinite(values).all():
        raise RefusedPictureError("have values that are NaN or infinite")
    if values.min() < 0:
        raise RefusedPictureError("have negative values")
    return values[..., np.newaxis] if values.ndim == 2 else values


def _low_bytes(image: ImageFile.ImageFile) -> np.typing.NDArray[np.uint8]:
    """Return the low bytes of a picture of 16 bits: what Pillow takes for the high ones in the other byte order."""
    assert image.fp is not None
    position = image.fp.tell()
    image.fp.seek(0)
    content = image.fp.read()
    image.fp.seek(position)
    with open_picture(content) as other:
        for place, tile in enumerate(other.tile):
            name, order = _rawmode(tile).split(";16")
            is_little = order == "L" or (order == "N" and sys.byteorder == "little")
            swapped = f"{name};16{'B' if is_little else 'L'}"
            other.tile[place] = tile._replace(
                args=(swapped, *tile.args[1:]) if isinstance(tile.args, tuple) else swapped
            )
        return np.asarray(other)


def integer_white(largest: float) -> float | None:
    """Return the white level for integers of a data set: the largest of 8, 10, 12, 14 or 16 bits, or None if exceeded.

    A camera of 12 bits writes files of 16, which would be nearly black if 65,535 were white.
    """
    return next((white for white in INTEGER_WHITES if largest <= white), None)


def float_white(largest: float) -> float | None:
    """Return the white level for floats of a data set: 1 or 255, or None if exceeded."""
    return next((white for white in FLOAT_WHITES if largest <= white), None)


def convert(image: ImageFile.ImageFile, conversion: Conversion) -> Converted:
    """Return an opened picture as upright 8-bit RGB: see this module's table.

    Raises:
        RefusedPictureError: the picture would be lost.
        UnknownWhiteError: it has a depth whose white level is not in ``conversion``.
        Exception: Pillow cannot decode it; its readers raise nearly every type.
    """
    notes: set[Note] = set()
    if getattr(image, "is_animated", False) and image.format != "PSD":  # the frames of PSD are its layers
        notes.add("frames")
    if image.format == "TIFF" and _orientation(image) in _TRANSPOSES:  # Pillow turns these itself when it loads them
        notes.add("upright")
    depth = depth_of(image)
    if depth is not None:
        colour = _scaled(image, depth, conversion, notes)
    elif image.has_transparency_data:
        colour = _laid_over(image.convert("RGBA"), conversion.background, notes)
    else:
        image.load()
        colour = image if image.mode == "RGB" else image.convert("RGB")
        if image.mode not in ("RGB", "L", "1") and _is_constant(colour) and not _is_constant(image):
            raise RefusedPictureError("would become one colour")
    # Asked last: reading the orientation of a PNG decodes it, after which its depth is not known.
    method = _TRANSPOSES.get(_orientation(image))
    if method is not None:
        notes.add("upright")
        colour = colour.transpose(method)
    return Converted(colour, frozenset(notes))


def _scaled(image: ImageFile.ImageFile, depth: Depth, conversion: Conversion, notes: set[Note]) -> Image.Image:
    min_is_white = isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(_PHOTOMETRIC) == 0
    transparent = image.info.get("transparency")
    values = deep_values(image)
    channels = values[..., :3]
    white = conversion.whites.integers if depth == "integers" else conversion.whites.floats
    if white is None:
        raise UnknownWhiteError
    if values.shape[2] == 4:
        opacity = np.rint(values[..., 3] * (255 / INTEGER_WHITES[-1]))
    elif isinstance(transparent, int | tuple):  # PNG can make one colour transparent
        opacity = 255.0 * (channels != np.array(transparent)).any(axis=2)
    else:
        opacity = np.full(values.shape[:2], 255.0)
    levels = np.rint(np.minimum(channels * (255 / white), 255)).astype(np.uint8)
    if min_is_white:  # Pillow inverts these of 8 bits only
        levels = 255 - levels
    rgb = Image.fromarray(np.broadcast_to(levels, (*levels.shape[:2], 3)).copy())
    if _is_constant(rgb) and (channels != channels[0, 0]).any():
        raise RefusedPictureError(f"would become one colour where {white:,g} is white")
    rgb.putalpha(Image.fromarray(opacity.astype(np.uint8)))
    return _laid_over(rgb, conversion.background, notes)


def _laid_over(image: Image.Image, background: Colour, notes: set[Note]) -> Image.Image:
    """Return an RGBA picture over a colour."""
    if image.getchannel("A").getextrema()[0] == 255:
        return image.convert("RGB")
    notes.add("transparent")
    result = _composite(image, background)
    if _is_constant(result):
        red, green, blue = background
        if not _is_constant(_composite(image, (255 - red, 255 - green, 255 - blue))):
            raise RefusedPictureError("would be invisible over the colour data.background")
    return result


def _composite(image: Image.Image, background: Colour) -> Image.Image:
    return Image.alpha_composite(Image.new("RGBA", image.size, (*background, 255)), image).convert("RGB")


def _is_constant(image: Image.Image) -> bool:
    pixels = np.asarray(image)
    return bool((pixels == pixels[0, 0]).all())
