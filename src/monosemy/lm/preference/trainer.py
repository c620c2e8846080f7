"""DPO with a regulariser on activations, as TRL's trainer with one method more."""

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.trainer_utils import get_last_checkpoint
from trl import DPOTrainer

from monosemy.errors import InputError
from monosemy.functional.decorrelation import activation_l1, decorrelation
from monosemy.lm.activations import first_outputs, token_rows
from monosemy.lm.architectures import mlps, up_projection
from monosemy.lm.preference.answers import check_answers
from monosemy.lm.preference.config import DecPOConfig
from monosemy.lm.preference.term import add_dropout, gathered_rows

_TITLE = "Encourage or Inhibit Monosemanticity? Revisit Monosemanticity from a Feature Decorrelation Perspective"


class DecPOTrainer(DPOTrainer):
    """:class:`trl.DPOTrainer` with ``loss = DPO's loss + decpo_weight * regulariser``, in training and evaluation.

    The arguments are those of :class:`trl.DPOTrainer`, with a :class:`DecPOConfig`. Beneath may be any loss that TRL
    has. With gradient accumulation each batch has a term of its own tokens.

    Logged beside TRL's metrics, in evaluation with ``eval_`` before them: ``decpo/decorrelation`` (|Z^T Z - I|_F^2,
    mean over the layers, measured whatever the regulariser is and also at weight 0; with several layers also
    ``decpo/decorrelation/NAME``), ``decpo/penalty`` (what was added to the loss) and ``decpo/loss`` (the loss beneath).

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
            given = model if isinstance(model, str) else model.config._name_or_path
            args = DecPOConfig(f"{Path(given).name or 'model'}-DecPO")
        if not isinstance(args, DecPOConfig):
            raise InputError(f"args is a {type(args).__name__}; give DecPOTrainer a DecPOConfig.")
        if isinstance(model, nn.Module):
            chosen_layers(model, args.decpo_layers)  # before data is prepared, if it can be said
        check_answers(train_dataset, "train_dataset")
        for name, dataset in (eval_dataset if isinstance(eval_dataset, dict) else {"": eval_dataset}).items():
            check_answers(dataset, f"eval_dataset {name}".strip())
        super().__init__(model, ref_model, args, data_collator, train_dataset, eval_dataset, *others, **named)
        self._check_parallel()
        self._decpo_layers = chosen_layers(self.model, args.decpo_layers)
        if args.decpo_regularizer == "dropout" and args.decpo_weight:
            add_dropout(self._decpo_layers, args.decpo_weight)

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """TRL's loss, with the weighted regulariser added.

        Raises:
            InputError: a loss is not finite, an answer has no tokens, or a layer's activations cannot be used.
        """
        if not inputs["completion_mask"].any(dim=1).all():
            raise InputError(
                "A batch holds an answer without tokens; drop pairs with an empty chosen or rejected answer."
            )
        with first_outputs(self._decpo_layers) as outputs:
            found = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        loss: Tensor = found[0] if return_outputs else found
        penalty = self._penalty(outputs, inputs)
        mode = "train" if self.model.training else "eval"
        self._log_metric(mode, "loss", loss)
        self._log_metric(mode, "penalty", penalty)
        if self.args.decpo_weight and self.args.decpo_regularizer != "dropout":
            loss = loss + penalty
        if self.model.training and not torch.isfinite(loss):
            raise InputError(
                f"The loss is {loss.item():g} at step {self.state.global_step + 1} (decorrelation weight "
                f"{self.args.decpo_weight:g}, learning rate {self._get_learning_rate():g}); {self._kept()}, lower the "
                f"learning rate or decpo_weight."
            )
        return (loss, found[1]) if return_outputs else loss

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """As TRL's, but weights that are not finite are never written over good ones.

        Raises:
            InputError: a trained weight is NaN or infinite.
        """
        for name, weight in self.model.named_parameters():
            if weight.requires_grad and not torch.isfinite(weight).all():
                raise InputError(
                    f"The weights {name} are not finite after step {self.state.global_step} and were not saved; "
                    f"{self._kept()}, lower the learning rate or decpo_weight."
                )
        super().save_model(output_dir, _internal_call)

    def _penalty(self, outputs: Mapping[str, Tensor], inputs: Any) -> Tensor:
        """Weight x regulariser, mean over the layers; the decorrelation of each is logged."""
        args: DecPOConfig = self.args
        learns = args.decpo_weight > 0 and torch.is_grad_enabled()
        terms: list[Tensor] = []
        measured: dict[str, Tensor] = {}
        for name in self._decpo_layers:
            if name not in outputs:
                raise InputError(f"The layer {name} took no part in the forward pass; choose another by decpo_layers.")
            rows = token_rows(outputs[name], inputs, args.decpo_tokens, name)  # type: ignore[arg-type]
            if learns and args.decpo_regularizer != "dropout" and not rows.requires_grad:
                raise InputError(
                    f"The activations of {name} carry no gradient, so the regulariser would do nothing; train "
                    f"something at or below that layer, without reentrant gradient checkpointing."
                )
            if args.decpo_gather:
                rows = gathered_rows(rows)
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

    def _log_metric(self, mode: str, name: str, value: Tensor) -> None:
        everyone = self.accelerator.gather(value.detach().float())
        self._metrics[mode][f"decpo/{name}"].append(everyone.mean().item())

    def _check_parallel(self) -> None:
        layout = getattr(self.accelerator, "parallelism_config", None)
        if any(getattr(layout, f"{kind}_enabled", False) for kind in ("cp", "sp", "tp")):
            raise InputError(
                "parallelism_config splits sequences or layers among processes, so that none has the activations of "
                "whole tokens; use data parallelism (DDP, FSDP, DeepSpeed) with DecPO."
            )

    def _kept(self) -> str:
        folder = self.args.output_dir
        last = get_last_checkpoint(folder) if folder and Path(folder).is_dir() else None
        return f"the last checkpoint, {last}, is kept: go on from it" if last else "no checkpoint was saved before"


def chosen_layers(model: nn.Module, layers: list[str] | None) -> dict[str, nn.Module]:
    """The modules that ``decpo_layers`` names, by their names; for None the middle MLP's up-projection.

    Raises:
        InputError: there is no such layer.
    """
    if layers is not None:
        return dict(up_projection(model, layer, "decpo_layers") for layer in layers)
    found = mlps(model)
    middle = found[len(found) // 2]
    return {middle.up_name: middle.up}
