"""Data on their way to the model: arrays, generators, sequences and folders of images as batches."""

import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fastcnn.data import (
    ArrayBatches,
    Batch,
    PyDataset,
    SequenceBatches,
    StreamBatches,
    check_finite,
    image_dataset_from_directory,
    image_files,
    make_batches,
    split_indices,
    split_validation,
)
from fastcnn.data import arrays as data_arrays
from fastcnn.data.arrays import as_batch
from fastcnn.data.batches import permutation, weigh_classes
from fastcnn.errors import Error


def samples(n: int) -> tuple[np.ndarray, np.ndarray]:
    """x[i] holds 10 i and on, y[i] = i: every sample can be told from the others."""
    return np.arange(n, dtype=np.float32)[:, None] * 10 + np.arange(3, dtype=np.float32), np.arange(n)


def labels_of(batches, epoch=0, **kwargs) -> list[list[int]]:
    return [batch.y.tolist() for batch in batches.epoch(epoch, **kwargs)]


def test_batches_cover_the_data_in_order_and_keep_the_short_last_one():
    x, y = samples(10)
    batches = ArrayBatches(x, y, batch_size=4)
    assert (batches.steps, batches.size) == (3, 10)
    assert labels_of(batches) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_batches_without_shuffle_are_views():
    x, y = samples(10)
    assert all(np.shares_memory(batch.x, x) for batch in ArrayBatches(x, y, batch_size=4).epoch())


def test_shuffled_batches_keep_samples_together_and_differ_by_epoch():
    x, y = samples(23)
    weight = y / 100
    batches = ArrayBatches(x, y, weight, batch_size=5, shuffle=True, seed=7)
    seen = []
    for batch in batches.epoch(0):
        np.testing.assert_array_equal(batch.x, x[batch.y])
        np.testing.assert_array_equal(batch.sample_weight, weight[batch.y])
        seen += batch.y.tolist()
    assert sorted(seen) == list(range(23)) and seen != list(range(23))
    assert labels_of(batches, 1) != labels_of(batches, 0)


def test_shuffling_is_decided_by_seed_and_epoch_alone():
    x, y = samples(23)
    first, second = (ArrayBatches(x, y, batch_size=5, shuffle=True, seed=7) for _ in range(2))
    list(first.epoch(0))
    assert labels_of(first, 1) == labels_of(second, 1)
    np.testing.assert_array_equal(permutation(5, 2**63 + 1, 3), permutation(5, 2**63 + 1, 3))


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize(
    "source",
    [
        pytest.param(np.arange(33, dtype=np.uint8).reshape(11, 3), id="uint8"),
        pytest.param(np.arange(33, dtype=np.float32).reshape(11, 3), id="same type"),
        pytest.param(np.arange(33, dtype=np.float64).reshape(3, 11).T, id="not contiguous"),
        pytest.param(np.arange(33, dtype=">i2").reshape(11, 3), id="other byte order"),
    ],
)
def test_batches_fill_the_callers_buffers(source, shuffle):
    out = Batch(np.full((4, 3), np.nan, np.float32), np.full(4, np.nan, np.float32))
    batches = ArrayBatches(source, np.arange(11), batch_size=4, shuffle=shuffle, seed=1)
    plain = [(batch.x.copy(), batch.y.copy()) for batch in batches.epoch()]
    for (x, y), batch in zip(plain, batches.epoch(out=out), strict=True):
        assert np.shares_memory(batch.x, out.x) and batch.x.dtype == np.float32
        np.testing.assert_array_equal(batch.x, x)
        np.testing.assert_array_equal(batch.y, y)


def test_uint8_stays_uint8_until_the_batch():
    batches = ArrayBatches(np.zeros((6, 2, 2, 1), np.uint8), shuffle=True, batch_size=4)
    assert {batch.x.dtype for batch in batches.epoch()} == {np.dtype(np.uint8)}


def test_batches_of_a_mapped_file_are_read_piece_by_piece(tmp_path):
    mapped = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, (9, 2))
    mapped[:] = np.arange(18).reshape(9, 2)
    batches = ArrayBatches(mapped, np.arange(9), batch_size=4, shuffle=True, seed=1)
    assert np.shares_memory(batches.data.x, mapped)
    for batch in batches.epoch():
        np.testing.assert_array_equal(batch.x[:, 0], batch.y * 2)


def test_several_inputs_and_outputs_keep_their_structure():
    x, y = samples(7)
    out = Batch((np.empty((3, 3), np.float32), np.empty(3, np.float32)), {"a": np.empty(3), "b": np.empty(3)})
    batches = ArrayBatches([x, y], {"a": y, "b": -y}, batch_size=3)
    for buffers in (None, out):
        for batch in batches.epoch(out=buffers):
            np.testing.assert_array_equal(batch.x[0][:, 0], batch.x[1] * 10)
            np.testing.assert_array_equal(batch.y["a"], -batch.y["b"])
    assert batch.size == 1
    assert [name for name, _ in batch.named()] == ["x[0]", "x[1]", "y['a']", "y['b']"]


@pytest.mark.filterwarnings("ignore:the data ran out")
def test_steps_divide_passes_into_epochs():
    x, y = samples(5)
    batches = ArrayBatches(x, y, batch_size=2, steps=2)
    first, second = [[0, 1], [2, 3]], [[4]]
    assert [labels_of(batches, epoch) for epoch in range(4)] == [first, second, first, second]
    shuffled = ArrayBatches(x, y, batch_size=2, steps=2, shuffle=True, seed=3)
    row = [label for epoch in range(4) for batch in labels_of(shuffled, epoch) for label in batch]
    assert sorted(row[:5]) == sorted(row[5:]) == list(range(5))
    more = ArrayBatches(x, y, batch_size=2, steps=4)
    assert [labels_of(more, epoch) for epoch in range(2)] == [[[0, 1], [2, 3], [4]]] * 2


def test_a_short_epoch_is_told():
    x, y = samples(5)
    with pytest.warns(UserWarning, match="ran out after 1 of 2 batches"):
        labels_of(ArrayBatches(x, y, batch_size=2, steps=2), 1)


def test_peek_is_the_first_batch():
    x, y = samples(5)
    assert ArrayBatches(x, y, batch_size=2).peek().y.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        pytest.param(np.zeros((0, 3)), None, "no sample", id="empty"),
        pytest.param([], None, "no sample", id="empty list"),
        pytest.param({}, None, "dict", id="empty dict"),
        pytest.param(np.zeros((5, 3)), np.zeros(4), "x has 5 samples and y has 4", id="lengths"),
        pytest.param(
            [np.zeros((5, 3)), np.zeros((4, 3))], None, r"x\[0\] has 5 samples and x\[1\] has 4", id="inputs"
        ),
        pytest.param(
            np.zeros((5, 3)), {"a": np.zeros(6)}, r"x has 5 samples and y\['a'\] has 6", id="outputs"
        ),
        pytest.param([[1.0, 2.0], [3.0]], None, "x: samples differ in shape", id="ragged"),
        pytest.param(np.array([None, "a"]), None, "x: holds object values", id="objects"),
        pytest.param(np.zeros(2), np.array(["cat", "dog"]), "y: holds <U3 values", id="strings"),
        pytest.param(np.zeros(2, np.complex64), None, "complex64", id="complex"),
        pytest.param(np.float32(3), None, "single number", id="scalar"),
    ],
)
def test_array_data_are_refused_with_a_reason(x, y, message):
    with pytest.raises(Error, match=message):
        as_batch(x, y)


def test_batch_size_is_checked():
    with pytest.raises(Error, match="batch_size"):
        make_batches(np.zeros(3), batch_size=0)
    with pytest.raises(Error, match="steps"):
        make_batches(np.zeros(3), steps=0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_check_finite_names_the_sample(monkeypatch, value, dtype):
    monkeypatch.setattr(data_arrays, "CHUNK_ELEMENTS", 50)
    x = np.ones((40, 3, 7), dtype)
    check_finite(x, "x")
    x[33, 2, 5] = value
    with pytest.raises(Error, match=rf"x: sample 33 holds {value} at \(2, 5\)"):
        check_finite(x, "x")


def test_check_finite_is_not_fooled_by_sums():
    check_finite(np.full(100, np.finfo(np.float32).max, np.float32), "x")
    check_finite(np.arange(5), "x")
    check_finite(np.zeros((0, 3), np.float32), "x")
    with pytest.raises(Error, match="y: sample 1 holds inf,"):
        check_finite(np.array([0, np.inf, -np.inf]), "y")


def test_check_finite_needs_little_memory(monkeypatch):
    x = np.zeros((64, 1 << 14), np.float32)
    monkeypatch.setattr(data_arrays, "CHUNK_ELEMENTS", 1 << 15)
    sizes = []
    monkeypatch.setattr(
        np, "isfinite", lambda block: sizes.append(np.size(block)) or np.ones(np.shape(block), bool)
    )
    check_finite(x, "x")
    assert max(sizes) <= 1 << 15


def test_array_data_are_checked_at_once_and_large_data_batch_by_batch(monkeypatch):
    x, y = samples(8)
    x[5, 1] = np.nan
    with pytest.raises(Error, match="x: sample 5 holds nan"):
        ArrayBatches(x, y, batch_size=4)
    ArrayBatches(x, y, batch_size=4, finite=False)
    monkeypatch.setattr("fastcnn.data.batches.EAGER_CHECK_BYTES", 10)
    epoch = ArrayBatches(x, y, batch_size=4).epoch()
    next(epoch)
    with pytest.raises(Error, match="x: sample 1 holds nan"):
        next(epoch)


def generator(n, start=0):
    for i in range(start, start + n):
        yield np.full((2, 3), i, np.float32), np.full(2, i)


def first_labels(batches, epoch=0) -> list[int]:
    return [int(batch.y[0]) for batch in batches.epoch(epoch)]


def test_a_generator_goes_on_from_epoch_to_epoch():
    batches = make_batches(generator(100), steps=3)
    assert isinstance(batches, StreamBatches)
    assert batches.peek().y.tolist() == [0, 0] == batches.peek().y.tolist()
    assert [first_labels(batches, epoch) for epoch in range(2)] == [[0, 1, 2], [3, 4, 5]]
    assert not batches.exhausted


def test_a_generator_that_ends_amid_an_epoch_warns_and_says_so():
    batches = StreamBatches(generator(4), steps=3)
    first_labels(batches)
    with pytest.warns(UserWarning, match="generator ran out of data after 1 of 3 batches"):
        assert first_labels(batches, 1) == [3]
    assert batches.exhausted
    with pytest.raises(Error, match="ran out of data"):
        first_labels(batches, 2)


def test_a_generator_without_steps_makes_one_epoch():
    batches = StreamBatches(generator(3))
    assert batches.steps is None and first_labels(batches) == [0, 1, 2] and batches.exhausted


def test_a_generator_is_asked_whether_it_has_ended():
    batches = StreamBatches(generator(4), steps=2)
    assert not batches.has_ended() and first_labels(batches) == [0, 1]
    assert not batches.has_ended() and first_labels(batches, 1) == [2, 3]
    with pytest.warns(UserWarning, match="generator ran out of data for another epoch"):
        assert batches.has_ended()


class Endless:
    """Can be iterated over again and again, three batches each time."""

    def __iter__(self):
        return generator(3)


@pytest.mark.parametrize(
    ("steps", "epochs"),
    [(None, [[0, 1, 2], [0, 1, 2]]), (2, [[0, 1], [2, 0]]), (4, [[0, 1, 2, 0], [1, 2, 0, 1]])],
)
def test_an_iterable_begins_anew(steps, epochs):
    batches = StreamBatches(Endless(), steps=steps)
    assert [first_labels(batches, epoch) for epoch in range(2)] == epochs
    assert not batches.exhausted


def test_an_iterable_with_a_length_knows_its_steps():
    class Loader(Endless):
        def __len__(self):
            return 3

    batches = make_batches(Loader())
    assert isinstance(batches, StreamBatches) and batches.steps == 3
    assert [first_labels(batches, epoch) for epoch in range(2)] == [[0, 1, 2]] * 2


@pytest.mark.parametrize("source", [iter(()), {}.keys()], ids=["generator", "iterable"])
def test_a_source_without_batches_is_refused(source):
    with pytest.raises(Error, match="no batch"):
        StreamBatches(source).peek()
    with pytest.raises(Error, match="ran out of data"):
        list(StreamBatches(source).epoch())


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ((np.zeros(2), np.zeros(3)), "x has 2 samples and y has 3"),
        ((1, 2, 3, 4), "4 parts"),
        ((np.array([1.0, np.nan]), np.zeros(2)), "x: sample 1 holds nan"),
        (((), None), "no sample"),
    ],
)
def test_batches_of_a_generator_are_checked(item, message):
    with pytest.raises(Error, match=message):
        list(StreamBatches(iter([item])).epoch())


@pytest.mark.parametrize("item", [np.ones((2, 3)), (np.ones((2, 3)),), [np.ones((2, 3))]])
def test_a_batch_may_be_inputs_alone(item):
    (batch,) = StreamBatches(iter([item])).epoch()
    assert batch.x.shape == (2, 3) and batch.y is None and batch.sample_weight is None


def test_streams_fill_the_callers_buffers():
    out = Batch(np.empty((4, 3), np.float64), np.empty(4), None)
    for batch in StreamBatches(generator(3)).epoch(out=out):
        assert np.shares_memory(batch.x, out.x) and len(batch.x) == 2
        np.testing.assert_array_equal(batch.x[:, 0], batch.y)


class Numbers(PyDataset):
    """Batch i holds the number i; notes what is called."""

    def __init__(self, n=4):
        super().__init__()
        self.n = n
        self.calls = []

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        return np.full((2, 1), index), np.full(2, index)

    def on_epoch_begin(self):
        self.calls.append("begin")

    def on_epoch_end(self):
        self.calls.append("end")


def test_a_sequence_is_read_in_order_and_told_of_epochs():
    source = Numbers()
    batches = make_batches(source)
    assert isinstance(batches, SequenceBatches) and batches.steps == source.num_batches == 4
    assert batches.peek().y.tolist() == [0, 0]
    assert first_labels(batches) == [0, 1, 2, 3]
    assert source.calls == ["begin", "end"]


def test_a_sequence_is_shuffled_by_batches():
    batches = make_batches(Numbers(9), shuffle=True, seed=5)
    epochs = [first_labels(batches, epoch) for epoch in range(2)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(9)) and epochs[0] != epochs[1] != list(
        range(9)
    )
    assert first_labels(make_batches(Numbers(9), shuffle=True, seed=5), 1) == epochs[1]


@pytest.mark.filterwarnings("ignore:the data ran out")
def test_a_sequence_may_have_fewer_steps_and_change_its_length():
    source = Numbers(3)
    batches = make_batches(source, steps=2)
    assert [first_labels(batches, epoch) for epoch in range(3)] == [[0, 1], [2], [0, 1]]
    free = make_batches(source)
    source.n = 2
    assert first_labels(free) == [0, 1] and free.steps == 2


@pytest.mark.parametrize("number", [3, None])
def test_a_sequence_may_tell_its_number_of_batches_in_place_of_its_length(number):
    class Counted(PyDataset):
        num_batches = number

        def __getitem__(self, index):
            return np.full((2, 1), index), np.full(2, index)

    if number is None:
        with pytest.raises(Error, match="no end.*steps_per_epoch"):
            make_batches(Counted())
        endless = make_batches(Counted(), shuffle=True, steps=2)
        assert [first_labels(endless, epoch) for epoch in range(2)] == [[0, 1], [2, 3]]
    else:
        assert first_labels(make_batches(Counted())) == [0, 1, 2]


def test_a_duck_needs_no_base_class():
    class Duck:
        def __len__(self):
            return 2

        def __getitem__(self, index):
            return np.full((1, 1), index), np.full(1, index)

    assert first_labels(make_batches(Duck())) == [0, 1]


@pytest.mark.parametrize(
    ("x", "kwargs", "message"),
    [
        (5, {}, "x is a int, expected an array"),
        (generator(1), {"y": np.zeros(2)}, "y cannot be given with a generator"),
        (
            Numbers(),
            {"batch_size": 8, "sample_weight": np.zeros(2)},
            "sample_weight and batch_size cannot be given",
        ),
        (Numbers(0), {}, "no batch"),
    ],
)
def test_sources_are_refused_with_a_reason(x, kwargs, message):
    with pytest.raises(Error, match=message):
        make_batches(x, **kwargs)


def test_validation_takes_the_last_samples():
    x, y = samples(11)
    train, validation = split_validation(as_batch([x, y], y), 0.25)
    assert train.y.tolist() == list(range(8)) and validation.y.tolist() == [8, 9, 10]  # floor(11 * 0.75) = 8
    assert np.shares_memory(validation.x[0], x)


@pytest.mark.parametrize(("n", "fraction"), [(11, 0.0), (11, 1.0), (1, 0.5), (5, 0.95)])
def test_validation_split_is_refused_when_a_part_is_empty(n, fraction):
    with pytest.raises(Error, match="validation_split"):
        split_validation(as_batch(np.zeros(n)), fraction)


@pytest.mark.parametrize(
    "y",
    [
        pytest.param(np.array([0, 2, 1, 2]), id="numbers"),
        pytest.param(np.array([[0], [2], [1], [2]], np.uint8), id="column"),
        pytest.param(np.eye(3)[[0, 2, 1, 2]], id="one-hot"),
        pytest.param(np.array([0.0, 2.0, 1.0, 2.0], np.float32), id="floats"),
    ],
)
def test_class_weights_become_sample_weights(y):
    batch = as_batch(np.zeros(4), y)
    assert weigh_classes(batch, {0: 2.0, 2: 0.5}).sample_weight.tolist() == [2.0, 0.5, 1.0, 0.5]
    weighted = batch._replace(sample_weight=np.array([1.0, 2.0, 3.0, 4.0]))
    assert weigh_classes(weighted, {0: 2.0, 2: 0.5}).sample_weight.tolist() == [2.0, 1.0, 3.0, 2.0]


def test_class_weights_of_pixels():
    y = np.array([[[0, 1], [1, 1]]])[..., None]
    weight = weigh_classes(as_batch(np.zeros((1, 2, 2, 1)), y, np.array([10.0])), {1: 0.5}).sample_weight
    assert weight.tolist() == [[[10.0, 5.0], [5.0, 5.0]]]


@pytest.mark.parametrize(
    ("y", "class_weight", "message"),
    [
        (np.array([0, -1]), {0: 1.0}, "class numbers"),
        (np.array([0.5, 1.0]), {0: 1.0}, "class numbers"),
        (np.array([0, 1]), {"cat": 1.0}, "'cat': 1.0"),
        (np.array([0, 1]), {0: -1.0}, "0: -1.0"),
        (np.array([0, 1]), {0: float("nan")}, "0: nan"),
        ({"a": np.array([0, 1])}, {0: 1.0}, "exactly one array y"),
        (None, {0: 1.0}, "exactly one array y"),
    ],
)
def test_class_weights_are_refused_with_a_reason(y, class_weight, message):
    with pytest.raises(Error, match=message):
        weigh_classes(as_batch(np.zeros(2), y), class_weight)


def test_class_weights_go_with_every_source():
    y = np.array([0, 1, 1])
    for batches in (
        make_batches(np.zeros(3), y, class_weight={1: 3.0}),
        make_batches(iter([(np.zeros(3), y)]), class_weight={1: 3.0}),
    ):
        (batch,) = batches.epoch()
        assert batch.sample_weight.tolist() == [1.0, 3.0, 3.0]


def test_split_indices_loses_nobody():
    for n in (7, 10, 101):
        parts = split_indices(n, (0.5, 0.3, 0.2), seed=n)
        assert sorted(np.concatenate(parts)) == list(range(n))
        assert all(
            abs(len(part) - n * ratio) <= 1 for part, ratio in zip(parts, (0.5, 0.3, 0.2), strict=True)
        )


@pytest.fixture
def pictures(tmp_path):
    """Three classes of 4, 3 and 2 images; image i of class c is c * 50 + i * 10 all over, 6 pixels wide, 4 high."""
    image = pytest.importorskip("PIL.Image")
    for number, (name, count) in enumerate({"bird": 4, "cat": 3, "dog": 2}.items()):
        (tmp_path / name / "deep").mkdir(parents=True)
        for i in range(count):
            grey = (number * 50 + i * 10,) * 3
            image.new("RGB", (6, 4), grey).save(tmp_path / name / ("deep" if i == 0 else ".") / f"{i}.png")
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    return tmp_path


def folder(path, **kwargs):
    return image_dataset_from_directory(
        path, **{"image_size": (5, 7), "verbose": False, "shuffle": False, **kwargs}
    )


def all_of(dataset):
    items = [dataset[i] for i in range(len(dataset))]
    return np.concatenate([x for x, _ in items]), np.concatenate([y for _, y in items])


def test_image_folder_infers_classes_and_order(pictures, capsys):
    dataset = folder(pictures, batch_size=4, verbose=True)
    assert capsys.readouterr().out == "Found 9 files belonging to 3 classes.\n"
    assert (
        dataset.class_names == ["bird", "cat", "dog"] and len(dataset) == 3 and len(dataset.file_paths) == 9
    )
    x, y = all_of(dataset)
    assert x.shape == (9, 5, 7, 3) and x.dtype == np.float32 and y.dtype == np.int32
    assert y.tolist() == [0] * 4 + [1] * 3 + [2] * 2
    assert x[:, 0, 0, 0].tolist() == [
        10,
        20,
        30,
        0,
        60,
        70,
        50,
        110,
        100,
    ]  # files of a folder before its sub-folders


@pytest.mark.parametrize(
    ("label_mode", "shape", "dtype"), [("int", (9,), "int32"), ("categorical", (9, 3), "float32")]
)
def test_image_folder_encodes_labels(pictures, label_mode, shape, dtype):
    _, y = folder(pictures, label_mode=label_mode, batch_size=9)[0]
    assert y.shape == shape and y.dtype == dtype


def test_image_folder_binary_labels_and_given_class_order(pictures):
    with pytest.raises(Error, match="exactly two classes"):
        folder(pictures, label_mode="binary")
    for path in [*(pictures / "dog").rglob("*.png")]:
        path.unlink()
    (pictures / "dog" / "deep").rmdir()
    (pictures / "dog").rmdir()
    _, y = folder(pictures, label_mode="binary", class_names=["cat", "bird"])[0]
    assert y.tolist() == [[0.0]] * 3 + [[1.0]] * 4 and y.dtype == np.float32
    with pytest.raises(Error, match="class_names"):
        folder(pictures, class_names=["cat", "cow"])


def test_image_folder_without_labels_gives_images_alone(pictures):
    for kwargs in ({"labels": None}, {"label_mode": None}):
        dataset = folder(pictures, batch_size=9, **kwargs)
        assert dataset[0].shape == (9, 5, 7, 3)


def test_image_folder_with_given_labels(pictures):
    _, y = folder(pictures, labels=[*range(9)], batch_size=9)[0]
    assert y.tolist() == [*range(9)]
    with pytest.raises(Error, match="3 labels for 9 images"):
        folder(pictures, labels=[0, 1, 2])


@pytest.mark.parametrize(("mode", "channels"), [("grayscale", 1), ("rgb", 3), ("rgba", 4)])
def test_image_folder_colour_modes(pictures, mode, channels):
    x, _ = folder(pictures, color_mode=mode)[0]
    assert x.shape == (9, 5, 7, channels)
    if mode == "rgba":
        assert (x[..., 3] == 255).all()


def test_image_folder_shuffles_anew_every_epoch_and_repeats_with_the_seed(pictures):
    dataset, again = (folder(pictures, shuffle=True, seed=11, batch_size=9) for _ in range(2))
    epochs = []
    for _ in range(2):
        x, y = dataset[0]
        np.testing.assert_array_equal(y, x[:, 0, 0, 0] // 50)
        np.testing.assert_array_equal(x, again[0][0])
        epochs.append(x[:, 0, 0, 0].tolist())
        dataset.on_epoch_end(), again.on_epoch_end()
    assert sorted(epochs[0]) == sorted(epochs[1]) and epochs[0] != epochs[1]


def test_image_folder_split_is_a_partition(pictures):
    train, validation = folder(pictures, shuffle=True, seed=3, validation_split=0.4, subset="both")
    assert len(train.file_paths) == 6 and len(validation.file_paths) == 3  # int(0.4 * 9) = 3 validate
    assert not set(train.file_paths) & set(validation.file_paths)
    kwargs = {"shuffle": True, "seed": 3, "validation_split": 0.4}
    assert folder(pictures, subset="validation", **kwargs).file_paths == validation.file_paths
    assert folder(pictures, subset="training", **kwargs).file_paths == train.file_paths
    unshuffled = folder(pictures, validation_split=0.4, subset="validation")
    assert [path.split("/")[-2] for path in unshuffled.file_paths] == ["deep", "dog", "deep"]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"label_mode": "integer"}, "label_mode"),
        ({"color_mode": "bgr"}, "color_mode"),
        ({"interpolation": "spline"}, "interpolation"),
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": None}, "batch_size"),
        ({"image_size": (0, 5)}, "image_size"),
        ({"image_size": (5, 5, 3)}, "image_size"),
        ({"labels": "implied"}, "labels"),
        ({"labels": [0] * 9, "class_names": ["a"]}, "class_names goes with"),
        ({"validation_split": 0.5}, "go together"),
        ({"subset": "training"}, "go together"),
        ({"validation_split": 2, "subset": "training"}, "between 0 and 1"),
        ({"validation_split": 0.5, "subset": "training", "shuffle": True}, "needs a seed"),
        ({"validation_split": 0.01, "subset": "validation"}, "no image for the validation set"),
    ],
)
def test_image_folder_refuses(pictures, kwargs, message):
    with pytest.raises(Error, match=message):
        folder(pictures, **kwargs)


def test_image_folder_refuses_what_is_no_folder_or_empty(tmp_path):
    pytest.importorskip("PIL")
    with pytest.raises(Error, match="is no folder"):
        folder(tmp_path / "absent")
    with pytest.raises(Error, match="no image"):
        folder(tmp_path)


def half_and_half(path, size):
    """Left half black, right half white."""
    image = pytest.importorskip("PIL.Image").new("L", size)
    image.paste(255, (size[0] // 2, 0, size[0], size[1]))
    path.mkdir()
    image.save(path / "a.png")


def test_image_folder_keeps_the_aspect_ratio_by_cropping_or_padding(tmp_path):
    half_and_half(tmp_path / "c", (40, 10))
    kwargs = {"color_mode": "grayscale", "image_size": (10, 10), "interpolation": "nearest"}
    stretched, _ = folder(tmp_path, **kwargs)[0]
    cropped, _ = folder(tmp_path, crop_to_aspect_ratio=True, **kwargs)[0]
    padded, _ = folder(tmp_path, pad_to_aspect_ratio=True, **{**kwargs, "image_size": (40, 40)})[0]
    for x in (stretched, cropped):
        assert (x[..., :5, 0] == 0).all() and (x[..., 5:, 0] == 255).all()
    assert (padded[0, :15] == 0).all() and (padded[0, 25:] == 0).all()
    np.testing.assert_array_equal(padded[0, 15:25, :, 0], np.repeat([[0.0, 255.0]], 20, 1).repeat(10, 0))


def test_image_folder_turns_photographs_upright(tmp_path):
    image_module = pytest.importorskip("PIL.Image")
    half_and_half(tmp_path / "c", (8, 8))
    with image_module.open(tmp_path / "c" / "a.png") as image:
        exif = image.getexif()
        exif[0x0112] = 6  # the camera was turned by 90 degrees
        image.save(tmp_path / "c" / "a.png", exif=exif)
    x, _ = folder(tmp_path, color_mode="grayscale", image_size=(8, 8))[0]
    assert (x[0, :4] == 0).all() and (x[0, 4:] == 255).all()


def test_image_folder_scales_sixteen_bits(tmp_path):
    image_module = pytest.importorskip("PIL.Image")
    (tmp_path / "c").mkdir()
    image_module.fromarray(np.full((3, 3), 40000, np.uint16)).save(tmp_path / "c" / "a.png")
    x, _ = folder(tmp_path)[0]
    assert (x == 40000 // 256).all()


@pytest.mark.parametrize("content", [b"", b"no image", "truncated", "svg"])
def test_image_folder_names_the_unreadable_file(pictures, content):
    path = pictures / "cat" / "1.png"
    forms = {"truncated": path.read_bytes()[:45], "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>"}
    path.write_bytes(forms.get(content, content))
    with pytest.raises(Error, match=r"cat/1\.png: cannot be read as an image"):
        all_of(folder(pictures))


def test_image_folder_opens_no_other_format(pictures):
    image_module = pytest.importorskip("PIL.Image")
    image_module.new("RGB", (3, 3)).save(pictures / "cat" / "1.png", format="TIFF")
    with pytest.raises(Error, match="cannot be read as an image"):
        all_of(folder(pictures))


def test_image_folder_refuses_a_bomb(pictures, monkeypatch):
    monkeypatch.setattr("fastcnn.data.image_files.MOST_PIXELS", 40)
    image_module = pytest.importorskip("PIL.Image")
    image_module.new("RGB", (7, 6)).save(pictures / "cat" / "1.png")
    with pytest.raises(Error, match=r"cat/1\.png: 7x6 pixels are more than 40"):
        all_of(folder(pictures))


def test_warnings_of_others_are_shown_again_after_images_were_read_on_threads(pictures):
    """Pillow's are hidden meanwhile, whatever the order in which threads begin and end."""
    path = str(pictures / "cat" / "1.png")

    def read(_):
        with image_files.open_image(path) as image:
            warnings.warn_explicit(
                "corrupt EXIF data", UserWarning, "TiffImagePlugin.py", 1, "PIL.TiffImagePlugin"
            )
            return image.size

    filters = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(read, range(200)))) == 1
    assert warnings.filters == filters
    with pytest.warns(UserWarning, match="corrupt"):
        warnings.warn_explicit(
            "corrupt EXIF data", UserWarning, "TiffImagePlugin.py", 1, "PIL.TiffImagePlugin"
        )


def test_image_folder_without_pillow(pictures, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(Error, match=r'pip install "fastcnn\[data\]"'):
        folder(pictures)


def test_image_folder_goes_into_batches(pictures):
    batches = make_batches(folder(pictures, batch_size=4), shuffle=True, seed=1)
    assert sum(batch.size for batch in batches.epoch()) == 9
