"""Hostile variants of a sound file, by what its name says that it is."""

from collections.abc import Callable

from fuzz_arrays import npy_files, npz_files, parquet_files, safetensors_files, torch_files
from fuzz_texts import Bytes, damaged, gz_files, json_files, json_lines, text_files, yaml_files

MUTATIONS: dict[str, Callable[[bytes], Bytes]] = {
    ".npy": npy_files,
    ".npz": npz_files,
    ".safetensors": safetensors_files,
    ".pt": torch_files,
    ".parquet": parquet_files,
    ".json": json_files,
    ".jsonl": json_lines,
    ".jsonl.gz": gz_files(json_lines),
    ".csv": text_files,
    ".csv.gz": gz_files(text_files),
    ".tsv": text_files,
    ".txt": text_files,
    ".yaml": yaml_files,
}
"""By the ending of a file; bytes are damaged in every other."""


def mutations(name: str, original: bytes) -> Bytes:
    """Hostile variants of a file."""
    ending = next((ending for ending in sorted(MUTATIONS, key=len, reverse=True) if name.endswith(ending)), None)
    return damaged(original) if ending is None else MUTATIONS[ending](original)
