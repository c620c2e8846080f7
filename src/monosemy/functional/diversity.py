"""How many different things are said?"""

from collections.abc import Hashable, Sequence


def distinct_n(texts: Sequence[Sequence[Hashable]], n: int) -> float:
    """Number of different n-grams over number of n-grams, in all texts together; NaN where there are none.

    It falls with the amount of text: compare equal numbers of texts of equal length.

    Args:
        texts: words or tokens of each text.

    Source: Li et al., "A diversity-promoting objective function" (NAACL 2016), section 5.
    """
    grams = [tuple(text[i : i + n]) for text in texts for i in range(len(text) - n + 1)]
    return len(set(grams)) / len(grams) if grams else float("nan")
