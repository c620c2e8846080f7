"""Values as people hold them in Python: pandas, polars, Arrow, torch, Hugging Face data sets, lists of lists.

All public functions that take texts, embeddings or labels convert them here, so that the same values pass, and the
same ones are refused, on every path.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data

from monosemy.data import dataset, sources
from monosemy.errors import InputError, names, shown
from monosemy.functional.codes import SparseCodes, to_csr
from monosemy.functional.consistency import Codes

_EXPECTED = "texts, nor embeddings (N, D), nor images (N, C, H, W)"


def as_inputs(values: Any, where: str = "The input") -> dataset.Inputs:
    """Return texts as a tuple, embeddings (N, D) as float32, and images (N, C, H, W); missing texts are "".

    Memory maps of images are not loaded; images are not converted but from other floats to float32.

    Args:
        where: the subject of messages.

    Raises:
        InputError: the values are none of these.
    """
    if isinstance(values, np.memmap) and values.ndim == 4 and values.dtype in (np.uint8, np.float32):
        return values
    values = plain_values(values, where)
    if _are_texts(values):
        return as_texts(values, where)
    array = as_array(values, where)
    if array.ndim not in (2, 4) or array.dtype.kind not in "fiub":
        raise InputError(
            f"{where} of shape {array.shape} and type {array.dtype} is neither {_EXPECTED}; reshape or convert it."
        )
    if array.ndim == 4 and array.dtype == np.uint8:
        return array.copy()
    if array.ndim == 4 and array.dtype.kind in "iub":
        raise InputError(f"Images of type {array.dtype} have no known range; give uint8, or float32 from 0 to 1.")
    return _float32(array, copy=True)


def as_texts(values: Any, where: str = "The input") -> tuple[str, ...]:
    """Return texts, "" where one is missing; bytes are decoded as UTF-8.

    Raises:
        InputError: the values are a single text, or not one text for each row.
    """
    values = plain_values(values, where)
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise InputError(f"{where} is {shown(values)}; give a list of texts.")
    if isinstance(values, np.ndarray):
        values = values.ravel() if values.ndim == 2 and values.shape[1] == 1 else values
    return tuple(_text(value, where) for value in values)


def _text(value: Any, where: str) -> str:
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            raise InputError(f"{where} holds the bytes {shown(value)}, which are not UTF-8; decode them.") from None
    if dataset.is_missing(value):
        return ""
    if not pd.api.types.is_scalar(value):
        raise InputError(f"{where} holds a value of type {type(value).__name__}; give one text for each row.")
    return str(value)


def as_array(values: Any, where: str = "The input") -> np.typing.NDArray[Any]:
    """Return numbers as an array of the shape that they have.

    Raises:
        InputError: the values are sparse, of unequal lengths, or not numbers.
    """
    values = plain_values(values, where)
    if isinstance(values, list | tuple) and any(isinstance(value, torch.Tensor) for value in values):
        values = [array_of_tensor(v, where) if isinstance(v, torch.Tensor) else v for v in values]
    if isinstance(values, pd.Series):
        values = list(values)
    if isinstance(values, list) and any(value is None for value in values):
        values = _with_nan_rows(values)
    try:
        array = np.asarray(values)
        if array.dtype.kind == "O":
            array = array.astype(np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(
            f"{where} holds rows of unequal length or values that are no numbers ({_first_odd(values)}); give numbers "
            f"(N, D)."
        ) from error
    return array


def _with_nan_rows(values: list[Any]) -> list[Any]:
    """Return rows with NaN in place of those that are missing."""
    row = next((np.asarray(value, dtype=np.float64) for value in values if value is not None), None)
    return values if row is None else [np.full(row.shape, np.nan) if value is None else value for value in values]


def _first_odd(values: Any) -> str:
    """Return a description of the first row that differs from the first one."""
    rows = list(values) if isinstance(values, Iterable) else [values]
    lengths = [len(row) if hasattr(row, "__len__") and not isinstance(row, str) else None for row in rows]
    odd = next((i for i, length in enumerate(lengths) if length != lengths[0]), None)
    if odd is None:
        return f"the first is {shown(rows[0])}" if rows else "it is empty"
    return f"row 0 has {lengths[0]} values, row {odd} has {lengths[odd]}"


def as_codes(values: Any, where: str = "The codes") -> Codes:
    """Return codes (N, M) as an array, or as a CSR array where they are sparse; memory maps are not loaded."""
    if isinstance(values, SparseCodes):
        numbers = values.values.detach().cpu()
        return to_csr(values._replace(values=numbers if numbers.dtype == torch.float64 else numbers.float()))
    if not sp.issparse(values):
        return values if type(values) in (np.ndarray, np.memmap) else as_array(values, where)
    codes = sp.csr_array(values)
    if not codes.has_canonical_format:
        codes = codes.copy()
        codes.sum_duplicates()
    return codes


def for_sklearn(values: Any, where: str) -> Any:
    """Return values in a form that scikit-learn takes: tensors as arrays; tables keep the names of their columns."""
    if isinstance(values, torch.Tensor):
        return array_of_tensor(values, where)
    is_list = isinstance(values, list | tuple)
    if (is_list and any(isinstance(value, torch.Tensor) for value in values)) or _library(values) == "datasets":
        return as_array(values, where)
    return values.to_pandas() if _library(values) == "pyarrow" else values


def training_rows(estimator: BaseEstimator, X: Any, *, first: bool) -> np.typing.NDArray[np.float32]:
    """Return a copy of embeddings (N, D) for an estimator, checked as scikit-learn's ``validate_data`` does.

    Args:
        first: the estimator learns the number and the names of the columns, and needs at least two rows.

    Raises:
        InputError: the rows are a sparse matrix, hold NaN or infinity, or are a single one to begin with.
        ValueError: scikit-learn's, for other faults.
    """
    X = for_sklearn(X, "X")
    if sp.issparse(X):
        raise InputError("X is a sparse matrix; give a dense one (.toarray()).")
    checked = validate_data(estimator, X, dtype=np.float32, order="C", copy=True, reset=first, ensure_all_finite=False)
    bad = np.flatnonzero(~np.isfinite(checked).all(axis=1))
    if len(bad):
        raise InputError(
            f"X has NaN or infinity in {len(bad)} of {len(checked)} rows, the first of them row {bad[0]}; "
            f"fill or remove them."
        )
    if first and len(checked) < 2:
        raise InputError(f"X has 1 sample of {checked.shape[1]} features; training starts from at least 2.")
    return np.asarray(checked)


def as_matrix(values: Any, where: str = "The input") -> np.typing.NDArray[np.float32]:
    """Return embeddings as (N, D) float32.

    Raises:
        InputError: they are not a matrix of real numbers.
    """
    array = as_array(values, where)
    if array.ndim != 2 or array.dtype.kind not in "fiub" or array.shape[1] == 0:
        raise InputError(f"{where} has the shape {array.shape} and the type {array.dtype}; give numbers (N, D).")
    return _float32(array)


def _float32(array: np.typing.NDArray[Any], *, copy: bool = False) -> np.typing.NDArray[np.float32]:
    with np.errstate(over="ignore", invalid="ignore"):  # the check of the rows reports infinity
        return array.astype(np.float32, copy=copy)


def as_labels(values: Any, where: str = "The labels") -> list[Any]:
    """Return one value for each row, for :func:`monosemy.data.dataset.label_texts`.

    Raises:
        InputError: there are none, or more than one for a row.
    """
    values = plain_values(values, where)
    if values is None or isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise InputError(f"{where} are {shown(values)}; give one label for each row.")
    if isinstance(values, np.ndarray) and (values.ndim == 0 or (values.ndim == 2 and values.shape[1] == 1)):
        values = values.reshape(-1) if values.ndim else [values]
    if isinstance(values, np.ndarray) and values.ndim > 1:
        raise InputError(
            f"{where} have the shape {values.shape}; give one label for each row, such as .argmax(1) of indicators."
        )
    return [value.item() if isinstance(value, torch.Tensor) and value.ndim == 0 else value for value in values]


def plain_values(values: Any, where: str = "The input") -> Any:
    """Return tensors as arrays, and columns and tables of other libraries as those of pandas, else the values.

    A table of one column is that column; of several, the one with a usual name, else the matrix of its numbers.
    """
    if isinstance(values, torch.Tensor):
        return array_of_tensor(values, where)
    if sp.issparse(values):
        raise InputError(f"{where} is a sparse matrix; give a dense one (.toarray()).")
    if isinstance(values, np.ma.MaskedArray):
        return (
            np.ma.filled(values.astype(np.float64), np.nan) if values.dtype.kind in "fiu" else np.ma.filled(values, "")
        )
    library = _library(values)
    if library == "polars":
        values = (values.collect() if hasattr(values, "collect") else values).to_pandas()
    elif library == "pyarrow":
        values = values.to_pandas() if hasattr(values, "to_pandas") else values.to_pylist()
    elif library == "datasets":
        values = values.to_pandas() if hasattr(values, "to_pandas") else list(values[:])
    elif isinstance(values, Iterator):
        values = list(values)  # it can be read once only
    return _column_or_matrix(values, where) if isinstance(values, pd.DataFrame) else values


def _library(values: Any) -> str:
    """Return the name of the library that a value's type is of."""
    return type(values).__module__.split(".")[0]


def _column_or_matrix(frame: pd.DataFrame, where: str) -> Any:
    columns = [str(name) for name in frame]
    if len(columns) == 1:
        return frame.iloc[:, 0]
    roles: tuple[sources.Role, ...] = ("embedding", "text")
    usual = [name for role in roles for name in sources.usual_columns(columns, role)]
    if usual:
        return frame.iloc[:, columns.index(usual[0])]
    odd = [name for name in frame if not pd.api.types.is_numeric_dtype(frame[name])]
    if odd:
        raise InputError(f"{where} has columns that are not numbers ({names(odd)}); choose the columns of the input.")
    return frame.to_numpy(np.float64, na_value=np.nan)


def array_of_tensor(tensor: torch.Tensor, where: str = "The input") -> np.typing.NDArray[Any]:
    """Return the numbers of a tensor, wherever it is; types that NumPy lacks (bfloat16, float8) become float32.

    Raises:
        InputError: the tensor is sparse, quantised or has no values.
    """
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.device.type == "meta":
        raise InputError(f"{where} is a tensor without plain values ({tensor.layout}); call .to_dense() before.")
    tensor = tensor.detach().cpu().resolve_conj().resolve_neg()
    if tensor.dtype.is_floating_point and tensor.dtype not in (torch.float16, torch.float32, torch.float64):
        tensor = tensor.to(torch.float32)
    return tensor.numpy()


def _are_texts(values: Any) -> bool:
    """Return whether the first value that is not missing is a text."""
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        return False
    if isinstance(values, np.ndarray) and values.dtype.kind not in "USTO":
        return False
    flat = values.ravel() if isinstance(values, np.ndarray) and values.ndim == 2 and values.shape[1] == 1 else values
    first = next((value for value in flat if not dataset.is_missing(value)), None)
    return isinstance(first, str | bytes)


def check_aligned(inputs: Any, labels: Any, where: str) -> None:
    """Raise where inputs and labels are of pandas and have the same row names in another order.

    pandas would match such rows by their names; here they are matched by position, and labels would get out of step.
    """
    pandas = pd.Series | pd.DataFrame
    if not isinstance(inputs, pandas) or not isinstance(labels, pandas) or len(inputs) != len(labels):
        return
    one, two = inputs.index, labels.index
    if not one.equals(two) and one.is_unique and two.is_unique and not len(one.symmetric_difference(two)):
        raise InputError(
            f"{where} has inputs and labels whose row names are the same in another order; sort the labels by "
            f".loc[X.index] first."
        )
