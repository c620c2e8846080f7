"""Which executor runs the jobs, and with what; not part of a plan, for results do not depend on it."""

from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Gt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from monosemy.settings import read_yaml, validated

ExecutorName = Literal["in-process", "joblib", "submitit", "ray"]


class ExecutorConfig(BaseModel):
    """How jobs run."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: ExecutorName = "joblib"
    """`in-process`: one after another; `joblib`: processes of this machine; `submitit`: Slurm; `ray`: a Ray cluster."""
    workers: Annotated[int, Field(ge=1)] | None = None
    """Jobs at a time; by default one a core of this machine, and on Slurm and Ray as many as the cluster takes."""
    cpus: Annotated[int, Field(ge=1)] = 1
    """Cores of a job, on submitit and Ray. A job computes on one thread; data loading may use more."""
    gpus: Annotated[float, Field(ge=0)] = 0.0
    """Of a job, on submitit and Ray; on Ray also a fraction."""
    memory_gb: Annotated[float, Gt(0)] | None = None
    """Of a job, on submitit and Ray; default the cluster's."""
    minutes: Annotated[int, Field(ge=1)] = 240
    """Time limit of a job, on submitit."""
    cluster: Literal["slurm", "local"] = "slurm"
    """Of submitit; `local` starts the jobs on this machine, to try settings out."""
    partition: str | None = None
    """Of Slurm."""
    slurm: dict[str, str | int | float | bool] = {}
    """Further parameters of sbatch, such as `account` or `constraint`."""
    address: str | None = None
    """Of a running Ray cluster, such as `auto`; by default Ray is started on this machine."""

    @model_validator(mode="after")
    def _fitting(self) -> "ExecutorConfig":
        if self.gpus and self.name not in ("submitit", "ray"):
            raise ValueError("only the executors submitit and ray give jobs a share of the GPUs")
        if self.name == "submitit" and self.gpus != int(self.gpus):
            raise ValueError("Slurm gives out whole GPUs; fractions are Ray's")
        return self

    def job_device(self, device: str) -> str:
        """The device of a job, where this process would compute on ``device``."""
        return "cuda" if self.gpus else device

    def on(self, device: str) -> "ExecutorConfig":
        """One job after another in this process where jobs are for its GPU, and were given none of their own."""
        return self if device == "cpu" or self.gpus else self.model_copy(update={"name": "in-process"})


def executor_settings(name: str | None, workers: int | None, file: Path | None) -> ExecutorConfig:
    """Settings from a YAML file, with those given as options over them.

    Raises:
        InputError: a setting is unknown or does not fit.
    """
    values: Any = {} if file is None else read_yaml(file, "executor's settings")
    given = {key: value for key, value in (("name", name), ("workers", workers)) if value is not None}
    where = "The executor" if file is None else str(file)
    return validated(ExecutorConfig, values | given if isinstance(values, dict) else values, where)
