"""Images to pretrain on: labels are welcome, but not needed."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monosemy.data import digits
from monosemy.data.config import DataConfig
from monosemy.data.formats import read_rows
from monosemy.data.labelled import encode_labels
from monosemy.data.pixels import Images
from monosemy.data.rows import Rows, ordered_classes
from monosemy.data.splits import assign, inputs_by_part, own_parts
from monosemy.errors import InputError
from monosemy.progress import OnProgress
from monosemy.seeding import numpy_rng

HELD_OUT = 2_000
"""At most so many images are held out, and at most a tenth of all."""


@dataclass(frozen=True)
class UnlabelledImages:
    """The train images of a source, a few of them held out to watch the features by; test images are in neither."""

    name: str
    train: Images
    train_labels: NDArray[np.int64] | None
    """None where the source does not label each image."""
    held_out: Images
    held_out_labels: NDArray[np.int64] | None
    class_names: tuple[str, ...]
    """Empty without labels."""
    notices: tuple[str, ...] = ()


def read_unlabelled(
    config: DataConfig, name: str, seed: int = 0, on_progress: OnProgress | None = None
) -> UnlabelledImages:
    """See :func:`monosemy.data.sources.load_unlabelled`."""
    notices: list[str] = []
    rows = _digit_rows(config, seed) if config.source == digits.NAME else read_rows(config.source, config, False)
    if rows.kind != "images":
        raise InputError(f"{config.source} holds {rows.kind}, not images; give images to pretrain on.")
    train = _train_rows(rows, config, seed, name, notices)
    if len(train) < 2:
        raise InputError(f"{name} has {len(train)} train image; pretraining needs at least two.")
    n_held_out = max(1, min(HELD_OUT, len(train) // 10))
    held_out = np.sort(numpy_rng("held-out", seed).choice(train, n_held_out, replace=False))
    wanted = {"train": np.setdiff1d(train, held_out), "held_out": held_out}
    inputs, parts, said = inputs_by_part(rows.inputs, wanted, config, on_progress)
    labels, class_names = _labels(rows, train)
    train_images, held_out_images = inputs["train"], inputs["held_out"]
    assert isinstance(train_images, np.ndarray)
    assert isinstance(held_out_images, np.ndarray)
    return UnlabelledImages(
        name=name,
        train=train_images,
        train_labels=None if labels is None else labels[parts["train"]],
        held_out=held_out_images,
        held_out_labels=None if labels is None else labels[parts["held_out"]],
        class_names=class_names,
        notices=(*notices, *said),
    )


def _train_rows(rows: Rows, config: DataConfig, seed: int, name: str, notices: list[str]) -> NDArray[np.int64]:
    """The train rows; without a test split of the source's own, never those that a study of it would test on."""
    said: list[str] = []
    parts = own_parts(rows, name, said)
    train, labels = parts["train"], rows.labels
    classes = set() if labels is None else {labels[i] for i in train}
    if "test" in parts or config.source == digits.NAME or "" in classes or len(classes) < 2:
        notices += said
        return train
    assigned = assign(rows, config.model_copy(update={"given_labels": None}), seed, name)
    notices += assigned.notices
    kept = [assigned.parts["train"]] if "validation" in parts else [assigned.parts[p] for p in ("train", "validation")]
    return np.sort(np.concatenate(kept))


def _labels(rows: Rows, train: NDArray[np.int64]) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    """Numbers of the labels and names of the classes, if every train row has a label."""
    if rows.labels is None or any(rows.labels[i] == "" for i in train):
        return None, ()
    class_names = ordered_classes((rows.labels[i] for i in train), rows.vocabulary)
    return encode_labels(rows.labels, class_names), class_names


def _digit_rows(config: DataConfig, seed: int) -> Rows:
    data = digits.digit_pairs(validation_fraction=config.validation_fraction, seed=seed)
    development = (data.train, data.validation)
    return Rows(
        kind="images",
        inputs=np.concatenate([np.asarray(split.inputs) for split in development]),
        labels=[data.class_names[label] for split in development for label in split.labels],
    )
