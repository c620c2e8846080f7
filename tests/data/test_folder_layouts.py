"""Folders of images as people have them: splits beside other folders, files of tools, links, odd endings, lists."""

import json
import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st
from made_files import class_folders, encoded, load, noise_images
from PIL import Image

from monosemy.data import image_folders
from monosemy.data.image_folders import layout_of, rows_of_folder
from monosemy.data.images import decode_parts
from monosemy.errors import InputError


def read(folder: Path, labelled: bool = True, classes: Path | None = None):
    return rows_of_folder(folder, classes, labelled)


def counts(folder: Path, **options) -> dict[str, int]:
    return dict(Counter(read(folder, **options).labels))


def said(folder: Path, **options) -> str:
    return " ".join(read(folder, **options).messages)


def split_folders(root: Path, splits: list[str], classes: tuple[str, ...] = ("cat", "dog"), n: int = 3) -> Path:
    for split in splits:
        class_folders(root / split, dict.fromkeys(classes, n))
    return root


# Splits


@pytest.mark.parametrize(
    "splits", [["train", "test"], ["Training", "VALID"], ["train", "val", "Testing"], ["train", "dev"]]
)
@pytest.mark.parametrize("beside", ["unlabeled", "extra"])
def test_folders_beside_splits_are_left_out_and_named(tmp_path: Path, splits: list[str], beside: str) -> None:
    rows = read(split_folders(tmp_path, [*splits, beside]))
    assert Counter(rows.labels) == {"cat": 3 * len(splits), "dog": 3 * len(splits)}
    assert set(rows.splits) == {split.lower() for split in splits}
    assert rows.messages == (
        f"Left out: 6 images in '{beside}', which is none of the splits (train, validation, test).",
    )


def test_flat_folders_and_images_beside_splits_are_left_out(tmp_path: Path) -> None:
    split_folders(tmp_path, ["train", "test"])
    class_folders(tmp_path, {"unlabeled": 5})
    (tmp_path / "overview.png").write_bytes(encoded((1, 2, 3)))
    assert counts(tmp_path) == {"cat": 6, "dog": 6}
    assert "5 images in 'unlabeled'" in said(tmp_path)
    assert "1 images outside the folders of the splits" in said(tmp_path)
    data = load(tmp_path)
    assert data.class_names == ("cat", "dog")
    assert any("5 images in 'unlabeled'" in notice for notice in data.notices)


@pytest.mark.parametrize("flat", [True, False])
def test_one_split_beside_another_folder(tmp_path: Path, flat: bool) -> None:
    split_folders(tmp_path, ["train"])
    class_folders(tmp_path, {"unlabeled": 5}) if flat else split_folders(tmp_path, ["unlabeled"])
    rows = read(tmp_path)
    assert (set(rows.labels), set(rows.splits)) == ({"cat", "dog"}, {"train"})


def test_vehicles_are_classes(tmp_path: Path) -> None:
    """A train is a class where its images lie in its folder, and where its kinds are not those of the others."""
    class_folders(tmp_path / "a", {"train": 4, "car": 4, "bus": 4})
    rows = read(tmp_path / "a")
    assert (Counter(rows.labels), rows.splits) == ({"train": 4, "car": 4, "bus": 4}, None)
    assert "'train' is a class like those beside it, not a split" in said(tmp_path / "a")
    class_folders(tmp_path / "b" / "train", {"steam": 2, "diesel": 2})
    class_folders(tmp_path / "b" / "car", {"limousine": 2, "van": 2})
    assert counts(tmp_path / "b") == {"train": 4, "car": 4}


def test_a_test_folder_beside_class_folders_is_ambiguous(tmp_path: Path, refuses) -> None:
    class_folders(tmp_path, {"cat": 4, "dog": 4})
    class_folders(tmp_path / "test", {"cat": 4, "dog": 4})
    with refuses("'cat', 'dog'", "'test'", "'train'"):
        read(tmp_path)


def test_splits_in_the_only_folder(tmp_path: Path) -> None:
    split_folders(tmp_path / "archive", ["train", "test", "unlabeled"])
    rows = read(tmp_path)
    assert (set(rows.labels), set(rows.splits), len(rows.inputs)) == ({"cat", "dog"}, {"train", "test"}, 12)
    assert "The splits are in the folder 'archive', the only one." in rows.messages


def test_splits_inside_class_folders(tmp_path: Path) -> None:
    for kind in ("cat", "dog"):
        class_folders(tmp_path / kind, {"train": 3, "test": 2})
    rows = read(tmp_path)
    assert Counter(zip(rows.labels, rows.splits, strict=True)) == {
        (kind, split): n for kind in ("cat", "dog") for split, n in (("train", 3), ("test", 2))
    }


def test_folders_inside_class_folders_are_of_the_class(tmp_path: Path) -> None:
    for kind in ("cat", "dog"):
        class_folders(tmp_path / kind / "deep", {"monday": 2, "tuesday": 1})
    assert counts(tmp_path) == {"cat": 3, "dog": 3}


def test_images_outside_class_folders_have_no_label(tmp_path: Path, refuses) -> None:
    class_folders(tmp_path, {"cat": 3, "dog": 3})
    (tmp_path / "stray.png").write_bytes(encoded((1, 2, 3)))
    assert Counter(read(tmp_path).labels) == {"cat": 3, "dog": 3, "": 1}
    with refuses("without a label", "stray.png", "--on-bad-row skip"):
        load(tmp_path)
    assert sum(map(len, load(tmp_path, on_bad_row="skip").splits().values())) == 6


NAMES = st.sampled_from(["train", "test", "val", "cat", "dog", "extra"])


@given(
    paths=st.lists(st.lists(NAMES, max_size=3).map(lambda parts: (*parts, "1.png")), min_size=1), labelled=st.booleans()
)
def test_every_image_has_a_place_in_any_layout(paths: list[tuple[str, ...]], labelled: bool) -> None:
    try:
        layout = layout_of(sorted(set(paths)), Path("x"), labelled)
    except InputError:
        return
    held = [parts for parts in paths if layout.holds(parts)]
    assert len(held) == len(paths) or layout.messages, "what is left out is said"
    for parts in held:
        assert layout.label(parts) in ("", *parts[:-1])
        assert layout.split_at is None or image_folders.sources.SPLIT_ROLES[parts[layout.split_at].lower()]


# Files of tools


@pytest.mark.parametrize(
    "name",
    [".ipynb_checkpoints", "__MACOSX", ".thumbnails", "@eaDir", ".git", "lost+found", "$RECYCLE.BIN", "#recycle",
     "System Volume Information", "__pycache__"],
)  # fmt: skip
@pytest.mark.parametrize("where", ["", "cat"])
def test_folders_of_tools_are_ignored_and_counted(tmp_path: Path, name: str, where: str) -> None:
    class_folders(tmp_path, {"cat": 3, "dog": 3})
    class_folders(tmp_path / where, {name: 4})
    assert counts(tmp_path) == {"cat": 3, "dog": 3}
    assert f"Ignored: 4 files that are hidden or belong to tools ({name!r})." in said(tmp_path)


@pytest.mark.parametrize("name", ["Thumbs.db", ".DS_Store", "._000.png", "desktop.ini", "ehthumbs.db", ".hidden.png"])
def test_files_of_tools_are_ignored_and_counted(tmp_path: Path, name: str) -> None:
    class_folders(tmp_path, {"cat": 3, "dog": 3})
    for kind in ("cat", "dog"):
        (tmp_path / kind / name).write_bytes(encoded((1, 2, 3)))
    assert counts(tmp_path) == {"cat": 3, "dog": 3}
    assert f"Ignored: 2 files that are hidden or belong to tools ({name!r})." in said(tmp_path)


def test_a_folder_below_a_hidden_one_is_read(tmp_path: Path) -> None:
    assert counts(class_folders(tmp_path / ".cache" / "pets", {"cat": 2, "dog": 2})) == {"cat": 2, "dog": 2}


# Links


def test_links_to_files_and_folders_are_followed(tmp_path: Path) -> None:
    store = class_folders(tmp_path / "store", {"a": 3, "b": 2})
    pets = tmp_path / "pets"
    (pets / "cat").mkdir(parents=True)
    for path in sorted((store / "a").iterdir()):
        (pets / "cat" / path.name).symlink_to(path)
    (pets / "dog").symlink_to(store / "b", target_is_directory=True)
    assert counts(pets) == {"cat": 3, "dog": 2}
    assert "Followed: 4 symbolic links." in said(pets)
    assert load(class_folders(pets, {"hen": 2})).n_classes == 3


def test_links_in_circles_end(tmp_path: Path) -> None:
    class_folders(tmp_path, {"cat": 3, "dog": 3})
    (tmp_path / "cat" / "again").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "cat" / "self").symlink_to(tmp_path / "cat", target_is_directory=True)
    assert counts(tmp_path) == {"cat": 3, "dog": 3}
    assert "symbolic links to a folder that they are in ('cat/again', 'cat/self')" in said(tmp_path)


def test_links_to_nothing_are_named_and_no_class_vanishes(tmp_path: Path, refuses) -> None:
    """As git-annex and DVC leave what was not fetched."""
    class_folders(tmp_path, {"cat": 3, "dog": 3})
    (tmp_path / "cat" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    assert "symbolic links to nothing ('cat/gone.png')" in said(tmp_path)
    (tmp_path / "hen").mkdir()
    (tmp_path / "hen" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    with refuses(tmp_path / "hen", "1 broken links"):
        read(tmp_path)


# Endings


def test_every_format_that_pillow_reads_is_read(tmp_path: Path) -> None:
    formats = {
        "jpg": "JPEG", "JPG": "JPEG", "jpeg": "JPEG", "jpe": "JPEG", "jfif": "JPEG", "PNG": "PNG", "ppm": "PPM",
        "pgm": "PPM", "tga": "TGA", "TIF": "TIFF", "webp": "WEBP", "bmp": "BMP", "gif": "GIF", "jp2": "JPEG2000",
        "avif": "AVIF", "qoi": "QOI", "pcx": "PCX", "sgi": "SGI", "dds": "DDS", "ico": "ICO",
    }  # fmt: skip
    for number, (ending, kind) in enumerate(formats.items()):
        for i in range(6):
            path = tmp_path / f"{number:02d}{ending}" / f"{i}.{ending}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded(noise_images(1, 16, 16)[0], kind))
    rows = read(tmp_path)
    assert Counter(rows.labels) == {f"{number:02d}{ending}": 6 for number, ending in enumerate(formats)}
    assert rows.messages == ()
    assert load(tmp_path).n_classes == len(formats)


@pytest.mark.parametrize("name", ["photo", "photo.jpg.1", "photo.dat", "photo.heic", "photo.txt", "photo.jpg_large"])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"])
def test_the_content_decides_where_an_ending_promises_no_image(tmp_path: Path, name: str, kind: str) -> None:
    class_folders(tmp_path, {"cat": 3, "dog": 3})
    (tmp_path / "cat" / name).write_bytes(encoded(noise_images(1)[0], kind))
    assert counts(tmp_path) == {"cat": 4, "dog": 3}
    assert f"Read as images because of their content, whatever their ending: 1 {Path(name).suffix}" in said(tmp_path)


def test_the_content_decides_where_the_ending_is_of_another_format(tmp_path: Path) -> None:
    for kind in ("cat", "dog"):
        for i in range(4):
            path = tmp_path / kind / f"{i}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded(np.full((8, 8, 3), 10 * i), "PNG"))
    assert {int(x.min()) for split in load(tmp_path).splits().values() for x in split.inputs} == {0, 10, 20, 30}


def test_files_that_are_no_images_are_counted_by_their_ending(tmp_path: Path) -> None:
    class_folders(tmp_path, {"cat": 3, "dog": 3})
    for i in range(4):
        (tmp_path / "cat" / f"{i}.json").write_text(json.dumps({"box": [1, 2, 3, 4]}))
    (tmp_path / "README").write_text("Pets.")
    (tmp_path / "dog" / "film.mp4").write_bytes(bytes(range(256)))
    assert "Ignored: files that are not images, 4 .json, 1 without an ending, 1 .mp4." in said(tmp_path)
    for i in range(10):
        (tmp_path / f"x.{i:03d}").write_bytes(b"?")
    assert "and 8 more" in said(tmp_path)


@pytest.mark.parametrize(
    ("ending", "remedy"), [("heic", "pip install pillow-heif"), ("nef", "convert them to PNG"), ("svg", "convert")]
)
def test_formats_that_cannot_be_read_are_named_with_a_remedy(
    tmp_path: Path, refuses, monkeypatch: pytest.MonkeyPatch, ending: str, remedy: str
) -> None:
    monkeypatch.setattr(image_folders.pixels, "endings", lambda: frozenset({".png"}))
    class_folders(tmp_path, {"cat": 3, "dog": 3})
    (tmp_path / "cat" / f"IMG_1.{ending.upper()}").write_bytes(b"\0\0\0\x18ftypheic")
    assert f"Left out: images of formats that cannot be read, 1 .{ending}; " in said(tmp_path)
    assert remedy in said(tmp_path)
    class_folders(tmp_path, {"hen": 1})
    (tmp_path / "hen" / "000.png").rename(tmp_path / "hen" / f"0.{ending}")
    (tmp_path / "hen" / f"0.{ending}").write_bytes(b"\0\0\0\x18ftypheic")
    with refuses(tmp_path / "hen", f"1 .{ending}", remedy, "data.classes"):
        read(tmp_path)
    listed = tmp_path.parent / f"{tmp_path.name}.txt"
    listed.write_text("cat\ndog\n")
    assert counts(tmp_path, classes=listed) == {"cat": 3, "dog": 3}
    shutil.rmtree(tmp_path / "cat"), shutil.rmtree(tmp_path / "dog")
    with refuses("holds no images but 1", f".{ending}", remedy):
        read(tmp_path)


def test_the_thumbnail_of_a_camera_s_raw_file_is_not_the_image(tmp_path: Path) -> None:
    class_folders(tmp_path, {"cat": 3, "dog": 3})
    (tmp_path / "cat" / "1.dng").write_bytes(encoded(noise_images(1)[0], "TIFF"))
    assert counts(tmp_path) == {"cat": 3, "dog": 3}


def test_folders_of_texts_are_no_classes_but_others_must_not_vanish(tmp_path: Path, refuses) -> None:
    class_folders(tmp_path, {"cat": 3, "dog": 3})
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "0.xml").write_text("<box/>")
    (tmp_path / "empty").mkdir()
    assert counts(tmp_path) == {"cat": 3, "dog": 3}
    assert "Ignored: folders without images ('annotations', 'empty')." in said(tmp_path)
    (tmp_path / "hen").mkdir()
    (tmp_path / "hen" / "0.npy").write_bytes(b"\x93NUMPY")
    with refuses(tmp_path / "hen", "1 .npy"):
        read(tmp_path)


def test_a_class_must_not_vanish_from_one_split(tmp_path: Path, refuses) -> None:
    split_folders(tmp_path, ["train", "test"])
    shutil.rmtree(tmp_path / "test" / "dog")
    (tmp_path / "test" / "dog").mkdir()
    (tmp_path / "test" / "dog" / "0.cr2").write_bytes(b"raw")
    with refuses(tmp_path / "test" / "dog", "1 .cr2"):
        read(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read all folders")
def test_folders_that_may_not_be_read_are_named(tmp_path: Path, refuses) -> None:
    class_folders(tmp_path, {"cat": 3, "dog": 3})
    (tmp_path / "dog").chmod(0)
    with refuses(tmp_path / "dog", "Permission denied"):
        read(tmp_path)


def test_the_order_of_rows_is_that_of_paths(tmp_path: Path) -> None:
    """Splits are drawn by position, so the order belongs to the numbers of a study."""
    for name in ("b/2.png", "b/10.png", "B/1.png", "a/z/1.png", "a/y.png", "a-b/1.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(encoded((1, 2, 3)))
    images = read(tmp_path).inputs
    assert isinstance(images, image_folders.FileImages)
    assert list(images.paths) == sorted(tmp_path.rglob("*.png"))


# Lists of classes


@pytest.fixture
def animals(tmp_path: Path) -> Path:
    return class_folders(tmp_path / "animals", {"golden retriever": 2, "tabby cat": 2, "n01": 2, "#1": 2, "golden": 2})


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("golden retriever\ntabby cat\n", {"golden retriever", "tabby cat"}),
        ("# mine\n\n  tabby cat  \n#\nn01 tench, Tinca tinca\n", {"tabby cat", "n01"}),
        ("golden age\nn01\ttench\n", {"golden", "n01"}),
        ("#1\r\ntabby cat\r\n", {"#1", "tabby cat"}),
        ("n01\nn01\n", {"n01"}),
    ],
)
def test_a_line_is_a_folder_s_name_or_begins_with_it(
    animals: Path, tmp_path: Path, text: str, classes: set[str]
) -> None:
    (tmp_path / "list.txt").write_text(text)
    assert set(counts(animals, classes=tmp_path / "list.txt")) == classes


def test_accents_may_be_composed_in_another_way(tmp_path: Path) -> None:
    class_folders(tmp_path / "a", {"Cafe\u0301": 2, "n01": 2})
    (tmp_path / "list.txt").write_text("Caf\u00e9\nn01\n")
    assert len(counts(tmp_path / "a", classes=tmp_path / "list.txt")) == 2


def test_all_missing_classes_are_named_at_once(animals: Path, tmp_path: Path, refuses) -> None:
    (tmp_path / "list.txt").write_text("n01\nn02 shark\npersian cat\n")
    with refuses("'n02 shark', 'persian cat'", animals):
        read(animals, classes=tmp_path / "list.txt")
    (tmp_path / "list.txt").write_text("# nothing\n")
    with refuses("names no class"):
        read(animals, classes=tmp_path / "list.txt")


def test_all_bad_images_are_found_in_one_round(tmp_path: Path, refuses) -> None:
    class_folders(tmp_path, {"a": 20, "b": 20})
    for number in range(7):
        (tmp_path / "a" / f"{number:03d}.png").write_bytes(b"broken")
    (tmp_path / "b" / "000.png").write_bytes(b"")
    glyph = np.full((8, 8, 4), 255, dtype=np.uint8)
    glyph[:4, :, 3] = 0
    Image.fromarray(glyph).save(tmp_path / "b" / "001.png")
    named = ["8 of 40 images that cannot be read", "Image a/000.png", "and 3 more", "1 of 40 images that would be"]
    with refuses(*named, "Image b/001.png", "--on-bad-row skip"):
        load(tmp_path)
    data = load(tmp_path, on_bad_row="skip")
    assert sum(map(len, data.splits().values())) == 31
    assert any(all(text in notice for text in named) for notice in data.notices)


def test_notes_on_images_are_kept_with_mapped_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_folders.dataset.memory_map, "MAX_IN_MEMORY", 100)
    class_folders(tmp_path, {"a": 4, "b": 4})
    glyph = np.full((8, 8, 4), 100, dtype=np.uint8)
    glyph[..., 3] = 255 * (np.arange(8)[:, None] > 3)
    Image.fromarray(glyph).save(tmp_path / "b" / "001.png")
    (tmp_path / "b" / "002.png").write_bytes(b"broken")
    images = read(tmp_path).inputs
    results = [decode_parts(images, {"all": np.arange(8)}, None, "skip").notices for _ in range(2)]
    assert results[0] == results[1]
    assert any("1 images are transparent" in notice for notice in results[1])
    assert any("1 of 8 images that cannot be read" in notice for notice in results[1])
    black = decode_parts(images, {"all": np.arange(8)}, None, "skip", background="black")
    assert np.unique(black.parts["all"].images[5]).tolist() == [0, 100]


def test_a_class_must_not_vanish_by_leaving_images_out(tmp_path: Path, refuses) -> None:
    class_folders(tmp_path, {"a": 6, "b": 6, "c": 6})
    for path in (tmp_path / "b").iterdir():
        path.write_bytes(b"broken")
    with refuses("no train image that can be used of the classes 'b'"):
        load(tmp_path, on_bad_row="skip")
