"""`monosemy measure`: numbers against slow loops, the command as a stranger meets it."""

import json
import math
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file

from monosemy import cli
from monosemy.cli.measure import FILE_NAME
from monosemy.data import memory_map as rows_module
from monosemy.errors import InputError
from monosemy.functional.autoencoder import explained_variance
from monosemy.functional.geometry import effective_rank
from monosemy.metrics import measurement
from monosemy.metrics.dimensions import describe_features
from monosemy.metrics.measurement import measure
from monosemy.metrics.names import name_latents

NAMES = ("cat", "dog", "[red]owl[/red] with a very long name indeed")
N, D = 240, 6
Data = tuple[NDArray[np.float32], NDArray[np.int64]]


@pytest.fixture
def data() -> Data:
    """Dimension 0 is noise, 1 to 3 tell one class from the others, 4 tells all a little, 5 is dead."""
    rng = np.random.default_rng(0)
    labels = np.arange(N) % 3
    x = rng.standard_normal((N, D))
    for number in range(3):
        x[:, number + 1] += 4.0 * (labels == number)
    x[:, 4] += labels
    x[:, 5] = 0
    return x.astype(np.float32), labels


def pair_values(x: NDArray[np.float64], labels: NDArray[np.int64], power: float) -> NDArray[np.float64]:
    """(3 pairs): |difference of means| / (sd sd)^power of one dimension, one pair at a time."""
    values = []
    for a, b in ((0, 1), (0, 2), (1, 2)):
        one, other = x[labels == a], x[labels == b]
        values.append(abs(one.mean() - other.mean()) / (one.std() * other.std()) ** power)
    return np.array(values)


def test_every_number_of_the_table_is_that_of_a_slow_loop(data: Data) -> None:
    x, labels = data
    found = measure(x, labels, NAMES, separability=True, label_noise=[0.3])
    table = found.dimensions.set_index(["metric", "label_noise", "dimension"])["value"]
    assert not table.index.duplicated().any()
    for d in range(5):
        for name, power in (("separability", 1.0), ("separability_d", 0.5)):
            expected = pair_values(x[:, d].astype(np.float64), labels, power)
            assert table[f"{name}_best", 0.0, d] == pytest.approx(expected.max(), rel=1e-6)
            assert table[f"{name}_mean", 0.0, d] == pytest.approx(expected.mean(), rel=1e-6)
            assert table[f"{name}_best", 0.3, d] < table[f"{name}_best", 0.0, d]
        assert table["support", 0.0, d] == N
        assert table["semantic_consistency", 0.0, d] == pytest.approx(1 / 3)
    assert table["support", 0.0, 5] == 0
    assert np.isnan(table["separability_best", 0.0, 5])


def test_means_are_those_of_a_study_and_the_rank_is_added(data: Data) -> None:
    x, labels = data
    found = measure(x, labels, NAMES).metrics
    wanted = describe_features(x, x, labels, 3, x, transformer=None, reference_embeddings=x)
    assert found["effective_rank"] == pytest.approx(effective_rank(x))
    for name, value in wanted.items():
        assert math.isnan(value) or found[name] == pytest.approx(value), name
    assert found["dead"] == pytest.approx(1 / D)
    assert found["dense"] == pytest.approx(1 - 1 / D)
    assert found["l0_5_percent"] == found["l0_median"] == found["l0_95_percent"] == D - 1
    assert found["class_entropy"] == pytest.approx(math.log(3), abs=0.4)
    assert not {"explained_variance", "probe_accuracy"} & set(found), "nothing was given for them"


def test_codes_beside_what_they_were_made_from(data: Data) -> None:
    x, labels = data
    rng = np.random.default_rng(1)
    recon = (x + 0.1 * rng.standard_normal(x.shape)).astype(np.float32)
    codes = np.maximum(x, 0)
    for form in (np.asarray, sp.csr_array):
        found = measure(form(codes), labels, NAMES, reference_embeddings=x, reconstruction=recon).metrics
        wanted = describe_features(codes, codes, labels, 3, x, transformer=None, reference_embeddings=x)
        assert found["mono_score"] == pytest.approx(wanted["mono_score"])
        variance = explained_variance(torch.from_numpy(recon), torch.from_numpy(x))
        assert found["explained_variance"] == pytest.approx(variance)
        assert found["normalized_mse"] == pytest.approx(
            float(np.square(recon - x).sum() / np.square(x).sum()), rel=1e-4
        )
        assert found["probe_accuracy_of_embeddings"] > 0.9
        assert found["probe_recovered"] == found["probe_accuracy"] / found["probe_accuracy_of_embeddings"]


def test_without_labels_all_but_the_classes_is_measured(data: Data) -> None:
    x, labels = data
    found, wanted = measure(x), measure(x, labels, NAMES)
    assert found.class_names == ()
    assert set(wanted.metrics) - set(found.metrics) == {
        "semantic_consistency", "consistency_chance", "consistency_dimensions", "class_purity", "class_entropy"
    }  # fmt: skip
    assert found.metrics == pytest.approx({name: wanted.metrics[name] for name in found.metrics})
    assert set(found.dimensions["metric"]) == {"support", "mono_score", "mono_support"}


def test_a_file_is_measured_in_pieces_as_at_once(data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x, labels = data
    wanted = measure(x, labels, NAMES, separability=True)
    monkeypatch.setattr(rows_module, "_ROWS_AT_ONCE", 1000)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    for form in (x, mapped, sp.csr_array(x)):
        found = measure(form, labels, NAMES, separability=True)
        assert found.metrics == pytest.approx(wanted.metrics)
        pd.testing.assert_frame_equal(found.dimensions, wanted.dimensions, rtol=1e-6)


def test_what_needs_a_square_matrix_is_left_out_where_it_would_be_large(
    data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measurement, "MAX_DIMENSIONS", 5)
    x, labels = data
    found = measure(x, labels, NAMES)
    assert math.isnan(found.metrics["effective_rank"])
    assert math.isnan(found.metrics["mono_score"])
    assert "mono_score" not in set(found.dimensions["metric"])
    assert not math.isnan(measure(x, labels, NAMES, reference_embeddings=x).metrics["mono_score"])
    assert measure(x[:4]).metrics["effective_rank"] == pytest.approx(effective_rank(x[:4])), "few rows: N x N"


def test_the_best_dimension_of_a_class_is_its_own_whatever_the_scale(data: Data) -> None:
    x, labels = data
    x[:, 0] /= 1000  # noise of small scale: its J is the largest, its d is not
    found = measure(x, labels, NAMES, separability=True, label_noise=[0.3])
    assert found.separability is not None
    classes = found.separability.classes
    assert classes.groupby("class")["dimension"].unique().map(list).to_dict() == {
        n: [i + 1] for i, n in enumerate(NAMES)
    }
    row = classes[(classes["class"] == "dog") & (classes["label_noise"] == 0)].iloc[0]
    pairs = pair_values(x[:, 2].astype(np.float64), labels, 0.5)
    assert row["separability_d"] == pytest.approx((pairs[0] + pairs[2]) / 2, rel=1e-6)
    table = found.dimensions[found.dimensions["label_noise"] == 0].set_index(["metric", "dimension"])["value"]
    assert table["separability_best"].idxmax() == 0
    assert table["separability_d_best"].idxmax() != 0
    best = found.separability.best_pairs.set_index("dimension")
    assert NAMES[0] in best.loc[1, ["first", "second"]].tolist()
    assert best.loc[5, "first"] is None


def test_noise_that_leaves_no_information_is_no_default(data: Data) -> None:
    x, labels = data
    found = measure(x, labels, NAMES, separability=True)
    assert found.separability is not None
    assert found.separability.means["label_noise"].tolist() == [0.0, 0.3]


def test_sparse_codes_measure_as_dense_ones(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    x, labels = data
    codes = np.where(x > 3, x, 0).astype(np.float32)
    assert np.count_nonzero(codes) < 0.2 * codes.size
    results = []
    for share in (0.2, 0.0):
        monkeypatch.setattr(measurement, "_SPARSE_BELOW", share)
        results.append(measure(codes, labels, NAMES, separability=True))
    assert results[0].metrics == pytest.approx(results[1].metrics, nan_ok=True)
    pd.testing.assert_frame_equal(results[0].dimensions, results[1].dimensions)


def test_one_class_is_refused(data: Data) -> None:
    with pytest.raises(InputError, match="1 class"):
        measure(data[0], np.zeros(N, dtype=np.int64), ("only",))


def save(folder: Path, ending: str, data: Data) -> list[object]:
    """A file of the kind, and the words that name it."""
    x, labels = data
    path = folder / f"data.{ending}"
    if ending == "npz":
        np.savez(path, X_train=x[:100], y_train=labels[:100], X_test=x[100:], y_test=labels[100:])
    elif ending == "npy":
        np.save(path, x)
        pd.DataFrame({"label": labels}).to_csv(folder / "labels.csv", index=False)
        return [path, "--labels", folder / "labels.csv"]
    elif ending == "safetensors":
        save_file({"embeddings": x, "labels": labels}, path)
    elif ending == "csr":
        path = folder / "data.npz"
        sp.save_npz(path, sp.csr_array(x))
        np.save(folder / "labels.npy", labels)
        return [path, "--labels", folder / "labels.npy"]
    else:
        pd.DataFrame({"vector": list(x), "animal": labels}).to_parquet(path)
        return [path, "--input-column", "vector", "--label-column", "animal"]
    return [path]


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    """The exit code of ``monosemy measure WORDS``."""
    monkeypatch.setattr(sys, "argv", ["monosemy", "measure", *map(str, words)])
    try:
        cli.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


@pytest.mark.parametrize("ending", ["npz", "npy", "csr", "safetensors", "parquet"])
def test_every_kind_of_file_gives_the_same_numbers(
    ending: str, data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = save(tmp_path, ending, data)
    assert run(monkeypatch, *words, "--separability", "--label-noise", "0.3,0.6", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    expected = measure(*data, ("0", "1", "2"), separability=True, label_noise=[0.3, 0.6])
    assert answer["rows"] == N
    assert answer["classes"] == ["0", "1", "2"]
    assert answer["metrics"] == pytest.approx(expected.metrics)
    assert expected.separability is not None
    means = pd.DataFrame(answer["separability"])
    pd.testing.assert_frame_equal(means, expected.separability.means)
    assert means["separability_d"].is_monotonic_decreasing
    assert {row["dimension"] for row in answer["best_dimensions"]} == set(range(5)), "a dead one is not among them"
    assert len(answer["class_dimensions"]) == 3 * 3


def test_the_terminal_has_80_columns_and_all_parts(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    x, labels = data
    x[:, 1] *= 1e-6  # J of many digits
    np.savez("owls.npz", embeddings=x, labels=np.array(NAMES)[labels])
    out = tmp_path / "out"
    assert run(monkeypatch, "owls.npz", "--separability", "--label-noise", "0.1,0.333,0.6", "--out", out) == 0
    printed = capsys.readouterr().out
    for said in (
        "owls.npz: 240 rows, 3 classes", "Semantic consistency", "Effective rank", "33.3 %", "[red]owl[...",
        "The 5 dimensions of largest d", "Classes, the hardest first", "J = d / sqrt(sd sd)",
    ):  # fmt: skip
        assert said in printed, said
    assert "…" not in printed
    assert max(len(line) for line in printed.splitlines() if str(out) not in line) <= 80
    table = pd.read_parquet(out / FILE_NAME)
    assert list(table.columns) == ["dimension", "label_noise", "metric", "value"]
    assert len(table) == D * (7 + 4 * 4)


def test_files_beside_the_codes(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    x, labels = data
    np.savez("codes.npz", embeddings=np.maximum(x, 0), labels=labels)
    np.save("z.npy", x)
    np.save("recon.npy", x + 0.5)
    words = ["codes.npz", "--embeddings", "z.npy", "--reconstruction", "recon.npy"]
    assert run(monkeypatch, *words) == 0
    printed = capsys.readouterr().out
    for said in ("Explained variance", "Normalised MSE", "share recovered", "Dense: fire for more than 10 %"):
        assert said in printed, said
    assert max(map(len, printed.splitlines())) <= 80
    assert run(monkeypatch, *words, "--json") == 0
    answer = json.loads(capsys.readouterr().out)["metrics"]
    wanted = measure(np.maximum(x, 0), labels, NAMES, reference_embeddings=x, reconstruction=x + 0.5).metrics
    assert answer == pytest.approx(wanted)
    assert run(monkeypatch, "z.npy") == 0
    assert "Without labels" in capsys.readouterr().out


def test_names_go_to_a_file_and_the_terminal(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    x, labels = data
    codes = np.maximum(x, 0)
    np.savez("codes.npz", embeddings=codes, labels=np.array(NAMES)[labels])
    texts = [f"{('meow', 'bark', 'hoot')[label]} {i}" for i, label in enumerate(labels)]
    pd.DataFrame({"text": texts}).to_csv("queries.csv", index=False)
    for words, named, best in (
        (["--data", "queries.csv"], name_latents(codes, texts), ["meow", "bark", "hoot"]),
        ([], name_latents(codes, labels=labels, class_names=NAMES), list(NAMES)),
    ):
        assert run(monkeypatch, "codes.npz", *words, "--names", "out/names.csv") == 0
        printed = capsys.readouterr().out
        assert f"{len(named.known)} of 6 dimensions have a name, median AUC" in printed
        assert "out/names.csv" in printed
        assert max(map(len, printed.splitlines())) <= 80
        table = pd.read_csv("out/names.csv", keep_default_na=False)
        assert table.columns.tolist() == named.to_frame().columns.tolist()
        assert table["name"].tolist() == [str(name) for name in named.known]
        np.testing.assert_allclose(table["auc"], named.to_frame()["auc"], atol=1e-4)
        assert table.set_index("latent")["name"].loc[[1, 2, 3]].tolist() == best
        assert run(monkeypatch, "codes.npz", *words, "--names", "again.csv", "--json") == 0
        answer = json.loads(capsys.readouterr().out)["names"]
        assert answer["of"] == named.kind
        assert answer["tested"] == named.n_tested
        assert [row["name"] for row in answer["dimensions"]] == table["name"].tolist()


def test_names_follow_the_rows_that_are_left_out(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    x, labels = data
    codes = np.maximum(x, 0)
    codes[[3, 100]] = np.nan
    np.save("codes.npy", codes)
    texts = [f"{('meow', 'bark', 'hoot')[label]} {i}" for i, label in enumerate(labels)]
    pd.DataFrame({"text": texts}).to_csv("queries.csv", index=False)
    words = ["codes.npy", "--on-bad-row", "skip", "--data", "queries.csv", "--names", "names.csv"]
    assert run(monkeypatch, *words) == 0
    kept = np.delete(np.arange(N), [3, 100])
    expected = name_latents(codes[kept], [texts[row] for row in kept]).to_frame()
    assert pd.read_csv("names.csv", keep_default_na=False)["name"].tolist() == expected["name"].tolist()
    capsys.readouterr()


def test_only_metrics_are_printed_by_default(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *save(tmp_path, "npz", data)) == 0
    _, printed = capsys.readouterr().out.split("\n", 1)  # the first line names the file
    assert "MonoScore" in printed
    assert "eparability" not in printed


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("missing.npz",), "missing.npz"),
        (("digit-pairs",), "holds images, not embeddings"),
        (("TEXTS",), "monosemy study --data"),
        (("DATA", "--label-noise", "0.3"), "--separability"),
        (("DATA", "--separability", "--label-noise", "0.7"), "0.7"),
        (("DATA", "--separability", "--label-noise", "much"), "much"),
        (("NAN",), "row 7"),
        (("MAP", "--separability"), "no labels"),
        (("DATA", "--embeddings", "NARROW"), "embeddings has shape (5, 6)"),
        (("DATA", "--reconstruction", "MAP"), "give reference_embeddings as well"),
        (("DATA", "--embeddings", "MAP", "--reconstruction", "THIN"), "reconstruction has shape (240, 2)"),
        (("DATA", "--out", "FILE"), "folder"),
        (("MAP", "--names", "names.csv"), "--labels"),
        (("DATA", "--data", "TEXTS"), "--names"),
        (("DATA", "--data", "TEXTS", "--names", "FILE/names.csv"), "2 texts"),
        (("DATA", "--data", "MAP", "--names", "FILE/names.csv"), "holds embeddings"),
        (("DATA", "--names", "FILE/names.csv"), "names="),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    words: tuple[str, ...], named: str, data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    places = {name: str(tmp_path / file) for name, file in (("TEXTS", "t.csv"), ("NAN", "nan.npz"), ("FILE", "f"))}
    for name, array in (("MAP", data[0]), ("NARROW", data[0][:5]), ("THIN", data[0][:, :2])):
        places[name] = str(tmp_path / f"{name}.npy")
        np.save(places[name], array)
    places["DATA"] = str(save(tmp_path, "npz", data)[0])
    pd.DataFrame({"text": ["a", "b"], "label": [0, 1]}).to_csv(places["TEXTS"], index=False)
    Path(places["FILE"]).write_text("precious")
    broken = data[0].copy()
    broken[7, 0] = np.nan
    np.savez(places["NAN"], embeddings=broken, labels=data[1])
    parts = [word.split("/") for word in words]
    assert run(monkeypatch, *("/".join([places.get(head, head), *rest]) for head, *rest in parts)) == 2
    captured = capsys.readouterr()
    # The data may be described before a later fault is found.
    assert all(line.startswith("Data ") for line in captured.out.splitlines() if line)
    error = captured.err.strip()
    assert error.startswith("Error: ")
    assert named in error
    assert "\n" not in error
    assert Path(places["FILE"]).read_text() == "precious"


def test_a_measurement_prints_a_short_summary(data: Data) -> None:
    x, labels = data
    text = repr(measure(x, labels, NAMES))
    assert text.startswith(f"Measurement of arrays: {len(x)} rows, {len(NAMES)} classes\n  n_dimensions {x.shape[1]}, ")
    assert "mono_score 0." in text
    assert len(text.splitlines()) < 8
