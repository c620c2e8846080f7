"""The one kind of error that is the user's to mend."""

import reprlib

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


def reason(error: BaseException) -> str:
    """The first sentence of another library's message, to stand in brackets in one of ours."""
    lines = str(error).strip().splitlines()
    return lines[0].split(". ")[0].rstrip(".")[:120] if lines else type(error).__name__


def shown(value: object) -> str:
    """A value of a file in quotes, for a message: of a long one the beginning, of a nested one the outermost."""
    try:
        text = str(value) if isinstance(value, str | int | float | None) else reprlib.repr(value)
    except ValueError:  # a whole number of more digits than Python writes
        text = "a number of thousands of digits"
    return repr(text[:_SHOWN])
