"""What a study shows: figures, one page, and tables in the terminal."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from monosemy.report.figures import accuracy_figure, gain_against_monosemanticity_figure, gain_figure, save_figures
    from monosemy.report.html import write_report
    from monosemy.report.measurement import evaluation_json, measurement_json, print_evaluation, print_measurement
    from monosemy.report.terminal import print_result, result_json

_HOMES = {
    "accuracy_figure": "figures",
    "evaluation_json": "evaluated",
    "gain_against_monosemanticity_figure": "figures",
    "gain_figure": "figures",
    "measurement_json": "measured",
    "print_evaluation": "evaluated",
    "print_measurement": "measured",
    "print_result": "terminal",
    "result_json": "terminal",
    "save_figures": "figures",
    "write_report": "page",
}

__all__ = [
    "accuracy_figure",
    "evaluation_json",
    "gain_against_monosemanticity_figure",
    "gain_figure",
    "measurement_json",
    "print_evaluation",
    "print_measurement",
    "print_result",
    "result_json",
    "save_figures",
    "write_report",
]


def __getattr__(name: str) -> Any:
    # The terminal must not wait for Matplotlib, nor the figures for Jinja.
    if name in _HOMES:
        return getattr(import_module(f"monosemy.report.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'monosemy.report' has no attribute {name!r}")
