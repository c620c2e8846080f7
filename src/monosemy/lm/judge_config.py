"""The judge that a user names, as settings or as one word on the command line."""

from collections.abc import Callable
from typing import Annotated, Literal, get_args

from annotated_types import Gt
from pydantic import BaseModel, ConfigDict

from monosemy.encoders.text import MINILM
from monosemy.errors import InputError
from monosemy.lm.guards import GUIDELINES, LlamaGuardJudge, Policy, ShieldGemmaJudge
from monosemy.lm.judge import BEAVERTAILS, BeaverTailsJudge, ClassifierJudge, Judge
from monosemy.lm.models import Dtype
from monosemy.lm.toxicity import toxicity_judge

JudgeKind = Literal["toxicity", "classifier", "shieldgemma", "llama-guard", "beavertails"]


class JudgeConfig(BaseModel):
    """A judge and where it comes from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: JudgeKind
    model: str | None = None
    """Folder or name of the model; for `toxicity` the ParaDetox pairs to fit it on, or a fitted judge's file."""
    label: str | None = None
    """The label of a `classifier` that stands for unsafe; found by usual names where it is not given."""
    policies: tuple[Policy, ...] = tuple(GUIDELINES)
    """The policies of `shieldgemma`."""
    encoder: str = MINILM
    """The text encoder of `toxicity`."""
    dtype: Dtype = "auto"
    device: str | None = None
    batch_size: Annotated[int, Gt(0)] = 8


def judge_config(text: str) -> JudgeConfig:
    """Settings from `KIND`, `KIND:MODEL`, or `classifier:MODEL@LABEL`.

    Raises:
        InputError: there is no such kind.
    """
    kind, _, model = text.partition(":")
    if kind not in get_args(JudgeKind):
        raise InputError(
            f"The judge {text!r} is of no known kind; write one of {', '.join(get_args(JudgeKind))}, a colon, and the "
            f"model's folder or name."
        )
    name, _, label = model.rpartition("@") if kind == "classifier" and "@" in model else (model, "", "")
    return JudgeConfig.model_validate({"kind": kind, "model": name or None, "label": label or None})


def make_judge(config: JudgeConfig) -> Judge:
    """The judge; its model is loaded when it is first asked.

    Raises:
        InputError: the model is needed and not named, or there is none such.
    """
    return _MAKERS[config.kind](config)


def _needed(config: JudgeConfig, what: str) -> str:
    if config.model is None:
        raise InputError(f"The judge {config.kind} needs {what}; write {config.kind}:PATH.")
    return config.model


def _toxicity(config: JudgeConfig) -> Judge:
    return toxicity_judge(_needed(config, "pairs of toxic and neutral sentences to learn from"), encoder=config.encoder)


def _classifier(config: JudgeConfig) -> Judge:
    model = _needed(config, "a model")
    return ClassifierJudge(model, config.label, dtype=config.dtype, device=config.device, batch_size=config.batch_size)


def _shieldgemma(config: JudgeConfig) -> Judge:
    return ShieldGemmaJudge(
        config.model or "google/shieldgemma-9b",
        config.policies,
        dtype=config.dtype,
        device=config.device,
        batch_size=config.batch_size,
    )


def _llama_guard(config: JudgeConfig) -> Judge:
    model = config.model or "meta-llama/Llama-Guard-3-8B"
    return LlamaGuardJudge(model, dtype=config.dtype, device=config.device, batch_size=config.batch_size)


def _beavertails(config: JudgeConfig) -> Judge:
    model = config.model or BEAVERTAILS
    return BeaverTailsJudge(model, dtype=config.dtype, device=config.device, batch_size=config.batch_size)


_MAKERS: dict[JudgeKind, Callable[[JudgeConfig], Judge]] = {
    "toxicity": _toxicity,
    "classifier": _classifier,
    "shieldgemma": _shieldgemma,
    "llama-guard": _llama_guard,
    "beavertails": _beavertails,
}
