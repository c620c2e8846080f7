"""A small judge of toxicity that needs no download: logistic regression on sentence embeddings.

Limitations: it is trained on ParaDetox, single English sentences of social media and their polite rewrites. It detects
rude words and insults, but not politely phrased harm, and ignores the prompt. Longer texts, stories and dialogues are
out of its distribution. It replaces a moderation model when models are compared with each other; its scores are not a
safety evaluation. For models that were trained on ParaDetox pairs, judge and training data are the same.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from monosemy.core import cache, console, files
from monosemy.encoders.text import MINILM, TextEncoder
from monosemy.errors import InputError, reason
from monosemy.lm.config import PreferenceConfig
from monosemy.lm.preferences import load_preferences
from monosemy.lm.texts import TextData

_FORMAT = "toxicity-judge"
_FILE = "judge.safetensors"
_JUDGES = cache.Stage("judges", 1, ("scikit-learn", "sentence-transformers"), __name__)
_COSTS = (0.1, 1.0, 10.0, 100.0)
"""Inverse strengths of the penalty; the best one on validation is chosen."""
_TEST_FRACTION = 0.1
"""Equal to the default of :class:`PreferenceConfig`: with the same seed, models and judge have the same splits."""


@dataclass(frozen=True)
class HeldOut:
    """Metrics of the judge on the sentences of held-out pairs."""

    accuracy: float
    balanced_accuracy: float
    """Mean of the recalls of toxic and neutral sentences."""
    auc: float
    pair_accuracy: float
    """Fraction of pairs whose toxic sentence has the higher score."""
    n_toxic: int
    n_neutral: int


@dataclass(frozen=True)
class ToxicityJudge:
    """P(toxic) = sigmoid(w . e(answer) + b), with e the sentence embedding. See the module for its limitations."""

    weight: np.typing.NDArray[np.float32]
    """(D,)."""
    bias: float
    encoder: str
    held_out: HeldOut

    @property
    def name(self) -> str:
        """Return the name of the judge in tables."""
        return f"toxicity ({self.encoder}, ParaDetox)"

    @cached_property
    def _encoder(self) -> TextEncoder:
        return TextEncoder(self.encoder)

    def score(
        self, prompts: Sequence[str], answers: Sequence[str], on_texts: console.OnCount | None = None
    ) -> np.typing.NDArray[np.float32]:
        """Return the probability (N,) that the answer is toxic; prompts are ignored, and embeddings are cached."""
        embeddings = self._encoder.encode(tuple(map(_plain, answers)), on_texts)
        if embeddings.shape[1] != len(self.weight):
            raise InputError(
                f"The encoder {self.encoder} has {embeddings.shape[1]} dimensions, the judge {len(self.weight)}; give "
                f"the encoder that the judge was fitted with."
            )
        return (1 / (1 + np.exp(-(embeddings @ self.weight + self.bias)))).astype(np.float32)

    def save(self, path: Path) -> None:
        """Write the judge as safetensors with JSON."""
        metadata = {"encoder": self.encoder, "held_out": asdict(self.held_out)}
        tensors = {"weight": torch.from_numpy(self.weight), "bias": torch.tensor([self.bias], dtype=torch.float64)}
        files.write_model_file(path, _FORMAT, metadata, tensors)

    @classmethod
    def load(cls, path: Path) -> "ToxicityJudge":
        """Read what :meth:`save` wrote.

        Raises:
            InputError: the file is missing, damaged, or of another format.
        """
        metadata, tensors = files.read_model_file(path, _FORMAT)
        try:
            weight, bias = tensors["weight"].numpy(), float(tensors["bias"])
            return cls(weight, bias, str(metadata["encoder"]), HeldOut(**metadata["held_out"]))
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise InputError(f"{path} does not hold a complete judge ({reason(error)}); fit it again.") from error


def toxicity_judge(source: str, *, encoder: str = MINILM, seed: int = 0) -> ToxicityJudge:
    """Fit a judge on ParaDetox, or on any preference data whose rejected answers are the toxic ones; cached.

    A file that :meth:`ToxicityJudge.save` wrote is loaded instead.

    Raises:
        InputError: the source cannot be read as preference data.
    """
    if source.endswith(".safetensors"):
        return ToxicityJudge.load(Path(source))
    config = PreferenceConfig(source=source, test_fraction=_TEST_FRACTION, validation_fraction=0.1)
    data = load_preferences(config, seed)
    texts = [tuple(row[name] for row in rows) for rows in data.splits().values() for name in ("chosen", "rejected")]
    name = _JUDGES.entry(encoder, *texts)
    cached = cache.cache().find(name)
    if cached is not None:
        return ToxicityJudge.load(cached / _FILE)
    judge = fit_toxicity_judge(data, encoder=encoder)
    with cache.cache().new(
        name, _JUDGES.metadata(encoder=encoder, pairs=sum(map(len, data.splits().values())))
    ) as folder:
        judge.save(folder / _FILE)
    return judge


def fit_toxicity_judge(data: TextData, *, encoder: str = MINILM) -> ToxicityJudge:
    """Fit on the train pairs, choose the penalty on validation, measure on test; classes are weighted equally.

    Args:
        data: preference data with the prompt template `plain`, and the three splits.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import balanced_accuracy_score, roc_auc_score

    if set(data.splits()) != {"train", "validation", "test"}:
        raise InputError(f"{data.name} has the splits {', '.join(data.splits())}; give train, validation and test.")
    embedder = TextEncoder(encoder)
    parts: dict[str, tuple[np.typing.NDArray[np.float32], np.typing.NDArray[np.int64]]] = {}
    for name, rows in data.splits().items():
        sentences, toxic = _sentences(rows)
        parts[name] = embedder.encode(sentences), toxic

    def fitted(cost: float) -> Any:
        return LogisticRegression(C=cost, class_weight="balanced", max_iter=2_000).fit(*parts["train"])

    x, y = parts["validation"]
    best = max(map(fitted, _COSTS), key=lambda model: balanced_accuracy_score(y, model.predict(x)))
    x, y = parts["test"]
    score = best.decision_function(x)
    chosen, rejected = (
        best.decision_function(embedder.encode(tuple(_plain(row[name]) for row in data.test)))
        for name in ("chosen", "rejected")
    )
    held_out = HeldOut(
        accuracy=float((best.predict(x) == y).mean()),
        balanced_accuracy=float(balanced_accuracy_score(y, best.predict(x))),
        auc=float(roc_auc_score(y, score)),
        pair_accuracy=float((rejected > chosen).mean()),
        n_toxic=int(y.sum()),
        n_neutral=int((1 - y).sum()),
    )
    return ToxicityJudge(best.coef_[0].astype(np.float32), float(best.intercept_[0]), encoder, held_out)


def _sentences(rows: Sequence[dict[str, Any]]) -> tuple[tuple[str, ...], np.typing.NDArray[np.int64]]:
    """Return the distinct sentences of pairs, and whether each is toxic; a sentence that is both counts as toxic."""
    toxic = dict.fromkeys(_plain(row["rejected"]) for row in rows)
    neutral = [text for text in dict.fromkeys(_plain(row["chosen"]) for row in rows) if text not in toxic]
    return (*toxic, *neutral), np.array([1] * len(toxic) + [0] * len(neutral), dtype=np.int64)


def _plain(text: str) -> str:
    """Normalise case, spaces and final punctuation, in which ParaDetox' rewrites are tidier than their originals."""
    return " ".join(text.lower().split()).rstrip(" .!?") or "."
