"""Average precision of audits of labels: ours beside what cleanlab ranks by, and votes of neighbours.

    python benchmarks/audit.py ../shared/data/clinc150.parquet

CLINC150 by MiniLM, train and validation rows, 150 classes. Noise: symmetric 20 %, cluster 10 and 20 %; seeds 1 to 5.
The audit was designed on seed 0 of the same data, which is not reported. cleanlab ranks by self-confidence or by
normalised margin; it gets the held-out probabilities of a tuned cross-entropy classifier of ours, five folds.
Neighbours: share of the 20 nearest other rows with the given label (kNN agreement), and SimiFeat's vote.
"""

import sys

import numpy as np
import pandas as pd
from cleanlab.rank import get_label_quality_scores
from record import RESULTS, write_record
from sklearn.metrics import average_precision_score

from monosemy.classifiers import neighbours
from monosemy.classifiers.engine import ProbeConfig
from monosemy.classifiers.neighbours import Vote
from monosemy.classifiers.tuning import Problem
from monosemy.corruptions.labels import cluster_count, cluster_noise, find_clusters, symmetric_noise
from monosemy.data.config import DataConfig
from monosemy.data.load import load_data
from monosemy.encoders.text import MINILM, TextEncoder
from monosemy.functional.label_noise import tempered
from monosemy.model import find_label_errors
from monosemy.model.crossfit import cross_fit, folds
from monosemy.seeding import numpy_rng

SEEDS = range(1, 6)
CONDITIONS = (("symmetric", 0.2), ("cluster", 0.1), ("cluster", 0.2))


def scores(rows: np.ndarray, labels: np.ndarray, n_classes: int, seed: int) -> tuple[dict[str, np.ndarray], float]:
    """Return the score of every method, high for labels that it thinks wrong, and our estimate of the noise rate."""
    errors = find_label_errors(rows, labels, random_state=seed)
    problem = Problem(rows, labels[:, None], rows, labels[:, None], n_classes, ProbeConfig(8, 256, min_steps=300), seed)
    logits = cross_fit(("ce",), problem, folds(labels, 5, seed))["ce"].logits
    shares = tempered(logits, 1.0)
    near = neighbours.nearest_neighbours(rows, rows, 20, leave_one_out=True)
    votes = neighbours.vote_shares(near, labels[:, None], n_classes, Vote(20))[:, 0]
    own = votes[np.arange(len(labels)), labels]
    votes[np.arange(len(labels)), labels] = -1
    return {
        "monosemy audit": errors.probability,
        "cleanlab, self-confidence": -get_label_quality_scores(labels, shares, method="self_confidence"),
        "cleanlab, normalised margin": -get_label_quality_scores(labels, shares, method="normalized_margin"),
        "kNN agreement": -own,
        "SimiFeat's vote": votes.max(axis=1) - own,
    }, errors.noise_rate


def main() -> None:
    data = load_data(DataConfig(source=sys.argv[1]))
    texts = [text for split in (data.train, data.validation) for text in split.inputs]
    rows = TextEncoder(MINILM).encode(texts)
    true, n_classes = np.concatenate([data.train.labels, data.validation.labels]), data.n_classes
    found = []
    for kind, rate in CONDITIONS:
        for seed in SEEDS:
            rng = numpy_rng("audit-benchmark", kind, rate, seed)
            if kind == "symmetric":
                labels = symmetric_noise(true, rate, n_classes, rng)
            else:
                clusters = find_clusters(rows, cluster_count(len(rows), n_classes), seed)
                labels = cluster_noise(true, clusters, rate, n_classes, rng)
            by_method, estimate = scores(rows, labels, n_classes, seed)
            for method, values in by_method.items():
                precision = average_precision_score(labels != true, values)
                found.append((f"{kind} {rate:g}", seed, method, precision, estimate, (labels != true).mean()))
            print(found[-5:], flush=True)
    table = pd.DataFrame(found, columns=["noise", "seed", "method", "average_precision", "estimated_rate", "rate"])
    table.to_csv(RESULTS / "audit_clinc150.csv", index=False)
    cells = table.groupby(["method", "noise"], sort=False)["average_precision"].agg(["mean", "std"])
    text = (cells["mean"].map("{:.3f}".format) + " ±" + cells["std"].map("{:.3f}".format)).unstack()[
        list(dict.fromkeys(table["noise"]))
    ]
    lines = ["| Average precision, mean ± standard deviation of 5 seeds | " + " | ".join(text.columns) + " |"]
    lines += ["|---" * (len(text.columns) + 1) + "|"]
    lines += [f"| {method} | " + " | ".join(text.loc[method]) + " |" for method in dict.fromkeys(table["method"])]
    rates = table[table["method"] == "monosemy audit"].groupby("noise", sort=False)["estimated_rate"].mean()
    said = "; ".join(f"{noise}: {100 * rate:.1f} %" for noise, rate in rates.items())
    body = (
        "\n".join(lines)
        + f"\n\nEstimated share of wrong labels, mean: {said}.\n\n{__doc__.split(chr(10), 4)[4].strip()}"
    )
    write_record(
        "audit_clinc150",
        "Audit of labels: CLINC150",
        "python benchmarks/audit.py ../shared/data/clinc150.parquet",
        body,
    )


if __name__ == "__main__":
    main()
