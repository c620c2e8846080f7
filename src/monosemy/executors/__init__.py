"""Where the cells of a study are computed: here, in processes of this machine, on a Slurm or on a Ray cluster.

The numbers are the same everywhere, for a job computes on one thread and knows nothing of the others.
"""

from monosemy.executors.config import ExecutorConfig, executor_settings
from monosemy.executors.jobs import Done
from monosemy.executors.running import run_jobs

__all__ = ["Done", "ExecutorConfig", "executor_settings", "run_jobs"]
