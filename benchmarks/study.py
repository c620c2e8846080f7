"""Run a study with the command line's own words and record what came out.

    python benchmarks/study.py NAME [words of `monosemy study` ...]

For example: `python benchmarks/study.py clinc150 --data ../shared/data/clinc150.parquet`. The run is kept in
runs/bench-NAME; the record goes to results/study_NAME.md and results/study_NAME.csv.
"""

import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
from record import RESULTS, write_record


def percent(row: pd.Series) -> str:
    """Mean and half interval of an accuracy, in percent."""
    text = f"{100 * row['accuracy']:.1f}"
    half = 50 * (row["accuracy_high"] - row["accuracy_low"])
    return text if pd.isna(half) else f"{text} ±{half:.1f}"


def tables(summary: pd.DataFrame) -> str:
    """Accuracy of every cell, and gains over dense + ce, as Markdown."""
    summary = summary.assign(cell=summary["scenario"] + " " + summary["level"].map("{:g}".format))
    order = list(dict.fromkeys(summary["cell"]))
    names = list(dict.fromkeys(summary["variant"]))
    accuracy = summary.assign(text=summary.apply(percent, axis=1)).pivot(index="variant", columns="cell", values="text")
    gains = summary[summary["gain"].notna()].copy()  # all but the baseline's
    gains["text"] = [
        f"{100 * g:+.1f}" if pd.isna(low) else f"{100 * g:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}], p {p:.2g}"
        for g, low, high, p in gains[["gain", "gain_low", "gain_high", "p_holm"]].itertuples(index=False)
    ]
    gain = gains.pivot(index="variant", columns="cell", values="text")
    parts = []
    for title, table in (("Accuracy, %", accuracy), ("Paired gain over dense + ce, points, Holm's p", gain)):
        rows = [name for name in names if name in table.index]
        lines = [f"| {title} | " + " | ".join(order) + " |", "|---" * (len(order) + 1) + "|"]
        lines += [f"| {name} | " + " | ".join(str(table.loc[name, cell]) for cell in order) + " |" for name in rows]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


METRICS = (
    "n_dimensions", "l0", "dead", "explained_variance", "semantic_consistency", "consistency_chance", "mono_score",
)  # fmt: skip


def feature_table(results: pd.DataFrame) -> str:
    """Mean feature metrics of every feature set, as Markdown."""
    features = results[results["metric"].isin(METRICS)].pivot_table(
        index="variant", columns="metric", values="value", sort=False
    )
    lines = ["| features | " + " | ".join(METRICS) + " |", "|---" * (len(METRICS) + 1) + "|"]
    lines += [
        f"| {row} | " + " | ".join(f"{features.at[row, m]:.3g}" if m in features else "" for m in METRICS) + " |"
        for row in features.index
    ]
    return "\n".join(lines)


def main() -> None:
    name, words = sys.argv[1], sys.argv[2:]
    folder = Path("runs") / f"bench-{name}"
    shutil.rmtree(folder, ignore_errors=True)
    started = time.monotonic()
    subprocess.run(["monosemy", "study", *words, "--out", str(folder), "--quiet"], check=True)
    seconds = time.monotonic() - started
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    summary = pd.read_csv(folder / "summary.csv")
    shutil.copyfile(folder / "summary.csv", RESULTS / f"study_{name}.csv")
    results = pd.read_parquet(folder / "results.parquet")
    body = "\n\n".join(
        [
            f"Wall time {seconds / 60:.1f} min; largest process {peak:.2f} GiB.",
            tables(summary),
            feature_table(results),
            (folder / "verdict.txt").read_text().strip().replace("\n", "\n\n"),
        ]
    )
    write_record(
        f"study_{name}", f"Study: {name}", f"monosemy study {' '.join(words)}", body, ("scikit-learn", "pandas")
    )


if __name__ == "__main__":
    main()
