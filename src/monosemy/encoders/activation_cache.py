"""Cache of the activations of a layer of any torch module, on disk, as a stream of rows."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, Self, get_args

import torch
from safetensors import safe_open

from monosemy.core import console, environment, files
from monosemy.data.streams import INDEX_FILE
from monosemy.errors import InputError, reason, shown

FORMAT = "monosemy.activations.v1"
TENSOR = "activations"
Tokens = Literal["all", "last", "mean"]
Precision = Literal["float32", "float16", "bfloat16"]


class _Reached(Exception):
    """The layer has its output: the rest of the forward pass is not needed."""


def cache_activations(
    model: torch.nn.Module,
    layer: str,
    batches: Iterable[Any],
    folder: str | Path,
    *,
    tokens: Tokens = "all",
    precision: Precision = "float32",
    shard_rows: int = 2**16,
    device: str = "cpu",
    on_rows: console.OnCount | None = None,
) -> int:
    """Write the output of a layer as rows into safetensors shards that ``open_stream`` reads; return their number.

    The model runs in evaluation mode, and only up to the layer. A call that was killed resumes after the last complete
    shard: earlier batches are read from ``batches`` again and compared with the first time, but not computed.

    Args:
        layer: its name as in ``model.named_modules()``. If it is called several times, the first output counts.
        batches: inputs of the model: a tensor, a tuple of arguments, or a mapping of keyword arguments (with
            ``attention_mask``, padding is left out).
        tokens: of outputs (B, T, D) the rows of all tokens, of each sample's last one, or their mean. Outputs
            (B, C, H, W) count as H W tokens of width C. Outputs (B, D) are rows as they are.
        precision: the numbers on disk.
        shard_rows: a shard ends with the batch that reaches so many rows.
        on_rows: called with (batches done, rows).

    Raises:
        InputError: the layer does not exist, its output is not a tensor of such a shape, an activation is NaN or
            infinite, or the folder contains something else. Complete shards stay.
    """
    _check(model, layer, tokens, precision, shard_rows)
    settings = {
        "format": FORMAT,
        "layer": layer,
        "tokens": tokens,
        "precision": precision,
        "shard_rows": shard_rows,
        "model": _fingerprint(model),
    }
    with _Shards(Path(folder), settings, getattr(torch, precision)) as shards:
        if shards.finished:
            return shards.rows
        digest, number = hashlib.sha256(), 0
        with _prepared(model, device), torch.inference_mode():
            for number, batch in enumerate(batches, start=1):
                _add(digest, batch)
                if number > shards.batches:
                    shards.add(_rows(model, layer, batch, tokens, device, number), number, digest)
                elif number == shards.batches:
                    shards.check(digest)
                if on_rows is not None:
                    on_rows(number, shards.rows)
        if number < shards.batches:
            raise InputError(
                f"batches ended after {number}, but {folder} was made from more; give the same ones again."
            )
        shards.finish(number, digest)
        return shards.rows


def _check(model: torch.nn.Module, layer: str, tokens: str, precision: str, shard_rows: int) -> None:
    names = [name for name, _ in model.named_modules() if name]
    if layer not in names:
        near = get_close_matches(layer, names, n=1, cutoff=0.0)
        raise InputError(f"layer={layer!r} does not exist; the closest match is {near[0] if near else 'none'!r}.")
    for name, value, words in (("tokens", tokens, get_args(Tokens)), ("precision", precision, get_args(Precision))):
        if value not in words:
            raise InputError(f"{name}={value!r} is unknown; choose {', '.join(map(repr, words))}.")
    if shard_rows < 1:
        raise InputError(f"shard_rows={shard_rows!r} is not positive; choose a value above 0.")


def _fingerprint(model: torch.nn.Module) -> str:
    """Return a digest of names, shapes and the first numbers of all weights, which identifies a model quickly."""
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(f"{name} {tuple(value.shape)} {value.dtype};".encode())
        digest.update(value.detach().reshape(-1)[:64].to("cpu", torch.float64).numpy().tobytes())
    return digest.hexdigest()[:32]


@contextmanager
def _prepared(model: torch.nn.Module, device: str) -> Iterator[None]:
    """Move the model to the device and into evaluation mode; restore each module's mode afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.to(device).eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _rows(model: torch.nn.Module, layer: str, batch: Any, tokens: str, device: str, number: int) -> torch.Tensor:
    """Return (n, D) rows of one batch."""
    outputs: list[Any] = []

    def take(module: torch.nn.Module, inputs: Any, output: Any) -> None:
        outputs.append(output)
        raise _Reached

    hook = model.get_submodule(layer).register_forward_hook(take)
    try:
        _call(model, batch, device)
    except _Reached:
        pass
    finally:
        hook.remove()
    if not outputs:
        raise InputError(f"layer={layer!r} is not reached by the model's forward pass; choose another.")
    output = outputs[0]
    output = next(iter(output.values())) if isinstance(output, Mapping) else output
    output = output[0] if isinstance(output, tuple | list) and output else output
    if not isinstance(output, torch.Tensor) or output.ndim not in (2, 3, 4) or not output.is_floating_point():
        kind = f"shape {tuple(output.shape)}" if isinstance(output, torch.Tensor) else f"type {type(output).__name__}"
        raise InputError(f"layer={layer!r} has output of {kind}; choose one with (B, D), (B, T, D) or (B, C, H, W).")
    mask = batch.get("attention_mask") if isinstance(batch, Mapping) else None
    rows = tokens_of(output.float(), None if mask is None else mask.to(output.device), tokens)
    if not torch.isfinite(rows).all():
        raise InputError(f"layer={layer!r} has NaN or infinity in its output of batch {number}; check its inputs.")
    return rows.cpu()


def _call(model: torch.nn.Module, batch: Any, device: str) -> None:
    if isinstance(batch, Mapping):
        model(**{name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in batch.items()})
    elif isinstance(batch, tuple | list):
        model(*(value.to(device) if isinstance(value, torch.Tensor) else value for value in batch))
    else:
        model(batch.to(device))


def tokens_of(output: torch.Tensor, mask: torch.Tensor | None, tokens: str) -> torch.Tensor:
    """Return the rows of an output (B, T, D), (B, C, H, W) or (B, D).

    Args:
        mask: (B, T), 0 at padding, on either side; None without padding.
        tokens: "all", "last" or "mean".
    """
    if output.ndim == 2:
        return output
    if output.ndim == 4:
        output, mask = output.flatten(2).transpose(1, 2), None
    if mask is None or mask.shape != output.shape[:2]:
        mask = output.new_ones(output.shape[:2])
    known = mask.bool()
    if tokens == "all":
        return output[known]
    if not known.any(dim=1).all():
        raise InputError("A sample has only padding; remove empty texts.")
    if tokens == "last":
        places = torch.arange(known.shape[1], device=known.device)
        last = torch.where(known, places, -1).argmax(dim=1)
        return output[torch.arange(len(output), device=output.device), last]
    weight = known.to(output.dtype)[..., None]
    return (output * weight).sum(dim=1) / weight.sum(dim=1)


def _add(digest: "hashlib._Hash", batch: Any) -> None:
    """Update the digest with the inputs of the model."""
    if isinstance(batch, torch.Tensor):
        digest.update(f"{tuple(batch.shape)} {batch.dtype};".encode())
        digest.update(batch.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    elif isinstance(batch, Mapping):
        for name, value in batch.items():
            digest.update(f"{name}:".encode())
            _add(digest, value)
    elif isinstance(batch, tuple | list):
        for value in batch:
            _add(digest, value)
    else:
        digest.update(f"{batch!r};".encode())


class _Shards:
    """A folder of shards, and an index that describes them."""

    def __init__(self, folder: Path, settings: dict[str, Any], dtype: torch.dtype) -> None:
        self._folder, self._settings, self._dtype = folder, settings, dtype
        self._pending: list[torch.Tensor] = []
        self.rows, self.batches, self._count, self._digest = 0, 0, 0, ""
        known = self._read_index()
        self.finished = known is not None and bool(known.get("finished"))
        self._lock = files.FolderLock(folder)
        if known is None:
            environment.write_environment(folder, {})  # nothing here is drawn
            self._write_index(False)
            return
        while self._path(self._count).exists():
            metadata = _metadata(self._path(self._count))
            self.rows, self.batches, self._digest = metadata["rows"], metadata["batches"], metadata["digest"]
            self._count += 1

    def _path(self, number: int) -> Path:
        return self._folder / f"activations-{number:05d}.safetensors"

    def _read_index(self) -> dict[str, Any] | None:
        """Read the folder's index; None for a new folder."""
        folder, path = self._folder, self._folder / INDEX_FILE
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder} is a file; choose a folder.")
        if not path.exists():
            if folder.exists() and any(not file.name.startswith(".") for file in folder.iterdir()):
                raise InputError(f"{folder} is not empty and does not contain activations; choose another folder.")
            return None
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"{path} cannot be read, so nothing tells what made it; choose another folder.") from error
        for name, value in self._settings.items():
            if not isinstance(known, dict) or known.get(name) != value:
                old = known.get(name) if isinstance(known, dict) else None
                difference = "another model" if name == "model" else f"{name} = {shown(old)}, not {value}"
                raise InputError(f"{folder} contains activations with {difference}; choose another folder.")
        return dict(known)

    def _write_index(self, finished: bool) -> None:
        index = self._settings | {"finished": finished, "rows": self.rows, "batches": self.batches}
        files.write_text(self._folder / INDEX_FILE, json.dumps(index, indent=1) + "\n")

    def check(self, digest: "hashlib._Hash") -> None:
        """Raise where the batches of the shards were others."""
        if digest.hexdigest() != self._digest:
            raise InputError(
                f"{self._folder} was made from other batches; give the same ones, or choose another folder."
            )

    def add(self, rows: torch.Tensor, batch: int, digest: "hashlib._Hash") -> None:
        """Add the rows of a batch; write a shard when there are enough."""
        stored = rows.to(self._dtype)
        if not torch.isfinite(stored).all():
            raise InputError(
                f"An activation of batch {batch} is too large for {self._settings['precision']}; choose bfloat16 or "
                f"float32 as precision."
            )
        self._pending.append(stored)
        self.rows += len(rows)
        if sum(map(len, self._pending)) >= self._settings["shard_rows"]:
            self._write(batch, digest)

    def _write(self, batch: int, digest: "hashlib._Hash") -> None:
        metadata = {"rows": self.rows, "batches": batch, "digest": digest.hexdigest()}
        files.write_model_file(self._path(self._count), FORMAT, metadata, {TENSOR: torch.cat(self._pending)})
        self._pending, self.batches, self._count = [], batch, self._count + 1

    def finish(self, batch: int, digest: "hashlib._Hash") -> None:
        """Write the remaining rows, and mark the folder as complete."""
        if self._pending:
            self._write(batch, digest)
        if self.rows == 0:
            raise InputError("batches has no rows; give at least one batch.")
        self._write_index(True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def _metadata(path: Path) -> dict[str, Any]:
    try:
        with safe_open(path, framework="np") as file:
            metadata = json.loads((file.metadata() or {})["monosemy"])
            kinds = {"rows": int, "batches": int, "digest": str}
            return {name: kind(metadata[name]) for name, kind in kinds.items()}
    except Exception as error:  # damaged files raise nearly every type; each means just that
        raise InputError(f"{path} is not a complete shard ({reason(error)}); remove it and all after it.") from error
