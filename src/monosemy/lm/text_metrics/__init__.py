"""What is measured on a language model's texts: perplexity, divergence, diversity, standard benchmarks."""

from monosemy.lm.text_metrics.divergence import AnswerDivergence, kl_to_reference
from monosemy.lm.text_metrics.diversity import Diversity, diversity
from monosemy.lm.text_metrics.harness import lm_eval
from monosemy.lm.text_metrics.losses import AnswerLosses, TokenLoss, answer_losses, choose, measure_perplexity

__all__ = [
    "AnswerDivergence",
    "AnswerLosses",
    "Diversity",
    "TokenLoss",
    "answer_losses",
    "choose",
    "diversity",
    "kl_to_reference",
    "lm_eval",
    "measure_perplexity",
]
