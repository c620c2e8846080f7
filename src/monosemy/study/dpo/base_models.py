"""The models that a comparison of trainings starts from; they are also the references."""

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
from monosemy.study.dpo.plan import AlignmentPlan

_HELD_OUT = "held_out.json"


@dataclass(frozen=True)
class Start:
    """A model on disk, or on the hub."""

    name: str
    """In tables and files."""
    model: str
    """The plan's model that it comes from."""
    source: str
    """Folder or name."""
    folder: Path
    """Where the comparison keeps what belongs to it."""
    n_parameters: int

    def load(self, device: str) -> LoadedModel:
        """In float32: what is trained in fewer digits loses small steps."""
        return load_causal_model(self.source, dtype="float32", device=device)

    def held_out(self, plan: AlignmentPlan) -> list[str]:
        """The texts whose perplexity is measured."""
        if plan.held_out is not None:
            return held_out_texts(plan.held_out)
        texts: list[str] = json.loads((self.folder / _HELD_OUT).read_text(encoding="utf-8"))
        return texts


def make_starts(
    plan: AlignmentPlan,
    train: Mapping[str, Sequence[Pair]],
    folder: Path,
    on_progress: Progress,
    device: str,
    executor: ExecutorConfig,
) -> list[Start]:
    """The starting model of each name or width; what the folder has already is not made again.

    Args:
        train: pairs by model, for the warm-up.

    Raises:
        InputError: a model cannot be loaded or resized, or its warm-up diverges.
    """
    wanted: list[tuple[str, int | None]] = (
        [(plan.models[0], width) for width in plan.widths] or [(name, None) for name in plan.models]
    )  # fmt: skip
    on_progress("References", 0, len(wanted))
    starts: dict[tuple[str, int | None], Start] = {}
    for ended in run_jobs(executor, _make_start, wanted, plan, dict(train), folder / "references", device):
        starts[ended.item] = ended.result
        on_progress("References", len(starts), len(wanted))
    return [starts[item] for item in wanted]


def _make_start(
    wanted: tuple[str, int | None],
    plan: AlignmentPlan,
    train: Mapping[str, Sequence[Pair]],
    root: Path,
    device: str,
) -> Start:
    source, width = wanted
    name = Path(source).name + (f"-w{width}" if width is not None else "")
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
    return Start(name, source, chosen, folder, n_parameters)
