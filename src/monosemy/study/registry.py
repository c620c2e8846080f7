"""The kinds of study, and finished studies read back from their folders."""

import json
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import pyarrow.parquet as pq

from monosemy.core.config import Plan, read_yaml, validated
from monosemy.data.safety import check_parquet
from monosemy.errors import InputError, reason, shown
from monosemy.results.result import StudyResult, Verdict
from monosemy.results.statistics import TEST_ROWS
from monosemy.study.engine import MESSAGES, RESULTS, StudyKind, judged
from monosemy.study.folder import COSTS, costs_table, read_costs

KINDS = {
    "probing": "monosemy.study.probing.study:ProbingStudy",
    "finetuning": "monosemy.study.finetuning.study:FinetuningStudy",
    "lora": "monosemy.study.lora.study:LoraStudy",
    "dpo": "monosemy.study.dpo.study:DpoStudy",
    "toy": "monosemy.theory.study:ToyStudy",
    "theory": "monosemy.theory.study:SeparabilityStudy",
}
"""The class of each kind of study; a new kind is one folder and one line here."""

_Read = TypeVar("_Read")
_NUMBERS = {"level", "seed", "value"}
_COLUMNS = {"dataset", "encoder", "variant", "scenario", "level", "seed", "metric", "value"}


def study_kind(name: str) -> StudyKind[Any, Any, Any]:
    """Return the kind of study of a name.

    Raises:
        InputError: there is no such kind.
    """
    if name not in KINDS:
        raise InputError(f"The kind of study {name!r} is unknown; choose among {', '.join(KINDS)}.")
    module, _, attribute = KINDS[name].partition(":")
    kind: StudyKind[Any, Any, Any] = getattr(import_module(module), attribute)()
    return kind


def read_plan(path: Path) -> Plan:
    """Return the plan in a YAML file, of whatever kind of study.

    Raises:
        InputError: the file cannot be read, or is not a plan.
    """
    values = read_yaml(path, "plan")
    name = values.get("kind", "probing") if isinstance(values, dict) else "probing"
    kind = study_kind(name if isinstance(name, str) else shown(name))
    return validated(kind.plan_type, values, str(path))


def read_study(folder: Path, faults: list[str] | None = None) -> StudyResult:
    """Return the result of a finished study; summary and verdict are computed again from its tidy table.

    Args:
        faults: takes a sentence each for costs and messages that cannot be read; without it they raise.

    Raises:
        InputError: the folder holds no finished study.
    """
    path = folder / RESULTS
    if not (folder / "plan.yaml").is_file():
        raise InputError(f"The folder {folder} holds no study (no plan.yaml); give one that `monosemy study` wrote.")
    if not path.is_file():
        raise InputError(f"The study in {folder} is not finished (no {RESULTS}); run its command again.")
    plan = read_plan(folder / "plan.yaml")
    kind = study_kind(plan.kind)
    results = _read_table(path)
    _check_columns(results, path)
    try:
        tables = {file.stem: _read_table(file) for file in sorted(folder.glob("*.parquet")) if file.name != RESULTS}
        summary = kind.summarise(results, tables.get(TEST_ROWS))
        result = judged(kind, StudyResult(plan, results, summary, Verdict(()), folder=folder, tables=tables))
    except InputError:
        raise
    except Exception as error:  # rows that are there twice, or of no scenario, fail in as many ways
        raise InputError(f"{path} is not the table of a study ({reason(error)}); run the study again.") from error
    messages = _optional(_messages, folder / MESSAGES, result.messages, faults)
    return replace(result, messages=messages, costs=_optional(read_costs, folder / COSTS, costs_table([]), faults))


def _read_table(path: Path) -> pd.DataFrame:
    try:
        check_parquet(path)
        table = pq.read_table(path)
        table.validate(full=True)  # texts that are not UTF-8 fail somewhere later else
        return table.to_pandas()
    except InputError:
        raise
    except Exception as error:  # damaged files raise nearly every type; each means just that
        raise InputError(f"{path} cannot be read ({reason(error)}); run the study again.") from error


def _check_columns(results: pd.DataFrame, path: Path) -> None:
    missing = sorted(_COLUMNS - set(results.columns))
    if missing or results.empty:
        what = f"lacks the column {missing[0]!r}" if missing else "is empty"
        raise InputError(f"{path} {what}, so it is not the table of a study; run the study again.")
    for name in sorted(_COLUMNS):
        column = results[name]
        numeric = pd.api.types.is_numeric_dtype(column)
        sound = numeric if name in _NUMBERS else all(isinstance(value, str) for value in column)
        if not sound:
            raise InputError(f"{path} holds values of another type in {name!r} than a study; run the study again.")


def version_of(folder: Path) -> str:
    """Return the version of this package that made a study."""
    path = folder / "environment.json"
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["packages"]["monosemy"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{path} does not tell what made the study ({reason(error)}); run the study again.") from error


def _optional(read: Callable[[Path], _Read], path: Path, otherwise: _Read, faults: list[str] | None) -> _Read:
    """Return what a file holds, or ``otherwise`` where it is missing or has a fault: the rest can be shown without."""
    try:
        return read(path) if path.exists() else otherwise
    except InputError as error:
        if faults is None:
            raise
        faults.append(str(error))
        return otherwise


def _messages(path: Path) -> tuple[str, ...]:
    try:
        return tuple(path.read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} cannot be read ({reason(error)}), so messages about the data are left out; run the study again."
        ) from error
