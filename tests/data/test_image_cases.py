"""Small folders of images modelled on public bug reports, through the one way in, as a user has them."""

from pathlib import Path

import numpy as np
import pytest
from made_files import load, noise_images
from PIL import Image, ImageOps


def picture(path: Path, size: tuple[int, int] = (16, 16), **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = sum(map(ord, str(path)))
    Image.fromarray(noise_images(1, *size, seed=seed)[0]).save(path, **options)


def test_a_third_folder_beside_the_splits(tmp_path: Path) -> None:
    """huggingface/datasets#7880 and #8188, fastai/fastai#1552."""
    for split in ("train", "test", "unlabeled"):
        for kind in ("cat", "dog"):
            for i in range(6):
                picture(tmp_path / split / kind / f"{i}.png")
    data = load(tmp_path)
    assert data.class_names == ("cat", "dog")
    assert len(data.train) + len(data.validation) == len(data.test) == 12
    assert any("12 images in 'unlabeled'" in notice for notice in data.notices)


@pytest.mark.parametrize("hidden", [".ipynb_checkpoints", ".thumbnails", "__MACOSX"])
def test_a_hidden_folder_is_no_class(tmp_path: Path, hidden: str) -> None:
    """pytorch/vision#2831 and #109, tensorflow/tensorflow#46595."""
    for kind, n in (("cat", 6), ("dog", 6), (hidden, 4)):
        for i in range(n):
            picture(tmp_path / kind / f"{i}.png")
    data = load(tmp_path)
    assert data.class_names == ("cat", "dog")
    assert any(f"4 files that are hidden or belong to tools ({hidden!r})" in notice for notice in data.notices)


def test_endings_that_are_not_the_usual_ones(tmp_path: Path) -> None:
    """FlyMyAI/flymyai-lora-trainer#72, supervisely/supervisely#839."""
    formats = {"jpg": "JPEG", "jfif": "JPEG", "ppm": "PPM", "avif": "AVIF"}
    for kind, ending in (
        ("cat", "png"),
        ("dog", "jpg"),
        ("cow", "ppm"),
        ("pig", "jfif"),
        ("hen", "heic"),
        ("ox", "avif"),
    ):
        for i in range(6):
            picture(tmp_path / kind / f"{i}.{ending}", format=formats.get(ending, "PNG"))
    data = load(tmp_path)
    assert data.class_names == ("cat", "cow", "dog", "hen", "ox", "pig")
    assert any("6 .heic" in notice for notice in data.notices)


@pytest.mark.parametrize(("ending", "kind"), [("png", np.uint16), ("tif", np.uint16), ("tiff", np.int32)])
def test_a_ramp_of_16_bits(tmp_path: Path, ending: str, kind: type) -> None:
    """python-pillow/Pillow#3011, #2574, #1108, #5991; unslothai/unsloth#10094."""
    ramp = np.linspace(0, 65535, 256).reshape(16, 16).astype(kind)
    for name in ("a", "b"):
        for i in range(4):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.fromarray(ramp).save(tmp_path / name / f"{i}.{ending}")
    image = load(tmp_path).train.inputs[0]
    np.testing.assert_array_equal(image, np.broadcast_to(np.arange(256).reshape(16, 16), (3, 16, 16)))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_black_glyphs_on_a_transparent_background(tmp_path: Path, mode: str) -> None:
    """rom1504/img2dataset#67, kohya-ss/sd-scripts#1269, pytorch/vision#5510."""
    boxes = {"high": (slice(2, 14), slice(6, 10)), "wide": (slice(6, 10), slice(2, 14))}
    for shape, box in boxes.items():
        pixels = np.zeros((16, 16, 4), dtype=np.uint8)
        pixels[box][..., 3] = 255
        image = Image.fromarray(pixels)
        (tmp_path / shape).mkdir()
        for i in range(4):
            (image.quantize(4) if mode == "P" else image.convert(mode)).save(tmp_path / shape / f"{i}.png")
    data = load(tmp_path)
    for inputs, label in zip(data.train.inputs, data.train.labels, strict=True):
        wanted = np.full((16, 16), 255)
        wanted[boxes[data.class_names[label]]] = 0
        np.testing.assert_array_equal(inputs, np.broadcast_to(wanted, (3, 16, 16)))


def test_photographs_of_a_telephone(tmp_path: Path) -> None:
    """huggingface/datasets#6252 and #6739, kohya-ss/sd-scripts#1316, huggingface/diffusers#3465."""
    pixels = np.zeros((24, 32, 3), dtype=np.uint8)
    pixels[:, :10] = (250, 0, 0)
    exif = Image.Exif()
    exif[0x0112] = 6
    for kind in ("a", "b"):
        for i in range(4):
            (tmp_path / kind).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / kind / f"{i}.jpg", exif=exif, quality=95)
    data = load(tmp_path)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "a" / "0.jpg"))).transpose(2, 0, 1)
    np.testing.assert_array_equal(data.train.inputs[0], upright)
    assert any("8 images were turned upright" in notice for notice in data.notices)


def test_a_list_of_classes_with_spaces(tmp_path: Path) -> None:
    """NVIDIA/DIGITS#420."""
    for kind in ("golden retriever", "tabby cat", "cow"):
        for i in range(6):
            picture(tmp_path / "photos" / kind / f"{i}.png")
    (tmp_path / "list.txt").write_text("golden retriever\ntabby cat\n")
    data = load(tmp_path / "photos", classes=tmp_path / "list.txt")
    assert data.class_names == ("golden retriever", "tabby cat")
