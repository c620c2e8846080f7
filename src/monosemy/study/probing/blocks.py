"""One block of a study: a feature set with the seeds that share its codes, over all cells."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monosemy.classifiers.engine import ProbeConfig, Probes, predict, probes_at_once, train_probes
from monosemy.classifiers.linear_probe import exact_probe
from monosemy.data.dataset import LabelledData
from monosemy.features.registry import FeatureSet
from monosemy.functional.consistency import Codes
from monosemy.functional.separability import class_moments
from monosemy.metrics.dimensions import describe_features, mean_separability
from monosemy.metrics.explanations import describe_predictions, explain
from monosemy.seeding import derive_seed
from monosemy.study.conditions import Cell, Evaluation, Training, training_labels
from monosemy.study.folder import Meter, Row
from monosemy.study.probing.encoders import EncoderBank
from monosemy.study.probing.eval_embeddings import TestedEmbeddings
from monosemy.study.probing.explanations import SEED, Explained, explained_cell, explanation_path, write_explained
from monosemy.study.probing.plan import Plan, ProbePlan


@dataclass(frozen=True)
class Block:
    """The unit that is computed at a time and kept when a study is killed."""

    feature: FeatureSet
    seeds: tuple[int, ...]

    @property
    def name(self) -> str:
        """Also the name of its file."""
        return f"{self.feature.name}-{'-'.join(map(str, self.seeds))}"


def make_blocks(plan: Plan, features: Sequence[FeatureSet], encoders_seeded: bool) -> list[Block]:
    """Seeds share a block where neither the encoder nor the transformer depends on them."""
    blocks = []
    for feature in features:
        if encoders_seeded or feature.seeded:
            blocks += [Block(feature, (seed,)) for seed in range(plan.seeds)]
        else:
            blocks.append(Block(feature, tuple(range(plan.seeds))))
    return blocks


def probe_config(probe: ProbePlan) -> ProbeConfig:
    """The probe section of a plan as the engine takes it."""
    return ProbeConfig(probe.epochs, probe.batch_size, probe.lr, probe.min_steps)


class _Features:
    """The codes of one block, made when asked for."""

    def __init__(
        self, block: Block, plan: Plan, data: LabelledData, bank: EncoderBank, embedded: TestedEmbeddings, meter: Meter
    ) -> None:
        self.block, self.plan, self.data, self.bank, self.embedded = block, plan, data, bank, embedded
        base, seed = block.feature.base, block.seeds[0]
        meter.spent["encoder_seconds"] = bank.training_seconds(base, seed)
        embeddings = bank.encode(base, seed, data.train.inputs)
        self.transformer = block.feature.make(plan.sae, derive_seed(plan.seed, "features", seed) % 2**31)
        with meter.timed("fit_seconds"):
            self.transformer.fit(embeddings)
        self.train: Codes = self.transformer.transform(embeddings)
        self.validation: Codes = self.transformer.transform(bank.encode(base, seed, data.validation.inputs))
        self.test_embeddings = bank.encode(base, seed, data.test.inputs)
        self.test: Codes = self.transformer.transform(self.test_embeddings)
        # What MonoScore takes similarities from.
        self.reference_embeddings = (
            self.test_embeddings if base == "dense" else bank.encode("dense", seed, data.test.inputs)
        )

    def tested(self, evaluation: Evaluation, seed: int) -> tuple[Codes, NDArray[np.int64]]:
        """Codes and labels of a test condition."""
        if evaluation == Evaluation():
            return self.test, self.data.test.labels
        base, own = self.block.feature.base, self.block.seeds[0]
        embeddings, labels = self.embedded.of(evaluation, seed, base, own, self.plan, self.data, self.bank)
        return self.transformer.transform(embeddings), labels


def run_block(
    block: Block,
    plan: Plan,
    data: LabelledData,
    cells: Sequence[Cell],
    bank: EncoderBank,
    embedded: TestedEmbeddings,
    meter: Meter,
    folder: Path | None,
) -> list[Row]:
    """Fit the features, train all probes, choose weight decays on validation, test; rows of the tidy table.

    Args:
        folder: of the study, where the explanations of the dimensions are kept; None keeps none.
    """
    features = _Features(block, plan, data, bank, embedded, meter)
    rows = _feature_rows(block, features, data) + _separability_rows(block, features, data, cells)
    jobs = [(t, seed) for seed in block.seeds for t in dict.fromkeys(cell.training for cell in cells)]
    grid = np.array(plan.probe.weight_decays)
    fitting = probes_at_once(features.train.shape[1], data.n_classes, plan.probe.batch_size)
    jobs_at_once = max(1, fitting // len(grid))
    shown = explained_cell(cells)
    for start in range(0, len(jobs), jobs_at_once):
        group = jobs[start : start + jobs_at_once]
        found, winners = _run_group(block, features, plan, data, cells, group, grid, meter)
        rows += found
        if folder is not None and (shown.training, SEED) in group:
            probe = winners.select(np.array([group.index((shown.training, SEED))]))
            write_explained(explanation_path(folder, block.feature.name), _explained(features, data, shown, probe))
    if plan.probe.cross_check and 0 in block.seeds:
        rows += _cross_check(block, features, plan, data, cells, rows)
    return rows


def _feature_rows(block: Block, features: _Features, data: LabelledData) -> list[Row]:
    measured = describe_features(
        features.train,
        features.test,
        data.test.labels,
        data.n_classes,
        features.test_embeddings,
        features.transformer,
        features.reference_embeddings,
    )
    clean = Cell("clean", 0.0, Training(), Evaluation())
    return [_row(block, clean, seed, metric, value) for seed in block.seeds for metric, value in measured.items()]


def _separability_rows(block: Block, features: _Features, data: LabelledData, cells: Sequence[Cell]) -> list[Row]:
    """J and d of the train codes with clean labels, and as each symmetric label noise would leave them on average."""
    moments = class_moments(features.train, data.train.labels, data.n_classes)
    rows = []
    for cell in cells:
        if cell.scenario == "clean" or (
            cell.scenario == "label-noise" and cell.training.kind in ("clean", "symmetric")
        ):
            measured = mean_separability(moments, cell.training.level)
            rows += [
                _row(block, cell, seed, metric, value) for seed in block.seeds for metric, value in measured.items()
            ]
    return rows


def _run_group(
    block: Block,
    features: _Features,
    plan: Plan,
    data: LabelledData,
    cells: Sequence[Cell],
    jobs: Sequence[tuple[Training, int]],
    grid: NDArray[np.floating],
    meter: Meter,
) -> tuple[list[Row], Probes]:
    """Rows of the cells that train on these labels, and the probe of the chosen weight decay for each job."""
    labels = [training_labels(training, plan, data, seed) for training, seed in jobs]
    repeated = [np.repeat(np.stack(parts, axis=1), len(grid), axis=1) for parts in zip(*labels, strict=True)]
    with meter.timed("probe_seconds"):
        probes = train_probes(
            features.train,
            repeated[0],
            data.n_classes,
            np.tile(grid, len(jobs)),
            probe_config(plan.probe),
            derive_seed(plan.seed, "probe-order"),
        )
    hits = (predict(probes, features.validation) == repeated[1]).sum(axis=0) / (repeated[1] >= 0).sum(axis=0)
    correct = hits.reshape(len(jobs), len(grid))
    # Of equally good weight decays the largest: the grid is in rising order, noise should not favour none.
    best = len(grid) - 1 - correct[:, ::-1].argmax(axis=1)
    winners = probes.select(np.arange(len(jobs)) * len(grid) + best)
    rows = []
    tested: dict[tuple[Evaluation, int], list[tuple[Cell, int]]] = {}
    for number, (training, seed) in enumerate(jobs):
        for cell in cells:
            if cell.training == training:
                rows.append(_row(block, cell, seed, "weight_decay", float(grid[best[number]])))
                rows.append(_row(block, cell, seed, "validation_accuracy", float(correct[number, best[number]])))
                key = (cell.evaluation, seed if cell.evaluation.seeded else 0)
                tested.setdefault(key, []).append((cell, number))
    for (evaluation, seed), users in tested.items():
        codes, true_labels = features.tested(evaluation, seed)
        numbers = np.array(sorted({number for _, number in users}))
        accuracies = _accuracy(winners.select(numbers), codes, true_labels)
        position = {int(number): i for i, number in enumerate(numbers)}
        for cell, number in users:
            rows.append(_row(block, cell, jobs[number][1], "accuracy", float(accuracies[position[number]])))
    return rows, winners


def _explained(features: _Features, data: LabelledData, cell: Cell, probe: Probes) -> Explained:
    """What the dimensions respond to among clean test samples, and the predictions of a cell's probe."""
    codes, labels = features.tested(cell.evaluation, SEED)
    return Explained(
        cell.scenario,
        cell.level,
        explain(features.test, data.test.labels, data.n_classes, features.reference_embeddings),
        describe_predictions(
            predict(probe, codes)[:, 0], labels, probe.weight.numpy(), codes, features.train, data.train.labels
        ),
    )


def _accuracy(probes: Probes, codes: Codes, labels: NDArray[np.int64]) -> NDArray[np.float64]:
    return (predict(probes, codes) == labels[:, None]).mean(axis=0)


def _cross_check(
    block: Block, features: _Features, plan: Plan, data: LabelledData, cells: Sequence[Cell], rows: list[Row]
) -> list[Row]:
    """Accuracy of the exact optimum at the chosen weight decay, first seed, clean and most label noise."""
    noisy = [cell for cell in cells if cell.scenario == "label-noise"]
    checked = [cells[0], *([max(noisy, key=lambda cell: cell.level)] if noisy else [])]
    chosen = {(r["scenario"], r["level"]): r["value"] for r in rows if r["metric"] == "weight_decay" and r["seed"] == 0}
    result = []
    for cell in checked:
        labels, _ = training_labels(cell.training, plan, data, 0)
        model = exact_probe(features.train, labels, max(chosen[cell.scenario, cell.level], 1e-7))
        accuracy = float((model.predict(features.test) == data.test.labels).mean())
        result.append(_row(block, cell, 0, "exact_accuracy", accuracy))
    return result


def _row(block: Block, cell: Cell, seed: int, metric: str, value: float) -> Row:
    return {
        "features": block.feature.name,
        "scenario": cell.scenario,
        "level": cell.level,
        "seed": seed,
        "metric": metric,
        "value": value,
    }
