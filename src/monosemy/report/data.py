"""The report on a data set in the terminal: one screen, or the first lines of a command."""

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table
from rich.text import Text

from monosemy.data.findings import DataReport, Finding
from monosemy.errors import shown

_SIGNS = {"error": ("x", "bold red"), "warning": ("!", "bold yellow"), "note": ("-", "")}
_FIRST_LINES = 6
"""Findings that a command shows before its work; `monosemy check` shows all."""
_CLASSES = 5
"""Largest classes, and smallest ones, whose sizes are shown."""


def print_report(report: DataReport, console: Console) -> None:
    """Print everything that was found, on one screen."""
    grid = Table.grid(padding=(0, 2))
    for head, text in _numbers(report):
        grid.add_row(Text(head, style="bold"), Text(text))
    console.print(Text(report.source, style="bold"))
    console.print(grid)
    if report.findings:
        console.print()
        _print_findings(_by_severity(report), console)
    answer = "A study can run on this data." if report.can_run else "No study can run on this data."
    console.print(Text(f"\n{answer}"))


def print_summary(report: DataReport, console: Console) -> None:
    """Print sizes and main findings, the first lines of a command that reads labels."""
    console.print(Text.assemble(("Data ", "bold"), report.headline()))
    found = _by_severity(report)
    _print_findings(found[:_FIRST_LINES], console)
    more = len(found) - _FIRST_LINES
    if more > 0:
        console.print(Text(f"and {more} more: monosemy check", style="dim"))
    console.print()


def _by_severity(report: DataReport) -> list[Finding]:
    return sorted(report.findings, key=lambda finding: list(_SIGNS).index(finding.severity))


def _print_findings(findings: list[Finding], console: Console) -> None:
    grid = Table.grid(padding=(0, 1))
    for finding in findings:
        sign, style = _SIGNS[finding.severity]
        grid.add_row(Text(sign, style=style), Text(finding.message))
    if findings:
        console.print(grid)


def _numbers(report: DataReport) -> list[tuple[str, str]]:
    rows = f"{report.n_rows:,} {report.kind}" + (
        f", {report.n_used:,} in the splits below" if report.n_used != report.n_rows else ""
    )
    lines = [("Rows", rows)]
    if report.missing:
        lines.append(("Missing", ", ".join(f"{n:,} {fault}" for fault, n in report.missing.items())))
    if report.splits:
        lines.append(("Splits", report.split_sizes()))
    if report.classes:
        lines.append(("Classes", f"{len(report.classes):,}: {_class_sizes(report.classes)}"))
        lines.append(("Imbalance", f"{report.imbalance:.3g} rows of the largest class for each of the smallest"))
    copies = report.copies
    if copies:
        counts = f"{copies['equal']:,} equal, {copies['near']:,} nearly equal"
        across = [f"{where}: {count['equal'] + count['near']:,}" for where, count in copies["across"].items()]
        lines.append(("Copies", "; ".join([counts, *across])))
    return lines


def _class_sizes(classes: Mapping[str, int]) -> str:
    ordered = sorted(classes.items(), key=lambda item: -item[1])
    sizes = [f"{shown(name)} {n:,}" for name, n in ordered]
    if len(sizes) > 2 * _CLASSES:
        sizes = [*sizes[:_CLASSES], "...", *sizes[-_CLASSES:]]
    return ", ".join(sizes)
