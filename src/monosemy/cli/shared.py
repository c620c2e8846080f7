"""What several commands need: the options that all have, and how a command ends."""

from pathlib import Path
from typing import Annotated

import typer

OUT = typer.Option("--out", help="Folder for results and figures; made if missing.")

Device = Annotated[str | None, typer.Option(help="cpu or cuda; default cuda where there is one.")]
Executor = Annotated[
    str | None,
    typer.Option(help="What computes the cells: joblib (processes, the default), in-process, submitit (Slurm) or ray."),
]
ExecutorFile = Annotated[
    Path | None,
    typer.Option("--executor-config", help="YAML: partition, gpus, memory_gb, ... of each cell's job."),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, and nothing else.")]
PlanFile = Annotated[Path | None, typer.Option("--plan", help="Run this plan.yaml; the other settings are ignored.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")]
Workers = Annotated[int | None, typer.Option(help="Cells at a time; default one a core, on a cluster all.")]
