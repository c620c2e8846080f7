"""The one kind of error that is the user's to mend."""


class InputError(ValueError):
    """Bad input, said in one sentence that names the argument, its value and the remedy.

    The command line prints the sentence and exits with 2; from Python it is an ordinary ``ValueError``.
    """


def reason(error: BaseException) -> str:
    """The first sentence of another library's message, to stand in brackets in one of ours."""
    lines = str(error).strip().splitlines()
    return lines[0].split(". ")[0].rstrip(".")[:120] if lines else type(error).__name__
