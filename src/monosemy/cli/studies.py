"""What the commands of all studies do: a plan in; a folder, tables and an answer out."""

from pathlib import Path
from typing import Any

from monosemy.cli.options import executor_config
from monosemy.core.config import validated
from monosemy.core.console import make_console, progress


def run_command(
    name: str,
    settings: dict[str, Any],
    out: Path | None,
    executor: str | None,
    workers: int | None,
    device: str | None,
    quiet: bool,
    json: bool,
) -> None:
    """Load the data, run a study of a kind into its folder, and print the result.

    Raises:
        InputError: a setting, the data or the folder does not fit.
    """
    runs_on = executor_config(executor, workers)
    # Imported here: `--help` needs none of them.
    from monosemy.core.distributed import joined_processes, resolve_device
    from monosemy.report.terminal import print_result, result_json
    from monosemy.study.engine import run_study
    from monosemy.study.registry import study_kind

    kind = study_kind(name)
    plan = validated(kind.plan_type, settings, "The command")
    with joined_processes(device) as processes:
        console = make_console(quiet or not processes.is_main, json)
        with progress(console) as on_progress:
            data = kind.load(plan, on_progress)
            folder = out or Path("runs") / kind.folder_name(plan, data)
            result = run_study(
                kind, plan, data, folder, on_progress=on_progress, executor=runs_on,
                device=resolve_device(device), processes=processes,
            )  # fmt: skip
        if json and processes.is_main:
            print(result_json(result))
        print_result(result, console, kind.sections(result))
