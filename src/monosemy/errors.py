"""The one kind of error that is the user's to mend."""


class InputError(ValueError):
    """Bad input, said in one sentence that names the argument, its value and the remedy.

    The command line prints the sentence and exits with 2; from Python it is an ordinary ``ValueError``.
    """
