"""What a training from preferences has done to a model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, Le
from pydantic import BaseModel, ConfigDict

from monosemy.errors import InputError
from monosemy.lm.alignment.layers import all_layers, chosen_statistics, mean_regulariser
from monosemy.lm.alignment.pairs import PairLikelihoods, implicit_rewards, pair_likelihoods
from monosemy.lm.data.forms import Row, content_text
from monosemy.lm.generation import Decoding, generate, generate_from_tokens
from monosemy.lm.models import LoadedModel
from monosemy.lm.preference.trainer import chosen_layers
from monosemy.lm.text_metrics import kl_to_reference, measure_perplexity


class MeasureConfig(BaseModel):
    """How a trained model is looked at."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    answers: Annotated[int, Ge(2)] = 100
    """Prompts of test pairs that the model answers; at most so many."""
    max_new_tokens: Annotated[int, Gt(0)] = 32
    temperature: Annotated[float, Ge(0)] = 1.0
    """1 draws from the model's own distribution: the divergence on such answers is that of the model's own choices."""
    top_p: Annotated[float, Gt(0), Le(1)] = 1.0
    batch_size: Annotated[int, Ge(1)] = 16


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
