"""Text files in the encodings that people have: UTF-8, UTF-16 and UTF-32, by their mark or without one, and cp1252."""

import codecs
import gzip
import re
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from monosemy.errors import InputError, reason, shown

_PIECE = 2**20
"""Bytes that are decoded at a time."""
_HEAD = 2**16
"""Bytes in which UTF-16 without a mark is recognised."""
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""Byte-order marks; that of UTF-32 begins like that of UTF-16."""
_FALLBACK = "cp1252"
_MAX_HIGH = 0.4
"""Fraction of letters outside ASCII from which a text is hardly in a Western European language."""
_ASCII_LETTERS = bytes(range(65, 91)) + bytes(range(97, 123))
_HIGH = bytes(range(128, 256))
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x19\x1b-\x1f\x7f]")
_WORD = re.compile(r"\w*[^\x00-\x7f]+\w*")


@dataclass(frozen=True)
class TextFile:
    """A text file whose encoding is known."""

    path: Path
    encoding: str
    """Python's name of the encoding."""
    has_quotes: bool
    """Whether a quotation mark occurs in it."""
    messages: tuple[str, ...] = ()

    def open_text(self) -> IO[str]:
        """Open the decoded text; line ends are left as they are."""
        if self.path.suffix.lower() == ".gz":
            return gzip.open(self.path, "rt", encoding=self.encoding, newline="")
        return self.path.open(encoding=self.encoding, newline="")


def open_binary(path: Path) -> IO[bytes]:
    """Open the bytes of a file, decompressed where its name ends in .gz."""
    return cast(IO[bytes], gzip.open(path)) if path.suffix.lower() == ".gz" else path.open("rb")


def text_file(path: Path, encoding: str | None = None) -> TextFile:
    """Find the encoding of a file by reading it once.

    It is the named one; else that of the byte-order mark; else UTF-16 where every other byte is 0; else UTF-8; else
    cp1252, with a message, where the text can be in a Western European language. pandas would need to be told: it
    takes UTF-8 and stops at the first byte that is none.

    Raises:
        InputError: the file is not text in the encoding.
        OSError, EOFError, zlib.error: it cannot be decompressed.
    """
    with open_binary(path) as file:
        head = file.read(_HEAD)
    if head.startswith(b"version https://git-lfs"):
        raise InputError(f"{path} is a pointer of Git LFS, not the file itself; run git lfs pull.")
    known = encoding or _by_head(head)
    for name in (known,) if known else ("utf-8", _FALLBACK):
        try:
            has_quotes, example = _scan(path, name)
        except LookupError as error:
            raise InputError(f"encoding={shown(name)} is not an encoding that Python knows; use its name.") from error
        except UnicodeDecodeError as error:
            if encoding is not None:
                raise InputError(
                    f"{path} is not text in encoding={shown(name)} ({reason(error)}); name another."
                ) from error
            if known is not None:
                raise
            continue
        messages: tuple[str, ...] = ()
        if name == _FALLBACK and encoding is None:
            messages = (
                f"{path.name} is not UTF-8; it was read as cp1252, the encoding of Western European Windows (it holds "
                f"{shown(example)}); name another with data.encoding, or save it as UTF-8, where that is wrong.",
            )
        return TextFile(path, name, has_quotes, messages)
    raise InputError(
        f"{path} is neither UTF-8 nor Western European text; save it as UTF-8, or name its encoding with data.encoding."
    )


def _by_head(head: bytes) -> str | None:
    """Return the encoding that the first bytes show; None where they show none."""
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    pairs = len(head) // 2
    for start, name in ((1, "utf-16-le"), (0, "utf-16-be")):
        zeros, others = head[start : 2 * pairs : 2].count(0), head[1 - start : 2 * pairs : 2].count(0)
        if zeros > pairs / 2 and others == 0:
            return name
    return None


def _scan(path: Path, encoding: str) -> tuple[bool, str]:
    """Return whether there is a quotation mark, and the first word outside ASCII; raise where a byte does not fit.

    Raises:
        UnicodeDecodeError: the file is not text in the encoding.
    """
    decoder = codecs.getincrementaldecoder(encoding)()
    has_quotes, example, n_letters, n_high = False, "", 0, 0
    with open_binary(path) as file:
        while piece := file.read(_PIECE):
            text = decoder.decode(piece)
            has_quotes = has_quotes or '"' in text
            if encoding == _FALLBACK:
                if control := _CONTROL.search(piece):
                    raise UnicodeDecodeError(encoding, piece, control.start(), control.end(), "a control character")
                n_high += _count(piece, _HIGH)
                n_letters += _count(piece, _HIGH + _ASCII_LETTERS)
                word = None if example else _WORD.search(text)
                example = word.group() if word else example
        decoder.decode(b"", final=True)
    if encoding == _FALLBACK and n_high > _MAX_HIGH * max(n_letters, 1):
        raise UnicodeDecodeError(encoding, b"", 0, 0, "hardly a Western European text")
    return has_quotes, example


def _count(piece: bytes, members: bytes) -> int:
    """Return how many of some bytes a piece has."""
    return len(piece) - len(piece.translate(None, members))
