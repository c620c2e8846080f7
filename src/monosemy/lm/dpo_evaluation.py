"""Evaluation of models that were trained from preferences: implicit rewards, divergence, perplexity, decorrelation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from monosemy.core.console import OnCount
from monosemy.errors import InputError
from monosemy.functional.geometry import decorrelation
from monosemy.lm import architectures, decpo, evaluation, generation, models, tokenization
from monosemy.lm.config import Decoding, MeasureConfig, Tokens
from monosemy.lm.layers import prompt_metrics
from monosemy.lm.prompts import Row, Text, content_text
from monosemy.metrics.streaming import EffectiveRank, FeatureDecorrelation


@dataclass(frozen=True)
class PairLikelihoods:
    """ln pi(answer | prompt) of both answers of N pairs, in nats; the end of the text is part of an answer."""

    chosen: np.typing.NDArray[np.float64]
    """(N,)."""
    rejected: np.typing.NDArray[np.float64]
    """(N,)."""


class Rewards(PairLikelihoods):
    """beta (ln pi - ln pi_ref) of both answers of N pairs.

    Source: Rafailov et al., "Direct Preference Optimization" (arXiv 2305.18290), equation 5 without its constant.
    """

    @property
    def margins(self) -> np.typing.NDArray[np.float64]:
        """Return the reward of the chosen answer minus that of the rejected one, (N,)."""
        return self.chosen - self.rejected

    @property
    def hits(self) -> np.typing.NDArray[np.floating]:
        """Return 1 for pairs whose chosen answer has the higher reward, 1/2 for equal rewards, else 0."""
        return (np.sign(self.margins) + 1) / 2

    @property
    def accuracy(self) -> float:
        """Return the mean of the hits."""
        return float(np.mean(self.hits))


def pair_likelihoods(
    loaded: models.LoadedModel, rows: Sequence[Row], *, batch_size: int = 16, on_texts: OnCount | None = None
) -> PairLikelihoods:
    """Return the likelihoods of both answers of each pair under a model, as TRL's trainer computes them."""
    prompts = [row["prompt"] for row in rows]
    answers = [with_end_token(row[name], loaded.tokenizer) for name in ("chosen", "rejected") for row in rows]
    losses = evaluation.answer_losses(loaded, prompts * 2, answers, batch_size=batch_size, on_texts=on_texts)
    chosen, rejected = np.split(-losses.sums, 2)
    return PairLikelihoods(chosen, rejected)


def implicit_rewards(trained: PairLikelihoods, reference: PairLikelihoods, beta: float) -> Rewards:
    """Return the rewards of a trained model relative to its reference, from the likelihoods of the same pairs."""
    return Rewards(beta * (trained.chosen - reference.chosen), beta * (trained.rejected - reference.rejected))


def with_end_token(answer: Text, tokenizer: Any) -> Text:
    """Append the end-of-text token to a plain text, as in TRL; a chat template brings its own."""
    end = tokenizer.eos_token
    return answer if not isinstance(answer, str) or end is None or answer.endswith(end) else answer + end


def last_token_statistics(
    loaded: models.LoadedModel, prompts: Sequence[Text], modules: Mapping[str, torch.nn.Module], *, batch_size: int = 16
) -> dict[str, float]:
    """Return feature decorrelation and effective rank of the prompts' last tokens, mean over the modules.

    Source: Yan et al. (arXiv 2406.17969), feature decorrelation of the last token of a batch of prompts.
    """
    tokens = [ids[-loaded.context :] for ids in tokenization.tokenize_prompts(loaded.tokenizer, prompts)]
    metrics = [(FeatureDecorrelation(), EffectiveRank()) for _ in modules]
    for start in range(0, len(tokens), batch_size):
        batch = _activations(loaded, tokens[start : start + batch_size], modules, "last")
        for pair, rows in zip(metrics, batch, strict=True):
            for metric in pair:
                metric.update(rows.float().cpu().numpy())
    return {
        "feature_decorrelation": float(np.mean([metric.compute() for metric, _ in metrics])),
        "effective_rank": float(np.mean([metric.compute() for _, metric in metrics])),
    }


def mean_regulariser(
    loaded: models.LoadedModel, rows: Sequence[Row], modules: Mapping[str, torch.nn.Module], *, batch_size: int = 16
) -> float:
    """Return |Z^T Z - I|_F^2 over all tokens of pairs, mean over modules and full batches: the regulariser of DecPO.

    It grows with the width and decreases with the tokens of a batch: compare models on the same pairs and batches.
    """
    prompts = [row["prompt"] for row in rows]
    answers = [with_end_token(row[name], loaded.tokenizer) for name in ("chosen", "rejected") for row in rows]
    pairs = tokenization.tokenize_answers(loaded.tokenizer, prompts * 2, answers)
    sides = pairs[: len(rows)], pairs[len(rows) :]
    terms = []
    for start in range(0, max(1, len(rows) // batch_size) * batch_size, batch_size):
        batch = [answer.ids[-loaded.context :] for side in sides for answer in side[start : start + batch_size]]
        terms += [float(decorrelation(z)) for z in _activations(loaded, batch, modules, "all")]
    return float(np.mean(terms))


@torch.no_grad()
def _activations(
    loaded: models.LoadedModel, batch: Sequence[Sequence[int]], modules: Mapping[str, torch.nn.Module], tokens: Tokens
) -> list[torch.Tensor]:
    """Return the activations of each module at the tokens of one batch, whose rows stay in their order."""
    inputs = tokenization.padded(loaded, batch)
    with architectures.first_outputs(modules) as outputs:
        loaded.model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], logits_to_keep=1)
    return [architectures.token_rows(outputs[name], inputs, tokens, name) for name in modules]


@dataclass(frozen=True)
class Alignment:
    """Metrics of one model, and its answers."""

    values: dict[str, float]
    """By metric: margin, accuracy, chosen_reward, rejected_reward, kl, perplexity, regulariser, feature_decorrelation,
    effective_rank."""
    layers: list[dict[str, float]]
    """Layer metrics of the prompts' last tokens, layer by layer; empty for unknown architectures."""
    prompts: list[str]
    answers: list[str]
    of_rows: dict[str, np.typing.NDArray[Any]]
    """What margin and accuracy are the means of, pair by pair; kl, answer by answer; perplexity, text by text."""


def measure_alignment(
    loaded: models.LoadedModel,
    reference: models.LoadedModel | None,
    before: PairLikelihoods,
    rows: Sequence[Row],
    held_out: Sequence[str],
    *,
    beta: float,
    layers: Sequence[str] | None = None,
    config: MeasureConfig | None = None,
    seed: int = 0,
) -> Alignment:
    """Measure rewards on test pairs, divergence on the model's own answers, perplexity and decorrelation of layers.

    Args:
        reference: the reference model; None for an adapter: the model with the adapter disabled.
        before: likelihoods of the test pairs under the reference.
        rows: the test pairs; all of them fit into the context.
        held_out: texts whose perplexity is measured.
        layers: layers whose activations are measured. Default: the middle one.
        seed: seed of the answers.
    """
    settings = config or MeasureConfig()
    rewards = implicit_rewards(pair_likelihoods(loaded, rows, batch_size=settings.batch_size), before, beta)
    prompts = {content_text(row["prompt"]): row["prompt"] for row in rows}
    asked = list(prompts)[: settings.answers]
    decoding = Decoding(**settings.model_dump(include={"max_new_tokens", "temperature", "top_p"}))
    answered = [prompts[text] for text in asked]
    answers = generation.generate(loaded, answered, decoding, seed=seed, batch_size=settings.batch_size)
    divergence = evaluation.kl_to_reference(loaded, reference, answered, answers, batch_size=settings.batch_size)
    losses = evaluation.text_losses(loaded, held_out, batch_size=settings.batch_size)
    modules = decpo.regularized_layers(loaded.model, None if layers is None else list(layers))
    values = {
        "margin": float(rewards.margins.mean()),
        "accuracy": rewards.accuracy,
        "chosen_reward": float(rewards.chosen.mean()),
        "rejected_reward": float(rewards.rejected.mean()),
        "kl": divergence.mean,
        "perplexity": losses.total().perplexity,
        "regulariser": mean_regulariser(loaded, rows, modules, batch_size=settings.batch_size),
        **last_token_statistics(loaded, list(prompts.values()), modules, batch_size=settings.batch_size),
    }
    texts = [tokenization.prompt_text(loaded.tokenizer, prompt) for prompt in prompts.values()]
    known = architectures.model_type(loaded.model) in architectures.ARCHITECTURES
    layer_metrics = prompt_metrics(loaded, texts, max_tokens=loaded.context) if known else []
    of_rows = {
        "margin": rewards.margins,
        "accuracy": rewards.hits if (rewards.margins == 0).any() else rewards.margins > 0,
        "kl": divergence.by_row(),
        "perplexity": losses.perplexity_by_row(),
    }
    return Alignment(values, layer_metrics, asked, answers, of_rows)


def sample_texts(
    loaded: models.LoadedModel, n_texts: int = 32, max_new_tokens: int = 128, *, seed: int = 0
) -> list[str]:
    """Sample texts from a model without a prompt; their perplexity after further training measures forgetting.

    Raises:
        InputError: the tokenizer has no begin-of-text or end-of-text token.
    """
    tokenizer = loaded.tokenizer
    start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    if start is None:
        raise InputError(
            f"The tokenizer of {loaded.name} has no begin-of-text token, so the model cannot generate texts to measure "
            f"on; give a file of texts by --set held_out=FILE."
        )
    decoding = Decoding(max_new_tokens=min(max_new_tokens, loaded.context - 1), temperature=1.0)
    texts = generation.generate_from_tokens(loaded, [[start]] * n_texts, decoding, seed=seed)
    return [text for text in texts if len(text.split()) > 1]
