"""`monosemy finetune`: whole networks of images, adapters of language models."""

from pathlib import Path
from typing import Annotated

import typer

from monosemy.cli.completion import several_of
from monosemy.cli.shared import Device, Executor, ExecutorFile, Json, PlanFile, Quiet, Workers
from monosemy.core.console import make_console

finetune = typer.Typer(
    no_args_is_help=True, help="Finetune networks and language models, plain and monosemantic, side by side."
)


@finetune.command()
def images(
    encoder: Annotated[
        str, typer.Argument(help="File or folder of `monosemy pretrain`; several, comma-separated, one for each seed.")
    ],
    data: Annotated[str, typer.Option(help="Labelled images, as for `monosemy study`.")] = "digit-pairs",
    variants: Annotated[
        str | None,
        typer.Option(
            help="Of ce, nce, ce-early, nce-early, ce-smooth, ce-decay; default all.",
            autocompletion=several_of("monosemy.study.finetuning.run", "VARIANTS"),
        ),
    ] = None,
    scenario: Annotated[
        str,
        typer.Option(
            help="Comma-separated: label-noise, few-labels, given-labels.",
            autocompletion=several_of("monosemy.commands.finetune", "SCENARIOS"),
        ),
    ] = "label-noise",
    label_noise: Annotated[str | None, typer.Option(help="Rates, such as 0.3,0.9.")] = None,
    few_labels: Annotated[str | None, typer.Option(help="Fractions of the train rows, such as 0.1,0.5.")] = None,
    seeds: Annotated[int, typer.Option(help="Networks of every kind; noise, head and batches drawn anew.")] = 3,
    epochs: Annotated[int | None, typer.Option(help="Passes over the train rows; default 20.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images a step; default 256.")] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate of SGD; default 0.03.")] = None,
    batch_norm: Annotated[str | None, typer.Option(help="train, or frozen as pretraining left them.")] = None,
    layer: Annotated[str | None, typer.Option(help="What the classifier stands on: features or backbone.")] = None,
    augmentation: Annotated[str | None, typer.Option(help="Recipe; default crop-flip.")] = None,
    precision: Annotated[str | None, typer.Option(help="float32 or bfloat16.")] = None,
    input_column: Annotated[str | None, typer.Option(help="Column of the images.")] = None,
    label_column: Annotated[str | None, typer.Option(help="Column of the labels.")] = None,
    split_column: Annotated[str | None, typer.Option(help="Column that says train, validation or test.")] = None,
    image_size: Annotated[int | None, typer.Option(help="Side of images; default the encoder's.")] = None,
    classes: Annotated[Path | None, typer.Option(help="Text file with the class folders to use, one a line.")] = None,
    on_bad_image: Annotated[str, typer.Option(help="An image that cannot be read: stop, or skip and count.")] = "stop",
    noisy_labels: Annotated[Path | None, typer.Option(help="File with real noisy labels of the train rows.")] = None,
    noisy_label_column: Annotated[str | None, typer.Option(help="Column of real noisy labels.")] = None,
    plan: PlanFile = None,
    out: Annotated[Path | None, typer.Option(help="Folder; default runs/finetune-NAME. Resumes where it was.")] = None,
    device: Device = None,
    executor: Executor = None,
    workers: Workers = None,
    executor_config: ExecutorFile = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Finetune whole image encoders by cross-entropy with and without non-negative features: which stands noisy labels?

    **Examples**

    `monosemy finetune images runs/simclr --data cifar-100-python/ --label-noise 0.4,0.8`

    `monosemy finetune images runs/simclr --scenario few-labels --few-labels 0.1,0.2 --variants ce,nce`
    """
    from monosemy.commands.finetune import FinetuneRequest, execute
    from monosemy.commands.words import data_config, given
    from monosemy.core.executors import executor_settings

    request = FinetuneRequest(
        encoder=encoder,
        data=data_config(data, input_column=input_column, label_column=label_column, split_column=split_column,
                         noisy_labels=noisy_labels, noisy_label_column=noisy_label_column, image_size=image_size,
                         classes=classes, on_bad_image=on_bad_image),
        variants=variants, scenario=scenario, label_noise=label_noise, few_labels=few_labels, seeds=seeds,
        changes=given({
            "epochs": epochs, "batch_size": batch_size, "optimizer": {"lr": lr}, "batch_norm": batch_norm,
            "layer": layer, "augmentation": augmentation, "precision": precision,
        }),
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


@finetune.command()
def lm(
    model: Annotated[str | None, typer.Argument(help="Folder or name of a language model or text encoder.")] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="A table, a pattern of such files, or a data set's id: texts with labels (SST-2), instructions "
            "(Dolly, Alpaca), messages, prompt and completion, or plain text; known by their columns."
        ),
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="classification or generation; default classification where there are labels.")
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(
            help="Of base, lora, lora-decay, lora-half, monolora-output, -hidden, -both, -weights, each also with "
            "-rep for rep_relu; default base,lora,monolora-output,monolora-hidden.",
            autocompletion=several_of("monosemy.study.lora.plan", "METHODS"),
        ),
    ] = None,
    scenario: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated: label-noise, few-labels; default clean labels alone.",
            autocompletion=several_of("monosemy.commands.finetune_lm", "SCENARIOS"),
        ),
    ] = None,
    label_noise: Annotated[str | None, typer.Option(help="Rates; default 0.2,0.4.")] = None,
    few_labels: Annotated[str | None, typer.Option(help="Fractions of the train rows; default 0.1,0.5.")] = None,
    seeds: Annotated[
        int | None, typer.Option(help="Adapters of every kind; noise, start, order new; default 3.")
    ] = None,
    lr: Annotated[
        str | None, typer.Option(help="Of AdamW; several are a grid, chosen on validation; default 0.0001.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the train rows; default 20.")] = None,
    min_steps: Annotated[int | None, typer.Option(help="Few rows are passed over until so many steps.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Rows a step; default 16.")] = None,
    accumulation: Annotated[int | None, typer.Option(help="Parts of a step, to save memory; default 1.")] = None,
    gradient_checkpointing: Annotated[
        bool | None, typer.Option("--gradient-checkpointing", help="Save memory, take longer.")
    ] = None,
    rank: Annotated[int | None, typer.Option(help="Units of an adapter; default 8.")] = None,
    alpha: Annotated[float | None, typer.Option(help="The update is scaled by alpha / rank; default 4.")] = None,
    dropout: Annotated[float | None, typer.Option(help="On the adapter's input; default 0.1.")] = None,
    target_modules: Annotated[str | None, typer.Option(help="Names of layers, or all-linear; default PEFT's.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Of a row; default the model's context.")] = None,
    on_long: Annotated[str | None, typer.Option(help="Longer rows: stop, drop or truncate; default stop.")] = None,
    format: Annotated[
        str | None, typer.Option(help="dolly, alpaca, messages, prompt-completion, text; default by the columns.")
    ] = None,
    template: Annotated[str | None, typer.Option(help="plain, alpaca, or chat where there is a chat template.")] = None,
    text_column: Annotated[str | None, typer.Option(help="Column of the texts.")] = None,
    label_column: Annotated[str | None, typer.Option(help="Column of the labels.")] = None,
    prompt_column: Annotated[str | None, typer.Option(help="Column of the prompts; default prompt.")] = None,
    completion_column: Annotated[str | None, typer.Option(help="Column of the answers; default completion.")] = None,
    label_words: Annotated[str | None, typer.Option(help="The classes' words where they are generated.")] = None,
    train_rows: Annotated[int | None, typer.Option(help="At most so many, drawn; default all.")] = None,
    validation_rows: Annotated[int | None, typer.Option(help="At most so many, drawn; default all.")] = None,
    test_rows: Annotated[int | None, typer.Option(help="At most so many, drawn; default all.")] = None,
    held_out: Annotated[
        str | None, typer.Option(help="Texts for perplexity, .txt or a table; default what the model writes itself.")
    ] = None,
    judge: Annotated[
        str | None, typer.Option(help="KIND:MODEL, such as toxicity:pairs.jsonl or shieldgemma; default none.")
    ] = None,
    judge_prompts: Annotated[Path | None, typer.Option(help="A prompt a line; default prompts of test.")] = None,
    answers: Annotated[int | None, typer.Option(help="Prompts that are answered for the judge; default 64.")] = None,
    max_new_tokens: Annotated[int | None, typer.Option(help="Of an answer; default 64.")] = None,
    lm_eval: Annotated[str | None, typer.Option(help="Tasks of lm-evaluation-harness, comma-separated.")] = None,
    lm_eval_limit: Annotated[int | None, typer.Option(help="At most so many questions of each.")] = None,
    precision: Annotated[str | None, typer.Option(help="auto (the files'), float32, bfloat16, float16.")] = None,
    plan: PlanFile = None,
    out: Annotated[Path | None, typer.Option(help="Folder; default runs/finetune-NAME. Resumes where it was.")] = None,
    device: Device = None,
    executor: Executor = None,
    workers: Workers = None,
    executor_config: ExecutorFile = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Finetune a language model with LoRA and with MonoLoRA: which learns better, stays sparser, keeps more?

    Several GPUs: `torchrun --nproc-per-node 4 -m monosemy finetune lm ...`

    **Examples**

    `monosemy finetune lm my-encoder/ --data sst2.jsonl.gz --scenario label-noise,few-labels --lr 0.001,0.005`

    `monosemy finetune lm my-model/ --data dolly.jsonl --on-long drop --epochs 3 --judge toxicity:pairs.jsonl`
    """
    from monosemy.commands.finetune_lm import FinetuneLmRequest, execute
    from monosemy.commands.words import given
    from monosemy.core.executors import executor_settings

    request = FinetuneLmRequest(
        model=model or "",
        data=given({
            "source": data, "task": task, "format": format, "template": template, "text_column": text_column,
            "label_column": label_column, "prompt_column": prompt_column, "completion_column": completion_column,
            "max_train": train_rows, "max_validation": validation_rows, "max_test": test_rows, "on_long": on_long,
        }),
        methods=methods, scenario=scenario, label_noise=label_noise, few_labels=few_labels, label_words=label_words,
        target_modules=target_modules, lr=lr, judge=judge, lm_eval=lm_eval,
        training=given({
            "epochs": epochs, "min_steps": min_steps, "batch_size": batch_size, "accumulation": accumulation,
            "gradient_checkpointing": gradient_checkpointing, "rank": rank, "alpha": alpha, "dropout": dropout,
            "max_tokens": max_tokens,
        }),
        plan=given({
            "seeds": seeds, "held_out": held_out, "judge_prompts": judge_prompts, "n_answers": answers,
            "max_new_tokens": max_new_tokens, "lm_eval_limit": lm_eval_limit, "dtype": precision,
        }),
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
