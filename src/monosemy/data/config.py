"""Where data comes from and how it is read."""

from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Lt
from pydantic import BaseModel, ConfigDict

from monosemy.data import digits

OnBadImage = Literal["stop", "skip"]


class DataConfig(BaseModel):
    """Where the data comes from and how it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str = digits.NAME
    """`digit-pairs`, a file, several parquet files (a folder of them or a pattern such as `cifar100_*.parquet`), a
    folder of CIFAR's own files, a folder of class folders, or the id of a Hugging Face data set."""
    input_column: str | None = None
    """Column of texts, images or embeddings; found by its usual names where not given."""
    label_column: str | None = None
    """Column of the labels; for CIFAR-100's own files `fine_label` or `coarse_label`."""
    split_column: str | None = None
    given_label_column: str | None = None
    """Column with real noisy labels, of the source or of the file `given_labels`; the scenario `given-labels` trains
    on it."""
    given_labels: Path | None = None
    """File with real noisy labels of the source's train rows: matched by a column `index`, else in the same order."""
    labels: Path | None = None
    """File with the labels of a plain .npy of embeddings."""
    classes: Path | None = None
    """Text file with the class folders to use, one a line; what follows the first word is a comment."""
    on_bad_image: OnBadImage = "stop"
    """What to do about an image that cannot be read."""
    shifts: dict[str, str] = {}
    """Shifted test sets: name to file or folder, read like the source, or a folder of CIFAR-10-C's layout."""
    test_fraction: Annotated[float, Gt(0), Lt(1)] = 0.25
    """Share split off as test, class by class, where the source has no split."""
    validation_fraction: Annotated[float, Gt(0), Lt(1)] = 0.2
    """Share of train split off for choosing hyper-parameters, where the source has no validation split."""
    image_size: Annotated[int, Ge(8)] | None = None
    """Side of the square that images are resized (shorter side) and cropped (centre) to; their own size where it is
    not given, or 32 where they differ. Shifted sets take the data's size."""
