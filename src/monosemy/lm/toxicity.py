"""A small judge of toxicity that needs no download: logistic regression over sentence embeddings.

Its limits. It learns from ParaDetox, single English sentences of social media, rude ones and their polite rewrites: it
knows rude words and insults, not harm politely put, and it does not look at the prompt. Longer texts, stories and
dialogues are unlike what it learned from. It is a stand-in where no moderation model can be had, to compare models with
each other; its numbers are no safety measurement. A model that was trained on ParaDetox pairs is judged by what it
learned from.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from monosemy.core.cache import Stage, cache
from monosemy.core.console import OnCount
from monosemy.core.files import read_model_file, write_model_file
from monosemy.encoders.text import MINILM, TextEncoder
from monosemy.errors import InputError, reason
from monosemy.lm.preferences import PreferenceConfig, load_preferences
from monosemy.lm.texts import TextData

_FORMAT = "toxicity-judge"
_FILE = "judge.safetensors"
_JUDGES = Stage("judges", 1, ("scikit-learn", "sentence-transformers"), __name__)
_COSTS = (0.1, 1.0, 10.0, 100.0)
"""Inverse strengths of the penalty, of which the validation part chooses."""
_TEST_FRACTION = 0.1
"""As :class:`PreferenceConfig` has it: with equal seeds, pairs to train a model on and to test it on are also the
judge's."""


@dataclass(frozen=True)
class HeldOut:
    """How the judge does on sentences of pairs that it has not seen."""

    accuracy: float
    balanced_accuracy: float
    """Mean of the shares of toxic and of neutral sentences that it knows."""
    auc: float
    pair_accuracy: float
    """Share of pairs whose toxic sentence has the higher score."""
    n_toxic: int
    n_neutral: int


@dataclass(frozen=True)
class ToxicityJudge:
    """P(toxic) = sigmoid(w . e(answer) + b), with e the sentence embedding. See the module for its limits."""

    weight: NDArray[np.float32]
    """(D,)."""
    bias: float
    encoder: str
    held_out: HeldOut

    @property
    def name(self) -> str:
        """What tables call the judge."""
        return f"toxicity ({self.encoder}, ParaDetox)"

    @cached_property
    def _encoder(self) -> TextEncoder:
        return TextEncoder(self.encoder)

    def score(
        self, prompts: Sequence[str], answers: Sequence[str], on_texts: OnCount | None = None
    ) -> NDArray[np.float32]:
        """Probability (N,) that the answer is toxic; the prompts are not looked at. Embeddings are cached."""
        embeddings = self._encoder.encode(tuple(map(_plain, answers)), on_texts)
        if embeddings.shape[1] != len(self.weight):
            raise InputError(
                f"The encoder {self.encoder} gives {embeddings.shape[1]} dimensions, the judge has {len(self.weight)}; "
                f"give the encoder that it was fitted with."
            )
        scores: NDArray[np.float32] = (1 / (1 + np.exp(-(embeddings @ self.weight + self.bias)))).astype(np.float32)
        return scores

    def save(self, path: Path) -> None:
        """Write the judge as safetensors with JSON."""
        about = {"encoder": self.encoder, "held_out": asdict(self.held_out)}
        tensors = {"weight": torch.from_numpy(self.weight), "bias": torch.tensor([self.bias], dtype=torch.float64)}
        write_model_file(path, _FORMAT, about, tensors)

    @classmethod
    def load(cls, path: Path) -> "ToxicityJudge":
        """Read what :meth:`save` wrote.

        Raises:
            InputError: the file is missing, damaged, or of another format.
        """
        about, tensors = read_model_file(path, _FORMAT)
        try:
            weight, bias = tensors["weight"].numpy(), float(tensors["bias"])
            return cls(weight, bias, str(about["encoder"]), HeldOut(**about["held_out"]))
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise InputError(f"{path} holds no whole judge ({reason(error)}); fit it again.") from error


def toxicity_judge(source: str, *, encoder: str = MINILM, seed: int = 0) -> ToxicityJudge:
    """A judge fitted on ParaDetox, or on any preference data whose rejected answers are the toxic ones.

    Fitted once and kept in the cache. A file that :meth:`ToxicityJudge.save` wrote is read.

    Raises:
        InputError: the source cannot be read as preference data.
    """
    if source.endswith(".safetensors"):
        return ToxicityJudge.load(Path(source))
    config = PreferenceConfig(source=source, test_fraction=_TEST_FRACTION, validation_fraction=0.1)
    data = load_preferences(config, seed)
    texts = [tuple(row[name] for row in rows) for rows in data.splits().values() for name in ("chosen", "rejected")]
    name = _JUDGES.entry(encoder, *texts)
    kept = cache().find(name)
    if kept is not None:
        return ToxicityJudge.load(kept / _FILE)
    judge = fit_toxicity_judge(data, encoder=encoder)
    with cache().new(name, _JUDGES.metadata(encoder=encoder, pairs=sum(map(len, data.splits().values())))) as folder:
        judge.save(folder / _FILE)
    return judge


def fit_toxicity_judge(data: TextData, *, encoder: str = MINILM) -> ToxicityJudge:
    """Fit on the train pairs, choose the penalty on validation, report on test; classes weigh the same.

    Args:
        data: preference data in the form `plain`, with the three splits.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import balanced_accuracy_score, roc_auc_score

    if set(data.splits()) != {"train", "validation", "test"}:
        raise InputError(f"{data.name} has the splits {', '.join(data.splits())}; give train, validation and test.")
    embedder = TextEncoder(encoder)
    parts: dict[str, tuple[NDArray[np.float32], NDArray[np.int64]]] = {}
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


def _sentences(rows: Sequence[dict[str, Any]]) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """The distinct sentences of pairs, and whether each is toxic; a sentence that is both is toxic."""
    toxic = dict.fromkeys(_plain(row["rejected"]) for row in rows)
    neutral = [text for text in dict.fromkeys(_plain(row["chosen"]) for row in rows) if text not in toxic]
    return (*toxic, *neutral), np.array([1] * len(toxic) + [0] * len(neutral), dtype=np.int64)


def _plain(text: str) -> str:
    """Lower case, single spaces, no closing marks: ParaDetox' rewrites are tidier, which is not what is judged."""
    return " ".join(text.lower().split()).rstrip(" .!?") or "."
