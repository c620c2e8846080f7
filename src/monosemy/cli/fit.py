"""`monosemy fit`: a classifier for noisy labels, chosen, fitted and saved."""

from pathlib import Path
from typing import Annotated, Any

import typer

from monosemy.classifiers.config import DEFAULTS, ClassifierName
from monosemy.cli.options import Json, Quiet, with_settings
from monosemy.core.config import Config, validated
from monosemy.core.console import json_text, make_console, print_line, print_table, progress
from monosemy.data.config import DataConfig
from monosemy.encoders.config import HeadConfig, Layer
from monosemy.errors import InputError
from monosemy.sae.config import SaeConfig

app = typer.Typer(add_completion=False)


class FitConfig(Config):
    """Labelled rows, their encoder, and the candidates to choose from."""

    data: DataConfig
    encoder: str | None = None
    """A text model by name or folder, or an encoder of `monosemy pretrain`. Texts: all-MiniLM-L6-v2 by default."""
    layer: Layer = "features"
    """Layer of an encoder of `monosemy pretrain`: features or backbone."""
    features: tuple[str, ...] | None = None
    """Feature sets to choose from; by default dense and sae."""
    classifiers: tuple[ClassifierName, ...] = DEFAULTS
    """Classifiers to choose from."""
    study: Path | None = None
    """Folder of a study whose recommended pair is taken, at the noise that is found in the labels."""
    decisions: Path | None = None
    """Exported decisions of an audit, .csv or .json: labels to use instead of the given ones."""
    cv: int = 5
    """Number of folds by which candidates are judged."""
    seed: int = 0
    """Seed of folds, batches and initial weights."""
    sae: SaeConfig = SaeConfig()
    head: HeadConfig = HeadConfig()


@app.command("fit")
@with_settings(
    FitConfig,
    {
        "Data": {
            "--input-column": "data.input_column",
            "--label-column": "data.label_column",
            "--labels": "decisions",
            "--on-bad-row": "data.on_bad_row",
        },
        "Candidates": {
            "--encoder": "encoder",
            "--features": "features",
            "--classifiers": "classifiers",
            "--study": "study",
            "--cv": "cv",
            "--seed": "seed",
        },
    },
    {"data": "data.source"},
)
def command(
    settings: dict[str, Any],
    out: Annotated[Path, typer.Option(help="New folder of the model.", rich_help_panel="Output")],
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Fit a classifier to labels of which some are wrong: features and loss are chosen by cross-validation.

    Rows of a test split are left out, and tested. The folder holds JSON and safetensors, and nothing that is executed.

    **Examples**

    `monosemy fit queries.csv --out model`

    `monosemy fit queries.csv --labels audit-decisions.csv --out model`

    `monosemy predict model new.csv --out predictions.csv`
    """
    config = validated(FitConfig, settings, "The command")
    # Imported here: `--help` needs none of them.
    from monosemy.data.load import read_rows
    from monosemy.model.data import embedded_rows, with_decisions
    from monosemy.model.folder import save_model
    from monosemy.model.robust import RobustClassifier
    from monosemy.report.audit import read_decisions

    console = make_console(quiet, json)
    decisions = {} if config.decisions is None else read_decisions(config.decisions)
    with progress(console) as on_progress:
        rows = read_rows(config.data.source, config.data)
        data = embedded_rows(rows, config.data, config.encoder, config.layer, on_progress)
        messages, labels = list(data.messages), data.labels
        if decisions:
            labels, n_changed = with_decisions(labels, data.row_names(), decisions, config.data.source)
            messages.append(f"{n_changed:,} labels are those of {config.decisions}.")
        train, test = data.parts(config.data.source, messages)
        candidates = config.features, config.classifiers
        if config.study is not None:
            candidates, message = _of_study(config.study, data.embeddings[train], labels[train], config.seed)
            messages.append(message)
        model = RobustClassifier(
            candidates[0], candidates[1], cv=config.cv, random_state=config.seed,
            settings={"sae": config.sae.model_dump(), "head": config.head.model_dump()},
        )  # fmt: skip
        model.fit(data.embeddings[train], labels[train], groups=data.groups(on_progress)[train])
    about = {"encoder": _encoder_of(config, data.rows.kind), "layer": config.layer, "kind": data.rows.kind}
    save_model(model, out, about)
    accuracy = float(model.score(data.embeddings[test], labels[test])) if len(test) else None
    low, high = model.noise_rate_interval_
    chosen = int(model.cv_results_["chosen"].argmax())
    if json:
        answer: dict[str, Any] = {"model": out, "choice": model.choice_, "classes": len(model.classes_)}
        answer |= {"rows": len(train), "held_out_accuracy": model.cv_results_["accuracy"][chosen]}
        answer |= {"noise_rate": model.noise_rate_, "noise_rate_interval": [low, high]}
        answer |= {"test_rows": len(test), "test_accuracy": accuracy}
        print(json_text(answer | {"candidates": model.cv_results_, "messages": messages}))
    for message in messages:
        print_line(console, message)
    results = model.cv_results_
    cells = [
        (f"{features} + {classifier}", f"{100 * value:.1f} %", "chosen" if number == chosen else "")
        for number, (features, classifier, value) in enumerate(
            zip(results["features"], results["classifier"], results["accuracy"], strict=True)
        )
    ]
    print_table(
        console, ("candidate", "agrees with held-out labels", ""), cells, right=("agrees with held-out labels",)
    )
    print_line(
        console,
        f"About {100 * model.noise_rate_:.1f} % of the {len(train):,} labels are wrong (95 % interval over draws of "
        f"rows {100 * low:.1f} to {100 * high:.1f} %), so agreement with them cannot reach 100 %.",
    )
    if accuracy is not None:
        print_line(console, f"Accuracy on the {len(test):,} rows of the test split: {100 * accuracy:.1f} %.")
    print_line(console, f"The model: {out}; to use it: monosemy predict {out} DATA --out predictions.csv")


def _encoder_of(config: FitConfig, kind: str) -> str | None:
    """Return the encoder that predictions need, by name or whole path."""
    if kind == "texts" and config.encoder is None:
        from monosemy.encoders.text import MINILM

        return MINILM
    return str(Path(config.encoder).resolve()) if config.encoder and Path(config.encoder).exists() else config.encoder


def _of_study(folder: Path, X: Any, labels: Any, seed: int) -> tuple[tuple[Any, Any], str]:
    """Return the pair that a study recommends at the noise of these labels, and that in words."""
    import numpy as np

    from monosemy.model.audit import find_label_errors
    from monosemy.results.result import pair_parts
    from monosemy.study.probing.verdict import recommended
    from monosemy.study.registry import read_study

    result = read_study(folder)
    if result.plan.kind != "probing":
        raise InputError(f"{folder} holds a study of {result.plan.kind}, which compares no classifiers; leave it out.")
    rate = find_label_errors(X, labels, random_state=seed).noise_rate
    levels = result.results.loc[result.results["scenario"] == "label-noise", "level"].unique()
    known = np.array([0.0, *levels])
    level = float(known[np.abs(known - rate).argmin()])
    pair = recommended(result.results, "label-noise" if level else "clean", level)
    features, classifier = pair_parts(pair)
    where = f"{100 * level:g} % label noise" if level else "clean labels"
    return ((features,), (classifier,)), (
        f"The study in {folder} recommends {pair} under {where}, nearest to the {100 * rate:.1f} % that is found here."
    )
