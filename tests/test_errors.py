"""InputError: one sentence, whatever a file says of itself."""

import pickle

import pytest

from monosemy.errors import InputError, shown


@pytest.mark.parametrize(
    ("sentence", "said"),
    [
        ("The column 'a\nb' is missing.", "The column 'a\\nb' is missing."),
        ("It holds \x1b[31mred\x07.", "It holds \\x1b[31mred\\x07."),
        ("It holds \ud800.", "It holds \\ud800."),
        ("Right-to-left \u202e.", "Right-to-left \\u202e."),
        ("Größe 3 × 4, μ.", "Größe 3 × 4, μ."),
    ],
)
def test_what_a_terminal_would_act_on_is_written_as_escapes(sentence: str, said: str) -> None:
    assert str(InputError(sentence)) == said
    str(InputError(sentence)).encode()


def test_the_middle_of_a_long_sentence_is_left_out() -> None:
    said = str(InputError(f"x has the columns {'c, ' * 10_000}none of which is 'text'; rename one."))
    assert len(said) < 2000
    assert said.startswith("x has the columns c, ")
    assert said.endswith("none of which is 'text'; rename one.")


def test_it_crosses_processes() -> None:
    assert str(pickle.loads(pickle.dumps(InputError("a\nb.")))) == "a\\nb."


def test_values_are_shown_by_their_beginning() -> None:
    assert shown("fast") == "'fast'"
    assert shown(0.5) == "0.5"
    assert shown("x" * 1000) == repr("x" * 60)
    assert "thousands of digits" in shown(10**5000)
    nested: list[object] = ["x"]
    for _ in range(40):  # 2^40 strings, if they were written
        nested = [nested, nested]
    assert len(shown(nested)) < 100
