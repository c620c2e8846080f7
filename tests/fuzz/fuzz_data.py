"""Readers of data, with the sound files that hostile variants are made from."""

import gzip
import io
import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from PIL import Image
from safetensors.numpy import save_file

N = 40
RNG = np.random.default_rng(0)
EMBEDDINGS = RNG.normal(size=(N, 3)).astype(np.float32)
LABELS = [f"class {i % 4}" for i in range(N)]
NUMBERS = np.arange(N) % 4
SPLITS = ["train"] * 24 + ["validation"] * 4 + ["test"] * 12


@dataclass(frozen=True)
class Target:
    """A reader."""

    make: Callable[[Path], Any]
    """Writes sound files into a folder."""
    read: Callable[[Path], Any]
    """Reads the folder."""
    only: tuple[str, ...] = ()
    """Endings of the files that are changed; all where none is named."""


def load(name: str, **options: Any) -> Callable[[Path], Any]:
    def read(folder: Path) -> Any:
        from monosemy.data.config import DataConfig
        from monosemy.data.load import load_data

        beside = {key: folder / value for key, value in options.items()}
        return load_data(DataConfig(source=str(folder / name), **beside))

    return read


def codes(name: str, **options: str) -> Callable[[Path], Any]:
    def read(folder: Path) -> Any:
        from monosemy.data.codes import load_codes
        from monosemy.data.config import DataConfig

        return load_codes(DataConfig(source=str(folder / name), **{k: folder / v for k, v in options.items()}))

    return read


def stream(name: str, *, labels: bool = False) -> Callable[[Path], Any]:
    """All rows of a stream, at most so many that no test takes long."""

    def read(folder: Path) -> Any:
        from monosemy.data.labels import stored_labels
        from monosemy.data.streams import open_stream, shuffled

        path = folder / name if name else folder
        rows = shuffled(open_stream(path)).open()
        while len(rows.read(1000)):
            pass
        return stored_labels(str(path), None, None, None) if labels else None

    return read


def _npy(folder: Path) -> None:
    np.save(folder / "e.npy", EMBEDDINGS)


def _npy_labels(folder: Path) -> None:
    _npy(folder)
    np.save(folder / "labels.npy", NUMBERS)


def _npz(folder: Path) -> None:
    np.savez_compressed(folder / "e.npz", embeddings=EMBEDDINGS, labels=np.array(LABELS), split=np.array(SPLITS))


def _npz_parts(folder: Path) -> None:
    parts = {f"X_{name}": EMBEDDINGS for name in ("train", "test")} | {f"y_{n}": NUMBERS for n in ("train", "test")}
    np.savez_compressed(folder / "e.npz", **parts)


def _safetensors(folder: Path) -> None:
    save_file({"embeddings": EMBEDDINGS, "labels": NUMBERS}, folder / "e.safetensors")


def _csr(folder: Path) -> None:
    sp.save_npz(folder / "e.npz", sp.csr_array(EMBEDDINGS.clip(0)))


def _csr_safetensors(folder: Path) -> None:
    matrix = sp.csr_array(EMBEDDINGS.clip(0))
    parts = {name: getattr(matrix, name) for name in ("data", "indices", "indptr")}
    save_file(parts | {"shape": np.array(matrix.shape)}, folder / "e.safetensors")


def _frame() -> pd.DataFrame:
    return pd.DataFrame({"text": [f"text {i}" for i in range(N)], "label": LABELS, "split": SPLITS, "index": range(N)})


def write_csv(folder: Path) -> None:
    _frame().to_csv(folder / "t.csv", index=False)


def _tsv(folder: Path) -> None:
    frame = _frame().assign(text=[f'"text" {i}\tof two\nlines' if i % 3 else f"text {i}" for i in range(N)])
    frame.to_csv(folder / "t.tsv", index=False, sep="\t")


def _wide_csv(folder: Path) -> None:
    frame = pd.DataFrame(EMBEDDINGS, columns=["dim_0", "dim_1", "dim_2"]).assign(label=LABELS)
    frame.to_csv(folder / "t.csv", sep=";", decimal=",")


def _excel(folder: Path) -> None:
    _frame().head(16).drop(columns="split").to_excel(folder / "t.xlsx", index=False)


def _tensors(folder: Path) -> None:
    import torch

    torch.save(
        {"embeddings": torch.from_numpy(EMBEDDINGS).bfloat16(), "labels": torch.from_numpy(NUMBERS)}, folder / "e.pt"
    )


def _folder_of_tables(folder: Path) -> None:
    for split in ("train", "test"):
        _frame().drop(columns=["split", "index"]).to_csv(folder / f"{split}.csv", index=False)


def _label_lines(folder: Path) -> None:
    _npy(folder)
    (folder / "labels.txt").write_text("\n".join(LABELS))


def _csv_gz(folder: Path) -> None:
    (folder / "t.csv.gz").write_bytes(gzip.compress(_frame().to_csv(index=False).encode(), mtime=0))


def _jsonl(folder: Path) -> None:
    _frame().to_json(folder / "t.jsonl", orient="records", lines=True)


def _jsonl_gz(folder: Path) -> None:
    text = _frame().to_json(orient="records", lines=True)
    (folder / "t.jsonl.gz").write_bytes(gzip.compress(text.encode(), mtime=0))


def _json(folder: Path) -> None:
    _frame().head(16).assign(split=None).drop(columns="split").to_json(folder / "t.json", orient="records")


def _parquet(folder: Path) -> None:
    _frame().to_parquet(folder / "t.parquet", index=False)


def _parquet_embeddings(folder: Path) -> None:
    frame = _frame().drop(columns="text").assign(embedding=[row.tolist() for row in EMBEDDINGS])
    frame.to_parquet(folder / "t.parquet", index=False, row_group_size=16)


def picture(kind: str = "PNG", seed: int = 0) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3)).astype(np.uint8)).save(file, kind)
    return file.getvalue()


def _parquet_images(folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"bytes": picture(seed=i), "path": None} for i in range(12)]
    features = {"image": {"_type": "Image"}, "label": {"names": ["a", "b"], "_type": "ClassLabel"}}
    note = {"huggingface": json.dumps({"info": {"features": features}})}
    table = pa.Table.from_pydict({"image": rows, "label": [i % 2 for i in range(12)]}, metadata=note)
    pq.write_table(table, folder / "t.parquet", row_group_size=6)


def _class_folders(folder: Path) -> None:
    kinds = {"png": "PNG", "jpg": "JPEG", "gif": "GIF", "bmp": "BMP", "tif": "TIFF", "webp": "WEBP"}
    for name in ("a", "b"):
        (folder / name).mkdir()
        for number, (ending, kind) in enumerate(kinds.items()):
            (folder / name / f"{number}.{ending}").write_bytes(picture(kind, number))


def _odd_pictures(folder: Path) -> None:
    """Every depth, colour model and kind of metadata that is converted."""
    noise = Image.open(io.BytesIO(picture()))
    exif = Image.Exif()
    exif[0x0112] = 6
    deep = Image.fromarray(RNG.integers(0, 4096, (8, 8)).astype(np.uint16))
    images: list[tuple[Image.Image, str, dict[str, Any]]] = [
        (deep, "png", {}), (deep, "tif", {"compression": "tiff_lzw"}), (deep, "png", {"transparency": 7}),
        (Image.fromarray(RNG.random((8, 8)).astype(np.float32)), "tif", {}), (noise.convert("RGBA"), "png", {}),
        (noise.convert("P"), "gif", {"save_all": True, "append_images": [noise.convert("L")]}),
        (noise.convert("CMYK"), "jpg", {"exif": exif}), (noise, "tif", {"exif": exif}), (noise, "webp", {"exif": exif}),
        (noise.convert("1"), "png", {}), (noise.quantize(4), "png", {"transparency": 0}), (noise, "jp2", {}),
    ]  # fmt: skip
    for name in ("a", "b"):
        (folder / name).mkdir()
        for number, (image, ending, options) in enumerate(images):
            image.save(folder / name / f"{number}.{ending}", **options)


def _cifar(folder: Path, protocol: int) -> None:
    pixels = RNG.integers(0, 256, (4, 3072)).astype(np.uint8)
    for part in ("train", "test"):
        content = {"data": pixels, "fine_labels": [0, 1, 0, 1], "coarse_labels": [0, 0, 1, 1]}
        (folder / part).write_bytes(pickle.dumps(content, protocol))
    (folder / "meta").write_bytes(
        pickle.dumps({"fine_label_names": ["x", "y"], "coarse_label_names": ["p", "q"]}, protocol)
    )


def _cifar_binary(folder: Path) -> None:
    for part in ("train", "test"):
        raw = np.concatenate([np.arange(4)[:, None] % 2, np.arange(4)[:, None] % 2, RNG.integers(0, 256, (4, 3072))], 1)
        (folder / f"{part}.bin").write_bytes(raw.astype(np.uint8).tobytes())
    for name in ("fine", "coarse"):
        (folder / f"{name}_label_names.txt").write_text("x\ny\n")


def _label_file(suffix: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        _npy(folder)
        frame = pd.DataFrame({"label": LABELS})
        frame.to_csv(folder / "labels.csv", index=False) if suffix == ".csv" else frame.to_parquet(
            folder / "labels.parquet"
        )

    return make


def _given(folder: Path) -> None:
    write_csv(folder)
    pd.DataFrame({"index": range(N), "noisy_label": LABELS}).to_parquet(folder / "given.parquet", index=False)


def _given_csv(folder: Path) -> None:
    write_csv(folder)
    pd.DataFrame({"index": range(N), "noisy_label": LABELS}).to_csv(folder / "given.csv", index=False)


def _parquet_types(folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = [f"text {i}".encode() for i in range(N)]
    table = pa.table({"text": pa.array(texts).dictionary_encode(), "label": [label.encode() for label in LABELS]})
    pq.write_table(table, folder / "t.parquet")


def _classes(folder: Path) -> None:
    _class_folders(folder)
    (folder / "classes.txt").write_text("a first\nb second\n")


def _corruption_folder(folder: Path) -> None:
    (folder / "c").mkdir()
    np.save(folder / "c" / "labels.npy", np.arange(10) % 2)
    np.save(folder / "c" / "fog.npy", RNG.integers(0, 256, (10, 8, 8, 3)).astype(np.uint8))


def _read_corruptions(folder: Path) -> Any:
    from monosemy.data.dataset import LabelledData, Split
    from monosemy.data.load import _corruptions

    images = np.zeros((4, 3, 8, 8), np.uint8)
    split = Split(images, np.array([0, 1, 0, 1]))
    data = LabelledData("d", "images", split, split, split, ("0", "1"))
    return _corruptions("c", folder / "c", data, None)


def _decisions(folder: Path) -> None:
    decided = [("keep", "class 0"), ("accept", "class 1"), ("relabel", "-2"), ("skip", "")]
    records = [
        {"row": f"row {i}", "given": "class 0", "suggested": "class 1", "decision": decision, "label": label}
        for i, (decision, label) in enumerate(decided * 5)
    ]
    pd.DataFrame(records).to_csv(folder / "d.csv", index=False)
    (folder / "d.json").write_text(json.dumps(records))


def _read_decisions(name: str) -> Callable[[Path], Any]:
    def read(folder: Path) -> Any:
        from monosemy.report.audit import read_decisions

        return read_decisions(folder / name)

    return read


EXCEL_TARGETS: dict[str, Target] = {"excel": Target(_excel, load("t.xlsx"))}
"""What needs the extra excel."""
DATA_TARGETS: dict[str, Target] = {
    "npy codes": Target(_npy_labels, codes("e.npy", labels="labels.npy")),
    "npy embeddings": Target(_npy_labels, load("e.npy", labels="labels.npy")),
    "npz embeddings": Target(_npz, load("e.npz")),
    "npz parts": Target(_npz_parts, load("e.npz")),
    "safetensors embeddings": Target(_safetensors, load("e.safetensors")),
    "csr npz": Target(_csr, codes("e.npz")),
    "csr safetensors": Target(_csr_safetensors, codes("e.safetensors")),
    "csv": Target(write_csv, load("t.csv")),
    "tsv": Target(_tsv, load("t.tsv")),
    "wide csv": Target(_wide_csv, load("t.csv")),
    "folder of tables": Target(_folder_of_tables, load("")),
    "csv.gz": Target(_csv_gz, load("t.csv.gz")),
    "jsonl": Target(_jsonl, load("t.jsonl")),
    "jsonl.gz": Target(_jsonl_gz, load("t.jsonl.gz")),
    "json": Target(_json, load("t.json")),
    "parquet texts": Target(_parquet, load("t.parquet")),
    "parquet of bytes": Target(_parquet_types, load("t.parquet")),
    "parquet embeddings": Target(_parquet_embeddings, load("t.parquet")),
    "parquet images": Target(_parquet_images, load("t.parquet")),
    "class folders": Target(_class_folders, load("")),
    "odd pictures": Target(_odd_pictures, load("")),
    "class list": Target(_classes, load("", classes="classes.txt"), (".txt",)),
    "cifar pickles, protocol 2": Target(lambda folder: _cifar(folder, 2), load("")),
    "cifar pickles, protocol 5": Target(lambda folder: _cifar(folder, 5), load("")),
    "cifar binary": Target(_cifar_binary, load("")),
    "corruption folder": Target(_corruption_folder, _read_corruptions),
    "tensors": Target(_tensors, load("e.pt")),
    "labels txt": Target(_label_lines, load("e.npy", labels="labels.txt"), (".txt",)),
    "given labels csv": Target(_given_csv, load("t.csv", noisy_labels="given.csv"), ("given.csv",)),
    "labels csv": Target(_label_file(".csv"), codes("e.npy", labels="labels.csv"), (".csv",)),
    "labels parquet": Target(_label_file(".parquet"), codes("e.npy", labels="labels.parquet"), (".parquet",)),
    "given labels": Target(_given, load("t.csv", noisy_labels="given.parquet"), ("given.parquet",)),
    "decisions csv": Target(_decisions, _read_decisions("d.csv"), ("d.csv",)),
    "decisions json": Target(_decisions, _read_decisions("d.json"), ("d.json",)),
    "stream wide csv": Target(_wide_csv, stream("t.csv")),
    "stream tensors": Target(_tensors, stream("e.pt", labels=True)),
    "stream npy": Target(_npy, stream("e.npy")),
    "stream npz": Target(_npz, stream("e.npz", labels=True)),
    "stream safetensors": Target(_safetensors, stream("e.safetensors", labels=True)),
    "stream parquet": Target(_parquet_embeddings, stream("t.parquet", labels=True)),
}
