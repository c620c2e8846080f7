"""Every reader against hostile files: counts, rate, memory. The cases are those of tests/fuzz.

python benchmarks/fuzz.py             # all readers
python benchmarks/fuzz.py READER ...  # some again, such as those that were mended; the record keeps the others
"""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
from record import RESULTS, write_record

TESTS = Path(__file__).resolve().parents[1] / "tests" / "fuzz"
FOUND = RESULTS / "fuzz_found.txt"
"""What the campaigns found so far, written by hand: a line a fault."""
CASES, AT_ONCE = 1_800, 2
COLUMNS = ["reader", "cases", "read", "refused", "seconds", "grown_mb"]
METHOD = """
Each case is a folder of sound files of which one was changed: bytes flipped, cut, put in, doubled; headers that promise
other shapes, types and places; values replaced, wrapped, renamed, left out; deep nesting, numbers of 5,000 digits, NaN,
lone surrogates, paths out of the folder, pickles, YAML's tags and aliases. A case fails where the reader does anything
but return a value or raise InputError in one sentence, computes for more than 20 s, lets the process grow by more than
400 MB, starts a program, connects, deletes, or opens a file outside the folder (by Python's audit hooks; extension
modules get no paths but those given).
"""


def campaign(name: str) -> dict[str, object]:
    """Hostile files for one reader, in a process that it may bring down."""
    finished = subprocess.run(
        [sys.executable, str(TESTS / "fuzz_worker.py"), str(CASES), "1", name],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    print(name, finished.stdout, finished.stderr[-3000:], flush=True)
    return {"reader": name, "cases": 0} if finished.returncode else json.loads(finished.stdout)


def with_row(path: Path, found: dict[str, object], known: list[str]) -> pd.DataFrame:
    """The counts of all readers so far, this one's new; kept at once, for a campaign takes long."""
    rows = pd.DataFrame([found]).reindex(columns=COLUMNS).fillna(0)
    if path.is_file():
        kept = pd.read_csv(path)
        rows = pd.concat([kept[kept["reader"] != found["reader"]], rows])
    rows = rows.set_index("reader").reindex([name for name in known if name in set(rows["reader"])]).reset_index()
    rows = rows.astype({name: int for name in COLUMNS if name not in ("reader", "seconds")})
    rows.to_csv(path, index=False)
    return rows


def main() -> None:
    known = subprocess.run(
        [sys.executable, "-c", "from fuzz_targets import ALL; print('\\n'.join(ALL))"],
        cwd=TESTS, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    wanted, path = sys.argv[1:] or known, RESULTS / "fuzz.csv"
    if wanted == known:
        path.unlink(missing_ok=True)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for found in pool.map(campaign, wanted):
            rows = with_row(path, found, known)
    sound = rows[rows["cases"] > 0]
    total, seconds = sound["cases"].sum(), sound["seconds"].sum()
    lines = [
        f"{total:,} hostile files for {len(sound)} of {len(known)} readers: {sound['refused'].sum():,} were refused in "
        f"one sentence, {sound['read'].sum():,} read; {len(rows) - len(sound)} readers failed. "
        f"{total / seconds:,.0f} files a second and process, on a busy machine.",
        METHOD,
        "| reader | files | read | refused | process grew by, MB |",
        "|---|---|---|---|---|",
        *(f"| {r.reader} | {r.cases:,} | {r.read:,} | {r.refused:,} | {r.grown_mb} |" for r in rows.itertuples()),
        "",
        "## What was found, and mended",
        "",
        FOUND.read_text(encoding="utf-8").strip(),
    ]
    write_record(
        "fuzz", "Hostile files", "python benchmarks/fuzz.py", "\n".join(lines), ("hypothesis", "pyarrow", "pandas")
    )


if __name__ == "__main__":
    main()
