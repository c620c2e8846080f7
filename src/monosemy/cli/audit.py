"""`monosemy audit`: the rows whose labels are wrong, as a table and as a page for review."""

from pathlib import Path
from typing import Annotated, Any

import typer

from monosemy.cli.options import Json, Quiet, with_settings
from monosemy.core.config import Config, validated
from monosemy.core.console import json_text, make_console, print_line, print_table, progress
from monosemy.data.config import DataConfig
from monosemy.encoders.config import Layer
from monosemy.errors import InputError

app = typer.Typer(add_completion=False)
_SHOWN = 5
"""Rows on the terminal."""


class AuditConfig(Config):
    """Labelled rows to audit, and their encoder."""

    data: DataConfig
    encoder: str | None = None
    """A text model by name or folder, or an encoder of `monosemy pretrain`. Texts: all-MiniLM-L6-v2 by default."""
    layer: Layer = "features"
    """Layer of an encoder of `monosemy pretrain`: features or backbone."""
    cv: int = 5
    """Number of folds: no row is judged by what has seen its label."""
    seed: int = 0
    """Seed of the folds."""


@app.command("audit")
@with_settings(
    AuditConfig,
    {
        "Data": {
            "--input-column": "data.input_column",
            "--label-column": "data.label_column",
            "--labels": "data.labels",
            "--group-column": "data.group_column",
            "--on-bad-row": "data.on_bad_row",
        },
        "Audit": {"--encoder": "encoder", "--layer": "layer", "--cv": "cv", "--seed": "seed"},
    },
    {"data": "data.source"},
)
def command(
    settings: dict[str, Any],
    out: Annotated[
        Path, typer.Option(help="Table of the rows, .csv; the page goes beside it as .html.", rich_help_panel="Output")
    ],
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Rank every row by the probability that its label is wrong, with the label that it should have, and why.

    The page shows the most suspicious rows; your decisions there are exported for the command fit.

    **Examples**

    `monosemy audit queries.csv --out audit.csv`

    `monosemy audit photos/ --encoder runs/simclr --out audit.csv`
    """
    config = validated(AuditConfig, settings, "The command")
    if out.suffix.lower() != ".csv":
        raise InputError(f"--out {str(out)!r} does not end in .csv; give such a name.")
    # Imported here: `--help` needs none of them.
    from monosemy.core.files import atomic_path
    from monosemy.data.load import read_rows
    from monosemy.model.audit import find_label_errors
    from monosemy.model.data import embedded_rows
    from monosemy.report.audit import AuditPage, write_audit_page

    console = make_console(quiet, json)
    with progress(console) as on_progress:
        rows = read_rows(config.data.source, config.data)
        data = embedded_rows(rows, config.data, config.encoder, config.layer, on_progress)
        names, labels = data.row_names(), data.labels
        errors = find_label_errors(
            data.embeddings, labels, groups=data.groups(on_progress), cv=config.cv,
            random_state=config.seed, row_names=names,
        )  # fmt: skip
        table = errors.to_frame()
        order = errors.order
        table["row"] = [names[row] for row in order]
        about = _about(errors, len(labels))
        page = AuditPage(
            title=Path(config.data.source).name,
            about=about,
            row_names=list(table["row"]),
            given=errors.given[order],
            suggested=errors.suggested[order],
            probability_wrong=errors.probability[order],
            reasons=list(table["reason"]),
            class_names=[str(name) for name in errors.classes],
            inputs=data.inputs(config.data, order, on_progress),
        )
        html = out.with_suffix(".html")
        try:
            with atomic_path(out) as temporary:
                table.to_csv(temporary, index=False, float_format="%.6g")
            write_audit_page(page, html)
        except OSError as error:
            raise InputError(f"out={str(out)!r} cannot be written to ({error.strerror}); give another.") from error
    low, high = errors.noise_rate_interval
    if json:
        answer = {"rows": len(labels), "noise_rate": errors.noise_rate, "noise_rate_interval": [low, high]}
        answer |= {"contradicted": int((errors.suggested != errors.given).sum()), "method": errors.method}
        print(json_text(answer | {"table": out, "page": html, "messages": data.messages}))
    for message in (*data.messages, *about):
        print_line(console, message)
    contradicted = [row for row in order if errors.suggested[row] != errors.given[row]][:_SHOWN]
    cells = [
        (names[row], str(errors.classes[errors.given[row]]), str(errors.classes[errors.suggested[row]]),
         f"{100 * errors.probability[row]:.0f} %")
        for row in contradicted
    ]  # fmt: skip
    if cells:
        print_table(console, ("row", "given", "suggested", "wrong with"), cells, right=("wrong with",))
    print_line(console, f"All rows: {out}")
    print_line(console, f"To review them: {html}; then monosemy fit {config.data.source} --labels FILE --out MODEL")


def _about(errors: Any, n_rows: int) -> list[str]:
    """Return what the audit found, in sentences."""
    low, high = errors.noise_rate_interval
    contradicted = int((errors.suggested != errors.given).sum())
    by = {
        "class means": "discriminant analysis, which describes each class by its mean",
        "neighbours": "the votes of nearest rows, for the classes are no compact groups here",
    }[errors.method]
    return [
        f"About {100 * errors.noise_rate:.1f} % of the {n_rows:,} labels are wrong (95 % interval over draws of rows "
        f"{100 * low:.1f} to {100 * high:.1f} %); for {contradicted:,} another label is more likely.",
        f"Rows are judged by {by}, without their own labels.",
    ]
