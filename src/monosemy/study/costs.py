"""What a study took: seconds and memory, kept apart from its numbers, which repeat while these do not."""

import json
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from monosemy.errors import InputError, reason

COSTS = "costs.csv"
PARTS = ("encoder_seconds", "fit_seconds", "probe_seconds", "seconds", "peak_mib")
"""Training the encoder, fitting the features, training the probes, all of the block but the encoder; memory."""
COLUMNS = ("features", "seeds", *PARTS)


class Meter:
    """Adds up what a piece of work takes, part by part."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Add the seconds of the block to a part."""
        started = time.monotonic()
        yield
        self.spent[part] = self.spent.get(part, 0.0) + time.monotonic() - started


class PeakMemory:
    """The most memory that this process holds from now on, all of its libraries and data included; Linux only."""

    def __init__(self) -> None:
        try:
            Path("/proc/self/clear_refs").write_text("5")  # starts the kernel's record of the peak anew
            self._known = True
        except OSError:
            self._known = False

    def mib(self) -> float:
        """NaN where the system does not tell: a peak since the process began would be that of other work."""
        if not self._known:
            return math.nan
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return int(status.split("VmHWM:")[1].split()[0]) / 1024


Spent = Mapping[str, float]
"""What a piece of work took, by parts."""


def costs_table(work: Iterable[tuple[str, int, Spent]]) -> pd.DataFrame:
    """A row for each block: its feature set, number of seeds, and what it took; NaN for what was not measured."""
    rows = [[features, seeds, *(spent.get(part, math.nan) for part in PARTS)] for features, seeds, spent in work]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def logged_costs(log: Path) -> dict[str, Spent]:
    """What each block took, from the log of a study; a line that a kill cut short is left out."""
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
    """The table of a finished study.

    Raises:
        InputError: the file is no such table.
    """
    try:
        table = pd.read_csv(path)
        return table[list(COLUMNS)].astype({"features": str, "seeds": int} | dict.fromkeys(PARTS, float))
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{path} cannot be read ({reason(error)}), so costs are left out; run the study again."
        ) from error
