"""What several commands need."""

import typer

OUT = typer.Option("--out", help="Folder for results and figures; made if missing.")
EXECUTOR = typer.Option(
    "--executor",
    help="What computes the cells: joblib (processes, the default), in-process, submitit (Slurm) or ray.",
)
WORKERS = typer.Option("--workers", help="Cells at a time; default one a core, on a cluster all.")
EXECUTOR_CONFIG = typer.Option("--executor-config", help="YAML: partition, gpus, memory_gb, ... of each cell's job.")
