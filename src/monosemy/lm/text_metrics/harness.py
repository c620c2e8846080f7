"""Standard benchmarks through the Language Model Evaluation Harness, where it is installed."""

from collections.abc import Sequence

from monosemy.errors import InputError, reason
from monosemy.lm.models import LoadedModel


def lm_eval(
    loaded: LoadedModel,
    tasks: Sequence[str],
    *,
    n_shots: int | None = None,
    limit: int | None = None,
    batch_size: int = 8,
) -> dict[str, dict[str, float]]:
    """Metrics of each task, as the harness names them (`acc`, `acc_norm`, `word_perplexity`, ...).

    Args:
        n_shots: examples before each question; the task's own number where it is not given.
        limit: at most so many questions of each task, for a quick look.

    Raises:
        InputError: the extra `eval` is not installed, or a task is unknown or cannot be fetched.
    """
    if not tasks:
        return {}
    try:
        from lm_eval import simple_evaluate
        from lm_eval.models.huggingface import HFLM
    except ImportError as error:
        raise InputError(
            f"The tasks {', '.join(tasks)} need the extra 'eval'; install monosemy[eval], or leave them out."
        ) from error
    try:
        found = simple_evaluate(
            model=HFLM(pretrained=loaded.model, tokenizer=loaded.tokenizer, batch_size=batch_size),
            tasks=list(tasks),
            num_fewshot=n_shots,
            limit=limit,
        )
    except Exception as error:  # unknown tasks and data that cannot be fetched come as many types
        raise InputError(
            f"The tasks {', '.join(tasks)} cannot be run ({reason(error)}); check their names and the connection."
        ) from error
    return {
        task: {
            name.removesuffix(",none"): float(value)
            for name, value in metrics.items()
            if isinstance(value, int | float) and not name.startswith("alias")
        }
        for task, metrics in found["results"].items()
    }
