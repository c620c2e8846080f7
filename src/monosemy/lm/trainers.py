"""What trainings by the libraries' own trainers share: silence, checkpoints to go on from, progress."""

import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

OnStep = Callable[[int, int], None]
"""Told how many steps of how many are done."""
_STATE = "trainer_state.json"


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """The libraries' own bars and hints stay silent: a caller shows progress, and faults are raised."""
    from datasets.utils import logging as datasets_logging
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), datasets_logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    datasets_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            datasets_logging.enable_progress_bar()


@contextmanager
def checkpoint_folder(named: Path | None) -> Iterator[Path]:
    """A folder for a training's checkpoints, which is removed when the training is done; a temporary one for None."""
    if named is None:
        with TemporaryDirectory() as temporary:
            yield Path(temporary)
        return
    yield named
    shutil.rmtree(named, ignore_errors=True)


def last_whole_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was written to its end: the trainer's state is its last file."""
    found = [path for path in folder.glob("checkpoint-*") if (path / _STATE).is_file()]
    return max(found, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def train_to_end(trainer: Any, folder: Path, on_step: OnStep | None = None) -> None:
    """Train, from the last whole checkpoint in the folder where there is one; progress is told, not printed."""
    from transformers import PrinterCallback, TrainerCallback

    class Tell(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if on_step is not None:
                on_step(state.global_step, state.max_steps)

    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(Tell())
    last = last_whole_checkpoint(folder)
    trainer.train(resume_from_checkpoint=None if last is None else str(last))
