"""Training from preferences with DPO and DecPO, and what it does to a model."""

from monosemy.lm.alignment.config import AlignmentConfig, Loss, Method, Objective, Regularizer
from monosemy.lm.alignment.measures import Alignment, MeasureConfig, measure_alignment, own_texts
from monosemy.lm.alignment.pairs import PairLikelihoods, Rewards, implicit_rewards, pair_likelihoods
from monosemy.lm.alignment.starts import WarmUp, resized, warm_up
from monosemy.lm.alignment.training import align, n_steps

__all__ = [
    "Alignment",
    "AlignmentConfig",
    "Loss",
    "MeasureConfig",
    "Method",
    "Objective",
    "PairLikelihoods",
    "Regularizer",
    "Rewards",
    "WarmUp",
    "align",
    "implicit_rewards",
    "measure_alignment",
    "n_steps",
    "own_texts",
    "pair_likelihoods",
    "resized",
    "warm_up",
]
