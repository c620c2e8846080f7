"""The folder of a study: its plan, what made it, the finished jobs, a log, and the costs of the jobs.

Costs (seconds and memory) are kept apart from the numbers, which repeat while these do not.
"""

import json
import logging
import math
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from monosemy.core import cache, executors, files
from monosemy.core.environment import ENVIRONMENT, environment
from monosemy.data.dataset import LabelledData
from monosemy.errors import InputError, reason

COSTS = "costs.csv"
PARTS = ("encoder_seconds", "fit_seconds", "probe_seconds", "seconds", "peak_mib")
"""Training the encoder, fitting the features, training the probes, the whole job without the encoder; memory."""
COLUMNS = ("variant", "seeds", *PARTS)


class Meter:
    """Adds up the costs of a job, part by part."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Add the seconds of the block to a part."""
        started = time.monotonic()
        yield
        self.spent[part] = self.spent.get(part, 0.0) + time.monotonic() - started


class PeakMemory:
    """Peak memory of this process from now on, libraries and data included; Linux only."""

    def __init__(self) -> None:
        try:
            Path("/proc/self/clear_refs").write_text("5")  # starts the kernel's record of the peak anew
            self._known = True
        except OSError:
            self._known = False

    def mib(self) -> float:
        """Return the peak in MiB; NaN where unknown: a peak since the process began would be that of other work."""
        if not self._known:
            return math.nan
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return int(status.split("VmHWM:")[1].split()[0]) / 1024


Spent = Mapping[str, float]
"""Costs of a job by parts."""


def costs_table(work: Iterable[tuple[str, int, Spent]]) -> pd.DataFrame:
    """Return a row per job: variant, number of seeds, and costs; NaN for those that were not measured."""
    rows = [[variant, seeds, *(spent.get(part, math.nan) for part in PARTS)] for variant, seeds, spent in work]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def logged_costs(log: Path) -> dict[str, Spent]:
    """Return the costs of each job from the log of a study; a line that a kill cut short is left out."""
    spent: dict[str, Spent] = {}
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and entry.get("event") == "block":
            spent[str(entry["name"])] = {part: float(entry[part]) for part in PARTS if entry.get(part) is not None}
    return spent


def read_costs(path: Path) -> pd.DataFrame:
    """Return the table of costs of a finished study.

    Raises:
        InputError: the file is no such table.
    """
    try:
        table = pd.read_csv(path)
        return table[list(COLUMNS)].astype({"variant": str, "seeds": int} | dict.fromkeys(PARTS, float))
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{path} cannot be read ({reason(error)}), so costs are left out; run the study again."
        ) from error


_logger = logging.getLogger(__name__)
Row = dict[str, Any]
ROW_COLUMNS = ("variant", "scenario", "level", "seed", "metric", "value")
"""Keys of every row."""
LOG = "log.jsonl"


class StudyFolder:
    """The folder of a study: finished jobs are in ``cells/NAME.parquet``, from which a killed study resumes.

    As a context manager it locks out other runs.
    """

    def __init__(
        self,
        path: Path,
        plan: str,
        key: str,
        executor: executors.ExecutorConfig,
        packages: Sequence[str] = (),
        seeds: Mapping[str, Any] | None = None,
    ) -> None:
        """Open a folder, new or of the same plan, data and versions.

        Args:
            plan: the plan as YAML.
            key: fingerprint of everything that results depend on beside the plan: data, and files that it names.
            executor: what computes the jobs, for the log; results do not depend on it.
            packages: libraries beside the usual ones whose versions must stay the same.
            seeds: the seeds that all random numbers come from, for the record.

        Raises:
            InputError: the folder holds another study or something else, cannot be made, or another run writes into it.
        """
        self.path = path
        self._environment = environment(packages)
        self._began = time.monotonic()
        self._check_ours()
        self._lock = self._locked()
        try:
            known = (path / "plan.yaml").is_file()
            if known:
                self._check_same(plan, key)
                files.sweep(path / "cells")
            else:
                about = self._environment | {"seeds": dict(seeds or {}), "data": key}
                files.write_text(path / ENVIRONMENT, json.dumps(about, indent=2) + "\n")
                files.write_text(path / "plan.yaml", plan)
            what = {"executor": executor.model_dump(mode="json", exclude_defaults=True) | {"name": executor.name}}
            self._log({"event": "resume" if known else "start", "cpu": self._environment["cpu"]} | what)
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def read(self, name: str) -> list[Row] | None:
        """Return the rows of a finished job; None if it is missing, or damaged, which is logged."""
        try:
            frame = pq.read_table(self._cell(name), page_checksum_verification=True).to_pandas()
        except FileNotFoundError:
            return None
        except (OSError, ValueError, pa.ArrowException) as error:
            self._log_damaged(name, reason(error))
            return None
        if not set(ROW_COLUMNS) <= set(frame.columns):
            self._log_damaged(name, "columns are missing")
            return None
        return [{str(k): v for k, v in row.items()} for row in frame.to_dict("records")]

    def _log_damaged(self, name: str, why: str) -> None:
        _logger.warning("The cell %s is damaged (%s); it is computed again.", self._cell(name), why)
        self._log({"event": "damaged", "name": name})

    def write(self, name: str, rows: list[Row], **spent: float) -> None:
        """Write the rows of a finished job, and log its costs."""
        with files.atomic_path(self._cell(name)) as temporary:
            pd.DataFrame(rows).to_parquet(temporary, index=False, write_page_checksum=True)
        known = {part: round(value, 3) for part, value in spent.items() if math.isfinite(value)}
        self._log({"event": "block", "name": name} | known)

    def costs(self) -> dict[str, Spent]:
        """Return the costs of each finished job by name."""
        return logged_costs(self.path / LOG)

    def _cell(self, name: str) -> Path:
        return self.path / "cells" / f"{name}.parquet"

    def _check_same(self, plan: str, data_key: str) -> None:
        if (self.path / "plan.yaml").read_bytes() != plan.encode():
            raise InputError(f"The folder {self.path} holds another plan (plan.yaml differs); choose another --out.")
        known = self._known_environment()
        if known.get("data") != data_key:
            raise InputError(
                f"The folder {self.path} was made from other data, or from other files of the names in "
                f"its plan; choose another --out."
            )
        if known.get("packages") != self._environment["packages"]:
            raise InputError(
                f"The folder {self.path} was made with other versions (environment.json); choose another --out, so "
                f"that no results of two versions mix."
            )

    def _check_ours(self) -> None:
        if not self.path.is_dir() or (self.path / "plan.yaml").is_file():
            return
        # A start that was killed between its first two files leaves environment.json, which is written anew.
        if any(file.name != ENVIRONMENT and not file.name.startswith(".") for file in self.path.iterdir()):
            raise InputError(f"The folder {self.path} is not empty and holds no study; choose another --out.")

    def _locked(self) -> files.FolderLock:
        try:
            return files.FolderLock(self.path)
        except OSError as error:
            raise InputError(
                f"The folder {self.path} cannot be written ({error.strerror}); choose another --out."
            ) from error

    def _known_environment(self) -> dict[str, Any]:
        path = self.path / ENVIRONMENT
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(
                f"{path} cannot be read, so nothing tells what made this folder; choose another --out."
            ) from error
        return known if isinstance(known, dict) else {}

    def _log(self, entry: dict[str, Any]) -> None:
        # A clock may be set back: the order is that of the lines, and times between them are those since the start.
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        elapsed = round(time.monotonic() - self._began, 3)
        files.append_line(self.path / LOG, json.dumps({"time": stamp, "elapsed": elapsed} | entry))


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Yield a folder to write that takes the place of another when the block ends, which is so whole or missing."""
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    yield unfinished
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)


def data_fingerprint(data: LabelledData) -> str:
    """Return a fingerprint of the inputs and labels of all splits."""
    given = data.noisy_labels or ()
    parts = [part for split in data.splits().values() for part in (split.inputs, split.labels)]
    return cache.fingerprint(*parts, *given, data.class_names)
