"""Streams of any encoding take every text: UTF-8, similar characters, or escapes, never an error."""

import io
import json
import sys
import warnings

import pytest
from hypothesis import given, strategies as st

from monosemy.core.console import json_text, make_console, print_every_text, show_own_warnings
from monosemy.core.files import valid_text
from monosemy.errors import MonosemyWarning

TEXT = "gain −1.5 ± 0.3 — “手書き” café 😀 \udce9"


class Terminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


def printed(
    monkeypatch: pytest.MonkeyPatch,
    encoding: str,
    text: str = TEXT,
    kind: type = io.TextIOWrapper,
    chosen: bool = False,
) -> bytes:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", kind(raw, encoding=encoding))
    monkeypatch.setattr(sys, "stderr", kind(io.BytesIO(), encoding=encoding))
    monkeypatch.setenv("PYTHONIOENCODING", encoding) if chosen else monkeypatch.delenv(
        "PYTHONIOENCODING", raising=False
    )
    print_every_text()
    print(text, end="", flush=True)
    print(text, file=sys.stderr, flush=True)
    return raw.getvalue()


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "shift_jis", "cp437", "utf-8"])
def test_a_pipe_is_utf_8(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    assert printed(monkeypatch, encoding).decode("utf-8") == TEXT.replace("\udce9", "\\udce9")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1"])
def test_a_chosen_encoding_of_a_pipe_is_kept_to_by_ascii(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    raw = printed(monkeypatch, encoding, chosen=True)
    wanted = r'gain -1.5 +/- 0.3 - "\u624b\u66f8\u304d" caf\xe9 \U0001f600 \udce9'
    assert raw.decode(encoding) == raw.decode("utf-8") == wanted


def test_a_terminal_keeps_its_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = printed(monkeypatch, "cp1252", kind=Terminal)
    assert raw.decode("cp1252") == "gain -1.5 ± 0.3 — “\\u624b\\u66f8\\u304d” café \\U0001f600 \\udce9"
    assert "手書き" in printed(monkeypatch, "shift_jis", kind=Terminal).decode("shift_jis")


def test_streams_of_others_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", None)  # as in a program without a console
    print_every_text()
    print(TEXT, end="")
    assert stream.getvalue() == TEXT


@given(st.text(st.characters()))
def test_json_is_ascii_and_read_back(text: str) -> None:
    written = json_text({text: text})
    assert written.isascii()
    assert json.loads(written) == {text: text}


@given(st.binary(max_size=20).filter(lambda raw: b"\0" not in raw))
def test_names_of_files_become_valid_text(raw: bytes) -> None:
    name = raw.decode("utf-8", "surrogateescape")
    valid_text(name).encode("utf-8")
    if raw.isascii():
        assert valid_text(name) == name


def test_bytes_that_are_no_text_stay_visible() -> None:
    assert valid_text(b"caf\xe9 \xe7\x8c\xab".decode("utf-8", "surrogateescape")) == "caf\\xe9 猫"


def test_warnings_of_this_package_are_lines_and_those_of_others_are_silent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with warnings.catch_warnings():
        monkeypatch.setattr(sys, "warnoptions", [])
        show_own_warnings()
        for _ in range(3):
            warnings.warn("All inputs are equal.", MonosemyWarning, stacklevel=1)
            warnings.warn("Glyph 25163 missing from font(s).", UserWarning, stacklevel=1)
            warnings.warn("Precision loss occurred.", RuntimeWarning, stacklevel=1)
        assert capsys.readouterr().err == "Warning: All inputs are equal.\n"
        make_console(quiet=True)
        warnings.warn("All inputs are unequal.", MonosemyWarning, stacklevel=1)
        assert capsys.readouterr().err == ""


def test_python_s_options_bring_warnings_back(monkeypatch: pytest.MonkeyPatch) -> None:
    with warnings.catch_warnings():
        monkeypatch.setattr(sys, "warnoptions", ["default"])
        before = warnings.filters[:]
        show_own_warnings()
        make_console(quiet=True)
        assert warnings.filters == before
