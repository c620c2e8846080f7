"""Model files: safetensors weights with a JSON note of what they are. Nothing in them is ever executed."""

import json
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from monosemy.errors import InputError, reason
from monosemy.files import atomic_path

_KEY = "monosemy"


def write_model_file(path: Path, file_format: str, about: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Write tensors with ``about`` and the name of the format as metadata, whole or not at all."""
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        save_file(whole, temporary, metadata={_KEY: json.dumps({"format": file_format} | about)})


def read_about(path: Path, file_format: str) -> dict[str, Any]:
    """What a file that :func:`write_model_file` wrote says of itself; the tensors stay on the disk.

    Raises:
        InputError: the file is missing, damaged, or of another format.
    """
    return _read(path, file_format, tensors=False)[0]


def read_model_file(path: Path, file_format: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What :func:`write_model_file` wrote: (about, tensors).

    Raises:
        InputError: the file is missing, damaged, or of another format.
    """
    return _read(path, file_format, tensors=True)


def _read(path: Path, file_format: str, tensors: bool) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {}).get(_KEY, "{}"))
            read = {name: file.get_tensor(name) for name in file.keys()} if tensors else {}  # noqa: SIM118
    except Exception as error:  # damaged files raise nearly every type; each means just that
        raise InputError(f"{path} is no readable safetensors file ({reason(error)}); give a saved model.") from error
    if not isinstance(about, dict) or about.get("format") != file_format:
        raise InputError(f"{path} is no {file_format} file; give one that monosemy wrote.")
    return about, read
