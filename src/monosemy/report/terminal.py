"""A finished study in the terminal, in tables of at most 80 columns; and the same for machines."""

from collections.abc import Collection, Sequence
from itertools import zip_longest

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from monosemy.core.console import outcome_json
from monosemy.report import tables
from monosemy.results.intervals import p_text
from monosemy.results.result import StudyResult, pair_parts, role_of

_MOST_LEVELS = 6
_LONGEST_NAME = 22
_METRIC_HEADS = {
    "n_dimensions": "dims",
    "l0": "L0",
    "dead": "dead",
    "explained_variance": "expl. var.",
    "semantic_consistency": "consistency",
    "consistency_chance": "chance",
}


def print_result(result: StudyResult, console: Console, sections: Sequence[tables.Section] = ()) -> None:
    """Print accuracies, gains and metrics, and last what they mean and what limits the answer.

    Args:
        sections: parts of the report that the kind of study adds; their tables are printed too.
    """
    for scenario in tables.scenarios(result.summary) if "scenario" in result.summary else ():
        table = tables.in_focus(tables.scenario_table(result.summary, scenario))
        print_accuracies(table, scenario, console)
        print_gains(table, scenario, console, tables.baseline(result.summary))
        if tables.kinds(result.summary, scenario):
            console.print(Text("Kind by kind: summary.csv and the figure of the report.", style="dim"))
    if "variant" in result.summary and (others := _not_shown(result.summary)):
        console.print(
            Text(f"\nAll {others} pairs of features and classifier: summary.csv and the report.", style="dim")
        )
    features = list(tables.feature_texts(result.results, _METRIC_HEADS))
    if features:
        print_table("Features", list(_METRIC_HEADS.values()), features, console)
    for section in sections:
        for part in section.tables:
            print_table(part.title, part.heads, part.rows, console)
    print_sentences("Verdict", result.verdict.sentences, "bold", console)
    print_sentences("Warnings", result.verdict.warnings, "bold yellow", console)
    print_sentences("Data", result.messages, "bold", console)
    if result.folder is not None:
        page = result.folder / "report.html"
        # Never wrapped: a broken path cannot be copied.
        console.print(Text(f"\nResults in {page if page.is_file() else result.folder}"), soft_wrap=True)


def _not_shown(summary: pd.DataFrame) -> int:
    """Return the number of pairs of which only the selected ones are in the tables; 0 where all are."""
    names, shown = tables.variant_names(summary), tables.variant_names(tables.in_focus(summary))
    return len([name for name in names if pair_parts(name)[1]]) if len(shown) < len(names) else 0


def result_json(result: StudyResult) -> str:
    """Return verdict, warnings, messages, summary, mean metrics and folder as JSON; unknown values are null."""
    names = ("source", "classes", "sparsity", "variant", "scenario", "level", "metric")
    keys = [key for key in names if key in result.results]
    metrics = result.results.groupby(keys, sort=False)["value"].mean().reset_index()
    return outcome_json(
        result.verdict.sentences,
        result.verdict.warnings,
        result.messages,
        result.summary,
        result.folder,
        headline=result.verdict.headline,
        metrics=metrics,
    )


def print_accuracies(table: pd.DataFrame, scenario: str, console: Console) -> None:
    """One table, or more below each other where the levels do not fit."""
    texts = {(cell.variant, cell.level): tables.accuracy_text(cell) for cell in tables.cells(table)}
    names, levels = tables.variant_names(table), tables.levels(table)
    heads = {level: tables.level_text(scenario, level) for level in levels}
    name_width = max(len(_name(name)) for name in names)
    column_width = 2 + max(map(len, [*texts.values(), *heads.values()]))
    fitting = max(1, min(_MOST_LEVELS, (console.width - name_width) // column_width))
    for start in range(0, len(levels), fitting):
        part = levels[start : start + fitting]
        title = f"{tables.scenario_title(scenario)}: accuracy, %{tables.test_rows_text(table)}"
        title += " (continued)" if start else ""
        rows = [(name, [texts.get((name, level), tables.NOTHING) for level in part]) for name in names]
        print_table(title, [heads[level] for level in part], rows, console)


def print_gains(table: pd.DataFrame, scenario: str, console: Console, over: str) -> None:
    """Print gains over the baseline at the hardest level."""
    gains = tables.challengers(table)
    if gains.empty:
        return
    last = tables.hardest(gains)
    rows = []
    for cell in tables.cells(last):
        gain, interval = tables.points(cell.gain, signed=True), tables.gain_interval_text(cell)
        rows.append((cell.variant, [gain, interval, p_text(cell.p_holm), cell.outcome]))
    where = f" at {tables.level_text(scenario, tables.levels(last)[0])}" if tables.levelled(scenario) else ""
    title = f"{tables.scenario_title(scenario)}{where}: gain over {over}, points"
    print_table(title, ["gain", "interval", "Holm p", "outcome"], rows, console)


def print_table(title: str, heads: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]], console: Console) -> None:
    """Print a table of variants: a name and texts in each row."""
    styles = {"monosemantic": "bold cyan", "selected": "bold cyan", "contender": "bold cyan", "control": "dim"}
    texts = [[_name(name), *values] for name, values in rows]
    console.print(Text(f"\n{title}", style="bold"))
    console.print(text_table(["", *heads], texts, styles=[styles.get(role_of(name) or "", "") for name, _ in rows]))


def text_table(
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    gap: int = 1,
    left: Collection[str] = (),
    styles: Sequence[str] = (),
) -> Table:
    """Return a table of texts: the first column to the left, all others to the right.

    Args:
        heads: of the columns; there is no line of heads where all are empty.
        gap: spaces between columns.
        left: heads of further columns that stand to the left.
        styles: of the rows.
    """
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, gap, 0, 0), show_header=any(heads))
    # Text, never markup: names may hold square brackets.
    for number, head in enumerate(heads):
        table.add_column(Text(head), justify="left" if number == 0 or head in left else "right", no_wrap=True)
    for row, style in zip_longest(rows, styles):
        table.add_row(*map(Text, row), style=style)
    return table


def print_sentences(title: str, sentences: Sequence[str], style: str, console: Console) -> None:
    """Sentences under a title; nothing where there are none."""
    if not sentences:
        return
    grid = Table.grid(padding=(0, 1))
    for sentence in sentences:
        grid.add_row("-", Text(sentence))
    console.print(Text(f"\n{title}", style=style))
    console.print(grid)


def _name(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 3] + "..."
