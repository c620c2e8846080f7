"""Settings of a data source.

Plans and the command line derive from this model; the chapter therefore imports no numerical library.
"""

from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Lt
from pydantic import Field

from monosemy.core.config import Config

DIGIT_PAIRS = "digit-pairs"
OnBadRow = Literal["stop", "skip"]
MISSING_LABELS = ("nan", "NaN", "None", "null", "NULL", "<NA>", "NaT", "N/A", "#N/A")
"""Texts that mean a missing label by default; "NA" and "na" do not, since both are names of classes."""


class DataConfig(Config):
    """The source of the data and how it is read."""

    source: str = DIGIT_PAIRS
    """digit-pairs; a table, embeddings, a folder of images, a pattern of parquet files, or a Hugging Face id."""
    input_column: str | None = None
    """Column of texts, images or embeddings; a pattern such as dim_* where each dimension has its own. By default it
    is recognised."""
    label_column: str | None = None
    """Column of the labels. By default it is recognised by its name. CIFAR-100: fine_label or coarse_label."""
    split_column: str | None = None
    """Column that assigns each row to train, validation or test. Default: split, where it exists."""
    noisy_label_column: str | None = None
    """Column of observed noisy labels, in the source or in the file of --noisy-labels."""
    noisy_labels: Path | None = None
    """File of observed noisy labels of the train rows, matched by its column index, else by order."""
    labels: Path | None = None
    """File of labels of the rows of an array file or table, in their order."""
    encoding: str | None = None
    """Encoding of a table of text. Default: UTF-8 or UTF-16, else cp1252, whichever fits."""
    classes: Path | None = None
    """Text file that lists the class folders to use, one on each line: its name, or its first word."""
    group_column: str | None = None
    """Column of groups, such as patients or documents, whose rows stay in one split where a split is drawn."""
    on_bad_row: OnBadRow = "stop"
    """Stop at rows without a label or an input, with NaN or an image that cannot be read, or skip and report them."""
    missing_labels: tuple[str, ...] = MISSING_LABELS
    """Texts that mean a missing label, beside an empty one."""
    shifts: dict[str, str] = Field(default_factory=dict)
    """Shifted test sets: name and source of each, or a folder in the layout of CIFAR-10-C."""
    test_fraction: Annotated[float, Gt(0), Lt(1)] = 0.25
    """Fraction of every class that is split off as test, where the source has no test split."""
    validation_fraction: Annotated[float, Gt(0), Lt(1)] = 0.2
    """Fraction of every class of train that is split off as validation, where the source has no validation split."""
    image_size: Annotated[int, Ge(8)] | None = None
    """Side in pixels of the square that images are resized and cropped to. Default: their own size, or 32 where the
    sizes differ."""
    background: str = "white"
    """Colour behind transparent images: white, black, another CSS name, or #rrggbb."""
    white_level: Annotated[float, Gt(0)] | None = None
    """Value that is white in images of more than 8 bits. Default: the largest of 8, 10, 12, 14 or 16 bits that holds
    all values, and 1 or 255 for floats."""
