"""A fitted classifier in a folder of JSON and safetensors: nothing in it is ever executed, and no train row is needed.

``model.json`` says what the model is, ``model.safetensors`` holds its numbers. Only neighbours keep the features of the
rows that vote.
"""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch

from monosemy import __version__
from monosemy.classifiers.engine import Probes
from monosemy.classifiers.neighbours import Vote
from monosemy.core.files import read_model_file, readable, write_model_file, write_text
from monosemy.errors import InputError, reason
from monosemy.features.registry import FEATURE_SETS
from monosemy.model import parts
from monosemy.model.chosen import Chosen, FeatureSettings, unfitted
from monosemy.model.crossfit import CrossFitted
from monosemy.model.labels import LabelModel

FORMAT = "monosemy.robust-classifier.v1"
DESCRIPTION, WEIGHTS = "model.json", "model.safetensors"


def save_model(model: Any, folder: str | Path, about: dict[str, Any] | None = None) -> None:
    """Write a fitted classifier into a new folder, whole or not at all.

    Args:
        about: further plain values for ``model.json``, such as the encoder and the names of columns.

    Raises:
        InputError: the folder exists and holds something else, or cannot be written to.
    """
    target = Path(folder)
    if target.exists() and not _is_model(target) and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"{str(target)!r} exists and holds no model; give the name of a new folder.")
    chosen, labels = model.chosen_, model.label_model_
    values, tensors = parts.state_of(chosen.transformer)
    tensors = {f"features/{name}": tensor for name, tensor in tensors.items()}
    description = {
        "format": FORMAT,
        "monosemy": __version__,
        "choice": model.choice_,
        "features": {"name": chosen.features, "settings": model.settings_.model_dump(mode="json"), "fitted": values},
        "classifier": {"name": chosen.classifier.name, "settings": chosen.classifier.settings},
        "classes": _plain(model.classes_),
        "n_features_in": model.n_features_in_,
        "feature_names_in": _plain(getattr(model, "feature_names_in_", None)),
        "temperature": model.temperature_,
        "noise": {"temperature": labels.temperature, "rate": labels.rate, "low": labels.low, "high": labels.high,
                  "log_likelihood": labels.log_likelihood},
        "selection": {name: _plain(column) for name, column in model.cv_results_.items()},
        "about": about or {},
    }  # fmt: skip
    tensors["transition"] = torch.from_numpy(labels.transition)
    if chosen.classifier.probes is not None:
        probes = chosen.classifier.probes
        tensors |= {"classifier/weight": probes.weight, "classifier/bias": probes.bias}
    if chosen.rows is not None and chosen.labels is not None:
        tensors |= _rows_of(chosen.rows) | {"voters/labels": torch.from_numpy(chosen.labels)}
    if chosen.weights is not None:
        tensors["voters/weights"] = torch.from_numpy(chosen.weights)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as name:
            new = Path(name) / "model"
            new.mkdir()
            write_text(new / DESCRIPTION, json.dumps(description, indent=2, allow_nan=False) + "\n")
            write_model_file(new / WEIGHTS, FORMAT, {}, tensors)
            if target.exists():
                os.replace(target, Path(name) / "old")
            os.replace(new, target)
    except OSError as error:
        raise InputError(f"The model cannot be written to {str(target)!r} ({error.strerror}); give another.") from error


def describe_model(folder: str | Path) -> tuple[str, str, dict[str, Any]]:
    """Return feature set, classifier and settings of the features of a saved model.

    Raises:
        InputError: the folder holds no model, or one of another version.
    """
    description = _description(Path(folder))
    try:
        features = description["features"]
        return str(features["name"]), str(description["classifier"]["name"]), dict(features["settings"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{folder} does not hold a whole model ({reason(error)}); fit it again.") from error


def restore_model(model: Any, folder: str | Path) -> None:
    """Set what predictions need on an unfitted :class:`monosemy.model.RobustClassifier`.

    Raises:
        InputError: the folder holds no model, a damaged one, or one of another version.
    """
    description = _description(Path(folder))
    _, tensors = read_model_file(Path(folder) / WEIGHTS, FORMAT)
    try:
        _restore(model, description, tensors)
    except InputError:
        raise
    except Exception as error:  # an untrusted file may be wrong in nearly every way
        raise InputError(f"{folder} does not hold a whole model ({reason(error)}); fit it again.") from error


def _description(folder: Path) -> dict[str, Any]:
    path = folder / DESCRIPTION
    remedy = "give a folder of `monosemy fit` or RobustClassifier.save"
    with readable(path, "the description of a model", remedy):
        description = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        found = description.get("format") if isinstance(description, dict) else None
        raise InputError(f"{path} has the format {found!r}, but this version reads {FORMAT!r}; fit the model again.")
    return description


def _restore(model: Any, description: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    features, classifier, noise = (description[name] for name in ("features", "classifier", "noise"))
    model.settings_ = FeatureSettings(**features["settings"])
    model.classes_ = np.array(description["classes"])
    model.n_features_in_ = int(description["n_features_in"])
    if description["feature_names_in"] is not None:
        model.feature_names_in_ = np.array(description["feature_names_in"], dtype=object)
    model.choice_, model.temperature_ = str(description["choice"]), float(description["temperature"])
    model.cv_results_ = {name: np.array(column) for name, column in description["selection"].items()}
    model.label_model_ = LabelModel(transition=tensors["transition"].numpy(), **noise)
    model.noise_rate_, model.transition_matrix_ = model.label_model_.rate, model.label_model_.transition
    model.noise_rate_interval_ = (model.label_model_.low, model.label_model_.high)
    own = {name.removeprefix("features/"): t for name, t in tensors.items() if name.startswith("features/")}
    if features["name"] not in FEATURE_SETS:
        raise InputError(
            f"The model uses the feature set {features['name']!r}, which this version lacks; fit it again."
        )
    transformer = parts.restore(unfitted(model.settings_, features["name"], 0), features["fitted"], own)
    probes = vote = rows = labels = None
    if "classifier/weight" in tensors:
        probes = Probes(tensors["classifier/weight"], tensors["classifier/bias"])
        if probes.bias.shape != (1, len(model.classes_)):
            raise InputError(f"The model has a bias of shape {tuple(probes.bias.shape)}; fit it again.")
    else:
        vote = Vote(int(classifier["settings"]["k"]), float(classifier["settings"]["power"]))
        rows, labels = _voters(tensors), tensors["voters/labels"].numpy()
    empty = np.empty((0, len(model.classes_)), dtype=np.float32)
    fitted = CrossFitted(classifier["name"], empty, classifier["settings"], probes, vote)
    model.chosen_ = Chosen(
        features["name"], fitted, transformer, rows, labels,
        tensors["voters/weights"].numpy() if "voters/weights" in tensors else None,
    )  # fmt: skip
    model.about_ = description["about"]


def _is_model(folder: Path) -> bool:
    return (folder / DESCRIPTION).is_file() and (folder / WEIGHTS).is_file()


def _plain(values: Any) -> Any:
    if values is None:
        return None
    return values.tolist() if isinstance(values, np.ndarray) else list(values)


def _rows_of(rows: Any) -> dict[str, torch.Tensor]:
    if not sp.issparse(rows):
        return {"voters/rows": torch.from_numpy(np.ascontiguousarray(rows, dtype=np.float32))}
    csr = sp.csr_array(rows)
    arrays = {"indptr": csr.indptr, "indices": csr.indices, "data": csr.data, "shape": np.array(csr.shape)}
    return {f"voters/{name}": torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}


def _voters(tensors: dict[str, torch.Tensor]) -> Any:
    if "voters/rows" in tensors:
        return tensors["voters/rows"].numpy()
    data, indices, indptr = (tensors[f"voters/{name}"].numpy() for name in ("data", "indices", "indptr"))
    rows = sp.csr_array((data, indices, indptr), shape=tuple(tensors["voters/shape"].tolist()))
    rows.check_format()
    return rows
