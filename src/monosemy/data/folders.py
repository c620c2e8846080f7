"""Folders of images: a folder a class, or images alone."""

from pathlib import Path

import numpy as np

from monosemy.data.encoded import FileImages
from monosemy.data.rows import SPLIT_ROLES, Rows
from monosemy.errors import InputError

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"}


def rows_of_folder(folder: Path, classes: Path | None, labelled: bool) -> Rows:
    """`class/image` or `split/class/image`; without labels also `image` or `split/image`.

    Args:
        classes: a file that names the class folders to use; all where None.
        labelled: whether every image must lie in a folder of its class.
    """
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
    if not files:
        raise InputError(f"The folder {folder} holds no images; give a folder of class folders.")
    parts = [file.relative_to(folder).parts for file in files]
    has_splits = all(len(p) > 1 and p[0].lower() in SPLIT_ROLES for p in parts)
    below = [p[1:] if has_splits else p for p in parts]
    in_classes = all(len(p) > 1 for p in below)
    if not in_classes and (labelled or classes is not None):
        raise InputError(f"The folder {folder} has images outside class folders; put each into a folder of its class.")
    kept = list(range(len(files)))
    if classes is not None:
        wanted = read_classes(classes)
        present = {p[0] for p in below}
        for name in wanted:
            if name not in present:
                raise InputError(f"{classes} names the class {name!r}, of which {folder} has no images; correct it.")
        kept = [i for i in kept if below[i][0] in set(wanted)]
    return Rows(
        kind="images",
        inputs=FileImages(folder, [files[i] for i in kept]),
        labels=[below[i][0] for i in kept] if in_classes else None,
        splits=[parts[i][0].lower() for i in kept] if has_splits else None,
    )


def read_classes(path: Path) -> list[str]:
    """The first word of each line, such as `n01440764` of `n01440764 tench`; empty lines do not count."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The list of classes {path} cannot be read; give a text file with one a line.") from error
    names = [line.split()[0] for line in lines if line.strip()]
    if not names:
        raise InputError(f"The list of classes {path} is empty; write the name of a class folder on each line.")
    return names


def check_class_sizes(rows: Rows) -> None:
    """Raise for a class folder with one image in a folder that has no splits: it cannot be split into train and test.

    Rows of other sources are not looked at.
    """
    if not isinstance(rows.inputs, FileImages) or rows.splits is not None:
        return
    names, counts = np.unique(rows.needed_labels(), return_counts=True)
    if counts.min() < 2:
        raise InputError(
            f"The class folder {rows.inputs.folder / str(names[counts.argmin()])} has one image, which cannot be split "
            f"into train and test; add images, or leave the class out by a list of --classes."
        )
