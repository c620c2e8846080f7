"""Texts that a model was not trained on, for perplexity."""

from pathlib import Path

from monosemy.errors import InputError, reason
from monosemy.lm.data.instructions import InstructionConfig, load_instructions


def held_out_texts(source: str) -> list[str]:
    """One text a line of a file that ends in .txt; else the column `text` of a table.

    Raises:
        InputError: it cannot be read or holds no text.
    """
    if source.endswith(".txt"):
        try:
            lines = Path(source).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"--held-out {source} cannot be read ({reason(error)}); give a UTF-8 text file."
            ) from error
        texts = [line.strip() for line in lines if line.strip()]
    else:
        found = load_instructions(InstructionConfig(source=source, format="text", test_fraction=0))
        texts = [str(row["text"]) for rows in found.splits().values() for row in rows]
    if not texts:
        raise InputError(f"--held-out {source} holds no text; give one text a line.")
    return texts
