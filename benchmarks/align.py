"""Train from preferences with the command line's own words and record what came out.

    python benchmarks/align.py NAME MODEL [words of `monosemy align` ...]

For example: `python benchmarks/align.py paradetox stories260k/ --data paradetox.jsonl.gz --pairs 160 --n-seeds 5`. The
run is kept in runs/align-NAME (or the folder that `--out` names) and goes on there if it was stopped; the record goes
to results/align_NAME.md and results/align_NAME.csv.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
from record import RESULTS, write_record

_METRICS = {
    "margin": "margin", "accuracy": "accuracy, %", "kl": "KL, nats/token", "perplexity": "perplexity",
    "unsafe": "unsafe, %", "distinct_2": "distinct-2", "answer_decorrelation": "answers' decorrelation",
    "feature_decorrelation": "feature decorrelation", "effective_rank": "effective rank", "regulariser": "regulariser",
}  # fmt: skip
_COMPARED = ("margin", "kl", "perplexity", "feature_decorrelation")


def means(rows: pd.DataFrame) -> str:
    """Mean and half the 95 % interval of every metric, as Markdown."""
    metrics = {name: title for name, title in _METRICS.items() if name in set(rows["metric"])}
    lines = ["| variant | " + " | ".join(metrics.values()) + " |", "|---" * (len(metrics) + 1) + "|"]
    for variant in dict.fromkeys(rows["variant"]):
        cells = []
        for metric in metrics:
            row = rows[(rows["variant"] == variant) & (rows["metric"] == metric)].iloc[0]
            scale = 100 if metrics[metric].endswith("%") else 1
            half = scale * (row["high"] - row["mean"])
            cells.append(f"{scale * row['mean']:.3g}" + ("" if pd.isna(half) else f" ± {half:.2g}"))
        lines.append(f"| {variant} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def differences(rows: pd.DataFrame) -> str:
    """Paired differences to DPO with intervals and Holm's p-values, as Markdown."""
    lines = ["| less dpo | " + " | ".join(_METRICS[metric] for metric in _COMPARED) + " |"]
    lines.append("|---" * (len(_COMPARED) + 1) + "|")
    for variant in dict.fromkeys(rows.loc[rows["gain"].notna(), "variant"]):
        cells = []
        for metric in _COMPARED:
            row = rows[(rows["variant"] == variant) & (rows["metric"] == metric)].iloc[0]
            p = "" if pd.isna(row["p_holm"]) else f", p {row['p_holm']:.2g}"
            cells.append(f"{row['gain']:+.3g} [{row['gain_low']:+.3g}, {row['gain_high']:+.3g}]{p}")
        lines.append(f"| {variant} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("--out", type=Path)
    args, words = parser.parse_known_args()
    folder = args.out or Path("runs") / f"align-{args.name}"
    command = ["monosemy", "align", *words]
    subprocess.run([sys.executable, "-m", *command, "--out", str(folder), "--quiet"], check=True)
    summary = pd.read_csv(folder / "summary.csv")
    RESULTS.mkdir(exist_ok=True)
    shutil.copyfile(folder / "summary.csv", RESULTS / f"align_{args.name}.csv")
    parts = []
    for model in dict.fromkeys(summary["model"]):
        rows = summary[summary["model"] == model]
        seeds = int(rows["seeds"].max())
        parts += [f"## {model}, {seeds} seeds: mean ± half the 95 % interval", means(rows)]
        parts += ["Paired differences to DPO of the same seed, Holm-corrected within each metric:", differences(rows)]
    parts.append((folder / "verdict.txt").read_text().strip().replace("\n", "\n\n"))
    said = " ".join(Path(word).name if "/" in word else word for word in command)
    packages = ("transformers", "trl", "peft")
    write_record(f"align_{args.name}", f"Training from preferences: {args.name}", said, "\n\n".join(parts), packages)


if __name__ == "__main__":
    main()
