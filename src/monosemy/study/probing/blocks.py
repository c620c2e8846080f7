"""The jobs of a study: a feature set with the seeds that share its codes, with all classifiers in all cells."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from monosemy.classifiers import engine, linear_probe, registry
from monosemy.classifiers.engine import ProbeConfig
from monosemy.classifiers.tuning import Problem
from monosemy.classifiers.weighted import fit_weighted, weighted
from monosemy.data.dataset import LabelledData
from monosemy.features.registry import FEATURE_SETS
from monosemy.functional import consistency, separability
from monosemy.metrics import classification, dimensions, explanations
from monosemy.results.result import pair_name
from monosemy.seeding import derive_seed
from monosemy.study import conditions, probing
from monosemy.study.engine import StudyContext
from monosemy.study.folder import Row
from monosemy.study.probing import encoders, gallery


class BlockContext:
    """Everything that jobs compute with, in this process."""

    def __init__(self, context: StudyContext[probing.ProbingPlan, LabelledData]) -> None:
        self.plan, self.data, self.meter, self.folder = context.plan, context.data, context.meter, context.folder
        self.cells = conditions.make_cells(self.plan, self.data)
        given = conditions.conditions(self.plan, self.data, by_features=True)
        self.given = replace(given, drawn=context.shared or {})
        self.bank = encoders.EncoderBank(self.plan.encoder, self.data, context.on_progress)
        self.eval_embeddings = encoders.EvalEmbeddings(self.folder / encoders.FOLDER, self.plan, self.data, self.bank)


@dataclass(frozen=True)
class Block:
    """A feature set with the seeds that share its codes."""

    features: str
    seeds: tuple[int, ...]

    @property
    def variant(self) -> str:
        return self.features

    @property
    def name(self) -> str:
        return f"{self.features}-{'-'.join(map(str, self.seeds))}"

    @property
    def n_seeds(self) -> int:
        return len(self.seeds)


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
        self.weights = feature.weights
        context.meter.spent["encoder_seconds"] = bank.training_seconds(base, seed)
        embeddings = bank.encode(base, seed, data.train.inputs)
        self.transformer = feature.make(
            getattr(plan, feature.settings), derive_seed(plan.seed, "features", seed) % 2**31
        )
        self.n_dense = embeddings.shape[1]
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
    """Fit the features and all classifiers on them, and test these; return rows of the tidy table."""
    codes = _BlockCodes(block, context)
    rows = _feature_rows(codes) + _separability_rows(codes)
    trained = _Trained(codes)
    rows += trained.choices() + trained.tests()
    shown = gallery.explained_cell(context.cells)
    if (shown.training, gallery.SEED) in trained.jobs:
        gallery.write_explained(
            gallery.explanation_path(context.folder, block.features), _explained(codes, shown, trained)
        )
    if context.plan.probe.cross_check and 0 in block.seeds:
        rows += _cross_check(codes, trained)
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
    return [row for seed in codes.block.seeds for row in _rows_of_features(codes, conditions.CLEAN, seed, metrics)]


def _rows_of_features(codes: _BlockCodes, cell: conditions.Cell, seed: int, metrics: Mapping[str, float]) -> list[Row]:
    """Return rows about the features alone."""
    features = codes.block.features
    rows = conditions.cell_rows(features, cell, seed, metrics)
    return [row | {"features": features, "classifier": ""} for row in rows]


def _separability_rows(codes: _BlockCodes) -> list[Row]:
    """J and d of the train codes with clean labels, and as each symmetric label noise would leave them on average."""
    data, block = codes.context.data, codes.block
    moments = separability.class_moments(codes.train, data.train.labels, data.n_classes)
    rows = []
    for cell in codes.context.cells:
        symmetric = cell.scenario == "label-noise" and cell.training.kind in ("clean", "symmetric")
        if cell.scenario == "clean" or symmetric:
            metrics = dimensions.mean_separability(moments, cell.training.level)
            rows += [row for seed in block.seeds for row in _rows_of_features(codes, cell, seed, metrics)]
    return rows


class _Trained:
    """The classifiers of a block: one of each kind for every training condition and seed."""

    def __init__(self, codes: _BlockCodes) -> None:
        self.codes, context = codes, codes.context
        plan, data = context.plan, context.data
        self.trainings = list(dict.fromkeys(cell.training for cell in context.cells))
        self.jobs = [(training, seed) for training in self.trainings for seed in codes.block.seeds]
        labels = [conditions.training_labels(training, context.given, data, seed) for training, seed in self.jobs]
        train, validation = (np.stack(parts, axis=1) for parts in zip(*labels, strict=True))
        transitions = None
        if any(registry.CLASSIFIERS[name].oracle for name in plan.classifiers):
            transitions = np.stack(
                [conditions.transition_matrix(t, context.given, data, seed) for t, seed in self.jobs]
            )
        settings = plan.probe
        problem = Problem(
            codes.train,
            train,
            codes.validation,
            validation,
            data.n_classes,
            ProbeConfig(settings.epochs, settings.batch_size, settings.lr, settings.min_steps),
            derive_seed(plan.seed, "probe-order"),
            weight_decays=settings.weight_decays,
            groups=np.array([self.trainings.index(training) for training, _ in self.jobs]),
        )
        with context.meter.timed("probe_seconds"):
            if codes.weights:
                self.fitted = fit_weighted(plan.classifiers, problem, codes.n_dense, codes.weights, transitions)
            else:
                self.fitted = registry.fit_classifiers(plan.classifiers, problem, transitions)

    def choices(self) -> list[Row]:
        """Return accuracy on noisy validation labels, and chosen settings, of every classifier in every cell."""
        rows = []
        for name, classifier in self.fitted.items():
            for number, (training, seed) in enumerate(self.jobs):
                chosen = {setting: float(values[number]) for setting, values in classifier.settings.items()}
                chosen["validation_accuracy"] = float(classifier.validation_accuracy[number])
                for cell in self.codes.context.cells:
                    if cell.training == training:
                        rows += self.rows(name, cell, seed, chosen)
        return rows

    def tests(self) -> list[Row]:
        """Return the scores of every classifier in every cell, each test condition computed once."""
        rows, context = [], self.codes.context
        users: dict[tuple[conditions.Evaluation, int], list[tuple[conditions.Cell, int]]] = {}
        for number, (training, seed) in enumerate(self.jobs):
            for cell in context.cells:
                if cell.training == training:
                    key = (cell.evaluation, seed if cell.evaluation.seeded else 0)
                    users.setdefault(key, []).append((cell, number))
        for (evaluation, seed), cells in users.items():
            features, labels = self.codes.eval_codes(evaluation, seed)
            numbers = sorted({number for _, number in cells})
            for name, classifier in self.fitted.items():
                for number in numbers:
                    shares = classifier.probabilities(features, [number])[:, 0]
                    scores, hits = _scores(shares, labels, context.data.n_classes)
                    for cell, used in cells:
                        if used == number:
                            rows += self.rows(name, cell, self.jobs[number][1], scores, {"accuracy": hits})
        return rows

    def rows(
        self,
        classifier: str,
        cell: conditions.Cell,
        seed: int,
        metrics: Mapping[str, float],
        test_rows: Mapping[str, np.typing.NDArray[np.bool_]] | None = None,
    ) -> list[Row]:
        features = self.codes.block.features
        rows = conditions.cell_rows(pair_name(features, classifier), cell, seed, metrics, test_rows)
        return [row | {"features": features, "classifier": classifier} for row in rows]


def _scores(
    shares: np.typing.NDArray[np.float32], labels: np.typing.NDArray[np.int64], n_classes: int
) -> tuple[dict[str, float], np.typing.NDArray[np.bool_]]:
    """Return the metrics of one classifier from its probabilities (N, C), and its hits (N,)."""
    predicted = shares.argmax(axis=1)
    found = classification.class_scores(labels, predicted[:, None], n_classes)
    scores = {metric: float(values[0]) for metric, values in found.items()}
    scores["calibration_error"] = classification.calibration_error(labels, shares)
    if n_classes == 2:
        scores["auc"] = float(classification.roc_auc(labels, shares[:, 1:])[0])
    return scores, predicted == labels


def _explained(codes: _BlockCodes, cell: conditions.Cell, trained: _Trained) -> gallery.Explained:
    """Explain dimensions by clean test samples, and the predictions of cross-entropy in a cell by the dimensions."""
    data = codes.context.data
    eval_codes, labels = codes.eval_codes(cell.evaluation, gallery.SEED)
    probes = trained.fitted["ce"].probes
    assert probes is not None
    probe = probes.select(np.array([trained.jobs.index((cell.training, gallery.SEED))]))
    predicted = engine.predict(probe, eval_codes)[:, 0]
    return gallery.Explained(
        cell.scenario,
        cell.level,
        explanations.explain(codes.test, data.test.labels, data.n_classes, codes.reference_embeddings),
        explanations.describe_predictions(
            predicted, labels, probe.weight.numpy(), eval_codes, codes.train, data.train.labels
        ),
    )


def _cross_check(codes: _BlockCodes, trained: _Trained) -> list[Row]:
    """Test the exact optimum of cross-entropy for the first seed, on clean labels and under the most label noise."""
    context = codes.context
    noisy = [cell for cell in context.cells if cell.scenario == "label-noise"]
    checked = [context.cells[0], *([max(noisy, key=lambda cell: cell.level)] if noisy else [])]
    rows = []
    for cell in checked:
        labels, _ = conditions.training_labels(cell.training, context.given, context.data, 0)
        number = trained.jobs.index((cell.training, 0))
        chosen = {name: float(values[number]) for name, values in trained.fitted["ce"].settings.items()}
        train, test = codes.train, codes.test
        if codes.weights:
            train, test = (weighted(np.asarray(part), codes.n_dense, chosen["weight"]) for part in (train, test))
        model = linear_probe.exact_probe(train, labels, max(chosen["weight_decay"], 1e-7))
        accuracy = float((model.predict(test) == context.data.test.labels).mean())
        rows += trained.rows("ce", cell, 0, {"exact_accuracy": accuracy})
    return rows
