"""Copies among rows: equal rows, and rows so alike that one gives away the label of the other."""

import hashlib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from monosemy.core.console import OnCount, Progress, no_progress
from monosemy.data import dataset, images, pixels
from monosemy.errors import InputError

Numbers = np.typing.NDArray[np.int64]
Floats = np.typing.NDArray[np.float32]
_CAPTION = "Looking for copies"
_MOST_KEPT = 0.1
"""Largest part of the rows that are kept together because they are alike; more are a template, not copies."""


@dataclass(frozen=True)
class Copies:
    """The rows that are copies of each other."""

    exact: Numbers
    """(N,), the number of the first row that equals this one."""
    near: Numbers
    """(N,), the number of the first row that is equal or nearly equal, directly or by others in between."""
    unseen: str = ""
    """What was not looked at, as a clause."""

    def together(self) -> Numbers:
        """Return the groups that a drawn split keeps together: near copies, unless that is more than a tenth."""
        sizes = np.bincount(self.near) if len(self.near) else np.zeros(1, dtype=np.int64)
        return self.near if sizes.max() <= max(10, _MOST_KEPT * len(self.near)) else self.exact


@dataclass(frozen=True)
class CopyCounts:
    """Numbers of copies, by the splits that they are in."""

    exact: int
    """Rows that equal an earlier one."""
    near: int
    """Further rows that nearly equal an earlier one."""
    conflicting: int
    """Rows in groups of equal rows whose labels differ."""
    across: Mapping[str, tuple[int, int]]
    """For "test in train" and the like: rows of the first split that equal one of the second, and that nearly do."""


def find_copies(inputs: dataset.Inputs | dataset.EncodedImages, on_progress: Progress | None = None) -> Copies:
    """Return which rows are copies of each other.

    - Texts are nearly equal where they differ in case, white space and punctuation only, or share most of their
      parts of five characters and all of their numbers.
    - Images are equal where their pixels (of files: their bytes) are, and nearly equal where their thumbnails are.
    - Embeddings are nearly equal where the cosine of their standardised rows is above 0.9999; in fewer than eight
      columns rows lie that close by chance, and none count.
    """
    report = on_progress or no_progress
    if isinstance(inputs, tuple):
        return _text_copies(inputs, report)
    if not isinstance(inputs, np.ndarray):
        return _file_copies(inputs, report)
    return _row_copies(inputs, report) if inputs.ndim == 2 else _image_copies(inputs, report)


def count_copies(copies: Copies, parts: Mapping[str, Numbers], labels: np.typing.NDArray[np.int64]) -> CopyCounts:
    """Count the copies of rows in splits.

    Args:
        parts: row numbers by split.
        labels: labels of all rows as integers.
    """
    used = np.sort(np.concatenate([np.zeros(0, dtype=np.int64), *parts.values()]))
    exact, near = copies.exact[used], copies.near[used]
    n_exact, n_near = (len(used) - len(np.unique(groups)) for groups in (exact, near))
    pairs = np.unique(np.stack([exact, labels[used]]), axis=1)
    conflicting = np.flatnonzero(np.bincount(pairs[0]) > 1) if pairs.size else used[:0]
    across = {}
    for later, earlier in (("test", "train"), ("test", "validation"), ("validation", "train")):
        if later in parts and earlier in parts:
            equal, alike = (
                int(np.isin(groups[parts[later]], groups[parts[earlier]]).sum())
                for groups in (copies.exact, copies.near)
            )
            if alike:
                across[f"{later} in {earlier}"] = (equal, alike - equal)
    return CopyCounts(n_exact, n_near - n_exact, int(np.isin(exact, conflicting).sum()), across)


def joined_groups(*groupings: Numbers) -> Numbers:
    """Return the groups of rows that are connected by any of several groupings, each by its first row."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(groupings[0])
    edges = coo_array(
        (np.ones(n * len(groupings), dtype=bool), (np.tile(np.arange(n), len(groupings)), np.concatenate(groupings))),
        shape=(n, n),
    )
    return _first_rows(connected_components(edges, directed=False)[1])


def _first_rows(keys: np.typing.NDArray[Any]) -> Numbers:
    """Return the number of the first row with the same key."""
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    return first[inverse].astype(np.int64)


def _digests(rows: np.typing.NDArray[Any]) -> np.typing.NDArray[np.bytes_]:
    # NumPy's unique rows would sort them whole; -0 equals 0.
    plain = rows + np.float32(0) if rows.dtype.kind == "f" else rows
    return np.array([hashlib.blake2b(row.tobytes(), digest_size=16).hexdigest() for row in plain], dtype="S32")


# Texts

_JUNK = re.compile(r"[\W_]+")
_NUMBERS = re.compile(r"\d+")
_PIECE = 5
"""Characters of the parts that texts are compared by."""
_FEWEST_PIECES = 16
"""Parts below which a text is only equal to another or not."""
_BANDS, _IN_BAND = 8, 4
"""Groups of MinHash values that must be equal in one; 99.7 % of pairs that share 85 % are found."""
_SHARED = 0.85
_MOST_CHARACTERS = 2**24
"""Characters of all texts that are compared part by part; of long texts their beginnings."""
_FEWEST_CHARACTERS = 200
_CHARACTERS_AT_ONCE = 2**15
_MOST_PAIRS = 2**17
_FACTORS = np.random.default_rng(0).integers(0, 2**31, (_BANDS, _IN_BAND), dtype=np.uint32) | np.uint32(1)


def normal_text(text: str) -> str:
    """Return the words of a text without case and punctuation; the text itself where nothing would be left."""
    return _JUNK.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip() or text


def _text_copies(texts: tuple[str, ...], on_progress: Progress) -> Copies:
    exact = _first_of(texts)
    words = []
    for start in range(0, len(texts), _ROWS_AT_ONCE):
        words += [normal_text(text) for text in texts[start : start + _ROWS_AT_ONCE]]
        on_progress(_CAPTION, 2 * len(words), 3 * len(texts))
    normal = _first_of(words)
    rows = np.unique(normal)
    longest = max(_FEWEST_CHARACTERS, _MOST_CHARACTERS // max(1, len(rows)))
    pairs, unseen = _similar_texts(
        [words[i][:longest] for i in rows], lambda done, n: on_progress(_CAPTION, 2 * n + done, 3 * n)
    )
    n_cut = sum(len(words[i]) > longest for i in rows)
    if n_cut:
        unseen = unseen or f"the first {longest:,} characters of {n_cut:,} longer texts were compared"
    on_progress(_CAPTION, 3 * len(texts), 3 * len(texts))
    return Copies(exact, _linked(normal, rows, pairs), unseen)


def _first_of(texts: Sequence[str]) -> Numbers:
    first: dict[str, int] = {}
    return np.fromiter((first.setdefault(text, i) for i, text in enumerate(texts)), dtype=np.int64, count=len(texts))


def _linked(groups: Numbers, rows: Numbers, pairs: Numbers) -> Numbers:
    """Return groups joined by pairs (n, 2) of positions in ``rows``."""
    if not len(pairs):
        return groups
    links = np.arange(len(groups))
    result = groups
    # A row may be in several pairs, and a grouping names one partner: pairs of distinct second rows go together.
    remaining = rows[pairs]
    while len(remaining):
        _, chosen = np.unique(remaining[:, 1], return_index=True)
        one = links.copy()
        one[remaining[chosen, 1]] = remaining[chosen, 0]
        result = joined_groups(result, one)
        remaining = np.delete(remaining, chosen, axis=0)
    return result


def _similar_texts(texts: list[str], on_texts: OnCount) -> tuple[Numbers, str]:
    """Return pairs of distinct texts that share most of their parts (MinHash, then exactly), and what was left out."""
    rows = np.flatnonzero([len(text) - _PIECE + 1 >= _FEWEST_PIECES for text in texts])
    if len(rows) < 2:
        return np.empty((0, 2), dtype=np.int64), ""
    keys, blocks = np.empty((_BANDS, len(rows)), dtype=np.uint32), _blocks([len(texts[i]) for i in rows])
    for block in blocks:
        keys[:, block] = _band_keys([texts[i] for i in rows[block]])
        on_texts(block.stop, len(rows))
    pairs = np.unique(np.concatenate([_neighbours(key, rows) for key in keys]), axis=0)
    unseen = ""
    if len(pairs) > _MOST_PAIRS:
        unseen = f"{len(pairs) - _MOST_PAIRS:,} pairs of similar texts were not compared"
        pairs = pairs[:_MOST_PAIRS]
    hashes = {i: np.unique(_piece_hashes(texts[rows[i]])) for i in np.unique(pairs).tolist()}
    numbers = {i: _NUMBERS.findall(texts[rows[i]]) for i in hashes}
    alike = [numbers[a] == numbers[b] and _overlap(hashes[a], hashes[b]) >= _SHARED for a, b in pairs.tolist()]
    return rows[pairs[np.array(alike, dtype=bool)]], unseen


def _blocks(lengths: list[int]) -> list[slice]:
    """Return consecutive texts of so many characters together that their hashes stay in the processor's cache."""
    numbers = np.cumsum(lengths) // _CHARACTERS_AT_ONCE
    edges = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(lengths)]
    return [slice(start, end) for start, end in pairwise(edges)]


def _piece_hashes(text: str) -> np.typing.NDArray[np.uint32]:
    """Return a hash of each part of a text, or of texts one after the other."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    hashes = np.zeros(len(codes) - _PIECE + 1, dtype=np.uint32)
    for place in range(_PIECE):
        hashes = (hashes ^ codes[place : place + len(hashes)]) * np.uint32(0x9E3779B1)
        hashes ^= hashes >> np.uint32(15)
    return hashes


def _band_keys(texts: list[str]) -> np.typing.NDArray[np.uint32]:
    """Return a key for each band and text: equal where all MinHash values of the band are."""
    hashes = _piece_hashes("".join(texts))
    ends = np.cumsum([len(text) for text in texts])
    starts = np.concatenate([[0], ends[:-1]])
    # From the first part of a text to its last; the parts that reach into the next text are left out.
    inside = np.stack([starts, ends - _PIECE + 1], axis=1).reshape(-1)[:-1]
    keys = np.zeros((_BANDS, len(texts)), dtype=np.uint32)
    for key, factors in zip(keys, _FACTORS, strict=True):
        for factor in factors:
            mixed = hashes * factor
            mixed ^= mixed >> np.uint32(16)
            mixed *= np.uint32(0x85EBCA6B)
            key[:] = (key ^ np.minimum.reduceat(mixed, inside)[::2]) * np.uint32(0xC2B2AE35)
            key ^= key >> np.uint32(13)
    return keys


def _overlap(a: np.typing.NDArray[np.uint32], b: np.typing.NDArray[np.uint32]) -> float:
    shared = len(np.intersect1d(a, b, assume_unique=True))
    return shared / (len(a) + len(b) - shared)


# Embeddings

_COSINE = 0.9999
_FEWEST_COLUMNS = 8
"""Columns from which rows do not lie as close by chance."""
_MOST_NUMBERS = 2**27
"""Numbers of all rows up to which near copies are looked for."""
_PLANES, _PLANE_SETS = 20, 8
_COMPARED = 3
"""Rows that each is compared with where many have the same key."""


def _row_copies(rows: np.typing.NDArray[Any], on_progress: Progress) -> Copies:
    exact = _first_rows(_digests(rows))
    on_progress(_CAPTION, 1, 2)
    chosen = np.unique(exact)
    if rows.shape[1] < _FEWEST_COLUMNS:
        return Copies(exact, exact)
    if rows.size > _MOST_NUMBERS:
        return Copies(exact, exact, f"near copies are looked for among {_MOST_NUMBERS:,} numbers at most")
    pairs = _near_pairs(_standardised(rows[chosen]), _COSINE)
    on_progress(_CAPTION, 2, 2)
    return Copies(exact, _linked(exact, chosen, pairs))


def _standardised(rows: np.typing.NDArray[Any]) -> Floats:
    values = rows.astype(np.float32)
    values -= values.mean(axis=0, dtype=np.float64).astype(np.float32)
    spread = values.std(axis=0, dtype=np.float64).astype(np.float32)
    values /= np.where(spread > 0, spread, 1)
    return values


def _near_pairs(rows: Floats, cosine: float) -> Numbers:
    """Return pairs (n, 2) of rows with at least this cosine; rows of zeros are in none.

    Rows that lie on the same side of twenty random planes, eight times, are compared: of pairs with a cosine of 0.995
    three in a thousand are missed.
    """
    lengths = np.linalg.norm(rows, axis=1)
    numbers = np.flatnonzero(lengths > 0)
    unit = rows[numbers] / lengths[numbers, None]
    rng = np.random.default_rng(0)
    candidates = []
    for _ in range(_PLANE_SETS):
        sides = unit @ rng.standard_normal((rows.shape[1], _PLANES), dtype=np.float32)
        keys = (sides > np.median(sides, axis=0)) @ (2 ** np.arange(_PLANES)) if len(unit) else numbers
        candidates.append(_neighbours(keys, sides[:, 0]))
    pairs = np.unique(np.concatenate(candidates), axis=0)
    near = np.zeros(len(pairs), dtype=bool)
    for start in range(0, len(pairs), _ROWS_AT_ONCE):
        first, second = pairs[start : start + _ROWS_AT_ONCE].T
        near[start : start + len(first)] = np.einsum("ij,ij->i", unit[first], unit[second]) >= cosine
    return numbers[pairs[near]]


def _neighbours(keys: np.typing.NDArray[Any], order: np.typing.NDArray[Any]) -> Numbers:
    """Return pairs (n, 2) of numbers with the same key that are among the next three by ``order``."""
    by_key = np.lexsort((order, keys))
    pairs = []
    for step in range(1, _COMPARED + 1):
        same = keys[by_key[step:]] == keys[by_key[:-step]]
        pairs.append(np.sort(np.stack([by_key[step:][same], by_key[:-step][same]], axis=1), axis=1))
    return np.concatenate(pairs)


# Images

_SIDE = 16
"""Side of the thumbnails that images are compared by."""
_SAME_PICTURE = 0.995
"""Cosine of centred grey thumbnails, a difference of a tenth; pictures that were compressed again differ less."""
_SAME_COLOUR = 0.05
"""Largest difference of mean colours, in [0, 1]."""
_SAME_CONTRAST = 1.15
_MOST_PIXELS = 2**27
"""Pixels of all images in files up to which they are decoded to look for near copies."""
_OPENED = 2**12
"""Pixels whose decoding takes as long as opening an image."""
_ROWS_AT_ONCE = 1024
_PROBED = 64


def _image_copies(pictures: np.typing.NDArray[Any], on_progress: Progress) -> Copies:
    digests, grey, colours = [], [], []
    scale = np.float32(255 if pictures.dtype == np.uint8 else 1)
    for start in range(0, len(pictures), _ROWS_AT_ONCE):
        block = np.asarray(pictures[start : start + _ROWS_AT_ONCE])
        digests.append(_digests(block))
        small = _reduced((block / scale).astype(np.float32))
        grey.append(small.mean(axis=1).reshape(len(block), -1))
        colours.append(small.mean(axis=(2, 3)))
        on_progress(_CAPTION, start + len(block), len(pictures))
    exact = _first_rows(np.concatenate(digests))
    chosen = np.unique(exact)
    pairs = _same_pictures(np.concatenate(grey)[chosen], np.concatenate(colours)[chosen])
    return Copies(exact, _linked(exact, chosen, pairs))


def _reduced(block: np.typing.NDArray[np.float32]) -> Floats:
    """Return means of blocks of pixels, (n, C, up to 16, up to 16)."""
    for axis in (2, 3):
        edges = np.unique(np.linspace(0, block.shape[axis], _SIDE + 1).astype(int)[:-1])
        sums = np.add.reduceat(block, edges, axis=axis)
        sizes = np.diff([*edges, block.shape[axis]]).reshape([-1 if i == axis else 1 for i in range(4)])
        block = np.divide(sums, sizes, dtype=np.float32)
    return block


def _same_pictures(grey: Floats, colours: Floats) -> Numbers:
    centred = grey - grey.mean(axis=1, keepdims=True)
    pairs = _near_pairs(centred, _SAME_PICTURE)
    first, second = pairs[:, 0], pairs[:, 1]
    contrast = np.linalg.norm(centred, axis=1)
    ratio = contrast[first] / np.maximum(contrast[second], 1e-12)
    same = (np.abs(colours[first] - colours[second]).max(axis=1, initial=0) <= _SAME_COLOUR) & (
        np.maximum(ratio, 1 / np.maximum(ratio, 1e-12)) <= _SAME_CONTRAST
    )
    return pairs[same]


def _usual_pixels(encoded: dataset.EncodedImages, rows: Numbers) -> int:
    """Return the mean number of pixels of the first images."""
    sizes = []
    for item in encoded.items(rows[:_PROBED]):
        try:
            with pixels.open_picture(item if item is not None else b"") as picture:
                sizes.append(picture.width * picture.height)
        except Exception:  # Pillow raises nearly every type; bad images are reported when all are decoded
            continue
    return int(np.mean(sizes)) if sizes else 1


def _file_copies(encoded: dataset.EncodedImages, on_progress: Progress) -> Copies:
    digests, n = [], len(encoded)
    for row, item in enumerate(encoded.items(np.arange(n))):
        content = item if isinstance(item, bytes) else item.read_bytes() if item is not None else b""
        digests.append(hashlib.blake2b(content, digest_size=16).hexdigest())
        if row % _ROWS_AT_ONCE == 0:
            on_progress(_CAPTION, row, n)
    on_progress(_CAPTION, n, n)
    exact = _first_rows(np.array(digests, dtype="S32"))
    chosen = np.unique(exact)
    most = _MOST_PIXELS // (_usual_pixels(encoded, chosen) + _OPENED)
    if len(chosen) > most:
        return Copies(exact, exact, f"near copies are looked for among {most:,} image files of this size at most")
    try:
        read = images.decode_parts(encoded, {"copies": chosen}, (_SIDE, _SIDE), "skip", on_progress).parts["copies"]
    except InputError:  # none can be read, which is said when they are decoded
        return Copies(exact, exact)
    small = read.images.astype(np.float32) / 255
    pairs = _same_pictures(small.mean(axis=1).reshape(len(small), -1), small.mean(axis=(2, 3)))
    return Copies(exact, _linked(exact, read.rows, pairs))
