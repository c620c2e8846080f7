"""`monosemy layers` on a small real model over 1,000 prompts, as a whole: start, model, text encoder, figures.

    python benchmarks/layers.py --model FOLDER --prompts FILE

FILE is JSON lines with a column of texts. The text encoder's cache is empty at the start of each run.
"""

import argparse
import gzip
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from record import write_record

PROMPTS = 1000
ASKED = 60


def texts(path: Path, column: str) -> list[str]:
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        rows = [json.loads(next(file))[column] for _ in range(PROMPTS)]
    return [" ".join((row[0] if isinstance(row, list) else row).split()) for row in rows]


def seconds(model: str, prompts: Path, encoder: str) -> tuple[float, float]:
    """Wall-clock and processor seconds of one call in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-m", "monosemy", "layers", model, "--prompts", str(prompts), "--encoder", encoder]
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(
            [*words, "--out", f"{folder}/out", "--quiet"], check=True, env=os.environ | {"MONOSEMY_CACHE": folder}
        )
        wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--prompts", type=Path, required=True)
    parser.add_argument("--column", default="neutral")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        prompts = Path(folder) / "prompts.txt"
        prompts.write_text("\n".join(texts(args.prompts, args.column)), encoding="utf-8")
        rows = {
            "with MonoScore (all-MiniLM-L6-v2)": seconds(args.model, prompts, "all-MiniLM-L6-v2"),
            "without": seconds(args.model, prompts, "none"),
        }
    lines = ["| `monosemy layers` | wall clock, s | processor time, s |", "|---|---|---|"]
    lines += [f"| {name} | {wall:.1f} | {processor:.1f} |" for name, (wall, processor) in rows.items()]
    worst = max(wall for wall, _ in rows.values())
    body = "\n".join(
        [
            f"{Path(args.model).name} over {PROMPTS:,} prompts of {args.prompts.name}, on the CPU; from the start of "
            "the process to the files and figures.",
            "",
            *lines,
            "",
            f"Asked for: under {ASKED} s. Slowest: **{worst:.1f} s**.",
        ]
    )
    command = "python benchmarks/layers.py --model FOLDER --prompts FILE"
    write_record(
        "layers", "Layer metrics of a language model", command, body, ("transformers", "sentence-transformers")
    )


if __name__ == "__main__":
    main()
