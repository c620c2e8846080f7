"""The ways of finetuning a language model that are compared; known without the libraries that do it."""

from dataclasses import dataclass, field
from typing import Any, Literal

from monosemy.features.registry import Role

MethodName = Literal[
    "base",
    "lora",
    "lora-decay",
    "lora-half",
    "monolora-output",
    "monolora-hidden",
    "monolora-both",
    "monolora-weights",
    "monolora-output-rep",
    "monolora-hidden-rep",
    "monolora-both-rep",
    "monolora-weights-rep",
]
BASELINE: MethodName = "lora"


@dataclass(frozen=True)
class Method:
    """A way of finetuning."""

    name: MethodName
    title: str
    role: Role
    changes: dict[str, Any] = field(default_factory=dict)
    """Settings of AdapterConfig that differ from the plan's."""
    alpha_share: float = 1.0
    """Of the plan's alpha."""


def _mono(name: MethodName, formula: str) -> Method:
    placement = name.split("-")[1]
    activation = "rep_relu" if name.endswith("-rep") else "relu"
    title = f"MonoLoRA, {formula}" + (", gradient of GELU" if name.endswith("-rep") else "")
    changes = {"method": "monolora", "placement": placement, "non_negative": activation}
    return Method(name, title, "monosemantic", changes)


METHODS: dict[MethodName, Method] = {
    method.name: method
    for method in (
        Method(
            "base", "the model as it came; of a classifier the head alone is trained", "control", {"method": "head"}
        ),
        Method("lora", "LoRA", "baseline", {"method": "lora"}),
        Method("lora-decay", "LoRA, weight decay 0.1", "control", {"method": "lora", "weight_decay": 0.1}),
        Method("lora-half", "LoRA, half of alpha", "control", {"method": "lora"}, alpha_share=0.5),
        _mono("monolora-output", "s+(B A x)"),
        _mono("monolora-hidden", "B s+(A x)"),
        _mono("monolora-both", "s+(B s+(A x))"),
        _mono("monolora-weights", "s+(B) s+(A) x"),
        _mono("monolora-output-rep", "s+(B A x)"),
        _mono("monolora-hidden-rep", "B s+(A x)"),
        _mono("monolora-both-rep", "s+(B s+(A x))"),
        _mono("monolora-weights-rep", "s+(B) s+(A) x"),
    )
}
"""`lora` is the baseline; `lora-decay` and `lora-half` are controls that hold the update back without s+."""
