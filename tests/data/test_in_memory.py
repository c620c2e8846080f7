"""Arrays and texts that the user already has."""

import numpy as np
import pytest

from monosemy.data import memory_map
from monosemy.data.in_memory import from_arrays

N = 40
LABELS = [f"class {i % 4}" for i in range(N)]
TEXTS = [f"text {i} of class {i % 4}" for i in range(N)]
EMBEDDINGS = np.random.default_rng(0).standard_normal((N, 3)).astype(np.float32)


def test_from_arrays_of_embeddings() -> None:
    y = np.array(LABELS)
    data = from_arrays(
        EMBEDDINGS[:24], y[:24], EMBEDDINGS[28:], y[28:], X_validation=EMBEDDINGS[24:28], y_validation=y[24:28]
    )
    assert (data.name, data.kind) == ("arrays", "embeddings")
    for part, rows in (("train", slice(0, 24)), ("validation", slice(24, 28)), ("test", slice(28, 40))):
        np.testing.assert_array_equal(data.splits()[part].inputs, EMBEDDINGS[rows])
        assert [data.class_names[i] for i in data.splits()[part].labels] == LABELS[rows]


def test_from_arrays_of_texts_and_images() -> None:
    data = from_arrays(TEXTS[:24], LABELS[:24], TEXTS[24:], LABELS[24:], validation_fraction=0.5)
    assert data.kind == "texts"
    assert data.test.inputs == tuple(TEXTS[24:])
    assert len(data.validation) == 12
    images = np.zeros((8, 1, 8, 8))
    assert from_arrays(images, [0, 1] * 4, images, [0, 1] * 4).kind == "images"


def test_from_arrays_leaves_what_it_was_given() -> None:
    inputs, labels = EMBEDDINGS.astype(np.float64), list(LABELS)
    before = inputs.copy()
    data = from_arrays(inputs[:20], labels[:20], inputs[20:], labels[20:])
    data.test.inputs[:] = 0
    np.testing.assert_array_equal(inputs, before)


def test_from_arrays_with_shifts() -> None:
    shifts = {"far": (EMBEDDINGS[:3] + 5, ["class 1", "new", "class 0"])}
    data = from_arrays(EMBEDDINGS[:20], LABELS[:20], EMBEDDINGS[20:], LABELS[20:], shifts=shifts)
    assert data.shifts["far"].labels.tolist() == [1, 0]
    np.testing.assert_array_equal(data.shifts["far"].inputs, EMBEDDINGS[[0, 2]] + 5)


def test_from_arrays_refuses_what_does_not_fit(refuses) -> None:
    X, y = EMBEDDINGS, LABELS
    with refuses("train part", "40 inputs", "39 labels"):
        from_arrays(X, y[1:], X, y)
    with refuses("test part", "(2,)", "(3,)"):
        from_arrays(X, y, X[:, :2], y)
    with refuses("test part", "texts", "(3,)"):
        from_arrays(X, y, TEXTS, y)
    with refuses("validation part", "its labels are None"):
        from_arrays(X, y, X, y, X_validation=X)
    with refuses("(40, 3, 1)"):
        from_arrays(X[..., None], y, X[..., None], y)
    with refuses("one class"):
        from_arrays(X, ["same"] * N, X, ["same"] * N)
    for shift, named in (
        ((X[:, :2], y), ["(2,)", "(3,)"]),
        ((TEXTS, y), ["texts", "embeddings"]),
        ((X, y[1:]), ["40 inputs", "39 labels"]),
        ((X, ["new"] * N), ["shares no class"]),
        ((X * np.nan, y), ["NaN"]),
    ):
        with refuses("far", *named):
            from_arrays(X, y, X, y, shifts={"far": shift})


def test_from_arrays_keeps_bytes_and_floats_as_they_are() -> None:
    images = np.random.default_rng(0).integers(0, 256, (12, 3, 4, 4)).astype(np.uint8)
    data = from_arrays(images[:8], [0, 1] * 4, images[8:] / 255, [0, 1] * 2, shifts={"s": (images, [0, 1] * 6)})
    assert [part.inputs.dtype for part in data.splits().values()] == [np.uint8, np.uint8, np.float32, np.uint8]
    np.testing.assert_array_equal(data.shifts["s"].inputs, images)
    data.shifts["s"].inputs[:] = 0
    assert images.any(), "the caller's array stays"


def test_from_arrays_leaves_memory_maps_on_disk(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 3, 4, 4)).astype(np.uint8)
    np.save(tmp_path / "a.npy", images)
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    wanted = from_arrays(images[:30], LABELS[:30], images[30:], LABELS[30:])
    monkeypatch.setattr(memory_map, "MAX_IN_MEMORY", 100)
    data = from_arrays(mapped[:30], LABELS[:30], mapped[30:], LABELS[30:])
    for name, part in data.splits().items():
        assert isinstance(part.inputs, np.memmap)
        np.testing.assert_array_equal(part.inputs, wanted.splits()[name].inputs)
        np.testing.assert_array_equal(part.labels, wanted.splits()[name].labels)
    assert np.shares_memory(data.test.inputs, mapped)


def test_from_arrays_says_what_it_leaves_out() -> None:
    data = from_arrays(TEXTS[:8], LABELS[:8], TEXTS[8:12], ["class 0", "new", "class 1", "new"])
    assert data.notices[:1] == ("Left out: 2 test rows whose label does not occur in train.",)
    assert data.test.inputs == (TEXTS[8], TEXTS[10])
