"""Errors with one-sentence messages: bad input, missing extras and exhausted resources.

The command line prints the message. They are subclasses of ``ValueError``, ``ImportError`` and ``RuntimeError``.
"""

import errno
import reprlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

_FULL = (errno.ENOSPC, errno.EDQUOT)
_UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR)
_DISK_MESSAGES = ("No space left on device", "Disk quota exceeded", "inline_container.cc")  # the last is torch.save's
_MEMORY_MESSAGES = ("can't allocate memory", "out of memory", "Cannot allocate memory")

_MAX_MESSAGE = 2000
_MAX_VALUE = 60
_MAX_NAMES = 5


class InputError(ValueError):
    """Bad input; the message names the argument, its value and the remedy.

    The command line prints the message and exits with 2. Messages may quote untrusted files: line breaks and control
    characters are escaped, and the middle of a text longer than a screen is omitted.
    """

    def __init__(self, sentence: str) -> None:
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in sentence)
        super().__init__(
            text if len(text) <= _MAX_MESSAGE else f"{text[: _MAX_MESSAGE // 2]} ... {text[-_MAX_MESSAGE // 4 :]}"
        )


class MonosemyWarning(UserWarning):
    """A message of this package that stops nothing; the command line prints it as one line."""


class ResourceError(RuntimeError):
    """An exhausted resource: a full disk, not enough memory, a lost worker.

    The command line prints the message and exits with 1. Finished work is kept, and the same call resumes from it.
    """


class MissingExtraError(ImportError):
    """A missing optional dependency; the message names the extra to install. The command line exits with 2."""


@contextmanager
def needs_extra(extra: str, subject: str, *, alternative: str | None = None) -> Iterator[None]:
    """Turn a failing import of an optional package into a :class:`MissingExtraError`.

    Args:
        extra: the extra of this package that installs the optional package, such as ``lm``.
        subject: the subject of the message, such as "Encoding texts".
        alternative: what to do instead of installing, such as "use the backbone conv".

    Raises:
        MissingExtraError: an import within the block failed.
    """
    try:
        yield
    except ImportError as error:
        if (error.name or "").startswith("monosemy"):  # a mistake of this package, not a missing one
            raise
        remedy = f"run pip install 'monosemy[{extra}]'" + (f", or {alternative}" if alternative else "")
        raise MissingExtraError(f"{subject} requires the extra '{extra}' ({reason(error)}); {remedy}.") from error


def reason(error: BaseException) -> str:
    """Return the first sentence of another library's message, to be quoted in brackets in one of ours."""
    lines = str(error).strip().splitlines()
    return lines[0].split(". ")[0].rstrip(".")[:120] if lines else type(error).__name__


def shown(value: object) -> str:
    """Return a short form of a value for a message: texts in quotes, long values cut, nested values abridged."""
    try:
        text = str(value) if isinstance(value, str | int | float | None) else reprlib.repr(value)
    except ValueError:  # Python refuses to print integers of more than 4,300 digits
        text = "a number of thousands of digits"
    return repr(text[:_MAX_VALUE]) if isinstance(value, str) else text[:_MAX_VALUE]


def names(values: Iterable[object]) -> str:
    """Return names in quotes, so that a space shows, for a message: at most five, then the number of the others."""
    quoted = [shown(str(value)) for value in values]
    rest = len(quoted) - _MAX_NAMES
    return ", ".join(quoted[:_MAX_NAMES]) + (f" and {rest:,} more" if rest > 0 else "")


def disk_is_full(error: BaseException) -> bool:
    """Return whether an error means a full disk; libraries wrap the system's errno in messages of their own."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in _FULL
    text = str(error)
    return any(part in text for part in _DISK_MESSAGES) or ("requested and" in text and "written" in text)


def as_unwritable(error: BaseException) -> InputError | None:
    """Return the error for a path that may not be written; None for all other errors."""
    if not isinstance(error, OSError) or error.errno not in _UNWRITABLE:
        return None
    return InputError(f"{error.filename} cannot be written ({error.strerror}); choose another folder.")


def as_resource_error(error: BaseException) -> ResourceError | None:
    """Return the error for a full disk or not enough memory; None for all other errors."""
    if isinstance(error, ResourceError):
        return error
    if disk_is_full(error):
        name = getattr(error, "filename", None)
        where = "" if name is None else f", so {name} could not be written"
        return ResourceError(f"The disk is full{where}; free some space (finished work is kept).")
    if isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(part in str(error) for part in _MEMORY_MESSAGES)
    ):
        return ResourceError(
            f"Not enough memory ({reason(error)}); use fewer --workers or more memory (finished work is kept)."
        )
    return None
