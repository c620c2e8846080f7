"""Models and tokenizers of transformers, loaded by folder or name."""

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch

from monosemy.core.cache import fingerprint
from monosemy.errors import InputError, needs_extra, reason
from monosemy.lm.config import Dtype
from monosemy.seeding import derive_seed

_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_NO_LIMIT = 1_000_000
"""Tokenizers without a limit report a number above this."""


@dataclass(frozen=True)
class LoadedModel:
    """A model in eval mode with its tokenizer, which has a pad token."""

    name: str
    model: Any
    tokenizer: Any

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def context(self) -> int:
        """Return the number of tokens that the model can read at once: the smaller limit of its positions and its
        tokenizer; 2048 if neither has one."""
        config = self.model.config.get_text_config()
        limits = [getattr(config, "max_position_embeddings", None), getattr(self.tokenizer, "model_max_length", None)]
        return min((int(limit) for limit in limits if limit is not None and 0 < limit < _NO_LIMIT), default=2048)


def transformers_library() -> Any:
    """Return the module of transformers, which is imported only where a model is read.

    Raises:
        MissingExtraError: the extra `lm` is not installed.
    """
    with needs_extra("lm", "monosemy.lm"):
        import transformers
    return transformers


def load_causal_model(name: str, *, dtype: Dtype = "auto", device: str | None = None) -> LoadedModel:
    """Load a causal language model by folder or name; by default onto the GPU if there is one.

    Raises:
        InputError: the model is missing, cannot be fetched, has only pickled weights, or is of another kind.
    """
    return _load(transformers_library().AutoModelForCausalLM, name, dtype, device, "language-model")


def load_any_model(name: str, *, dtype: Dtype = "auto", device: str | None = None) -> LoadedModel:
    """Load a causal language model, or any other text model without its head, by folder or name.

    Raises:
        InputError: as in :func:`load_causal_model`.
    """
    transformers = transformers_library()
    kinds = _pretrained(transformers.AutoConfig, name, "model").architectures or []
    if any(kind.endswith(("ForCausalLM", "LMHeadModel")) for kind in kinds):
        return load_causal_model(name, dtype=dtype, device=device)
    return _load(transformers.AutoModel, name, dtype, device, None)


def load_classifier(
    name: str,
    class_names: Sequence[str] | None = None,
    *,
    dtype: Dtype = "auto",
    device: str | None = None,
    seed: int = 0,
) -> LoadedModel:
    """Load a sequence classifier by folder or name.

    Args:
        class_names: classes of a classifier that is still to be trained: its head is new, drawn with the seed. None for
            a trained one, which must have a head.

    Raises:
        InputError: as in :func:`load_causal_model`.
    """
    options: dict[str, Any] = {}
    if class_names is not None:
        options = {
            "num_labels": len(class_names),
            "id2label": dict(enumerate(class_names)),
            "label2id": {label: i for i, label in enumerate(class_names)},
            "ignore_mismatched_sizes": True,
        }
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed("head", seed))
        head = "classifier" if class_names is None else None
        return _load(transformers_library().AutoModelForSequenceClassification, name, dtype, device, head, **options)


def load_tokenizer(name: str) -> Any:
    """Load a tokenizer with a pad token: its own, else its unknown token, else its end-of-text token."""
    tokenizer = _pretrained(transformers_library().AutoTokenizer, name, "tokenizer")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
    if tokenizer.pad_token is None:
        raise InputError(f"The tokenizer of {name} has no pad, unknown or end-of-text token; add one to its files.")
    return tokenizer


def model_fingerprint(name: str) -> str:
    """Return the key of a model in caches: a fingerprint of the files of a folder, or of the name of any other."""
    folder = Path(name)
    return fingerprint(folder) if folder.is_dir() else fingerprint(name)


def _load(loader: Any, name: str, dtype: Dtype, device: str | None, head: str | None, **options: Any) -> LoadedModel:
    tokenizer = load_tokenizer(name)
    model, report = _pretrained(
        loader, name, "model", use_safetensors=True, dtype=dtype, output_loading_info=True, **options
    )
    missing = sorted(report["missing_keys"])
    if head is not None and missing:
        raise InputError(
            f"{name} has no trained {head} head (its files lack {missing[0]}); give a model that was trained with one."
        )
    model.config.pad_token_id = tokenizer.pad_token_id
    if getattr(model, "generation_config", None) is not None:
        model.generation_config.pad_token_id = tokenizer.pad_token_id
    try:
        default = "cuda" if torch.cuda.is_available() else "cpu"
        return LoadedModel(name, model.to(device or default).eval(), tokenizer)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"{name} cannot be moved to the device {device!r} ({reason(error)}); name another.") from error


def _pretrained(loader: Any, name: str, what: str, **options: Any) -> Any:
    """Load by folder or name; turn every failure into an InputError."""
    logging = transformers_library().utils.logging
    logging.disable_progress_bar()  # the command line has its own
    folder = Path(name)
    if folder.is_dir():
        pickled = next((file for pattern in _PICKLED for file in sorted(folder.glob(pattern))), None)
        if pickled is not None and not any(folder.glob("*.safetensors")):
            raise InputError(
                f"{folder} has its weights only in the pickled file {pickled.name}, which can execute any code when it "
                f"is loaded; save the model as safetensors on a machine where you trust it."
            )
        if (folder / "adapter_config.json").is_file():  # transformers loads the adapter through PEFT
            import monosemy.lm.monolora  # noqa: F401  registers MonoLoRA
    elif name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise InputError(f"The folder {name} does not exist; give a model's folder or its name.")
    offline = not folder.is_dir() and not _hub_answers()
    level = logging.get_verbosity()
    logging.set_verbosity_error()  # a loader's warnings are either errors of ours or irrelevant to the user
    try:
        return loader.from_pretrained(name, local_files_only=offline, trust_remote_code=False, **options)
    except Exception as error:  # the loaders raise many types; each means that the model cannot be loaded
        if offline:
            raise InputError(
                f"The {what} {name} is neither a folder nor in the cache, and there is no connection to the hub; give "
                f"the folder of a model, or download it first."
            ) from error
        raise InputError(
            f"The {what} {name} cannot be loaded ({reason(error)}); give the folder or name of a model with "
            f"safetensors weights."
        ) from error
    finally:
        logging.set_verbosity(level)


def _hub_answers() -> bool:
    """Return whether the hub's host has an address; without one, its client would try for most of a minute."""
    with needs_extra("lm", "monosemy.lm"):
        from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    address = urlparse(constants.ENDPOINT)
    try:
        socket.getaddrinfo(address.hostname, address.port or 443)
    except OSError:
        return False
    return True
