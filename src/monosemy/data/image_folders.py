"""Folders of images: which files are images, which folders are splits and classes, and what is left out and why."""

import os
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from monosemy.core.files import valid_text
from monosemy.data import dataset, pixels, sources
from monosemy.errors import InputError, names

Parts = tuple[str, ...]
"""A path below the folder of a source, as its parts."""
_TOOLS = {
    "__macosx", "@eadir", "@tmp", "#recycle", "$recycle.bin", "lost+found", "system volume information", "__pycache__",
    "thumbs.db", "ehthumbs.db", "desktop.ini",
}  # fmt: skip
"""Folders and files of operating systems and tools, in lower case, beside all whose name begins with a dot."""
_PACKAGES = {
    ".heic": "pillow-heif", ".heics": "pillow-heif", ".heif": "pillow-heif", ".hif": "pillow-heif",
    ".avif": "pillow-avif-plugin", ".avifs": "pillow-avif-plugin", ".jxl": "pillow-jxl-plugin",
}  # fmt: skip
"""Package that makes Pillow read files with an ending."""
_CAMERA = {".arw", ".cr2", ".cr3", ".dng", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".srw", ".x3f"}
"""Raw files of cameras: Pillow would take their thumbnail for the image."""
_UNREADABLE = {*_PACKAGES, *_CAMERA, ".ai", ".dcm", ".eps", ".exr", ".hdr", ".ps", ".svg", ".svgz"}
"""Endings of images that Pillow cannot read, or not without a package."""
_TEXTS = {
    "", ".cfg", ".csv", ".css", ".htm", ".html", ".ini", ".ipynb", ".json", ".jsonl", ".log", ".md", ".py", ".rst",
    ".sh", ".toml", ".tsv", ".txt", ".xml", ".yaml", ".yml",
}  # fmt: skip
"""Endings of files that describe images; a folder of them alone is no class."""


@dataclass
class Listing:
    """The content of a folder and of all folders in it, by path below it."""

    images: list[Parts] = field(default_factory=list)
    others: list[Parts] = field(default_factory=list)
    """Files that are no images, or that cannot be read here."""
    folders: list[Parts] = field(default_factory=list)
    by_content: Counter[str] = field(default_factory=Counter)
    """Endings of images whose name promises none."""
    hidden: Counter[str] = field(default_factory=Counter)
    """Names of hidden files and folders and those of tools, and the number of files of each."""
    links: int = 0
    """Symbolic links that were followed."""
    loops: list[Parts] = field(default_factory=list)
    """Links to a folder that they are in, which are not followed."""
    broken: list[Parts] = field(default_factory=list)
    """Links to nothing."""

    def messages(self) -> Iterator[str]:
        """Yield what was ignored, followed and decided, one sentence each."""
        if self.hidden:
            yield (
                f"Ignored: {sum(self.hidden.values()):,} files that are hidden or belong to tools "
                f"({names(sorted(self.hidden))})."
            )
        if self.by_content:
            yield (f"Read as images because of their content, whatever their ending: {_by_ending(self.by_content)}.")
        unreadable = Counter(ending_of(parts) for parts in self.others if ending_of(parts) in _UNREADABLE)
        if unreadable:
            yield f"Left out: images of formats that cannot be read, {_by_ending(unreadable)}; {_remedy(unreadable)}."
        foreign = Counter(ending_of(parts) for parts in self.others if ending_of(parts) not in _UNREADABLE)
        if foreign:
            yield f"Ignored: files that are not images, {_by_ending(foreign)}."
        if self.links:
            yield f"Followed: {self.links:,} symbolic links."
        if self.loops:
            yield f"Ignored: symbolic links to a folder that they are in ({names(map(_text, self.loops))})."
        if self.broken:
            yield f"Ignored: symbolic links to nothing ({names(map(_text, self.broken))})."


def _text(parts: Parts) -> str:
    return "/".join(parts)


def ending_of(parts: Parts) -> str:
    return os.path.splitext(parts[-1])[1].lower()


def _by_ending(counts: Counter[str]) -> str:
    common = counts.most_common(5)
    rest = counts.total() - sum(count for _, count in common)
    listed = ", ".join(f"{count:,} {ending or 'without an ending'}" for ending, count in common)
    return listed + (f" and {rest:,} more" if rest else "")


def _remedy(endings: Iterable[str]) -> str:
    packages = sorted({_PACKAGES[ending] for ending in endings if ending in _PACKAGES})
    install = f"pip install {' '.join(packages)}, or " if packages else ""
    return f"{install}convert them to PNG"


def list_folder(root: Path) -> Listing:
    listing = Listing()
    pending: list[tuple[Parts, frozenset[str]]] = [((), frozenset({os.path.realpath(root)}))]
    while pending:
        parts, above = pending.pop()
        try:
            entries = sorted(os.scandir(root.joinpath(*parts)), key=lambda entry: entry.name)
        except OSError as error:
            raise InputError(
                f"The folder {root.joinpath(*parts)} cannot be read ({error.strerror}); give permission, or remove it."
            ) from error
        for entry in entries:
            here = (*parts, entry.name)
            if entry.name.startswith(".") or entry.name.lower() in _TOOLS:
                listing.hidden[entry.name] += _n_files(entry)
            elif entry.is_dir():
                place = os.path.realpath(entry.path)
                if place in above:
                    listing.loops.append(here)
                    continue
                listing.links += entry.is_symlink()
                listing.folders.append(here)
                pending.append((here, above | {place}))
            elif entry.is_file():
                listing.links += entry.is_symlink()
                _add_file(listing, here, entry)
            elif entry.is_symlink():
                listing.broken.append(here)
    listing.images.sort()
    return listing


def _n_files(entry: os.DirEntry[str]) -> int:
    if not entry.is_dir(follow_symlinks=False):
        return 1
    return sum(len(files) for _, _, files in os.walk(entry.path))


def _add_file(listing: Listing, parts: Parts, entry: os.DirEntry[str]) -> None:
    ending = ending_of(parts)
    if ending in pixels.endings():
        listing.images.append(parts)
    elif ending not in _CAMERA and pixels.is_picture(Path(entry.path)):
        listing.images.append(parts)
        listing.by_content[ending] += 1
    else:
        listing.others.append(parts)


@dataclass(frozen=True)
class Layout:
    """The places of splits and classes in paths below a folder."""

    label_at: int
    """Position of the class folder in a path."""
    split_at: int | None = None
    """Position of the split folder; None where there are no splits."""
    split_names: frozenset[str] = frozenset()
    """Folders that are splits, as they are written."""
    messages: tuple[str, ...] = ()

    def holds(self, parts: Parts) -> bool:
        """Return whether a file or folder is in a split, if there are any."""
        at = self.split_at
        return at is None or (len(parts) > at and parts[at] in self.split_names)

    def label(self, parts: Parts) -> str:
        """Return the class of an image; "" outside class folders."""
        return valid_text(parts[self.label_at]) if len(parts) > self.label_at + 1 else ""


def _role(name: str) -> str | None:
    return sources.SPLIT_ROLES.get(name.lower())


def layout_of(images: Sequence[Parts], folder: Path, labelled: bool) -> Layout:
    """Decide which folders are splits and which are classes.

    Raises:
        InputError: class folders stand beside a test or validation folder with the same classes.
    """
    inside = [parts for parts in images if len(parts) > 1]
    tops = {parts[0] for parts in inside}
    named_splits = {top for top in tops if _role(top)}
    seconds = {parts[1] for parts in inside if len(parts) > 2}
    roles_below = {_role(name) for name in seconds}
    if not named_splits:
        if len(roles_below) < 2 or "train" not in roles_below:
            return Layout(0)
        if len(tops) == 1 and len(inside) == len(images) and (not labelled or any(len(parts) > 3 for parts in inside)):
            (top,) = tops
            below = layout_of([parts[1:] for parts in inside], folder / top, labelled)
            split_at = None if below.split_at is None else below.split_at + 1
            message = f"The splits are in the folder {top!r}, the only one."
            return Layout(below.label_at + 1, split_at, below.split_names, (message, *below.messages))
        if None not in roles_below and all(len(parts) > 2 for parts in images):
            return Layout(0, 1, frozenset(seconds), ("The splits are the folders inside the class folders.",))
        return Layout(0)
    return _layout_beside(inside, named_splits, images, folder, labelled)


def _layout_beside(
    inside: Sequence[Parts], named_splits: set[str], images: Sequence[Parts], folder: Path, labelled: bool
) -> Layout:
    """Decide whether folders with names of splits are splits, or classes that are called so."""
    outside = Counter(parts[0] if len(parts) > 1 else "" for parts in images if parts[0] not in named_splits)
    others = {name for name in outside if name}
    roles = {_role(name) for name in named_splits}
    inner = {parts[1] for parts in inside if parts[0] in named_splits and len(parts) > 2}
    other_inner = {parts[1] for parts in inside if parts[0] in others and len(parts) > 2}
    if others and len(roles) == 1:
        if roles != {"train"} and inner & others:
            raise InputError(
                f"The folder {folder} has the classes {names(sorted(inner & others))} both beside and in "
                f"{names(sorted(named_splits))}; move those beside it into a folder 'train'."
            )
        if not inner or (other_inner and not inner & other_inner):
            text = f"The folder {names(sorted(named_splits))} is a class like those beside it, not a split."
            return Layout(0, messages=(text,) if labelled else ())
    messages = []
    if others:
        messages.append(
            f"Left out: {sum(outside[name] for name in others):,} images in {names(sorted(others))}, which is none of "
            f"the splits (train, validation, test)."
        )
    if outside[""]:
        messages.append(f"Left out: {outside['']:,} images outside the folders of the splits.")
    return Layout(1, 0, frozenset(named_splits), tuple(messages))


class FileImages:
    """Images with a file each.

    Args:
        folder: the common folder, for messages.
    """

    def __init__(self, folder: Path, paths: Sequence[Path]) -> None:
        self.folder, self.paths = folder, paths

    def __len__(self) -> int:
        return len(self.paths)

    def describe(self, row: int) -> str:
        return valid_text(f"Image {self.paths[row].relative_to(self.folder).as_posix()} of the folder {self.folder}")

    def stamps(self, rows: np.typing.NDArray[np.int64]) -> tuple[str, ...]:
        return tuple(dataset.stamp(self.paths[row]) for row in rows)

    def missing(self) -> np.typing.NDArray[np.bool_]:
        return np.zeros(len(self), dtype=bool)

    def items(self, rows: np.typing.NDArray[np.int64]) -> Iterator[dataset.Encoded]:
        return (self.paths[row] for row in rows)


def rows_of_folder(folder: Path, classes: Path | None, labelled: bool) -> dataset.Rows:
    """Return the images of a folder: `class/image`, `split/class/image` or `class/split/image`.

    - Splits are folders with the usual names (train, val, test, ...); folders beside them are left out.
    - An image below a class folder belongs to the class, however deep it is.
    - An image outside class folders has the label ""; where no label is needed there may be no class folders at all.
    - Hidden files and those of tools are ignored; symbolic links are followed.
    - A file is an image if Pillow reads its ending, or by its content.

    Args:
        classes: a file that names the class folders to use, see :func:`wanted_classes`; all where None.
        labelled: whether images need a label.

    Raises:
        InputError: there is no image, no class, or a class without an image that can be read; or the folders can be
            read in two ways.
    """
    listing = list_folder(folder)
    if not listing.images:
        others = Counter(map(ending_of, listing.others))
        held = f" but {_by_ending(others)} files" if others else ""
        remedy = f"{_remedy(others)}, or " if set(others) & _UNREADABLE else ""
        raise InputError(f"The folder {folder} holds no images{held}; {remedy}give a folder of class folders.")
    layout = layout_of(listing.images, folder, labelled)
    images = [parts for parts in listing.images if layout.holds(parts)]
    labels = list(map(layout.label, images))
    messages = [*listing.messages(), *layout.messages]
    if not any(labels) and (labelled or classes is not None):
        raise InputError(f"The folder {folder} has images outside class folders; put each into a folder of its class.")
    if classes is not None:
        wanted = wanted_classes(classes, set(filter(None, labels)), folder)
        images = [parts for parts, label in zip(images, labels, strict=True) if label in wanted]
    elif labelled:
        messages += _check_vanished(listing, layout, folder)
    return dataset.Rows(
        kind="images",
        inputs=FileImages(folder, [folder.joinpath(*parts) for parts in images]),
        labels=list(map(layout.label, images)) if any(labels) else None,
        splits=None if layout.split_at is None else [parts[layout.split_at].lower() for parts in images],
        messages=tuple(messages),
    )


def wanted_classes(path: Path, present: Collection[str], folder: Path) -> set[str]:
    """Return the class folders that a list names, one on each line; blank lines and those that begin with # are not.

    A line is the name of a folder, which may have spaces; else its first word is, as in `n01440764 tench`.

    Args:
        present: the class folders that have images.
        folder: where they are, for messages.

    Raises:
        InputError: the list cannot be read, or names a class that is not present.
    """
    # A name typed on one system may compose its accents in another way than a folder made on another.
    by_name = {unicodedata.normalize("NFC", name): name for name in present}
    chosen, missing = set(), []
    for line in sources.read_lines(path, "list of classes"):
        text = unicodedata.normalize("NFC", line)
        name = next((by_name[form] for form in (text, text.split()[0]) if form in by_name), None)
        if name is not None:
            chosen.add(name)
        elif not text.startswith("#"):
            missing.append(line)
    if missing:
        raise InputError(f"{path} names {names(missing)}, of which {folder} has no images; correct the list.")
    if not chosen:
        raise InputError(f"{path} names no class; write a folder's name on each line.")
    return chosen


def _check_vanished(listing: Listing, layout: Layout, folder: Path) -> list[str]:
    """Return a message on class folders that hold nothing; raise where one holds only files that cannot be read.

    A folder that holds texts alone, such as annotations, is no class.
    """
    depth = layout.label_at + 1
    with_images = {parts[:depth] for parts in listing.images}
    empty = [parts for parts in listing.folders if len(parts) == depth and layout.holds(parts)]
    empty = [parts for parts in empty if parts not in with_images]
    if not empty:
        return []
    contents: dict[Parts, Counter[str]] = {parts: Counter() for parts in empty}
    for file, ending in [(p, ending_of(p)) for p in listing.others] + [(p, "broken links") for p in listing.broken]:
        if file[:depth] in contents and ending not in _TEXTS:
            contents[file[:depth]][ending] += 1
    for parts, counts in contents.items():
        if counts:
            raise InputError(
                f"The class folder {folder.joinpath(*parts)} holds no image that can be read, but "
                f"{_by_ending(counts)}; {_remedy(counts)}, or name the other classes in a list, data.classes."
            )
    return [f"Ignored: folders without images ({names(map(_text, empty))})."]
