"""Compare finetuned networks with the command line's own words and record what came out.

    python benchmarks/finetuning.py NAME ENCODER [words of `monosemy finetune images` ...]

For example: `python benchmarks/finetuning.py digit_pairs runs/simclr --n-seeds 5`. The run is kept in
runs/finetune-NAME; the record goes to results/finetune_NAME.md and results/finetune_NAME.csv. With `--first N M` before
NAME the data is the first N train and M test rows of the parquet files named by `--data`.
"""

import argparse
import shutil
import subprocess
from pathlib import Path

import pandas as pd
from record import RESULTS, write_record
from study import tables


def subset(pattern: str, n_train: int, n_test: int, folder: Path) -> Path:
    """The first rows of parquet files whose names say train and test, as files of the same layout."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, n in (("train", n_train), ("test", n_test)):
        files = sorted(path for path in Path(pattern).parent.glob(Path(pattern).name) if part in path.name)
        pd.concat([pd.read_parquet(path) for path in files]).head(n).to_parquet(folder / f"{part}.parquet")
    return folder


def overfitting(results: pd.DataFrame) -> str:
    """Accuracy on train and validation labels of the chosen epochs, mean over seeds, as Markdown."""
    wide = results[results["metric"] != "accuracy"].assign(
        cell=lambda rows: rows["scenario"] + " " + rows["level"].map("{:g}".format)
    )
    means = wide.pivot_table(index="variant", columns=["cell", "metric"], values="value", sort=False)
    lines = ["| Accuracy, % | " + " | ".join(f"{cell}, {metric}" for cell, metric in means.columns) + " |"]
    lines.append("|---" * (len(means.columns) + 1) + "|")
    lines += [
        f"| {name} | " + " | ".join(f"{100 * value:.1f}" for value in row) + " |" for name, row in means.iterrows()
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", nargs=2, type=int, metavar=("N", "M"))
    parser.add_argument("name")
    parser.add_argument("encoder")
    args, words = parser.parse_known_args()
    folder = Path("runs") / f"finetune-{args.name}"
    said = " ".join(["monosemy finetune images", args.encoder, *words])
    if args.first:
        place = words.index("--data") + 1
        words[place] = str(subset(words[place], *args.first, Path("runs") / f"subset-{args.name}"))
        said += f" (of the data the first {args.first[0]:,} train and {args.first[1]:,} test rows)"
    shutil.rmtree(folder, ignore_errors=True)
    command = ["monosemy", "finetune", "images", args.encoder, *words, "--out", str(folder), "--quiet"]
    subprocess.run(command, check=True)
    summary = pd.read_csv(folder / "summary.csv")
    shutil.copyfile(folder / "summary.csv", RESULTS / f"finetune_{args.name}.csv")
    body = "\n\n".join(
        [
            tables(summary).replace("over dense", "over ce"),
            overfitting(pd.read_parquet(folder / "results.parquet")),
            (folder / "verdict.txt").read_text().strip().replace("\n", "\n\n"),
        ]
    )
    write_record(f"finetune_{args.name}", f"Finetuning: {args.name}", said, body)


if __name__ == "__main__":
    main()
