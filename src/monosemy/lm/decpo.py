"""DecPO: TRL's DPOTrainer with a regulariser on activations."""

import math
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, get_args

import torch
import torch.distributed as dist
import torch.nn.functional as F

from monosemy.core.distributed import all_gather
from monosemy.errors import InputError, needs_extra
from monosemy.functional.geometry import activation_l1, decorrelation
from monosemy.lm import architectures, config

with needs_extra("lm", "monosemy.lm"):
    from datasets import Dataset
    from transformers import PreTrainedModel
    from transformers.trainer_utils import get_last_checkpoint
    from trl import DPOConfig, DPOTrainer


def add_dropout(modules: Mapping[str, torch.nn.Module], rate: float) -> None:
    """Apply dropout to the modules' outputs from now on: in training, except in passes without gradients.

    The pass of the reference has no gradients, even if it runs through the same modules. The recomputation of gradient
    checkpointing restores the random state, and drops the same activations again.
    """

    def drop(module: torch.nn.Module, _inputs: Any, output: Any) -> Any:
        if not (module.training and torch.is_grad_enabled()):
            return None
        if isinstance(output, tuple):
            return (F.dropout(output[0], rate), *output[1:])
        return F.dropout(output, rate)

    for module in modules.values():
        module.register_forward_hook(drop)


def gather_rows(rows: torch.Tensor) -> torch.Tensor:
    """Return the rows of all processes, whose numbers may differ; with gradients as in :func:`all_gather`."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return rows
    counts = all_gather(torch.tensor([len(rows)], device=rows.device)).tolist()
    padded = F.pad(rows, (0, 0, 0, max(counts) - len(rows)))
    everyone = all_gather(padded).view(len(counts), max(counts), -1)
    return torch.cat([part[:count] for part, count in zip(everyone, counts, strict=True)])


@dataclass
class DecPOConfig(DPOConfig):
    """Settings of :class:`DecPOTrainer`: those of :class:`trl.DPOConfig`, and the regulariser's.

    Args:
        decpo_weight: lambda; 0 is DPO, bit for bit. With ``decpo_regularizer="dropout"`` the dropout rate.
        decpo_layers: regularised activations: module names such as ``model.layers.2.mlp.down_proj``, or layer numbers
            (negative from the end), which stand for the up-projections of their MLPs. Default: the up-projection of
            the middle layer, number L // 2 of 0 to L - 1. The terms of several layers are averaged.
        decpo_tokens: rows of Z, of chosen and rejected answers together: ``all`` (with the prompts, without the
            padding), ``completion``, or the ``last`` of each sequence.
        decpo_regularizer: ``decorrelation``, |Z^T Z - I|_F^2; or for ablations ``l1``, the activations' L1 norm,
            mean over tokens; or ``dropout`` on them.
        decpo_normalize_columns: divide each feature by its norm over the tokens first.
        decpo_gather: compute one term over the tokens of all processes, as a single process with the whole batch
            would; otherwise each process has a term of its own tokens and the gradients are averaged.
    """

    decpo_weight: float = field(default=1e-4, metadata={"help": "Weight of the regulariser; 0 is DPO."})
    decpo_layers: list[str] | None = field(
        default=None,
        metadata={
            "help": "Module names, or layer numbers for the up-projections of their MLPs; default: the middle one."
        },
    )
    decpo_tokens: str = field(
        default="all", metadata={"help": "Tokens that count.", "choices": list(get_args(config.Tokens))}
    )
    decpo_regularizer: str = field(
        default="decorrelation",
        metadata={"help": "Regulariser that is added to DPO.", "choices": list(get_args(config.Regularizer))},
    )
    decpo_normalize_columns: bool = field(default=True, metadata={"help": "Divide each feature by its norm."})
    decpo_gather: bool = field(default=False, metadata={"help": "One term over the tokens of all processes."})

    def __post_init__(self) -> None:
        super().__post_init__()
        layers: Any = self.decpo_layers
        if layers is not None:
            self.decpo_layers = [str(layer) for layer in (layers if isinstance(layers, list | tuple) else [layers])]
        if self.decpo_layers == []:
            raise InputError("decpo_layers=[] names no layer; name one, or omit it for the middle one.")
        for name, choices in (("decpo_tokens", config.Tokens), ("decpo_regularizer", config.Regularizer)):
            if getattr(self, name) not in get_args(choices):
                raise InputError(f"{name}={getattr(self, name)!r} is not one of {', '.join(get_args(choices))}.")
        self.decpo_weight = float(self.decpo_weight)
        if not (math.isfinite(self.decpo_weight) and self.decpo_weight >= 0):
            raise InputError(f"decpo_weight={self.decpo_weight:g} is not a weight; choose 0 or a positive number.")
        if self.decpo_regularizer == "dropout" and self.decpo_weight >= 1:
            raise InputError(
                f"decpo_weight={self.decpo_weight:g} would drop every activation; with dropout choose one below 1."
            )
        # These options keep a layer's activations, or their gradients, from the regulariser.
        if self.use_liger_kernel:
            raise InputError("use_liger_kernel=True replaces the forward pass whose activations DecPO reads; omit it.")
        if self.padding_free:
            raise InputError("padding_free=True joins sequences, whose tokens DecPO cannot separate; omit it.")
        if self.torch_compile:
            raise InputError(
                "torch_compile=True skips the hooks by which DecPO reads activations; omit it, or use DPOTrainer."
            )
        if self.gradient_checkpointing and (self.gradient_checkpointing_kwargs or {}).get("use_reentrant"):
            raise InputError(
                "gradient_checkpointing_kwargs has use_reentrant=True, which loses the regulariser's gradient; set it "
                "to False."
            )


def check_answers(dataset: Any, name: str) -> None:
    """Reject pairs with an empty answer: TRL would append an end-of-text token and train on them.

    Streams, which cannot be read beforehand, and data that is already tokenized are not checked.

    Raises:
        InputError: some chosen or rejected answers are empty.
    """
    if not isinstance(dataset, Dataset) or not {"chosen", "rejected"} <= set(dataset.column_names):
        return
    pairs = dataset.select_columns(["chosen", "rejected"])  # images, if there are any, stay encoded
    rows = (pair for batch in pairs.iter(batch_size=1000) for pair in zip(*batch.values(), strict=True))
    bad = [row for row, pair in enumerate(rows) if any(map(is_empty, pair))]
    if bad:
        raise InputError(
            f"{name} has {len(bad)} of {len(dataset)} pairs with an empty chosen or rejected answer, first in row "
            f"{bad[0]}; drop them."
        )


def is_empty(answer: Any) -> bool:
    """Return whether a text, or the last message of a conversation, is empty."""
    if isinstance(answer, str) or not answer:
        return not (answer or "").strip()
    last = answer[-1]
    if not isinstance(last, dict) or last.get("tool_calls"):
        return False
    content = last.get("content")
    if isinstance(content, list):  # parts of a message, which may be images
        return all(part.get("type") == "text" and not (part.get("text") or "").strip() for part in content)
    return not (content or "").strip()


_TITLE = "Encourage or Inhibit Monosemanticity? Revisit Monosemanticity from a Feature Decorrelation Perspective"


class DecPOTrainer(DPOTrainer):
    """:class:`trl.DPOTrainer` with ``loss = DPO's loss + decpo_weight * regulariser``, in training and evaluation.

    The arguments are those of :class:`trl.DPOTrainer`, with a :class:`DecPOConfig`; any of TRL's losses can be
    regularised. With gradient accumulation each batch has a term of its own tokens.

    Logged in addition to TRL's metrics, in evaluation with the prefix ``eval_``: ``decpo/decorrelation``
    (|Z^T Z - I|_F^2, mean over the layers, for every regulariser and also at weight 0; with several layers also
    ``decpo/decorrelation/NAME``), ``decpo/penalty`` (the weighted term) and ``decpo/loss`` (the loss without it).

    Source: Yan et al. (arXiv 2406.17969).
    """

    _name = "DecPO"
    _tag_names: ClassVar[list[str]] = ["trl", "dpo", "decpo"]
    _paper: ClassVar[dict[str, str]] = {
        "title": _TITLE,
        "id": "2406.17969",
        "citation": textwrap.dedent(f"""\
            @inproceedings{{yan2024encourage,
                title     = {{{{{_TITLE}}}}},
                author    = {{Hanqi Yan and Yanzheng Xiang and Guangyi Chen and Yifei Wang and Lin Gui and Yulan He}},
                year      = 2024,
                booktitle = {{Proceedings of the 2024 Conference on Empirical Methods in Natural Language Processing}},
            }}"""),
    }

    def __init__(
        self,
        model: Any,
        ref_model: PreTrainedModel | None = None,
        args: DecPOConfig | None = None,
        data_collator: Any = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        *others: Any,
        **named: Any,
    ) -> None:
        if args is None:
            name = model if isinstance(model, str) else model.config._name_or_path
            args = DecPOConfig(f"{Path(name).name or 'model'}-DecPO")
        if not isinstance(args, DecPOConfig):
            raise InputError(f"args is a {type(args).__name__}; give DecPOTrainer a DecPOConfig.")
        if isinstance(model, torch.nn.Module):
            regularized_layers(model, args.decpo_layers)  # fail before data is prepared, if possible
        check_answers(train_dataset, "train_dataset")
        for name, dataset in (eval_dataset if isinstance(eval_dataset, dict) else {"": eval_dataset}).items():
            check_answers(dataset, f"eval_dataset {name}".strip())
        super().__init__(model, ref_model, args, data_collator, train_dataset, eval_dataset, *others, **named)
        layout = getattr(self.accelerator, "parallelism_config", None)
        if any(getattr(layout, f"{kind}_enabled", False) for kind in ("cp", "sp", "tp")):
            raise InputError(
                "parallelism_config splits sequences or layers among processes, so that none has complete activations; "
                "use data parallelism (DDP, FSDP, DeepSpeed) with DecPO."
            )
        self._decpo_layers = regularized_layers(self.model, args.decpo_layers)
        if args.decpo_regularizer == "dropout" and args.decpo_weight:
            add_dropout(self._decpo_layers, args.decpo_weight)

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Compute TRL's loss, with the weighted regulariser added.

        Raises:
            InputError: a loss is not finite, an answer has no tokens, or a layer's activations cannot be used.
        """
        if not inputs["completion_mask"].any(dim=1).all():
            raise InputError(
                "A batch holds an answer without tokens; drop pairs with an empty chosen or rejected answer."
            )
        with architectures.first_outputs(self._decpo_layers) as outputs:
            result = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        loss: torch.Tensor = result[0] if return_outputs else result
        penalty = self._penalty(outputs, inputs)
        mode = "train" if self.model.training else "eval"
        self._log_metric(mode, "loss", loss)
        self._log_metric(mode, "penalty", penalty)
        if self.args.decpo_weight and self.args.decpo_regularizer != "dropout":
            loss = loss + penalty
        if self.model.training and not torch.isfinite(loss):
            raise InputError(
                f"The loss is {loss.item():g} at step {self.state.global_step + 1} (decorrelation weight "
                f"{self.args.decpo_weight:g}, learning rate {self._get_learning_rate():g}); lower the learning rate or "
                f"decpo_weight ({self._last_checkpoint()})."
            )
        return (loss, result[1]) if return_outputs else loss

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save like TRL, but never overwrite good weights with weights that are not finite.

        Raises:
            InputError: a trained weight is NaN or infinite.
        """
        for name, weight in self.model.named_parameters():
            if weight.requires_grad and not torch.isfinite(weight).all():
                raise InputError(
                    f"The weights {name} are not finite after step {self.state.global_step} and were not saved; "
                    f"lower the learning rate or decpo_weight ({self._last_checkpoint()})."
                )
        super().save_model(output_dir, _internal_call)

    def _penalty(self, outputs: Mapping[str, torch.Tensor], inputs: Any) -> torch.Tensor:
        """Return weight x regulariser, mean over the layers; log the decorrelation of each."""
        args: DecPOConfig = self.args
        learns = args.decpo_weight > 0 and torch.is_grad_enabled()
        terms: list[torch.Tensor] = []
        measured: dict[str, torch.Tensor] = {}
        for name in self._decpo_layers:
            if name not in outputs:
                raise InputError(f"The layer {name} did not run in the forward pass; choose another by decpo_layers.")
            rows = architectures.token_rows(outputs[name], inputs, args.decpo_tokens, name)  # type: ignore[arg-type]
            if learns and args.decpo_regularizer != "dropout" and not rows.requires_grad:
                raise InputError(
                    f"The activations of {name} have no gradient, so the regulariser would have no effect; train "
                    f"weights at or below that layer, without reentrant gradient checkpointing."
                )
            if args.decpo_gather:
                rows = gather_rows(rows)
            with torch.set_grad_enabled(learns and args.decpo_regularizer == "decorrelation"):
                measured[name] = decorrelation(rows, args.decpo_normalize_columns)
            if args.decpo_regularizer == "l1":
                terms.append(activation_l1(rows))
            elif args.decpo_regularizer == "decorrelation":
                terms.append(measured[name])
        mode = "train" if self.model.training else "eval"
        self._log_metric(mode, "decorrelation", torch.stack(list(measured.values())).mean())
        for name, value in measured.items() if len(measured) > 1 else ():
            self._log_metric(mode, f"decorrelation/{name}", value)
        if not terms:
            return next(iter(measured.values())).new_zeros(())
        return args.decpo_weight * torch.stack(terms).mean()

    def _log_metric(self, mode: str, name: str, value: torch.Tensor) -> None:
        everyone = self.accelerator.gather(value.detach().float())
        self._metrics[mode][f"decpo/{name}"].append(everyone.mean().item())

    def _last_checkpoint(self) -> str:
        folder = self.args.output_dir
        last = get_last_checkpoint(folder) if folder and Path(folder).is_dir() else None
        return f"the last checkpoint to resume from is {last}" if last else "no checkpoint was saved"


def regularized_layers(model: torch.nn.Module, layers: list[str] | None) -> dict[str, torch.nn.Module]:
    """Return the modules that ``decpo_layers`` names, by name; for None the up-projection of the middle MLP.

    Raises:
        InputError: a layer does not exist.
    """
    if layers is not None:
        return dict(architectures.up_projection(model, layer, "decpo_layers") for layer in layers)
    layer_mlps = architectures.mlps(model)
    middle = layer_mlps[len(layer_mlps) // 2]
    return {middle.up_name: middle.up}
