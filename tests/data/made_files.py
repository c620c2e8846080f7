"""Small data files that the tests of this room write and read."""

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from monosemy.data.config import DataConfig
from monosemy.data.dataset import LabelledData
from monosemy.data.load import load_data

N = 40
LABELS = [f"class {i % 4}" for i in range(N)]
TEXTS = [f"text {i} of class {i % 4}" for i in range(N)]
SPLITS = ["train"] * 24 + ["validation"] * 4 + ["test"] * 12
EMBEDDINGS = np.random.default_rng(0).standard_normal((N, 3)).astype(np.float32)


def load(source: Path | str, seed: int = 0, **options) -> LabelledData:
    return load_data(DataConfig(source=str(source), **options), seed)


def write(frame: pd.DataFrame, path: Path) -> Path:
    """A table in the format of the path's ending."""
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    elif ".jsonl" in path.name:
        frame.to_json(path, orient="records", lines=True, force_ascii=False)
    else:
        frame.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    return path


def texts(**columns) -> pd.DataFrame:
    return pd.DataFrame({"text": TEXTS, "label": LABELS, "split": SPLITS} | columns)


def encoded(pixels, kind: str = "PNG") -> bytes:
    """An image file of pixels (H, W, 3) or of one colour."""
    array = np.asarray(pixels, dtype=np.uint8)
    if array.ndim == 1:
        array = np.full((8, 8, 3), array, dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(array).save(file, kind)
    return file.getvalue()


def noise_images(n: int, height: int = 8, width: int = 8, seed: int = 0) -> np.ndarray:
    """Pixels (n, height, width, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (n, height, width, 3)).astype(np.uint8)


def image_parquet(
    path: Path, images, labels=None, names: list[str] | None = None, group: int | None = None, **columns
) -> Path:
    """Hugging Face's layout, with the names of the classes beside it; images are pixels, bytes or None."""
    raw = [x if isinstance(x, bytes | None) else encoded(x) for x in images]
    table = {"image": [{"bytes": b, "path": None} for b in raw], **columns}
    features: dict = {"image": {"_type": "Image"}}
    if labels is not None:
        table["label"] = labels
        features["label"] = {"dtype": "int64", "_type": "Value"}
    if names is not None:
        features["label"] = {"names": names, "_type": "ClassLabel"}
    arrow = pa.Table.from_pydict(table, metadata={"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(arrow, path, row_group_size=group)
    return path


def class_folders(root: Path, counts: dict[str, int], size: tuple[int, int] = (8, 8), seed: int = 0) -> Path:
    """`class/number.png`, of noise."""
    images = iter(noise_images(sum(counts.values()), *size, seed=seed))
    for name, count in counts.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            (root / name / f"{i:03d}.png").write_bytes(encoded(next(images)))
    return root


def pixels_of(path: Path) -> np.ndarray:
    """(3, H, W) of an image file."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).transpose(2, 0, 1)
