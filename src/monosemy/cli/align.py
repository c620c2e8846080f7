"""`monosemy align`: language models trained from preferences."""

from pathlib import Path
from typing import Annotated

import typer

from monosemy.cli.shared import Device, Executor, ExecutorFile, Json, PlanFile, Quiet, Workers
from monosemy.core.console import make_console


def align(
    model: Annotated[
        str | None, typer.Argument(help="Folder or name of a causal language model; several, comma-separated.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Preference pairs: a table, a pattern of such files, or a data set's id.")
    ] = None,
    format: Annotated[
        str | None, typer.Option(help="hh-rlhf, paradetox, sycophancy, pku-saferlhf, trl; default by the columns.")
    ] = None,
    template: Annotated[str | None, typer.Option(help="plain text, or chat for models with a chat template.")] = None,
    weights: Annotated[
        str | None, typer.Option(help="Of the decorrelation regulariser; default 0.00001,0.0001,0.001.")
    ] = None,
    layers: Annotated[
        str | None, typer.Option(help="Numbers of layers (their MLP's up-projection) or module names; default middle.")
    ] = None,
    tokens: Annotated[str | None, typer.Option(help="Which are regularised: all, completion, last.")] = None,
    ablations: Annotated[str, typer.Option(help="Other regularisers, with their strengths.")] = "l1=0.001,dropout=0.1",
    losses: Annotated[str | None, typer.Option(help="Other losses of TRL beside DPO's: ipo, hinge, ...")] = None,
    seeds: Annotated[int, typer.Option(help="Trainings of each kind; pairs and their order are drawn anew.")] = 3,
    pairs: Annotated[int | None, typer.Option(help="Train pairs of each training; default all.")] = None,
    test_pairs: Annotated[int | None, typer.Option(help="Pairs to measure on; default 200.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the pairs; default 1.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Pairs a step; default 16.")] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate of AdamW; default 0.00001.")] = None,
    beta: Annotated[float | None, typer.Option(help="Of the loss and the rewards; default 0.1.")] = None,
    method: Annotated[str | None, typer.Option(help="full, lora or monolora.")] = None,
    rank: Annotated[int | None, typer.Option(help="Of an adapter; default 8.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Of a prompt with its answer; default the context.")] = None,
    on_long: Annotated[str | None, typer.Option(help="Longer pairs: drop, or truncate the prompt.")] = None,
    precision: Annotated[str | None, typer.Option(help="float32 or bfloat16.")] = None,
    widths: Annotated[
        str | None, typer.Option(help="Random models of MODEL's architecture with these hidden widths; warm them up.")
    ] = None,
    warm_up: Annotated[
        int | None, typer.Option(help="Passes of supervised training on the chosen answers before; default none.")
    ] = None,
    warm_up_pairs: Annotated[int | None, typer.Option(help="Train pairs that are used for it; default all.")] = None,
    warm_up_lr: Annotated[float | None, typer.Option(help="Its learning rate; default 0.001.")] = None,
    judge: Annotated[
        str | None, typer.Option(help="KIND:MODEL, such as toxicity:pairs.jsonl or llama-guard; default none.")
    ] = None,
    answers: Annotated[int | None, typer.Option(help="Test prompts that each model answers; default 100.")] = None,
    max_new_tokens: Annotated[int | None, typer.Option(help="Of an answer; default 32.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Of answers; default 1, 0 takes the likeliest.")] = None,
    held_out: Annotated[
        str | None, typer.Option(help="Texts for perplexity, .txt or a table; default what the model writes itself.")
    ] = None,
    plan: PlanFile = None,
    out: Annotated[Path | None, typer.Option(help="Folder; default runs/align-NAME. Resumes where it was.")] = None,
    device: Device = None,
    executor: Executor = None,
    workers: Workers = None,
    executor_config: ExecutorFile = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Train a language model from preferences by DPO and by DecPO: does decorrelation help, and at which weight?

    **Examples**

    `monosemy align my-model/ --data pairs.jsonl --weights 0.0001,0.001 --pairs 2000`

    `monosemy align my-model/ --data hh-rlhf.jsonl.gz --method lora --losses ipo,hinge --seeds 5`
    """
    from monosemy.commands.align import AlignRequest, execute
    from monosemy.commands.words import given
    from monosemy.core.executors import executor_settings

    request = AlignRequest(
        models=model or "",
        data=given({"source": data, "format": format, "template": template}),
        weights=weights, ablations=ablations, losses=losses, layers=layers, widths=widths, judge=judge,
        warm_up=given({"epochs": warm_up, "pairs": warm_up_pairs, "lr": warm_up_lr}),
        training=given({
            "method": method, "rank": rank, "tokens": tokens, "beta": beta, "lr": lr, "epochs": epochs,
            "batch_size": batch_size, "max_tokens": max_tokens, "on_long": on_long, "precision": precision,
        }),
        measuring=given({"answers": answers, "max_new_tokens": max_new_tokens, "temperature": temperature}),
        plan=given({"seeds": seeds, "pairs": pairs, "test_pairs": test_pairs, "held_out": held_out}),
    )  # fmt: skip
    execute(
        request,
        plan,
        out,
        executor_settings(executor, workers, executor_config),
        device,
        make_console(quiet, json),
        as_json=json,
    )
