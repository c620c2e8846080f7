"""Small files that would grow beyond any memory, in formats that compress."""

import gzip
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fuzz_texts import ALIASES

GB = 2**30
SCRIPT = """
import resource, sys
from pathlib import Path
from monosemy.errors import InputError
from monosemy.data.codes import load_codes
from monosemy.data.dataset import DataConfig
from monosemy.data.load import read_rows
from monosemy.data.streams import open_stream

def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024

path, before = sys.argv[1], peak()
for read in (lambda: read_rows(path, DataConfig(source=path)), lambda: open_stream(path).open().read(10)):
    try:
        read()
    except InputError as error:
        print(str(error).replace(path, "FILE"))
    else:
        print("read")
print(peak() - before)
"""


def npz(path: Path) -> Path:
    """3 GB of zeros in 3 MB."""
    path = path.with_suffix(".npz")
    zeros = bytes(2**24)
    header = {"descr": "<f4", "fortran_order": False, "shape": (3 * GB // 4096, 1024)}
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("embeddings.npy", "w", force_zip64=True) as file,
    ):
        np.lib.format.write_array_header_2_0(file, header)
        for _ in range(3 * GB // len(zeros)):
            file.write(zeros)
    return path


def csv(path: Path) -> Path:
    """One cell of 1.5 GB."""
    path = path.with_suffix(".csv.gz")
    with gzip.open(path, "wb", 1) as file:
        file.write(b"text,label\n")
        for _ in range(96):
            file.write(bytes([120]) * 2**24)
    return path


def parquet(path: Path) -> Path:
    """A million rows of one list of 1,024 numbers, stored once: as a dictionary, in runs."""
    path = path.with_suffix(".parquet")
    flat = pa.array(np.zeros(2**25, np.float32))
    starts = pa.array(np.arange(0, 2**25 + 1, 1024, dtype=np.int32))
    rows = pa.table({"embedding": pa.ListArray.from_arrays(starts, flat), "label": pa.array(["a"] * 2**15)})
    with pq.ParquetWriter(path, rows.schema, compression="zstd") as writer:
        for _ in range(12):
            writer.write_table(rows, row_group_size=2**15)
    return path


def parquet_texts(path: Path) -> Path:
    """65,536 times the same text of 64 kB."""
    path = path.with_suffix(".parquet")
    text = pa.DictionaryArray.from_arrays(pa.array(np.zeros(2**16, np.int32)), pa.array(["x" * 2**16]))
    table = pa.table({"text": text, "label": pa.array(["a", "b"] * 2**15)}).replace_schema_metadata(None)
    pq.write_table(table, path, compression="zstd", store_schema=False)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("make", [npz, csv, parquet, parquet_texts])
def test_a_file_that_would_fill_the_memory_is_refused(make: Callable[[Path], Path], tmp_path: Path) -> None:
    path = make(tmp_path / "bomb")
    assert path.stat().st_size < 20e6
    finished = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(path)], capture_output=True, text=True, timeout=300, check=False
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    first, *_, grown = finished.stdout.splitlines()
    assert "FILE has" in first
    assert "grows to more than" in first
    assert float(grown) < 2.2 * 1024, f"grown by {grown} MB"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("aliases", ALIASES + "data: *k\n"),
        ("nested", "features: " + "[" * 5000 + "]" * 5000 + "\n"),
        ("digits", "seeds: " + "9" * 5000 + "\n"),
        ("octal", "seeds: 0o" + "7" * 9000 + "\n"),
        ("hexadecimal", "seeds: 0x" + "f" * 9000 + "\n"),
        ("recursive", "data: &x [*x]\n"),
        ("boolean", "seeds: !!bool maybe\n"),
        ("day", "seeds: 2024-99-99\n"),
        ("code", "seeds: !!python/object/apply:os.system ['touch pwned']\n"),
    ],
)  # fmt: skip
def test_a_plan_that_would_is_refused_in_a_sentence(name: str, text: str, tmp_path: Path, refuses) -> None:
    from monosemy.study.registry import read_plan

    path = tmp_path / "plan.yaml"
    path.write_text(text)
    with refuses("plan.yaml"):
        read_plan(path)
    assert [file.name for file in tmp_path.iterdir()] == ["plan.yaml"]


def test_an_autoencoder_of_a_length_without_numbers_is_refused(tmp_path: Path, refuses) -> None:
    """A tensor of 2^40 x 0 takes no byte, but each bias would take terabytes."""
    from monosemy.sae.hub import load_autoencoder

    about = {"format": "monosemy.sparse-autoencoder.v1", "activation": "jumprelu", "settings": {}, "widths": [2**40]}
    header = {
        "__metadata__": {"monosemy": json.dumps(about)},
        "encoder": {"dtype": "F32", "shape": [2**40, 0], "data_offsets": [0, 0]},
    }
    raw = json.dumps(header).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(raw).to_bytes(8, "little") + raw)
    with refuses(path, "0"):
        load_autoencoder(path)


def test_an_encoder_that_describes_more_than_it_has_is_refused(tmp_path: Path, refuses) -> None:
    from monosemy.core.files import write_model_file
    from monosemy.encoders.image import load_encoder

    spec = {"image_shape": [3, 32, 32], "backbone": {"name": "conv", "width": 10**7}}
    path = tmp_path / "encoder.safetensors"
    write_model_file(path, "monosemy.image-encoder.v1", {"spec": spec, "about": {}}, {})
    with refuses(path, "not a complete encoder"):
        load_encoder(path)


def test_codes_that_claim_to_be_too_wide_are_refused(tmp_path: Path, refuses) -> None:
    import scipy.sparse as sp

    from monosemy.data.codes import load_codes
    from monosemy.data.config import DataConfig

    path = tmp_path / "codes.npz"
    sp.save_npz(path, sp.csr_array((np.ones(1), ([0], [5])), shape=(2, 10**12)))
    with refuses(path, "1,000,000,000,000 latents"):
        load_codes(DataConfig(source=str(path)))


def test_a_head_of_a_length_without_numbers_is_refused(tmp_path: Path, refuses) -> None:
    from monosemy.encoders.contrastive_heads import ContrastiveHead

    about = {"format": "monosemy.contrastive-head.v1", "non_negative": True, "k": None}
    header = {
        "__metadata__": {"monosemy": json.dumps(about)},
        "weight": {"dtype": "F32", "shape": [2**40, 0], "data_offsets": [0, 0]},
    }
    raw = json.dumps(header).encode()
    path = tmp_path / "head.safetensors"
    path.write_bytes(len(raw).to_bytes(8, "little") + raw)
    with refuses(path, "0"):
        ContrastiveHead.load(path)
