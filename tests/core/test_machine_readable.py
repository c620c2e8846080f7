"""JSON of whatever a command found."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from monosemy.core.console import json_text


@dataclass(frozen=True)
class _Model:
    name: str
    score: float


class _Pair(NamedTuple):
    one: int
    two: float


def test_everything_a_command_finds_becomes_plain_json() -> None:
    answer = {
        "table": pd.DataFrame({"level": [0.3, float("nan")], "name": ["a", 'b"<']}),
        "array": np.array([[1.5, np.inf]], dtype=np.float32),
        "number": np.int64(3),
        "model": _Model("sae", float("-inf")),
        "pair": _Pair(1, 2.0),
        "folder": Path("runs/demo"),
        "none": None,
        3: (True, "ü"),
    }
    assert json.loads(json_text(answer)) == {
        "table": [{"level": 0.3, "name": "a"}, {"level": None, "name": 'b"<'}],
        "array": [[1.5, None]],
        "number": 3,
        "model": {"name": "sae", "score": None},
        "pair": {"one": 1, "two": 2.0},
        "folder": "runs/demo",
        "none": None,
        "3": [True, "ü"],
    }
