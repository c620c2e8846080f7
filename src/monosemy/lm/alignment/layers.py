"""How decorrelated a model's layers are on given texts."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from monosemy.functional.decorrelation import decorrelation
from monosemy.lm.activations import first_outputs, token_rows
from monosemy.lm.alignment.pairs import ended
from monosemy.lm.architectures import ARCHITECTURES, model_type
from monosemy.lm.batches import padded
from monosemy.lm.data.forms import Row, Text
from monosemy.lm.data.rendering import completed_tokens, prompt_text, prompt_tokens
from monosemy.lm.gauges import read_layers
from monosemy.lm.models import LoadedModel
from monosemy.metrics.streaming import EffectiveRank, FeatureDecorrelation


def all_layers(loaded: LoadedModel, prompts: Sequence[Text]) -> list[dict[str, float]]:
    """The gauges of every layer's MLP, in order; none where the architecture is not known."""
    if model_type(loaded.model) not in ARCHITECTURES:
        return []
    texts = [prompt_text(loaded.tokenizer, prompt) for prompt in prompts]
    return [reading.metrics() for reading in read_layers(loaded, texts, max_tokens=loaded.context)]


def chosen_statistics(
    loaded: LoadedModel, prompts: Sequence[Text], modules: Mapping[str, nn.Module], *, batch_size: int = 16
) -> dict[str, float]:
    """Feature decorrelation and effective rank of the prompts' last tokens, mean over the modules.

    Source: Yan et al. (arXiv 2406.17969), feature decorrelation of the last token of a batch of prompts.
    """
    tokens = [ids[-loaded.context :] for ids in prompt_tokens(loaded.tokenizer, prompts)]
    decorrelations = {name: FeatureDecorrelation() for name in modules}
    ranks = {name: EffectiveRank() for name in modules}
    for start in range(0, len(tokens), batch_size):
        found, inputs = _outputs(loaded, tokens[start : start + batch_size], modules)
        for name in modules:
            rows = token_rows(found[name], inputs, "last", name).float().cpu().numpy()
            decorrelations[name].update(rows)
            ranks[name].update(rows)
    return {
        "feature_decorrelation": float(np.mean([metric.compute() for metric in decorrelations.values()])),
        "effective_rank": float(np.mean([metric.compute() for metric in ranks.values()])),
    }


def mean_regulariser(
    loaded: LoadedModel, rows: Sequence[Row], modules: Mapping[str, nn.Module], *, batch_size: int = 16
) -> float:
    """|Z^T Z - I|_F^2 over all tokens of pairs, mean over modules and full batches: what DecPO makes small.

    It grows with the width and falls with the tokens of a batch: compare models on the same pairs and batches.
    """
    prompts = [row["prompt"] for row in rows]
    sides = [
        completed_tokens(loaded.tokenizer, prompts, [ended(row[name], loaded.tokenizer) for row in rows])
        for name in ("chosen", "rejected")
    ]
    terms = []
    for start in range(0, max(1, len(rows) // batch_size) * batch_size, batch_size):
        batch = [answer.ids[-loaded.context :] for side in sides for answer in side[start : start + batch_size]]
        found, inputs = _outputs(loaded, batch, modules)
        terms += [float(decorrelation(token_rows(found[name], inputs, "all", name))) for name in modules]
    return float(np.mean(terms))


@torch.no_grad()
def _outputs(
    loaded: LoadedModel, tokens: Sequence[Sequence[int]], modules: Mapping[str, nn.Module]
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    ids, mask = padded(tokens, loaded.tokenizer.pad_token_id, loaded.device)
    with first_outputs(modules) as found:
        loaded.model(input_ids=ids, attention_mask=mask, logits_to_keep=1)
    return found, {"attention_mask": mask}
