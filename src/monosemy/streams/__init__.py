"""Rows that need not fit into memory: sources, shuffling, cached activations."""

from monosemy.streams.activations import cache_activations
from monosemy.streams.opening import open_stream
from monosemy.streams.rows import Reader, RowStream, State
from monosemy.streams.shuffle import BlockPermuted, Buffered, Permuted, shuffled

__all__ = [
    "BlockPermuted",
    "Buffered",
    "Permuted",
    "Reader",
    "RowStream",
    "State",
    "cache_activations",
    "open_stream",
    "shuffled",
]
