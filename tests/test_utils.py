"""Small tools under Keras's names."""

import sys

import numpy as np
import pytest

from fastcnn import utils
from fastcnn.errors import Error


@pytest.mark.parametrize(
    ("labels", "shape"),
    [
        pytest.param([0, 2, 1], (3, 3), id="list"),
        pytest.param(np.array([[0], [2]], np.uint8), (2, 3), id="column, as CIFAR has it"),
        pytest.param(np.array([[0, 1], [2, 0]]), (2, 2, 3), id="pixels"),
        pytest.param(np.array([0.0, 2.0]), (2, 3), id="floats that are whole"),
    ],
)
def test_to_categorical(labels, shape):
    rows = utils.to_categorical(labels)
    assert rows.shape == shape and rows.dtype == np.float64
    np.testing.assert_array_equal(rows.argmax(-1), np.asarray(labels).reshape(shape[:-1]))
    np.testing.assert_array_equal(rows.sum(-1), 1)


def test_to_categorical_with_a_number_of_classes():
    assert utils.to_categorical([1], 5).tolist() == [[0, 1, 0, 0, 0]]


@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [
        ([3], 3, "label 3 must be below num_classes=3"),
        ([-1], None, "class numbers"),
        ([0.5], None, "class numbers"),
        ([], None, "class numbers"),
    ],
)
def test_to_categorical_refuses(labels, classes, message):
    with pytest.raises(Error, match=message):
        utils.to_categorical(labels, classes)


@pytest.mark.parametrize("axis", [-1, 0])
def test_normalize(axis):
    x = np.array([[3.0, 4.0, 0.0], [0.0, 0.0, 0.0]])
    norm = np.sqrt((x**2).sum(axis, keepdims=True))
    np.testing.assert_allclose(utils.normalize(x, axis), x / np.where(norm == 0, 1, norm))


def test_normalize_by_the_sum_of_magnitudes():
    np.testing.assert_allclose(utils.normalize([[1.0, -3.0]], order=1), [[0.25, -0.75]])


def test_train_val_test_split_is_a_partition():
    x, y = np.arange(50), np.arange(50) * 2
    parts = utils.train_val_test_split(x, y, seed=1)
    assert [len(part) for part, _ in parts] == [30, 10, 10]
    assert sorted(np.concatenate([part for part, _ in parts])) == list(range(50))
    for part_x, part_y in parts:
        np.testing.assert_array_equal(part_x * 2, part_y)


def test_train_val_test_split_takes_counts():
    x = np.arange(100)
    parts = utils.train_val_test_split(x, x, ratios=(70, 20, 10), seed=1)
    assert [len(part) for part, _ in parts] == [70, 20, 10]


@pytest.mark.parametrize("encode", [np.asarray, utils.to_categorical], ids=["numbers", "one-hot"])
def test_train_val_test_split_stratifies(encode):
    labels = np.repeat([0, 1, 2], [50, 30, 20])
    parts = utils.train_val_test_split(labels, encode(labels), stratify=True, seed=2)
    assert [np.bincount(part).tolist() for part, _ in parts] == [[30, 18, 12], [10, 6, 4], [10, 6, 4]]


def test_train_val_test_split_repeats_with_its_seed_and_with_the_global_one():
    x = np.arange(40)
    first = utils.train_val_test_split(x, x, seed=5)[0][0]
    np.testing.assert_array_equal(first, utils.train_val_test_split(x, x, seed=5)[0][0])
    assert not np.array_equal(first, utils.train_val_test_split(x, x, seed=6)[0][0])
    utils.set_random_seed(3)
    drawn = utils.train_val_test_split(x, x)[0][0]
    utils.set_random_seed(3)
    np.testing.assert_array_equal(drawn, utils.train_val_test_split(x, x)[0][0])


@pytest.mark.parametrize(
    ("n", "ratios", "message"),
    [
        (10, (0.5, 0.5, 0.5), "sum to 1"),
        (10, (1.5, -0.25, -0.25), "none negative"),
        (2, (0.6, 0.2, 0.2), "leaves a part empty"),
    ],
)
def test_train_val_test_split_refuses(n, ratios, message):
    with pytest.raises(Error, match=message):
        utils.train_val_test_split(np.arange(n), np.arange(n), ratios)


def test_split_dataset():
    x, y = np.arange(10), np.arange(10) * 3
    (left_x, left_y), (right_x, _) = utils.split_dataset((x, y), left_size=0.7)
    assert left_x.tolist() == list(range(7)) and right_x.tolist() == [7, 8, 9]
    np.testing.assert_array_equal(left_y, left_x * 3)
    left, right = utils.split_dataset(x, right_size=4, shuffle=True, seed=1)
    assert len(left) == 6 and sorted([*left, *right]) == list(range(10)) and left.tolist() != list(range(6))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [({}, "left_size"), ({"left_size": 11}, "cut"), ({"left_size": 6, "right_size": 5}, "cut")],
)
def test_split_dataset_refuses(sizes, message):
    with pytest.raises(Error, match=message):
        utils.split_dataset(np.arange(10), **sizes)


def test_clear_session_starts_names_anew():
    from fastcnn.registry import auto_name

    utils.clear_session()
    assert [auto_name("Widget"), auto_name("Widget")] == ["widget", "widget_1"]
    utils.clear_session()
    assert auto_name("Widget") == "widget"


def test_sequence_is_the_name_for_py_dataset():
    assert utils.Sequence is utils.PyDataset
    with pytest.raises(TypeError, match="__len__"):
        len(utils.Sequence(workers=2))


def test_progbar_writes_one_line_away_from_a_terminal(capsys):
    bar = utils.Progbar(4)
    for step in range(1, 5):
        bar.update(step, [("loss", float(step))])
    written = capsys.readouterr().out
    assert written.count("\n") == 1 and written.startswith("4/4 ━━━━━━━━━━━━━━━━━━━━ 0s ")
    assert "/step - loss: 4.0000\n" in written and "\x1b" not in written and "\r" not in written


def test_progbar_averages_over_steps(capsys):
    bar = utils.Progbar(None, stateful_metrics=["last"])
    bar.add(1, [("mean", 1.0), ("last", 1.0)])
    bar.add(2, [("mean", 4.0), ("last", 4.0)])
    bar.update(4, [("last", 5.0)], finalize=True)
    assert "      4/Unknown" in (line := capsys.readouterr().out)
    assert "mean: 3.0000" in line and "last: 5.0000" in line


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.5, "0.5000"), (0.0, "0.0000"), (1e-3, "1.0000e-03"), (float("nan"), "nan"), ("x", "x")],
)
def test_progbar_formats_values(value, text, capsys):
    utils.Progbar(1, verbose=2).show(1, {"v": value}, finalize=True)
    assert capsys.readouterr().out.endswith(f"- v: {text}\n")


class Terminal:
    """Standard output of a terminal `columns` wide; remembers what was written."""

    encoding = "utf-8"

    def __init__(self, monkeypatch, columns=80):
        self.text = ""
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setattr(sys, "stdout", self)

    def write(self, text):
        self.text += text

    def flush(self):
        pass

    def isatty(self):
        return True


def visible(line: str) -> str:
    for colour in ("\x1b[32m", "\x1b[37m", "\x1b[0m"):
        line = line.replace(colour, "")
    return line.rstrip("\n")


def test_progbar_redraws_on_a_terminal_not_too_often(monkeypatch):
    terminal = Terminal(monkeypatch)
    bar = utils.Progbar(1000, interval=3600)
    for step in range(1, 1001):
        bar.update(step, [("loss", 1.0)])
    first, last = terminal.text.split("\r")[1:]
    assert visible(first).startswith("   1/1000 ━") and "1000/1000" in last and last.endswith("\n")


@pytest.mark.parametrize("columns", [200, 80, 50, 30, 12])
def test_progbar_fits_the_terminal(monkeypatch, columns):
    terminal = Terminal(monkeypatch, columns)
    bar = utils.Progbar(47, interval=0)
    bar.show(12, {"accuracy": 0.91, "loss": 0.3, "val_accuracy": 0.9, "val_loss": 0.31})
    line = visible(terminal.text.removeprefix("\r"))
    assert len(line) < columns and line.startswith("12/47 ")


def test_progbar_draws_plain_signs_where_there_are_no_others(monkeypatch):
    terminal = Terminal(monkeypatch)
    terminal.encoding = "ascii"
    utils.Progbar(2, interval=0).show(1, {})
    assert "=" * 20 in visible(terminal.text)


def test_progbar_averages_what_it_is_told_to(capsys):
    for options, shown in (({"stateful_metrics": ["a"]}, "b"), ({"stateless_metrics": ["b"]}, "b")):
        bar = utils.Progbar(10, verbose=2, **options)
        for step, value in ((1, 1.0), (2, 2.0)):
            bar.update(step, [("a", value), ("b", value)], finalize=False)
        assert bar._sums == {"a": (2.0, 1), shown: (3.0, 2)}
    with pytest.raises(Error, match="exclude each other"):
        utils.Progbar(1, stateful_metrics=["a"], stateless_metrics=["b"])
