"""What a command found, for other programs: JSON with null for what is not known, and nothing else beside it."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd


def json_text(answer: Any) -> str:
    """JSON of nested dicts, lists, tables, arrays, dataclasses and numbers; NaN and infinity become null."""
    return json.dumps(plain(answer), indent=2, ensure_ascii=False, allow_nan=False)


def outcome_json(
    verdict: Sequence[str],
    warnings: Sequence[str],
    notices: Sequence[str],
    summary: pd.DataFrame,
    folder: Path | None,
    **more: Any,
) -> str:
    """What every kind of study tells a machine."""
    told = {"verdict": verdict, "warnings": warnings, "notices": notices, "summary": summary}
    return json_text(told | more | {"folder": folder})


def plain(value: Any) -> Any:
    """The same as strings, numbers, lists and dicts; a table becomes a list with a dict for each row."""
    if isinstance(value, pd.DataFrame):
        return [plain(row) for row in value.to_dict("records")]
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if hasattr(value, "_asdict"):
        return plain(value._asdict())
    if isinstance(value, Mapping):
        return {str(name): plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, Path):
        return str(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value
