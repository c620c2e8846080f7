"""Implicit rewards: how much more a trained model expects an answer than its reference does.

How decorrelated a model's layers are on given texts.

What a training from preferences has done to a model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from monosemy.core.console import OnCount
from monosemy.errors import InputError
from monosemy.functional.geometry import decorrelation
from monosemy.lm.architectures import ARCHITECTURES, first_outputs, model_type, token_rows
from monosemy.lm.config import Decoding, MeasureConfig
from monosemy.lm.decpo import chosen_layers
from monosemy.lm.evaluation import answer_losses, kl_to_reference, measure_perplexity
from monosemy.lm.generation import generate, generate_from_tokens
from monosemy.lm.layers import prompt_metrics
from monosemy.lm.models import LoadedModel
from monosemy.lm.prompts import Row, Text, content_text
from monosemy.lm.tokenization import completed_tokens, padded, prompt_text, prompt_tokens
from monosemy.metrics.streaming import EffectiveRank, FeatureDecorrelation


@dataclass(frozen=True)
class PairLikelihoods:
    """ln pi(answer | prompt) of both answers of N pairs, in nats; the end of the text is part of an answer."""

    chosen: NDArray[np.float64]
    """(N,)."""
    rejected: NDArray[np.float64]
    """(N,)."""


@dataclass(frozen=True)
class Rewards:
    """beta (ln pi - ln pi_ref) of both answers of N pairs.

    Source: Rafailov et al., "Direct Preference Optimization" (arXiv 2305.18290), equation 5 without its constant.
    """

    chosen: NDArray[np.float64]
    rejected: NDArray[np.float64]

    @property
    def margins(self) -> NDArray[np.float64]:
        """(N,), the chosen answer's reward less the rejected one's."""
        return self.chosen - self.rejected

    @property
    def accuracy(self) -> float:
        """Share of pairs whose chosen answer has the higher reward; equal rewards count half."""
        return float(np.mean((np.sign(self.margins) + 1) / 2))


def pair_likelihoods(
    loaded: LoadedModel, rows: Sequence[Row], *, batch_size: int = 16, on_texts: OnCount | None = None
) -> PairLikelihoods:
    """How likely a model finds the two answers of each pair, as TRL's trainer scores them."""
    prompts = [row["prompt"] for row in rows]
    answers = [ended(row[name], loaded.tokenizer) for name in ("chosen", "rejected") for row in rows]
    losses = answer_losses(loaded, prompts * 2, answers, batch_size=batch_size, on_texts=on_texts)
    chosen, rejected = np.split(-losses.sums, 2)
    return PairLikelihoods(chosen, rejected)


def implicit_rewards(trained: PairLikelihoods, reference: PairLikelihoods, beta: float) -> Rewards:
    """The rewards of a trained model over its reference, from the likelihoods of the same pairs."""
    return Rewards(beta * (trained.chosen - reference.chosen), beta * (trained.rejected - reference.rejected))


def ended(answer: Text, tokenizer: Any) -> Text:
    """Plain text ends with the end-of-text token, as in TRL; a chat's template brings its own."""
    end = tokenizer.eos_token
    return answer if not isinstance(answer, str) or end is None or answer.endswith(end) else answer + end


def all_layers(loaded: LoadedModel, prompts: Sequence[Text]) -> list[dict[str, float]]:
    """The gauges of every layer's MLP, in order; none where the architecture is not known."""
    if model_type(loaded.model) not in ARCHITECTURES:
        return []
    texts = [prompt_text(loaded.tokenizer, prompt) for prompt in prompts]
    return prompt_metrics(loaded, texts, max_tokens=loaded.context)


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


@dataclass(frozen=True)
class Alignment:
    """Numbers of one model, and its answers."""

    values: dict[str, float]
    """By metric: margin, accuracy, chosen_reward, rejected_reward, kl, perplexity, regulariser, feature_decorrelation,
    effective_rank."""
    layers: list[dict[str, float]]
    """Of every layer in order: the gauges of the prompts' last tokens; none where the architecture is not known."""
    prompts: list[str]
    answers: list[str]


def measure_alignment(
    loaded: LoadedModel,
    reference: LoadedModel | None,
    before: PairLikelihoods,
    rows: Sequence[Row],
    held_out: Sequence[str],
    *,
    beta: float,
    layers: Sequence[str] | None = None,
    config: MeasureConfig | None = None,
    seed: int = 0,
) -> Alignment:
    """Rewards on test pairs, divergence on the model's own answers, perplexity, decorrelation of layers.

    Args:
        reference: None for an adapter: the model with the adapter switched off.
        before: likelihoods of the test pairs under the reference.
        rows: the test pairs; all of them fit into the context.
        held_out: texts whose perplexity is measured.
        layers: whose activations count; the middle layer's where not given.
        seed: of the answers.
    """
    settings = config or MeasureConfig()
    rewards = implicit_rewards(pair_likelihoods(loaded, rows, batch_size=settings.batch_size), before, beta)
    prompts = {content_text(row["prompt"]): row["prompt"] for row in rows}
    asked = list(prompts)[: settings.answers]
    decoding = Decoding(max_new_tokens=settings.max_new_tokens, temperature=settings.temperature, top_p=settings.top_p)
    given = [prompts[text] for text in asked]
    answers = generate(loaded, given, decoding, seed=seed, batch_size=settings.batch_size)
    divergence = kl_to_reference(loaded, reference, given, answers, batch_size=settings.batch_size)
    modules = chosen_layers(loaded.model, None if layers is None else list(layers))
    values = {
        "margin": float(rewards.margins.mean()),
        "accuracy": rewards.accuracy,
        "chosen_reward": float(rewards.chosen.mean()),
        "rejected_reward": float(rewards.rejected.mean()),
        "kl": divergence.mean,
        "perplexity": measure_perplexity(loaded, held_out, batch_size=settings.batch_size).perplexity,
        "regulariser": mean_regulariser(loaded, rows, modules, batch_size=settings.batch_size),
        **chosen_statistics(loaded, list(prompts.values()), modules, batch_size=settings.batch_size),
    }
    return Alignment(values, all_layers(loaded, list(prompts.values())), asked, answers)


def own_texts(loaded: LoadedModel, n_texts: int = 32, max_new_tokens: int = 128, *, seed: int = 0) -> list[str]:
    """Texts that a model writes from nothing: what it could do before it was trained further.

    Raises:
        InputError: the tokenizer has no token that texts begin with.
    """
    tokenizer = loaded.tokenizer
    start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    if start is None:
        raise InputError(
            f"The tokenizer of {loaded.name} has no token that texts begin with, so the model cannot write texts to "
            f"measure on; give a file by --held-out."
        )
    decoding = Decoding(max_new_tokens=min(max_new_tokens, loaded.context - 1), temperature=1.0)
    texts = generate_from_tokens(loaded, [[start]] * n_texts, decoding, seed=seed)
    return [text for text in texts if len(text.split()) > 1]
