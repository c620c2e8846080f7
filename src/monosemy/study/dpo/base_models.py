"""Base models of a comparison of trainings from preferences; they are also the reference models."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from monosemy.core.console import Progress
from monosemy.core.executors import ExecutorConfig, run_jobs
from monosemy.core.files import write_text
from monosemy.lm.adapter_training import quiet_libraries
from monosemy.lm.dpo_evaluation import sample_texts
from monosemy.lm.dpo_training import resized, warm_up
from monosemy.lm.instructions import held_out_texts
from monosemy.lm.models import LoadedModel, load_causal_model
from monosemy.lm.prompts import Row as Pair
from monosemy.study.dpo.plan import DpoPlan

_HELD_OUT = "held_out.json"


@dataclass(frozen=True)
class BaseModel:
    """A model on disk, or on the hub."""

    name: str
    """Name in tables and files."""
    model: str
    """The plan's model that it comes from."""
    source: str
    """Folder or name."""
    folder: Path
    """Folder of the study that belongs to it."""
    n_parameters: int

    def load(self, device: str) -> LoadedModel:
        """Load the model in float32: training in lower precision loses small steps."""
        return load_causal_model(self.source, dtype="float32", device=device)

    def held_out(self, plan: DpoPlan) -> list[str]:
        """Return the texts whose perplexity is measured."""
        if plan.held_out is not None:
            return held_out_texts(plan.held_out)
        texts: list[str] = json.loads((self.folder / _HELD_OUT).read_text(encoding="utf-8"))
        return texts


Key = tuple[str, int | None]
"""A model of the plan, and a hidden width where the plan names some."""


def base_model_keys(plan: DpoPlan) -> list[Key]:
    """Return the base models that a plan compares trainings of."""
    return [(plan.models[0], width) for width in plan.widths] or [(name, None) for name in plan.models]


def base_model_name(source: str, width: int | None) -> str:
    """Return the name of a base model in tables and files."""
    return Path(source).name + (f"-w{width}" if width is not None else "")


def make_base_models(
    plan: DpoPlan,
    train: Mapping[str, Sequence[Pair]],
    folder: Path,
    on_progress: Progress,
    device: str,
    executor: ExecutorConfig,
) -> dict[Key, BaseModel]:
    """Return the base model of each name or width; those in the folder are not made again.

    Args:
        train: pairs by model, for the warm-up.

    Raises:
        InputError: a model cannot be loaded or resized, or its warm-up diverges.
    """
    wanted = base_model_keys(plan)
    on_progress("References", 0, len(wanted))
    models: dict[Key, BaseModel] = {}
    for ended in run_jobs(executor, _make_base_model, wanted, plan, dict(train), folder / "references", device):
        models[ended.item] = ended.result
        on_progress("References", len(models), len(wanted))
    return models


def _make_base_model(
    wanted: Key,
    plan: DpoPlan,
    train: Mapping[str, Sequence[Pair]],
    root: Path,
    device: str,
) -> BaseModel:
    source, width = wanted
    name = base_model_name(source, width)
    folder, made = root / name, plan.warm_up is not None
    if not (folder / _HELD_OUT).is_file():
        loaded = load_causal_model(source, dtype="float32", device=device)
        if width is not None:
            loaded = resized(loaded, width, plan.seed)
        if plan.warm_up is not None:
            loaded = warm_up(loaded, train[source], plan.warm_up, seed=plan.seed)
        texts = [] if plan.held_out is not None else sample_texts(loaded, seed=plan.seed)
        if made:
            shutil.rmtree(folder, ignore_errors=True)
            with quiet_libraries():
                loaded.model.save_pretrained(folder, safe_serialization=True)
                loaded.tokenizer.save_pretrained(folder)
        write_text(folder / _HELD_OUT, json.dumps(texts))  # last: what has it is whole
    chosen = str(folder) if made else source
    n_parameters = sum(weight.numel() for weight in load_causal_model(chosen, device="cpu").model.parameters())
    return BaseModel(name, source, chosen, folder, n_parameters)
