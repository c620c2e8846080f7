"""cleanlab's CleanLearning on the dense features: what a user with noisy labels would otherwise reach for."""

from collections.abc import Sequence

from monosemy.classifiers.linear_probe import LinearProbe
from monosemy.data.dataset import LabelledData
from monosemy.errors import needs_extra
from monosemy.seeding import derive_seed
from monosemy.study.conditions import Cell, training_labels
from monosemy.study.folder import Row
from monosemy.study.probing.encoders import EncoderBank
from monosemy.study.probing.plan import Plan

NAME = "dense+cleanlab"
_NOISY = ("label-noise", "given-labels")


def run_cleanlab(
    seed: int,
    plan: Plan,
    data: LabelledData,
    cells: Sequence[Cell],
    bank: EncoderBank,
    dense_rows: Sequence[Row],
) -> list[Row]:
    """Accuracy rows of one seed, clean cell included.

    CleanLearning finds label issues by 5-fold cross-validation, drops them and fits again. Its classifier is the same
    linear probe, with the weight decay that the dense features chose for the same cell.
    """
    with needs_extra("cleanlab", "The baseline cleanlab"):
        from cleanlab.classification import CleanLearning
    train = bank.encode("dense", seed, data.train.inputs)
    test = bank.encode("dense", seed, data.test.inputs)
    chosen = {
        (row["scenario"], row["level"]): row["value"]
        for row in dense_rows
        if row["metric"] == "weight_decay" and row["seed"] == seed
    }
    rows = []
    for cell in cells:
        if cell.scenario not in (*_NOISY, "clean"):
            continue
        labels, _ = training_labels(cell.training, plan, data, seed)
        probe = LinearProbe(
            chosen[cell.scenario, cell.level],
            epochs=plan.probe.epochs,
            batch_size=plan.probe.batch_size,
            lr=plan.probe.lr,
            min_steps=plan.probe.min_steps,
        )
        model = CleanLearning(probe, seed=derive_seed(plan.seed, "cleanlab", seed) % 2**31, verbose=False)
        model.fit(train, labels)
        accuracy = float((model.predict(test) == data.test.labels).mean())
        rows.append(
            {
                "features": NAME,
                "scenario": cell.scenario,
                "level": cell.level,
                "seed": seed,
                "metric": "accuracy",
                "value": accuracy,
            }
        )
    return rows
