"""A job, as every executor runs it."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from monosemy.errors import InputError, ResourceError, as_resource_error, as_unwritable
from monosemy.threads import one_thread

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Done(Generic[Item, Result]):
    """A job that has ended well."""

    item: Item
    result: Result
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """What comes back from a worker; what went wrong as plain text, which every executor carries alike."""

    number: int
    result: Any
    seconds: float
    input_error: str | None = None
    resource_error: str | None = None

    def raised(self) -> "Outcome":
        """Itself, unless the job failed.

        Raises:
            InputError, ResourceError: what the job said.
        """
        if self.input_error is not None:
            raise InputError(self.input_error)
        if self.resource_error is not None:
            raise ResourceError(self.resource_error)
        return self


@dataclass(frozen=True)
class Job:
    """Does a piece of work on one thread, with the caller's cache and where the caller is."""

    work: Callable[..., Any]
    cache: str
    here: str
    """The folder that relative paths are meant from."""

    def __call__(self, number: int, item: Any, *shared: Any) -> Outcome:
        # A worker may be older than the caller's setting and place.
        os.environ["MONOSEMY_CACHE"] = self.cache
        if os.getcwd() != self.here:
            os.chdir(self.here)
        started = time.monotonic()
        try:
            with one_thread():
                result = self.work(item, *shared)
        except InputError as error:
            return Outcome(number, None, 0.0, input_error=str(error))
        except Exception as error:
            refused, said = as_unwritable(error), as_resource_error(error)
            if refused is not None:
                return Outcome(number, None, 0.0, input_error=str(refused))
            if said is None:
                raise
            return Outcome(number, None, 0.0, resource_error=str(said))
        return Outcome(number, result, time.monotonic() - started)
