"""The jobs of a study: a feature set with the seeds that share its codes, over all cells; and the cleanlab baseline."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from monosemy.classifiers import engine, linear_probe
from monosemy.data.dataset import LabelledData
from monosemy.errors import needs_extra
from monosemy.features.registry import FEATURE_SETS
from monosemy.functional import consistency, separability
from monosemy.metrics import dimensions, explanations
from monosemy.seeding import derive_seed
from monosemy.study import conditions, probing
from monosemy.study.conditions import cell_rows
from monosemy.study.engine import StudyContext
from monosemy.study.folder import Row
from monosemy.study.probing import encoders, gallery

CLEANLAB = "dense+cleanlab"


class BlockContext:
    """Everything that jobs compute with, in this process."""

    def __init__(self, context: StudyContext[probing.ProbingPlan, LabelledData]) -> None:
        self.plan, self.data, self.meter, self.folder = context.plan, context.data, context.meter, context.folder
        self.cells = conditions.make_cells(self.plan, self.data)
        self.given = conditions.conditions(self.plan, self.data)
        self.bank = encoders.EncoderBank(self.plan.encoder, self.data, context.on_progress)
        self.eval_embeddings = encoders.EvalEmbeddings(self.folder / encoders.FOLDER, self.plan, self.data, self.bank)


@dataclass(frozen=True)
class Block:
    """A feature set with the seeds that share its codes."""

    features: str
    seeds: tuple[int, ...]

    @property
    def name(self) -> str:
        return f"{self.features}-{'-'.join(map(str, self.seeds))}"

    @property
    def n_seeds(self) -> int:
        return len(self.seeds)


@dataclass(frozen=True)
class CleanlabJob:
    """cleanlab's CleanLearning on the dense features of one seed."""

    seed: int
    dense_rows: tuple[Row, ...]
    """Rows of the dense block of the seed, whose weight decays are taken over."""
    features: str = CLEANLAB
    n_seeds: int = 1

    @property
    def name(self) -> str:
        return f"{CLEANLAB}-{self.seed}"


def make_blocks(plan: probing.ProbingPlan) -> list[Block]:
    """Return the blocks; seeds share one if neither the encoder nor the transformer depends on them."""
    blocks, encoders_seeded = [], encoders.is_seeded(plan.encoder)
    for name in plan.features or ():
        seeds = tuple(range(plan.n_seeds))
        groups = [(seed,) for seed in seeds] if encoders_seeded or FEATURE_SETS[name].seeded else [seeds]
        blocks += [Block(name, group) for group in groups]
    return blocks


class _BlockCodes:
    """The codes of one block."""

    def __init__(self, block: Block, context: BlockContext) -> None:
        self.block, self.context = block, context
        plan, data, bank = context.plan, context.data, context.bank
        feature, seed = FEATURE_SETS[block.features], block.seeds[0]
        self.base = base = feature.base
        context.meter.spent["encoder_seconds"] = bank.training_seconds(base, seed)
        embeddings = bank.encode(base, seed, data.train.inputs)
        self.transformer = feature.make(plan.sae, derive_seed(plan.seed, "features", seed) % 2**31)
        with context.meter.timed("fit_seconds"):
            self.transformer.fit(embeddings)
        self.train: consistency.Codes = self.transformer.transform(embeddings)
        self.validation: consistency.Codes = self.transformer.transform(bank.encode(base, seed, data.validation.inputs))
        self.test_embeddings = bank.encode(base, seed, data.test.inputs)
        self.test: consistency.Codes = self.transformer.transform(self.test_embeddings)
        # MonoScore takes similarities from the dense embeddings, whatever the base.
        self.reference_embeddings = (
            self.test_embeddings if base == "dense" else bank.encode("dense", seed, data.test.inputs)
        )

    def eval_codes(
        self, evaluation: conditions.Evaluation, seed: int
    ) -> tuple[consistency.Codes, np.typing.NDArray[np.int64]]:
        """Return codes and labels of a test condition."""
        if evaluation == conditions.Evaluation():
            return self.test, self.context.data.test.labels
        embeddings, labels = self.context.eval_embeddings.embeddings_for(
            evaluation, seed, self.base, self.block.seeds[0]
        )
        return self.transformer.transform(embeddings), labels


def run_block(block: Block, context: BlockContext) -> list[Row]:
    """Fit the features, train all probes, choose weight decays on validation, test; return rows of the tidy table."""
    plan, cells = context.plan, context.cells
    codes = _BlockCodes(block, context)
    rows = _feature_rows(codes) + _separability_rows(codes)
    jobs = [(t, seed) for seed in block.seeds for t in dict.fromkeys(cell.training for cell in cells)]
    grid = np.array(plan.probe.weight_decays)
    fitting = engine.probes_at_once(codes.train.shape[1], context.data.n_classes, plan.probe.batch_size)
    jobs_at_once = max(1, fitting // len(grid))
    shown = gallery.explained_cell(cells)
    for start in range(0, len(jobs), jobs_at_once):
        group = jobs[start : start + jobs_at_once]
        group_rows, best_probes = _run_group(codes, group, grid)
        rows += group_rows
        if (shown.training, gallery.SEED) in group:
            probe = best_probes.select(np.array([group.index((shown.training, gallery.SEED))]))
            gallery.write_explained(
                gallery.explanation_path(context.folder, block.features), _explained(codes, shown, probe)
            )
    if plan.probe.cross_check and 0 in block.seeds:
        rows += _cross_check(codes, rows)
    return rows


def _feature_rows(codes: _BlockCodes) -> list[Row]:
    data = codes.context.data
    metrics = dimensions.describe_features(
        codes.train,
        codes.test,
        data.test.labels,
        data.n_classes,
        codes.test_embeddings,
        codes.transformer,
        codes.reference_embeddings,
    )
    return [row for s in codes.block.seeds for row in cell_rows(codes.block.features, conditions.CLEAN, s, metrics)]


def _separability_rows(codes: _BlockCodes) -> list[Row]:
    """J and d of the train codes with clean labels, and as each symmetric label noise would leave them on average."""
    data, block = codes.context.data, codes.block
    moments = separability.class_moments(codes.train, data.train.labels, data.n_classes)
    rows = []
    for cell in codes.context.cells:
        symmetric = cell.scenario == "label-noise" and cell.training.kind in ("clean", "symmetric")
        if cell.scenario == "clean" or symmetric:
            metrics = dimensions.mean_separability(moments, cell.training.level)
            rows += [row for seed in block.seeds for row in cell_rows(block.features, cell, seed, metrics)]
    return rows


def _run_group(
    codes: _BlockCodes, jobs: Sequence[tuple[conditions.Training, int]], grid: np.typing.NDArray[np.floating]
) -> tuple[list[Row], engine.Probes]:
    """Return rows of the cells that train on these labels, and the probe of the chosen weight decay for each job."""
    context, name = codes.context, codes.block.features
    plan, data = context.plan, context.data
    labels = [conditions.training_labels(training, context.given, data, seed) for training, seed in jobs]
    repeated = [np.repeat(np.stack(parts, axis=1), len(grid), axis=1) for parts in zip(*labels, strict=True)]
    settings = plan.probe
    with context.meter.timed("probe_seconds"):
        probes = engine.train_probes(
            codes.train,
            repeated[0],
            data.n_classes,
            np.tile(grid, len(jobs)),
            engine.ProbeConfig(settings.epochs, settings.batch_size, settings.lr, settings.min_steps),
            derive_seed(plan.seed, "probe-order"),
        )
    hits = (engine.predict(probes, codes.validation) == repeated[1]).sum(axis=0) / (repeated[1] >= 0).sum(axis=0)
    correct = hits.reshape(len(jobs), len(grid))
    # Of equally good weight decays the largest: the grid is in rising order, noise should not favour none.
    best = len(grid) - 1 - correct[:, ::-1].argmax(axis=1)
    best_probes = probes.select(np.arange(len(jobs)) * len(grid) + best)
    rows = []
    users_of: dict[tuple[conditions.Evaluation, int], list[tuple[conditions.Cell, int]]] = {}
    for number, (training, seed) in enumerate(jobs):
        for cell in context.cells:
            if cell.training == training:
                decay, accuracy = float(grid[best[number]]), float(correct[number, best[number]])
                rows += cell_rows(name, cell, seed, {"weight_decay": decay, "validation_accuracy": accuracy})
                key = (cell.evaluation, seed if cell.evaluation.seeded else 0)
                users_of.setdefault(key, []).append((cell, number))
    for (evaluation, seed), users in users_of.items():
        eval_codes, true_labels = codes.eval_codes(evaluation, seed)
        numbers = np.array(sorted({number for _, number in users}))
        predicted = engine.predict(best_probes.select(numbers), eval_codes)
        hits = predicted == true_labels[:, None]
        position = {int(number): i for i, number in enumerate(numbers)}
        for cell, number in users:
            rows += conditions.accuracy_rows(name, cell, jobs[number][1], hits[:, position[number]])
    return rows, best_probes


def _explained(codes: _BlockCodes, cell: conditions.Cell, probe: engine.Probes) -> gallery.Explained:
    """Explain the dimensions by clean test samples, and the predictions of a cell's probe by the dimensions."""
    data = codes.context.data
    eval_codes, labels = codes.eval_codes(cell.evaluation, gallery.SEED)
    predicted = engine.predict(probe, eval_codes)[:, 0]
    return gallery.Explained(
        cell.scenario,
        cell.level,
        explanations.explain(codes.test, data.test.labels, data.n_classes, codes.reference_embeddings),
        explanations.describe_predictions(
            predicted, labels, probe.weight.numpy(), eval_codes, codes.train, data.train.labels
        ),
    )


def _cross_check(codes: _BlockCodes, rows: list[Row]) -> list[Row]:
    """Test the exact optimum at the chosen weight decay, for the first seed, on clean data and the most label noise."""
    context = codes.context
    noisy = [cell for cell in context.cells if cell.scenario == "label-noise"]
    checked = [context.cells[0], *([max(noisy, key=lambda cell: cell.level)] if noisy else [])]
    chosen = _weight_decays(rows, 0)
    result = []
    for cell in checked:
        labels, _ = conditions.training_labels(cell.training, context.given, context.data, 0)
        model = linear_probe.exact_probe(codes.train, labels, max(chosen[cell.scenario, cell.level], 1e-7))
        accuracy = float((model.predict(codes.test) == context.data.test.labels).mean())
        result += cell_rows(codes.block.features, cell, 0, {"exact_accuracy": accuracy})
    return result


def run_cleanlab(job: CleanlabJob, context: BlockContext) -> list[Row]:
    """Return accuracy rows of one seed for every cell of label noise, clean cell included.

    CleanLearning finds label issues by 5-fold cross-validation, drops them and fits again. Its classifier is the same
    linear probe, with the weight decay that the dense features chose for the same cell.
    """
    with needs_extra("cleanlab", "The baseline cleanlab"):
        from cleanlab.classification import CleanLearning
    plan, data, bank, seed = context.plan, context.data, context.bank, job.seed
    context.meter.spent["encoder_seconds"] = bank.training_seconds("dense", seed)
    train = bank.encode("dense", seed, data.train.inputs)
    test = bank.encode("dense", seed, data.test.inputs)
    chosen = _weight_decays(job.dense_rows, seed)
    rows = []
    for cell in context.cells:
        if cell.scenario not in ("label-noise", "given-labels", "clean"):
            continue
        labels, _ = conditions.training_labels(cell.training, context.given, data, seed)
        settings = plan.probe.model_dump(include={"epochs", "batch_size", "lr", "min_steps"})
        probe = linear_probe.LinearProbe(chosen[cell.scenario, cell.level], **settings)
        # Its process pool relies on forked globals, which the workers of joblib do not have.
        model = CleanLearning(
            probe,
            seed=derive_seed(plan.seed, "cleanlab", seed) % 2**31,
            find_label_issues_kwargs={"n_jobs": 1},
            verbose=False,
        )
        model.fit(train, labels)
        rows += conditions.accuracy_rows(CLEANLAB, cell, seed, model.predict(test) == data.test.labels)
    return rows


def _weight_decays(rows: Sequence[Row], seed: int) -> dict[tuple[str, float], float]:
    """Return the chosen weight decays by scenario and level."""
    return {
        (row["scenario"], row["level"]): row["value"]
        for row in rows
        if row["metric"] == "weight_decay" and row["seed"] == seed
    }
