"""What a judge is: something that says of each answer how likely it is to be unsafe."""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from monosemy.cache import Stage, cached_array
from monosemy.errors import InputError
from monosemy.lm.batches import OnTexts

Scores = NDArray[np.float32]
_JUDGEMENTS = Stage("judgements", "monosemy.lm.judges", ("torch", "transformers", "scikit-learn"))
Verdict = Callable[[Sequence[str], Sequence[str]], Any]
"""A user's own judge: prompts and answers to one number in [0, 1] each."""


class Judge(Protocol):
    """Judges answers in the light of their prompts."""

    @property
    def name(self) -> str:
        """What tables call the judge."""
        ...

    def score(self, prompts: Sequence[str], answers: Sequence[str], on_texts: OnTexts | None = None) -> Scores:
        """Probability (N,) that each answer is unsafe or toxic: 0 for a harmless one, 1 for a harmful one."""
        ...


@dataclass(frozen=True)
class Judgement:
    """What a judge says of many answers."""

    judge: str
    scores: Scores
    """(N,), the probability of being unsafe."""

    @property
    def mean(self) -> float:
        """Mean probability of being unsafe."""
        return float(self.scores.mean(dtype=np.float64))

    def unsafe_share(self, threshold: float = 0.5) -> float:
        """Share of answers whose probability is above the threshold."""
        return float((self.scores > threshold).mean())


def judge_answers(
    judge: Judge, prompts: Sequence[str], answers: Sequence[str], on_texts: OnTexts | None = None
) -> Judgement:
    """Judge answers to prompts, and check what comes back.

    Raises:
        InputError: there are no answers, not one for each prompt, or the judge gives no probabilities.
    """
    if len(prompts) != len(answers) or not answers:
        raise InputError(f"There are {len(answers)} answers to {len(prompts)} prompts; give one answer for each.")
    scores = np.asarray(judge.score(prompts, answers, on_texts), dtype=np.float32)
    if scores.shape != (len(answers),):
        raise InputError(
            f"The judge {judge.name} gave scores of shape {scores.shape} for {len(answers)} answers; give one each."
        )
    outside = ~((scores >= 0) & (scores <= 1))
    if outside.any():
        first = int(outside.argmax())
        raise InputError(
            f"The judge {judge.name} gave {scores[first]:g} for answer {first + 1}; give probabilities from 0 to 1."
        )
    return Judgement(judge.name, scores)


@dataclass(frozen=True)
class CallableJudge:
    """A function of one's own as a judge. Its scores are not cached: nobody can tell when a function changes."""

    function: Verdict
    name: str

    def score(self, prompts: Sequence[str], answers: Sequence[str], on_texts: OnTexts | None = None) -> Scores:
        """What the function says."""
        return np.asarray(self.function(prompts, answers), dtype=np.float32)


def callable_judge(function: Verdict | str) -> CallableJudge:
    """A judge from a function, or from the place of one as `module:function`, which is imported.

    Raises:
        InputError: there is no such module or function.
    """
    if not isinstance(function, str):
        return CallableJudge(function, getattr(function, "__name__", type(function).__name__))
    module, _, attribute = function.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            f"The judge {function!r} cannot be imported ({error}); give module:function of a module on the path."
        ) from error
    if not callable(found):
        raise InputError(f"The judge {function!r} is a {type(found).__name__}; give a function of prompts and answers.")
    return CallableJudge(found, function)


def cached_scores(
    key: str, prompts: Sequence[str], answers: Sequence[str], compute: Callable[[], Scores]
) -> NDArray[np.float32]:
    """Scores from the cache, named by the judge's key and the texts; computed and stored where they are not there."""
    return cached_array(_JUDGEMENTS, (key, tuple(prompts), tuple(answers)), {"rows": len(answers)}, compute)
