"""One picture as 8-bit RGB: depth, transparency, colour models, EXIF and frames, with the right value for each."""

import io
import struct
import sys
import types
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st
from made_files import encoded, image_parquet, load, noise_images
from PIL import Image, ImageOps

from monosemy.data import pixels
from monosemy.data.pixels import Conversion, RefusedPictureError, UnknownWhiteError, Whites

RAMP = np.linspace(0, 65535, 256).reshape(16, 16).astype(np.uint16)


def file_of(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def converted(raw: bytes, **settings) -> np.ndarray:
    """(H, W, 3)."""
    with pixels.open_picture(raw) as image:
        return np.asarray(pixels.convert(image, Conversion(**settings)).image)


def wide_png(values: np.ndarray, extra: bytes = b"") -> bytes:
    """A PNG of 16 bits a channel, (H, W, C), which Pillow does not write for colours."""
    height, width, channels = values.shape

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = struct.pack(">IIBBBBB", width, height, 16, {2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )


def wide_tiff(values: np.ndarray, order: str = "<", photometric: int | None = None) -> bytes:
    """A TIFF of 16 bits a channel, (H, W, C), uncompressed, in a byte order."""
    height, width, channels = values.shape
    raw = values.astype(f"{order}u2").tobytes()
    photometric = (2 if channels > 1 else 1) if photometric is None else photometric
    tags = [(256, width), (257, height), (258, 16), (259, 1), (262, photometric), (273, 0), (277, channels)]
    tags += [(278, height), (279, len(raw))]
    tags += [(338, 2)] if channels == 4 else []
    bits_at = 8 + 2 + 12 * len(tags) + 4
    data_at = bits_at + 2 * channels
    entries = b""
    for tag, value in tags:
        if tag == 258 and channels > 2:
            entries += struct.pack(f"{order}HHII", tag, 3, channels, bits_at)
            continue
        value = data_at if tag == 273 else value
        entries += struct.pack(f"{order}HHII", tag, 4, 1, value)
    head = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, 8)
    bits = struct.pack(f"{order}{channels}H", *[16] * channels)
    return head + struct.pack(f"{order}H", len(tags)) + entries + struct.pack(f"{order}I", 0) + bits + raw


def folder_of(root: Path, pictures: list[bytes], ending: str = "png") -> Path:
    """The same pictures in each of two classes."""
    for kind in ("a", "b"):
        (root / kind).mkdir(parents=True, exist_ok=True)
        for i, raw in enumerate(pictures):
            (root / kind / f"{i:02d}.{ending}").write_bytes(raw)
    return root


# Depth


@pytest.mark.parametrize(
    "raw",
    [
        file_of(Image.fromarray(RAMP)),
        file_of(Image.fromarray(RAMP), "TIFF"),
        file_of(Image.fromarray(RAMP), "TIFF", compression="tiff_lzw"),
        file_of(Image.fromarray(RAMP.astype(np.int32)), "TIFF"),
        file_of(Image.fromarray(RAMP.astype(np.int32)), "PPM"),
        wide_tiff(RAMP[..., None], ">"),
        wide_tiff(RAMP[..., None], "<"),
    ],
    ids=["png", "tiff", "lzw", "int32", "pgm", "big-endian", "little-endian"],
)
def test_a_ramp_of_16_bits_keeps_256_grey_levels(raw: bytes) -> None:
    image = converted(raw, whites=Whites(integers=65535))
    np.testing.assert_array_equal(image, np.repeat(np.arange(256).reshape(16, 16, 1), 3, axis=2))


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("make", ["png", "<", ">"])
def test_colours_of_16_bits_keep_their_low_bytes(make: str, channels: int) -> None:
    """A 12-bit camera: of its values Pillow keeps the 4 highest bits."""
    values = np.random.default_rng(0).integers(0, 4096, (9, 7, channels))
    if channels == 4:
        values[..., 3] = 65535
    raw = wide_png(values) if make == "png" else wide_tiff(values, make)
    wanted = np.rint(values[..., :3] * (255 / 4095))
    np.testing.assert_array_equal(converted(raw, whites=Whites(integers=4095)), wanted)


def test_opacity_of_16_bits_is_not_scaled_by_the_white_level() -> None:
    values = np.full((4, 4, 4), 4095)
    values[:2, :, 3], values[2:, :, 3] = 0, 65535
    values[2:, :, :3] = 0
    image = converted(wide_png(values), whites=Whites(integers=4095))
    assert (image[:2] == 255).all()
    assert (image[2:] == 0).all()


def test_a_transparent_value_of_16_bits_shows_the_background() -> None:
    values = RAMP.copy()
    values[:8] = 77
    raw = file_of(Image.fromarray(values), transparency=77)
    image = converted(raw, whites=Whites(integers=65535), background=(1, 2, 3))
    assert (image[:8] == (1, 2, 3)).all()
    np.testing.assert_array_equal(image[8:, :, 0], np.rint(values[8:] / 257))


def test_the_smallest_value_is_white_where_a_tiff_says_so() -> None:
    image = converted(wide_tiff(RAMP[..., None], "<", photometric=0), whites=Whites(integers=65535))
    np.testing.assert_array_equal(image[..., 0], 255 - np.arange(256).reshape(16, 16))


@pytest.mark.parametrize(
    ("largest", "white"),
    [(1, 255), (255, 255), (256, 1023), (1024, 4095), (4095, 4095), (10000, 16383), (65535, 65535)],
)
def test_the_white_level_is_the_smallest_depth_that_holds_the_data(tmp_path: Path, largest: int, white: int) -> None:
    values = np.zeros((8, 8), dtype=np.uint16)
    values[:4] = largest
    dark = np.zeros((8, 8), dtype=np.uint16)
    half = 1 + largest // 2
    dark[0, 0] = half
    data = load(folder_of(tmp_path, [file_of(Image.fromarray(x)) for x in [values, dark] * 4]))
    assert {int(x.max()) for x in data.train.inputs} == {round(255 * largest / white), round(255 * half / white)}
    assert any(
        f"16 images have more than 8 bits, with values up to {largest:,}; {white:,} became white" in notice
        for notice in data.notices
    )


def test_integers_beyond_16_bits_need_a_white_level(tmp_path: Path, refuses) -> None:
    values = np.arange(64).reshape(8, 8).astype(np.int32) * 10_000
    folder = folder_of(tmp_path, [file_of(Image.fromarray(values), "TIFF")] * 4, "tif")
    with refuses("integers up to 630000", "data.white_level"):
        load(folder)
    data = load(folder, white_level=630_000)
    np.testing.assert_array_equal(data.train.inputs[0][0], np.rint(255 * values / 630_000))


@pytest.mark.parametrize("scale", [1, 255])
def test_floats_in_one_of_two_ranges_are_scaled(tmp_path: Path, scale: float) -> None:
    values = np.linspace(0, scale, 64, dtype=np.float32).reshape(8, 8)
    data = load(folder_of(tmp_path, [file_of(Image.fromarray(values), "TIFF")] * 4, "tif"))
    np.testing.assert_array_equal(data.train.inputs[0][1], np.rint(values / scale * 255))
    assert any("8 images are of floats" in notice for notice in data.notices)


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(0, 4000, "floats up to 4000"), (-1, 1, "have negative values"), (0, np.nan, "NaN"), (0, np.inf, "infinite")],
)
def test_other_floats_are_refused(tmp_path: Path, refuses, low: float, high: float, said: str) -> None:
    values = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    values[0, 0], values[7, 7] = low, high
    with refuses(said):
        load(folder_of(tmp_path, [file_of(Image.fromarray(values), "TIFF")] * 4, "tif"))


def test_values_above_a_white_level_are_counted(tmp_path: Path) -> None:
    bright = np.full((8, 8), 5000, dtype=np.uint16)
    bright[0] = 0
    dark = bright // 5
    data = load(
        folder_of(tmp_path, [file_of(Image.fromarray(x)) for x in [bright, dark, dark, dark]]), white_level=4000
    )
    assert any("2 images have values above 4,000, which became white too" in notice for notice in data.notices)
    assert sorted({int(x.max()) for x in data.train.inputs} | {int(x.max()) for x in data.test.inputs}) == [64, 255]


def test_a_deep_image_after_many_shallow_ones_is_found(tmp_path: Path) -> None:
    pictures = [encoded(x) for x in noise_images(80, 16, 16)]
    folder = folder_of(tmp_path / "a", pictures)
    (folder / "b" / "99.png").write_bytes(file_of(Image.fromarray(RAMP // 16)))
    data = load(folder)
    assert any("1 images have more than 8 bits, with values up to 4,095" in notice for notice in data.notices)
    wanted = np.rint(RAMP // 16 * (255 / 4095)).astype(np.uint8)
    images = np.concatenate([split.inputs for split in data.splits().values()])
    assert (images == wanted).all(axis=(1, 2, 3)).sum() == 1


def test_a_shifted_set_is_read_with_the_white_level_of_the_data(tmp_path: Path) -> None:
    """A shift to half the light stays one."""
    grey = [file_of(Image.fromarray(RAMP // 16))] * 4
    dark = [file_of(Image.fromarray(RAMP // 256))] * 4
    data = load(folder_of(tmp_path / "data", grey), shifts={"dark": str(folder_of(tmp_path / "dark", dark))})
    assert int(data.shifts["dark"].inputs.max()) == round(255 * 255 / 4095)
    assert any("Shifted set 'dark': 8 images have more than 8 bits" in notice for notice in data.notices)


def test_a_depth_without_a_white_level_is_not_guessed() -> None:
    with pytest.raises(UnknownWhiteError):
        converted(file_of(Image.fromarray(RAMP)))


def test_images_of_parquet_are_scaled_too(tmp_path: Path) -> None:
    raw = [file_of(Image.fromarray(np.roll(RAMP // 16, i))) for i in range(24)]
    path = image_parquet(tmp_path / "a.parquet", raw, [i % 2 for i in range(24)])
    assert len(np.unique(load(path).train.inputs[0])) == 256


# Transparency


def glyph(mode: str, colour: int = 0) -> Image.Image:
    """A bar in one colour on a transparent background."""
    pixels = np.zeros((16, 16, 4), dtype=np.uint8)
    pixels[..., :3] = colour
    pixels[6:10, 2:14, 3] = 255
    image = Image.fromarray(pixels)
    return image.quantize(4) if mode == "P" else image.convert(mode)


@pytest.mark.parametrize(
    "raw",
    [
        file_of(glyph("RGBA")),
        file_of(glyph("LA")),
        file_of(glyph("P")),
        file_of(glyph("RGBA"), "WEBP", lossless=True),
        file_of(glyph("RGBA"), "TIFF"),
        file_of(glyph("RGBA"), "GIF"),
        file_of(Image.fromarray(np.where(np.asarray(glyph("LA"))[..., 1] > 0, 0, 9).astype("u1")), transparency=9),
        file_of(
            Image.fromarray(np.where(np.asarray(glyph("RGBA"))[..., 3:] > 0, 0, [9, 8, 7]).astype("u1")),
            transparency=(9, 8, 7),
        ),
    ],
    ids=["RGBA", "LA", "P", "WebP", "TIFF", "GIF", "grey key", "colour key"],
)
def test_what_is_transparent_shows_the_background(raw: bytes) -> None:
    wanted = np.full((16, 16, 3), 255)
    wanted[6:10, 2:14] = 0
    np.testing.assert_array_equal(converted(raw), wanted)
    wanted[wanted[..., 0] == 255] = (10, 20, 30)
    np.testing.assert_array_equal(converted(raw, background=(10, 20, 30)), wanted)


def test_half_transparent_pixels_are_mixed() -> None:
    image = np.full((4, 4, 4), 100, dtype=np.uint8)
    image[..., 3] = 51
    image[0, 0, 3] = 255
    assert converted(file_of(Image.fromarray(image)))[1, 1].tolist() == [round(0.2 * 100 + 0.8 * 255)] * 3


def test_opaque_pictures_are_not_touched() -> None:
    noise = noise_images(1)[0]
    opaque = np.dstack([noise, np.full(noise.shape[:2], 255, dtype=np.uint8)])
    with pixels.open_picture(file_of(Image.fromarray(opaque))) as image:
        result = pixels.convert(image, Conversion())
    np.testing.assert_array_equal(np.asarray(result.image), noise)
    assert result.notes == frozenset()


def test_a_picture_that_the_background_swallows_is_refused(tmp_path: Path, refuses) -> None:
    raw = file_of(glyph("RGBA", 255))
    folder = folder_of(tmp_path, [raw] * 4)
    with refuses("8 of 8 images", "invisible", "data.background", "a/00.png"):
        load(folder)
    data = load(folder, background="black")
    assert sorted(np.unique(data.train.inputs)) == [0, 255]
    assert any("8 images are transparent and were laid over the colour data.background" in n for n in data.notices)


def test_an_empty_picture_is_no_fault() -> None:
    """It is constant whatever lies behind it."""
    empty = np.random.default_rng(0).integers(0, 256, (8, 8, 4)).astype(np.uint8)
    empty[..., 3] = 0
    assert (converted(file_of(Image.fromarray(empty))) == 255).all()


def test_backgrounds_are_colours(tmp_path: Path, refuses) -> None:
    assert pixels.background_colour("white") == (255, 255, 255)
    assert pixels.background_colour("#0a141e") == (10, 20, 30)
    assert pixels.background_colour("rebeccapurple") == (102, 51, 153)
    with refuses("data.background='whit'", "white"):
        load(folder_of(tmp_path, [file_of(glyph("RGBA"))] * 4), background="whit")


# Colour models


def test_colour_models_are_converted_as_pillow_does() -> None:
    noise = Image.fromarray(noise_images(1, 16, 16)[0])
    for mode, kind in (("L", "PNG"), ("1", "PNG"), ("P", "PNG"), ("CMYK", "TIFF"), ("YCbCr", "TIFF"), ("LAB", "TIFF")):
        raw = file_of(noise.convert(mode), kind)
        with Image.open(io.BytesIO(raw)) as image:
            wanted = np.asarray(image.convert("RGB"))
        np.testing.assert_array_equal(converted(raw), wanted, err_msg=mode)


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_is_not_inverted(kind: str) -> None:
    """Adobe's JPEG files store inverted CMYK."""
    pixels = np.zeros((16, 16, 3), dtype=np.uint8)
    pixels[:, :8] = (255, 0, 0)
    image = converted(file_of(Image.fromarray(pixels).convert("CMYK"), kind)).astype(int)
    assert (abs(image[:, 1] - (255, 0, 0)) < 40).all()
    assert (image[:, 14] < 40).all()


def test_bits_are_black_and_white() -> None:
    image = converted(file_of(Image.fromarray(np.eye(8, dtype=bool))))
    np.testing.assert_array_equal(image[..., 1], 255 * np.eye(8))


def test_plain_pictures_are_what_they_were() -> None:
    noise = noise_images(1, 12, 12)[0]
    for kind in ("PNG", "JPEG", "WEBP", "BMP", "PPM", "TIFF"):
        raw = encoded(noise, kind)
        with Image.open(io.BytesIO(raw)) as image:
            np.testing.assert_array_equal(converted(raw), np.asarray(image.convert("RGB")))


def test_a_palette_that_hides_its_picture_is_refused() -> None:
    image = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).convert("P")
    image.putpalette([9] * 768)
    with pytest.raises(RefusedPictureError, match="one colour"):
        converted(file_of(image))
    blank = Image.new("P", (8, 8), 3)
    blank.putpalette([9] * 768)
    assert (converted(file_of(blank)) == 9).all()


@pytest.mark.parametrize("value", [3, 65535])
def test_a_dark_picture_that_would_be_black_is_refused(value: int) -> None:
    values = np.zeros((8, 8), dtype=np.uint16)
    values[2:4] = 3
    with pytest.raises(RefusedPictureError, match="65,535 is white"):
        converted(file_of(Image.fromarray(values)), whites=Whites(integers=65535))
    blank = np.full((8, 8), value, dtype=np.uint16)
    assert len(np.unique(converted(file_of(Image.fromarray(blank)), whites=Whites(integers=65535)))) == 1


# EXIF


def turned(pixels: np.ndarray, orientation: int, kind: str = "PNG") -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    return file_of(Image.fromarray(pixels), kind, exif=exif, **options)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_upright(kind: str, orientation: int) -> None:
    raw = turned(noise_images(1, 24, 32)[0], orientation, kind)
    with Image.open(io.BytesIO(raw)) as image:
        wanted = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    with pixels.open_picture(raw) as image:
        assert pixels.size_of(image) == wanted.shape[:2]
    with pixels.open_picture(raw) as image:
        result = pixels.convert(image, Conversion())
    np.testing.assert_array_equal(np.asarray(result.image), wanted)
    assert wanted.shape[:2] == ((32, 24) if orientation > 4 else (24, 32))
    assert ("upright" in result.notes) == (orientation > 1)


def test_deep_and_transparent_pictures_are_upright() -> None:
    deep = np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000
    np.testing.assert_array_equal(
        converted(turned(deep, 6), whites=Whites(integers=65535))[..., 0], np.rint(np.rot90(deep, -1) / 257)
    )
    clear = np.zeros((3, 4, 4), dtype=np.uint8)
    clear[0, 0, 3] = 255
    assert converted(turned(clear, 6))[..., 0].tolist() == [[255, 255, 0], *[[255, 255, 255]] * 3]


def test_the_common_size_is_that_of_upright_pictures(tmp_path: Path) -> None:
    """Photographs held upright and lying have one size; so do photographs that are all held upright."""
    wide, high = noise_images(1, 24, 32)[0], noise_images(1, 32, 24)[0]
    mixed = folder_of(tmp_path / "a", [turned(wide, 6), turned(high, 1)] * 2)
    data = load(mixed)
    assert data.train.inputs.shape[1:] == (3, 32, 24)
    assert any("4 images were turned upright" in notice for notice in data.notices)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow says what is odd about a file
def test_damaged_exif_data_do_not_refuse_a_picture() -> None:
    raw = file_of(Image.fromarray(noise_images(1)[0]), exif=b"Exif\0\0II*\0\xff\xff\xff\xff nonsense")
    np.testing.assert_array_equal(converted(raw), noise_images(1)[0])


# Frames, formats, plugins


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP", "PNG"])
def test_the_first_of_several_frames_is_taken_and_said(tmp_path: Path, kind: str) -> None:
    first, second = (Image.new("RGB", (8, 8), colour) for colour in ((255, 0, 0), (0, 0, 255)))
    options = {"lossless": True} if kind == "WEBP" else {}
    raw = file_of(first, kind, save_all=True, append_images=[second], **options)
    assert converted(raw)[0, 0].tolist() == [255, 0, 0]
    data = load(folder_of(tmp_path, [raw, encoded((9, 9, 9))] * 2, kind.lower()))
    assert any("4 images have several frames, of which the first was taken" in notice for notice in data.notices)


def test_formats_that_run_programs_are_not_opened() -> None:
    postscript = file_of(Image.new("RGB", (8, 8)), "EPS")
    with pytest.raises(Exception, match="cannot identify"):
        pixels.open_picture(postscript)
    assert not {".eps", ".ps", ".h5", ".mpg", ".pdf"} & pixels.endings()
    assert {".png", ".jfif", ".ppm", ".tif", ".jp2", ".webp", ".tga", ".avif"} <= pixels.endings()


def test_plugins_that_are_installed_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """pillow_heif registers its formats by a function; the others do it when they are imported."""
    plugin = types.ModuleType("pillow_heif")

    def register() -> None:
        Image.register_open("HEIF", lambda file, name: None, lambda prefix: False)
        Image.register_extension("HEIF", ".heic")

    plugin.register_heif_opener = register  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pillow_heif", plugin)
    monkeypatch.setattr(Image, "ID", list(Image.ID))
    monkeypatch.setattr(Image, "OPEN", dict(Image.OPEN))
    monkeypatch.setattr(Image, "EXTENSION", dict(Image.EXTENSION))
    pixels.formats.cache_clear(), pixels.endings.cache_clear()
    try:
        assert ".heic" in pixels.endings()
    finally:
        pixels.formats.cache_clear(), pixels.endings.cache_clear()


def test_pillow_s_warnings_of_odd_files_are_not_printed(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 255, 0, 0])
    raw = file_of(image, transparency=b"\xff\x80")
    load(folder_of(tmp_path, [raw] * 4))
    assert not recwarn.list


@given(values=st.lists(st.integers(0, 65535), min_size=4, max_size=4), white=st.sampled_from(pixels.INTEGER_WHITES))
def test_scaling_is_rounding_within_the_range(values: list[int], white: int) -> None:
    array = np.array(values, dtype=np.uint16).reshape(2, 2)
    wanted = np.minimum(np.rint(array * (255 / white)), 255)
    try:
        image = converted(file_of(Image.fromarray(array)), whites=Whites(integers=white))
    except RefusedPictureError:
        assert len(np.unique(wanted)) == 1
        assert len(np.unique(array)) > 1
    else:
        np.testing.assert_array_equal(image, np.repeat(wanted[..., None], 3, axis=2))
