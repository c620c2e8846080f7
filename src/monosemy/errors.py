"""The two kinds of error that are said in one sentence: the user's to mend, and the machine's."""

import errno
import reprlib

_FULL = (errno.ENOSPC, errno.EDQUOT)
_UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR)
_FULL_WORDS = ("No space left on device", "Disk quota exceeded", "inline_container.cc")  # the last is torch.save's
_MEMORY_WORDS = ("can't allocate memory", "out of memory", "Cannot allocate memory")

_LONGEST = 2000
_SHOWN = 60


class InputError(ValueError):
    """Bad input, said in one sentence that names the argument, its value and the remedy.

    The command line prints the sentence and exits with 2; from Python it is an ordinary ``ValueError``. What a file
    says of itself may be part of it: line breaks and terminals' control characters are written as escapes, and the
    middle of what fills more than a screen is left out.
    """

    def __init__(self, sentence: str) -> None:
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in sentence)
        super().__init__(text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 4 :]}")


class ResourceError(RuntimeError):
    """The machine gave out: a full disk, too little memory, a lost worker.

    The command line prints the sentence and exits with 1. What was finished before stays, and the same call goes on
    from there.
    """


def reason(error: BaseException) -> str:
    """The first sentence of another library's message, to stand in brackets in one of ours."""
    lines = str(error).strip().splitlines()
    return lines[0].split(". ")[0].rstrip(".")[:120] if lines else type(error).__name__


def shown(value: object) -> str:
    """A value of a file for a message, text in quotes: of a long one the beginning, of a nested one the outermost."""
    try:
        text = str(value) if isinstance(value, str | int | float | None) else reprlib.repr(value)
    except ValueError:  # a whole number of more digits than Python writes
        text = "a number of thousands of digits"
    return repr(text[:_SHOWN]) if isinstance(value, str) else text[:_SHOWN]


def disk_is_full(error: BaseException) -> bool:
    """Whether that is what an error says; libraries wrap the system's number in messages of their own."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in _FULL
    text = str(error)
    return any(words in text for words in _FULL_WORDS) or ("requested and" in text and "written" in text)


def as_unwritable(error: BaseException) -> InputError | None:
    """The one sentence for a place that may not be written; None for all other errors."""
    if not isinstance(error, OSError) or error.errno not in _UNWRITABLE:
        return None
    return InputError(f"{error.filename} may not be written ({error.strerror}); choose another folder.")


def as_resource_error(error: BaseException) -> ResourceError | None:
    """The one sentence for an error that means a full disk or too little memory; None for all others."""
    if isinstance(error, ResourceError):
        return error
    if disk_is_full(error):
        name = getattr(error, "filename", None)
        where = "" if name is None else f", so {name} could not be written"
        return ResourceError(f"The disk is full{where}; make room, what was finished is kept.")
    if isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in _MEMORY_WORDS)
    ):
        return ResourceError(
            f"The memory does not suffice ({reason(error)}); give more, or use fewer --workers; what was finished is "
            f"kept."
        )
    return None
