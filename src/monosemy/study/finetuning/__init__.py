"""Finetuned image networks side by side: the plan of the comparison, and the ways of finetuning that it names."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from annotated_types import Ge, Len
from pydantic import AfterValidator

from monosemy.data.config import DataConfig
from monosemy.encoders.config import ENCODER_FILE, FinetuneConfig
from monosemy.results.result import Role, register_family
from monosemy.study.scenarios import LabelNoise, LabelPlan, once

BASELINE = "ce"
VariantName = Literal["ce", "nce", "ce-early", "nce-early", "ce-smooth", "ce-decay"]


@dataclass(frozen=True)
class Variant:
    """A way of finetuning."""

    name: VariantName
    title: str
    role: Role
    changes: dict[str, Any] = field(default_factory=dict)
    """Settings of FinetuneConfig that differ from the plan's."""
    best_epoch: bool = False
    """Early stopping: the epoch with the highest accuracy on validation, whose labels are as noisy as train's."""


VARIANTS: dict[str, Variant] = {
    variant.name: variant
    for variant in (
        Variant("ce", "cross-entropy", "baseline"),
        Variant("nce", "non-negative cross-entropy", "monosemantic", {"loss": "nce"}),
        Variant("ce-early", "cross-entropy, early stopping", "control", best_epoch=True),
        Variant(
            "nce-early", "non-negative cross-entropy, early stopping", "monosemantic", {"loss": "nce"}, best_epoch=True
        ),
        Variant("ce-smooth", "cross-entropy, labels smoothed by 0.1", "control", {"label_smoothing": 0.1}),
        Variant("ce-decay", "cross-entropy, weight decay 0.005", "control", {"optimizer": {"weight_decay": 5e-3}}),
    )
}
"""`ce` is the baseline; all but `nce` and `nce-early` are controls that regularise without monosemanticity."""
register_family(VARIANTS)


def _file(path: Path) -> Path:
    return path / ENCODER_FILE if (path / ENCODER_FILE).is_file() else path


class FinetunePlan(LabelPlan):
    """A comparison of finetuned image networks."""

    kind: Literal["finetuning"] = "finetuning"
    """Kind of study."""
    data: DataConfig = DataConfig()
    """Labelled images."""
    encoders: Annotated[tuple[Annotated[Path, AfterValidator(_file)], ...], Len(1)]
    """Files or folders of `monosemy pretrain`: one for all seeds, or one for each."""
    variants: Annotated[tuple[VariantName, ...], Len(1), AfterValidator(once)] = get_args(VariantName)
    """Ways of finetuning: ce, nce, ce-early, nce-early, ce-smooth, ce-decay."""
    label_noise: LabelNoise = LabelNoise(levels=(0.3, 0.6, 0.9))
    """Noise of the train labels."""
    training: FinetuneConfig = FinetuneConfig()
    """Settings of finetuning."""
    n_seeds: Annotated[int, Ge(1)] = 3
    """Number of networks of every kind; each draws noise, head and batches anew."""
