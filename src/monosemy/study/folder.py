"""The folder of a study: its plan, what made it, the cells that are done, a log."""

import json
import math
import platform
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import torch

from monosemy._version import __version__
from monosemy.cache import fingerprint
from monosemy.data.labelled import LabelledData
from monosemy.errors import InputError
from monosemy.files import atomic_path, write_text
from monosemy.study.costs import Spent, logged_costs

Row = dict[str, Any]
ROW_COLUMNS = ("features", "scenario", "level", "seed", "metric", "value")
"""Keys of every row."""
LOG = "log.jsonl"


class StudyFolder:
    """What is finished lies in ``cells/NAME.parquet``; a killed study goes on from there."""

    def __init__(
        self,
        path: Path,
        plan: str,
        data: LabelledData | str,
        encoders: Sequence[Path] = (),
        packages: Sequence[str] = (),
    ) -> None:
        """Open a folder, new or of the same plan, data and versions.

        Args:
            plan: as YAML.
            data: or its fingerprint, where it is of another kind.
            encoders: files that the results depend on as well.
            packages: libraries beside the usual ones whose versions must stay the same.

        Raises:
            InputError: the folder holds another study or something else, or cannot be made.
        """
        self.path = path
        self._environment = environment(packages)
        key = data_key(data, encoders)
        if (path / "plan.yaml").is_file():
            self._check_same(plan, key)
            self._log({"event": "resume"})
        else:
            self._start(plan, key)
            self._log({"event": "start"})

    def read(self, name: str) -> list[Row] | None:
        """The rows of a cell; None where it is not there yet, or damaged."""
        try:
            frame = pd.read_parquet(self._cell(name))
        except (OSError, ValueError, pa.ArrowInvalid):
            return None
        if not set(ROW_COLUMNS) <= set(frame.columns):
            return None
        return [{str(k): v for k, v in row.items()} for row in frame.to_dict("records")]

    def write(self, name: str, rows: list[Row], **spent: float) -> None:
        """Keep the rows of a finished cell, and log what it took."""
        with atomic_path(self._cell(name)) as temporary:
            pd.DataFrame(rows).to_parquet(temporary, index=False)
        known = {part: round(value, 3) for part, value in spent.items() if math.isfinite(value)}
        self._log({"event": "block", "name": name} | known)

    def costs(self) -> dict[str, Spent]:
        """What each finished cell took, by its name."""
        return logged_costs(self.path / LOG)

    def _cell(self, name: str) -> Path:
        return self.path / "cells" / f"{name}.parquet"

    def _check_same(self, plan: str, data_key: str) -> None:
        if (self.path / "plan.yaml").read_bytes() != plan.encode():
            raise InputError(f"The folder {self.path} holds another plan (plan.yaml differs); choose another --out.")
        known = self._known_environment()
        if known.get("data") != data_key:
            raise InputError(
                f"The folder {self.path} was made from other data or encoders of the same name; choose another --out."
            )
        if known.get("packages") != self._environment["packages"]:
            raise InputError(
                f"The folder {self.path} was made with other versions (environment.json); choose another --out, so "
                f"that no results of two versions mix."
            )

    def _start(self, plan: str, data_key: str) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"The folder {self.path} cannot be made ({error.strerror}); choose another --out."
            ) from error
        # A start that was killed between its first two files leaves environment.json, which is written anew.
        if any(file.name != "environment.json" and not file.name.startswith(".") for file in self.path.iterdir()):
            raise InputError(f"The folder {self.path} is not empty and holds no study; choose another --out.")
        write_text(self.path / "environment.json", json.dumps(self._environment | {"data": data_key}, indent=2) + "\n")
        write_text(self.path / "plan.yaml", plan)

    def _known_environment(self) -> dict[str, Any]:
        path = self.path / "environment.json"
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(
                f"{path} cannot be read, so nothing tells what made this folder; choose another --out."
            ) from error
        return known if isinstance(known, dict) else {}

    def _log(self, entry: dict[str, Any]) -> None:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        with (self.path / LOG).open("a", encoding="utf-8") as log:
            log.write(json.dumps({"time": stamp} | entry) + "\n")


def data_key(data: LabelledData | str, encoders: Sequence[Path]) -> str:
    """What the results depend on beside the plan: data, or their fingerprint, and encoder files."""
    return fingerprint(data if isinstance(data, str) else data_fingerprint(data), *encoders)


def data_fingerprint(data: LabelledData) -> str:
    """Of all splits' inputs and labels."""
    given = data.given_labels or ()
    parts = [part for split in data.splits().values() for part in (split.inputs, split.labels)]
    return fingerprint(*parts, *given, data.class_names)


def environment(more: Sequence[str] = ()) -> dict[str, Any]:
    """Versions and machine, for whoever wonders where a number comes from."""
    packages = ("torch", "numpy", "scipy", "scikit-learn", "pandas", *more)
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "packages": {"monosemy": __version__} | {name: version(name) for name in packages},
    }
