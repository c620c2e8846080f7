"""From encoded images to arrays: sizes, places, bad images, and sets that are too large for memory."""

import io
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st
from made_files import class_folders, encoded, image_parquet, load, noise_images, pixels_of
from PIL import Image

from monosemy.data import images, memory_map
from monosemy.data.image_folders import FileImages
from monosemy.data.images import DecodedParts, decode_parts, fit
from monosemy.data.tables import ParquetImages
from monosemy.errors import InputError


class Listed:
    """Encoded images in a list."""

    def __init__(self, items: list) -> None:
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def describe(self, row: int) -> str:
        return f"Image {row} of a list"

    def stamps(self, rows) -> tuple[str, ...]:
        return tuple(str(self._items[row]) for row in rows)

    def items(self, rows):
        return (self._items[row] for row in rows)


def decoded(items: list, size=None, **options) -> np.ndarray:
    return decode_parts(Listed(items), {"train": np.arange(len(items))}, size, **options).parts["train"].images


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "GIF", "TIFF"])
def test_images_are_decoded_to_bytes(png, kind: str) -> None:
    options = {"size": (6, 4)}
    images = decoded([png((255, 0, 51), kind=kind, **options), png((0, 0, 0), kind=kind, **options)])
    assert images.shape == (2, 3, 4, 6)
    assert images.dtype == np.uint8
    np.testing.assert_allclose(images[0, :, 2, 3], [255, 0, 51], atol=4)
    assert images[1].max() < 4


def test_pixels_keep_their_places() -> None:
    pixels = noise_images(200, 5, 7)  # several blocks
    np.testing.assert_array_equal(decoded([encoded(x) for x in pixels]), pixels.transpose(0, 3, 1, 2))


def test_grey_and_transparent_images_become_colour() -> None:
    files = []
    for mode in ("L", "RGBA", "P", "1", "CMYK"):
        file = io.BytesIO()
        Image.new(mode, (8, 8)).save(file, "TIFF")
        files.append(file.getvalue())
    assert decoded(files).shape == (5, 3, 8, 8)


def test_sizes(png) -> None:
    small, large = png((9, 9, 9), (8, 8)), png((9, 9, 9), (40, 20))
    assert decoded([large, large]).shape == (2, 3, 20, 40)
    assert decoded([small, large]).shape == (2, 3, 32, 32)
    assert decoded([small, large], (12, 12)).shape == (2, 3, 12, 12)
    assert (decoded([large], (12, 12)) == 9).all()


def test_the_parts_share_one_size_and_it_is_said_where_it_was_not_theirs(png) -> None:
    items = [png((9, 9, 9), (8, 8))] * 300 + [png((9, 9, 9), (9, 8))]
    parts = {"train": np.arange(300), "test": np.array([300])}
    result = decode_parts(Listed(items), parts, None)
    assert {part.images.shape[1:] for part in result.parts.values()} == {(3, 32, 32)}
    assert any("32 x 32" in notice and "--image-size" in notice for notice in result.notices)
    assert decode_parts(Listed(items[:300]), {"train": parts["train"]}, None).notices == []


def test_a_late_image_of_another_size_is_found(png, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "_PROBED", 2)
    items = [png((9, 9, 9), (8, 8))] * 200
    items[150] = png((9, 9, 9), (10, 8))
    assert decoded(items).shape == (200, 3, 32, 32)


# Resize of the shorter side and centre crop


@pytest.mark.parametrize("size", [(8, 8), (12, 6), (6, 12)])
@pytest.mark.parametrize("own", [(40, 20), (20, 40), (21, 33), (8, 8), (9, 8), (4, 3), (200, 7)])
def test_fit_gives_the_wanted_size(own: tuple[int, int], size: tuple[int, int]) -> None:
    assert fit(Image.new("RGB", own), size).size == size[::-1]


def test_fit_is_a_resize_of_the_shorter_side_and_a_centre_crop() -> None:
    image = Image.fromarray(noise_images(1, 30, 50)[0])
    wanted = image.resize((25, 15), Image.Resampling.BICUBIC).crop((5, 0, 20, 15))
    np.testing.assert_array_equal(np.asarray(fit(image, (15, 15))), np.asarray(wanted))
    turned = image.rotate(90, expand=True)
    wanted = turned.resize((15, 25), Image.Resampling.BICUBIC).crop((0, 5, 15, 20))
    np.testing.assert_array_equal(np.asarray(fit(turned, (15, 15))), np.asarray(wanted))


def test_fit_keeps_shapes_and_the_middle() -> None:
    """A circle in the middle of a wide image stays a circle, and what lies beside it is cut off."""
    pixels = np.zeros((64, 128, 3), dtype=np.uint8)
    rows, columns = np.mgrid[:64, :128]
    pixels[(rows - 31.5) ** 2 + (columns - 63.5) ** 2 < 28**2] = 255
    pixels[:, :8] = 255
    small = np.asarray(fit(Image.fromarray(pixels), (32, 32)))[..., 0] > 127
    rows, columns = np.mgrid[:32, :32]
    wanted = (rows - 15.5) ** 2 + (columns - 15.5) ** 2 < 14**2
    assert (small != wanted).mean() < 0.02


@given(own=st.tuples(st.integers(1, 60), st.integers(1, 60)), size=st.tuples(st.integers(1, 40), st.integers(1, 40)))
def test_any_size_fits(own: tuple[int, int], size: tuple[int, int]) -> None:
    assert fit(Image.new("L", own), size).size == size[::-1]


# Bad images


def damaged(png, damage: str) -> bytes | None:
    good = png((1, 2, 3))
    return {"truncated": good[:40], "empty": b"", "foreign": b"GIF? no", "none": None}[damage]


DAMAGES = ["truncated", "empty", "foreign", "none"]


@pytest.mark.parametrize("damage", DAMAGES)
def test_unreadable_images_are_named(png, refuses, damage: str) -> None:
    with refuses("Image 1 of a list", "--on-bad-row skip"):
        decoded([png((1, 2, 3)), damaged(png, damage)])


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("limit", [2**40, 100])
def test_unreadable_images_are_skipped_and_counted(
    png, damage: str, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_map, "MAX_IN_MEMORY", limit)
    items = [png((i, 0, 0)) for i in range(150)]
    for row in (0, 70, 149):
        items[row] = damaged(png, damage)
    parts = {"train": np.arange(0, 150, 2), "test": np.arange(1, 150, 2)}
    for _ in range(2):  # made, and read from the cache
        result = decode_parts(Listed(items), parts, None, "skip")
        for name, rows in parts.items():
            kept = [row for row in rows if row not in (0, 70, 149)]
            assert result.parts[name].rows.tolist() == kept
            assert result.parts[name].images[:, 0, 0, 0].tolist() == kept
        first = "Image 0 of a list, Image 70 of a list, Image 149 of a list"
        assert result.notices[-1] == f"Left out: 3 of 150 images that cannot be read ({first})."


@pytest.mark.parametrize("limit", [2**40, 0])
def test_a_part_without_a_readable_image(refuses, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(memory_map, "MAX_IN_MEMORY", limit)
    with refuses("None of the train images"):
        decoded([b"x", b"y"], on_bad="skip")


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow says what is odd about a file
@given(seed=st.integers(0, 10_000))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "TIFF"])
def test_damaged_images_are_read_or_refused_and_nothing_else(kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    raw = bytearray(encoded(noise_images(1, 12, 12)[0], kind))
    for place in rng.integers(0, len(raw), 6):
        raw[place] = rng.integers(256)
    with suppress(InputError):
        assert decoded([bytes(raw)], (8, 8)).shape == (1, 3, 8, 8)


# Files and memory maps


def as_list(result: DecodedParts) -> dict[str, list]:
    return {name: [part.images.tolist(), part.rows.tolist()] for name, part in result.parts.items()}


@pytest.mark.parametrize("source", ["folder", "parquet"])
@pytest.mark.parametrize("size", [None, (6, 6)])
def test_mapped_images_equal_those_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, size: tuple[int, int] | None
) -> None:
    pixels = noise_images(150)
    if source == "folder":
        class_folders(tmp_path / "a", {"x": 75, "y": 75})
        images = FileImages(tmp_path / "a", sorted((tmp_path / "a").rglob("*.png")))
    else:
        paths = [
            image_parquet(tmp_path / f"{i}.parquet", pixels[50 * i : 50 * i + 50], [0] * 50, group=20) for i in range(3)
        ]
        images = ParquetImages(paths, "image")
    parts = {"train": np.arange(0, 150, 3), "test": np.arange(40, 110), "none": np.arange(0)}
    small = decode_parts(images, parts, size)
    monkeypatch.setattr(memory_map, "MAX_IN_MEMORY", 100)
    large = decode_parts(images, parts, size)
    assert as_list(large) == as_list(small)
    assert isinstance(large.parts["train"].images, np.memmap)
    assert not large.parts["train"].images.flags.writeable
    assert not isinstance(small.parts["train"].images, np.memmap)
    assert any("are kept in" in notice for notice in large.notices)


def test_mapped_images_are_decoded_once_and_again_after_a_change(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_map, "MAX_IN_MEMORY", 100)
    folder = class_folders(tmp_path / "a", {"x": 8, "y": 8})
    first = load(folder)
    files = sorted((cache / "images").iterdir())
    assert not any(path.name.startswith(".") for path in files), "nothing half-written stays"
    with monkeypatch.context() as patched:
        patched.setattr(images, "_pixels", lambda *_: pytest.fail("decoded again"))
        second = load(folder)
    for name, split in first.splits().items():
        np.testing.assert_array_equal(split.inputs, second.splits()[name].inputs)
    new = noise_images(1, seed=9)[0]
    (folder / "x" / "000.png").write_bytes(encoded(new))
    seen = np.concatenate([split.inputs for split in load(folder).splits().values()])
    assert (seen == new.transpose(2, 0, 1)).all(axis=(1, 2, 3)).sum() == 1


@pytest.mark.parametrize("damage", [b"", b"broken"])
@pytest.mark.parametrize("name", ["kept.npy", "pixels.npy"])
def test_a_damaged_map_is_made_again(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, damage: bytes, name: str
) -> None:
    monkeypatch.setattr(memory_map, "MAX_IN_MEMORY", 100)
    folder = class_folders(tmp_path / "a", {"x": 8, "y": 8})
    wanted = {name: np.array(split.inputs) for name, split in load(folder).splits().items()}
    damaged = list((cache / "images").glob(f"*/{name}"))
    assert damaged
    for path in damaged:
        path.unlink()
        path.write_bytes(damage)
    for name, split in load(folder).splits().items():
        np.testing.assert_array_equal(split.inputs, wanted[name])


def test_bad_images_leave_no_map(tmp_path: Path, cache: Path, refuses, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_map, "MAX_IN_MEMORY", 100)
    folder = class_folders(tmp_path / "a", {"x": 8, "y": 8})
    (folder / "y" / "007.png").write_bytes(b"broken")
    with refuses("y/007.png"):
        load(folder)
    assert not [path for path in (cache / "images").iterdir() if path.name.startswith(".")]


def test_a_parquet_column_of_several_files_by_rows(tmp_path: Path) -> None:
    pixels = noise_images(30)
    paths = [image_parquet(tmp_path / f"{i}.parquet", pixels[10 * i : 10 * i + 10], group=3) for i in range(3)]
    images = ParquetImages(paths, "image")
    rows = np.array([0, 2, 3, 9, 10, 19, 29])
    found = [np.asarray(Image.open(io.BytesIO(raw))) for raw in images.items(rows)]
    np.testing.assert_array_equal(found, pixels[rows])
    assert images.describe(19) == f"Image 9 of {paths[1]}"
    assert images.describe(20) == f"Image 0 of {paths[2]}"


def test_images_of_files_keep_their_pixels(tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "a", {"x": 8, "y": 8})
    known = {pixels_of(path).tobytes(): path.parent.name for path in folder.rglob("*.png")}
    data = load(folder)
    for split in data.splits().values():
        assert [known[image.tobytes()] for image in split.inputs] == [data.class_names[y] for y in split.labels]
