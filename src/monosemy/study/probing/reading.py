"""A finished study, read back from its folder."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pandas as pd
import pyarrow.parquet as pq

from monosemy.data.safety import check_parquet
from monosemy.errors import InputError, reason
from monosemy.results.statistics import summarise
from monosemy.study.folder import COSTS, costs_table, read_costs
from monosemy.study.probing.plan import read_plan
from monosemy.study.probing.run import NOTICES, RESULTS, StudyResult
from monosemy.study.probing.verdict import make_verdict

Read = TypeVar("Read")
_NUMBERS = {"level", "seed", "value"}
_COLUMNS = {"dataset", "encoder", "features", "scenario", "level", "seed", "metric", "value"}


def read_study(folder: Path, faults: list[str] | None = None) -> StudyResult:
    """The result of a finished study; summary and verdict are computed again from its tidy table.

    Args:
        faults: takes a sentence for each file beside plan and results that cannot be read; without it they raise.

    Raises:
        InputError: the folder holds no finished study.
    """
    path = folder / RESULTS
    if not (folder / "plan.yaml").is_file():
        raise InputError(f"The folder {folder} holds no study (no plan.yaml); give one that `monosemy study` wrote.")
    if not path.is_file():
        raise InputError(f"The study in {folder} is not finished (no {RESULTS}); run its command again.")
    plan = read_plan(folder / "plan.yaml")
    try:
        check_parquet(path)
        table = pq.read_table(path)
        table.validate(full=True)  # texts that are no UTF-8 fail somewhere later else
        results = table.to_pandas()
    except InputError:
        raise
    except Exception as error:  # damaged files raise nearly every type; each means just that
        raise InputError(f"{path} cannot be read ({reason(error)}); run the study again.") from error
    missing = sorted(_COLUMNS - set(results.columns))
    if missing or results.empty:
        what = f"lacks the column {missing[0]!r}" if missing else "is empty"
        raise InputError(f"{path} {what}, so it is no table of a study; run the study again.")
    for name in sorted(_COLUMNS):
        if name in _NUMBERS:
            sound = pd.api.types.is_numeric_dtype(results[name])
        else:
            sound = all(isinstance(value, str) for value in results[name])
        if not sound:
            raise InputError(f"{path} holds values of another type in {name!r} than a study; run the study again.")
    try:
        summary = summarise(results)
        verdict = make_verdict(results, summary, plan)
    except Exception as error:  # rows that are there twice, or of no scenario, fail in as many ways
        raise InputError(f"{path} is no table of a study ({reason(error)}); run the study again.") from error
    none: tuple[str, ...] = ()
    notices = _aside(_notices, folder / NOTICES, none, faults)
    costs = _aside(read_costs, folder / COSTS, costs_table([]), faults)
    return StudyResult(plan, results, summary, verdict, notices, folder, costs)


def version_of(folder: Path) -> str:
    """The version of this package that made a study."""
    path = folder / "environment.json"
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["packages"]["monosemy"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{path} does not tell what made the study ({reason(error)}); run the study again.") from error


def _aside(read: Callable[[Path], Read], path: Path, otherwise: Read, faults: list[str] | None) -> Read:
    """What a file holds without which the rest can be shown; ``otherwise`` where it is missing or has a fault."""
    try:
        return read(path) if path.exists() else otherwise
    except InputError as error:
        if faults is None:
            raise
        faults.append(str(error))
        return otherwise


def _notices(path: Path) -> tuple[str, ...]:
    try:
        return tuple(path.read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} cannot be read ({reason(error)}), so notices are left out; run the study again."
        ) from error
