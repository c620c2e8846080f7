"""What a training step of MonoLoRA costs against LoRA's, over random Llama models of growing size.

    python benchmarks/monolora_step.py

A step is forward, backward and AdamW on one batch of random tokens. LoRA and every placement and s+ of MonoLoRA take
turns in one process on the same frozen weights; a ratio is the median over rounds of (its step / LoRA's step beside
it). Peak memory is what the step itself had allocated at most, from the allocator's own events.
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import torch
from peft import LoraConfig, get_peft_model
from record import RESULTS, write_record
from torch.profiler import ProfilerActivity, profile
from transformers import LlamaConfig, LlamaForCausalLM

from monosemy.lm import MonoLoraConfig

FIGURE = Path(__file__).parents[1] / "docs" / "figures" / "monolora-step.png"
SIZES = {"1M": (128, 4), "8M": (256, 8), "28M": (512, 8), "41M": (640, 8)}
"""Width and layers."""
VOCABULARY, BATCH, LENGTH = 2048, 2, 128
PLACEMENTS, MAPS = ("output", "hidden", "both", "weights"), ("relu", "rep_relu")
SETTINGS = {"r": 8, "lora_alpha": 4, "lora_dropout": 0.1, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
COLOURS = {"output": "#0072B2", "hidden": "#D55E00", "both": "#009E73", "weights": "#CC79A7"}


def configs() -> dict[str, LoraConfig]:
    mono = {(p, m): MonoLoraConfig(placement=p, non_negative=m, **SETTINGS) for p in PLACEMENTS for m in MAPS}
    return {"LoRA": LoraConfig(**SETTINGS)} | {f"{p}, {m}": config for (p, m), config in mono.items()}


def base_model(width: int, layers: int) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        intermediate_size=int(2.75 * width),
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        max_position_embeddings=LENGTH,
    )
    return LlamaForCausalLM(config)


def shared(model: LlamaForCausalLM) -> LlamaForCausalLM:
    """Another model on the same weights: nine copies of the largest would not fit, nor share a cache."""
    weights = {id(value): value for value in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, memo=weights)


def step_of(model: torch.nn.Module, tokens: torch.Tensor) -> Callable[[], None]:
    model.train()
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)

    def step() -> None:
        model(input_ids=tokens, labels=tokens).loss.backward()
        optimiser.step()
        optimiser.zero_grad()

    return step


def peak_bytes(step: Callable[[], None]) -> int:
    """Most bytes allocated at once above those at the start of a step."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        step()
    events = [e for e in profiled.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = most = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


def measure(name: str, width: int, layers: int, rounds: int) -> list[dict[str, object]]:
    base = base_model(width, layers)
    n_parameters = sum(p.numel() for p in base.parameters())
    tokens = torch.randint(0, VOCABULARY, (BATCH, LENGTH), generator=torch.Generator().manual_seed(0))
    steps = {which: step_of(get_peft_model(shared(base), config), tokens) for which, config in configs().items()}
    for step in steps.values():
        step()
        step()
    seconds: dict[str, list[float]] = {which: [] for which in steps}
    ratios: dict[str, list[float]] = {which: [] for which in steps}
    for turn in range(rounds):
        order = list(steps)[1:]
        for which in order if turn % 2 else order[::-1]:
            lora, mono = timed(steps["LoRA"]), timed(steps[which])
            seconds["LoRA"].append(lora)
            seconds[which].append(mono)
            ratios[which].append(mono / lora)
    ratios["LoRA"] = [1.0]
    peaks = {which: peak_bytes(step) for which, step in steps.items()}
    return [
        {
            "model": name,
            "parameters": n_parameters,
            "adapter": which,
            "ms": 1000 * statistics.median(seconds[which]),
            "time_ratio": statistics.median(ratios[which]),
            "time_ratio_low": quantile(ratios[which], 0.25),
            "time_ratio_high": quantile(ratios[which], 0.75),
            "peak_mb": peaks[which] / 2**20,
            "peak_ratio": peaks[which] / peaks["LoRA"],
        }
        for which in steps
    ]


def timed(step: Callable[[], None]) -> float:
    """Seconds of this process on the processor: what else runs on the machine hardly counts."""
    started = time.process_time()
    step()
    return time.process_time() - started


def quantile(values: list[float], share: float) -> float:
    return float(torch.tensor(values).quantile(share))


def draw(table: pd.DataFrame) -> None:
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for axis, column, title in zip(
        axes, ("time_ratio", "peak_ratio"), ("Time of a step / LoRA's", "Peak memory of a step / LoRA's"), strict=True
    ):
        for placement in PLACEMENTS:
            for name, dash in zip(MAPS, ("-", (0, (4, 2))), strict=True):
                rows = table[table.adapter == f"{placement}, {name}"]
                axis.plot(
                    rows.parameters, rows[column], color=COLOURS[placement], linestyle=dash, marker="o", markersize=3.5,
                    label=f"{placement}, {name}",
                )  # fmt: skip
        axis.axhline(1, color="black", linewidth=1)
        if column == "time_ratio":
            axis.axhline(1.05, color="grey", linewidth=1, linestyle=(0, (1, 2)))
        axis.set_xscale("log")
        axis.set_xticks(table.parameters.unique(), table.model.unique())
        axis.minorticks_off()
        axis.set_xlabel("Parameters of the model")
        axis.set_title(title, fontsize=10)
        axis.spines[["top", "right"]].set_visible(False)
    axes[1].legend(frameon=False, fontsize=7, ncols=2)
    FIGURE.parent.mkdir(exist_ok=True)
    figure.savefig(FIGURE, dpi=150)


def lines_of(table: pd.DataFrame) -> list[str]:
    models = list(dict.fromkeys(table.model))
    lines = ["| adapter | " + " | ".join(f"{m}: time, peak" for m in models) + " |", "|---" * (len(models) + 1) + "|"]
    for which, rows in table.groupby("adapter", sort=False):
        if which == "LoRA":
            cells = [f"{row.ms:.0f} ms, {row.peak_mb:.0f} MB" for row in rows.itertuples()]
        else:
            cells = [f"{row.time_ratio:.3f}, {row.peak_ratio:.3f}" for row in rows.itertuples()]
        lines.append(f"| {which} | " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=list(SIZES))
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name in args.sizes:
        width, layers = SIZES[name]
        rows += measure(name, width, layers, args.rounds)
        print(
            pd.DataFrame(rows)[["model", "adapter", "ms", "time_ratio", "peak_ratio"]].tail(9).to_string(), flush=True
        )
    table = pd.DataFrame(rows)
    RESULTS.mkdir(exist_ok=True)
    table.to_csv(RESULTS / "monolora_step.csv", index=False, float_format="%.5g")
    draw(table)
    others = table[table.adapter != "LoRA"]
    worst, over = others.loc[others.time_ratio.idxmax()], int((others.time_ratio > 1.05).sum())
    body = "\n".join(
        [
            f"Random Llama models, adapters of rank 8 on all linear layers, dropout 0.1, batch {BATCH} of {LENGTH} "
            f"tokens, float32, one thread, processor time, medians of {args.rounds} rounds. A cell is time and "
            "peak memory of a step over LoRA's; "
            "LoRA's row gives both as they are. "
            "Quartiles and step times of all: [monolora_step.csv](monolora_step.csv).",
            "",
            *lines_of(table),
            "",
            f"- Asked for: at most 1.05 of LoRA's time. Worst: **{worst.time_ratio:.3f}** ({worst.adapter}, "
            f"{worst.model}); {over} of {len(others)} cells are above.",
            f"- Most memory over LoRA's: **{others.peak_ratio.max():.3f}**.",
            "",
            "![time and memory against LoRA](../../docs/figures/monolora-step.png)",
        ]
    )
    write_record(
        "monolora_step", "A step of MonoLoRA against LoRA's",
        f"python benchmarks/monolora_step.py --rounds {args.rounds}", body, ("transformers", "peft"),
    )  # fmt: skip


if __name__ == "__main__":
    main()
