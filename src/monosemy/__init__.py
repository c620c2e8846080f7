"""One feature, one meaning: monosemantic features, measured, and what they buy in robustness."""

from typing import TYPE_CHECKING, Any

from monosemy._version import __version__
from monosemy.errors import InputError

if TYPE_CHECKING:
    from monosemy.classifiers.linear_probe import LinearProbe
    from monosemy.sae.estimators import RandomDictionary, SparseAutoencoder
    from monosemy.study.probing.study import Study

_HOMES = {
    "LinearProbe": "monosemy.probes",
    "RandomDictionary": "monosemy.features",
    "SparseAutoencoder": "monosemy.features",
    "Study": "monosemy.study",
}

__all__ = ["InputError", "LinearProbe", "RandomDictionary", "SparseAutoencoder", "Study", "__version__"]


def __getattr__(name: str) -> Any:
    # Rooms are opened when first entered: `import monosemy` stays as fast as Python itself.
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'monosemy' has no attribute {name!r}")
