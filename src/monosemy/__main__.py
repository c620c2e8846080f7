"""``python -m monosemy``."""

from monosemy.cli import main

main()
