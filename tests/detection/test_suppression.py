"""Suppression against its definitions: the very same boxes, on random and on awkward sets."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import detection as reference

from fastcnn import ops
from fastcnn.errors import Error
from fastcnn.ops import suppression

Set = tuple[np.ndarray, np.ndarray, np.ndarray]


def random_set(n: int, seed: int = 0, side: float = 100.0, dtype: str = "float32") -> Set:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, side, (n, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(1, 30, (n, 2))], 1).astype(dtype)
    return boxes, rng.uniform(size=n).astype(dtype), rng.integers(0, 4, n)


def equal_scores() -> Set:
    boxes, scores, labels = random_set(150)
    return boxes, np.full_like(scores, 0.5), labels


def nested() -> Set:
    half = np.arange(1, 80, dtype=np.float32)[:, np.newaxis]
    return np.hstack([-half, -half, half, half]), np.ones(79, np.float32), np.zeros(79, int)


def whole_numbers() -> Set:
    """IoUs that hit thresholds exactly."""
    boxes, scores, labels = random_set(200, 3, 12)
    boxes = np.round(boxes / 4)
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2])
    return boxes, np.round(scores, 1), labels


def without_area() -> Set:
    boxes, scores, labels = random_set(60)
    boxes[::3, 2:] = boxes[::3, :2]
    boxes[1::3, 2] = boxes[1::3, 0]
    return boxes, scores, labels


def copies() -> Set:
    boxes, scores, labels = random_set(20)
    return np.tile(boxes, (10, 1)), np.tile(scores, 10), np.tile(labels, 10)


def many(n: int = 700) -> Set:
    """Many scores equal, 0 and -0 among them; large labels."""
    boxes, scores, labels = random_set(n, 7)
    scores = np.round(scores * 6) * np.float32(0.5)
    return boxes, np.where((np.arange(n) % 2 == 1) & (scores == 0), -scores, scores), labels * 2**60


SETS = {
    "many": lambda: many(520),
    "random": lambda: random_set(300),
    "double": lambda: random_set(120, dtype="float64"),
    "one": lambda: random_set(1),
    "blocks": lambda: random_set(500, 5, 2000),
    "equal scores": equal_scores,
    "nested": nested,
    "whole numbers": whole_numbers,
    "without area": without_area,
    "copies": copies,
}
each_set = pytest.mark.parametrize("name", SETS)


@pytest.mark.parametrize("n", [300, 2048, 2049])
def test_negative_scores_are_scores(n: int) -> None:
    boxes, scores, labels = many(n)
    found = ops.nms(boxes, scores - 2, labels, 0.4, score_threshold=-1.5)
    np.testing.assert_array_equal(found, ops.nms(boxes, scores, labels, 0.4, score_threshold=0.5))


@each_set
@pytest.mark.parametrize("criterion", ["iou", "diou"])
@pytest.mark.parametrize("threshold", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("few", [0, suppression.FEW], ids=["the kernel for many", "for few"])
def test_nms(name: str, criterion: str, threshold: float, few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suppression, "FEW", few)
    boxes, scores, labels = SETS[name]()
    for own in (None, labels):
        expected = reference.nms(boxes, scores, own, threshold, criterion)
        found = ops.nms(boxes, scores, own, threshold, criterion=criterion)
        assert found.tolist() == expected and found.dtype == np.int64


def test_a_call_leaves_no_labels_behind() -> None:
    boxes, scores, labels = random_set(200)
    expected = ops.nms(boxes, scores, None, 0.3)
    ops.nms(boxes, scores, labels, 0.3)
    ops.nms(boxes[:9], scores[:9], None, 0.3)
    np.testing.assert_array_equal(ops.nms(boxes, scores, None, 0.3), expected)


@pytest.mark.parametrize(
    "n, share", [(15, 0.5), (16, 1.0), (200, 0.05), (200, 0.5), (2048, 0.98), (2049, 0.98)]
)
def test_boxes_that_suppress_many(n: int, share: float) -> None:
    """Taken before the others are sorted, while they suppress one in sixteen; the rest as ever."""
    boxes, scores, labels = random_set(n, side=1000)
    here = np.random.default_rng(1).uniform(size=n) < share
    boxes[here] = (100, 100, 160, 160) + np.round(boxes[here] / 300)
    for own in (None, labels):
        found = ops.nms(boxes, np.round(scores, 2), own, 0.5)
        assert found.tolist() == reference.nms(boxes, np.round(scores, 2), own, 0.5)


@each_set
@pytest.mark.parametrize("method", ["linear", "gaussian"])
def test_soft_nms(name: str, method: str) -> None:
    boxes, scores, labels = SETS[name]()
    boxes, scores = boxes.astype(np.float64), scores.astype(np.float64)
    constant = 0.3 if method == "linear" else 0.5
    found, faded = ops.soft_nms(boxes, scores, labels, method, 0.5, 0.3, 0.05)
    expected, values = reference.soft_nms(boxes, scores, labels, method, constant, 0.05)
    assert sorted(found) == sorted(expected)
    np.testing.assert_allclose(faded, values, rtol=1e-9)
    if name not in ("copies", "nested"):  # scores that are equal but for rounding may change places
        assert found.tolist() == expected


@each_set
@pytest.mark.parametrize("models", [1, 3])
def test_weighted_box_fusion(name: str, models: int) -> None:
    boxes, scores, labels = SETS[name]()
    boxes, scores = boxes.astype(np.float64), scores.astype(np.float64)
    found = ops.weighted_box_fusion(boxes, scores, labels, 0.41, models)
    expected = reference.weighted_box_fusion(boxes, scores, labels, 0.41, models)
    assert len(found[0]) == len(expected[0])
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-9)
    key = [np.lexsort((*np.round(boxes, 6).T, labels)) for boxes, _, labels in (found, expected)]
    np.testing.assert_allclose(found[0][key[0]], expected[0][key[1]], rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(found[2][key[0]], expected[2][key[1]])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 40), st.integers(0, 10**6), st.floats(0, 1), st.booleans())
def test_any_set(n: int, seed: int, threshold: float, per_class: bool) -> None:
    rng = np.random.default_rng(seed)
    boxes = rng.integers(-5, 6, (n, 4)).astype(np.float32)  # some with corners the wrong way round
    scores, labels = np.round(rng.uniform(size=n), 1).astype(np.float32), rng.integers(-1, 2, n)
    own = labels if per_class else None
    assert ops.nms(boxes, scores, own, threshold).tolist() == reference.nms(boxes, scores, own, threshold)


def test_all_of_many_boxes() -> None:
    """100,000 boxes, none of which touch: nothing is given up for lack of time."""
    place = np.stack(np.meshgrid(np.arange(400), np.arange(250)), -1).reshape(-1, 2).astype(np.float32) * 3
    boxes = np.concatenate([place, place + 2], 1)
    scores = np.random.default_rng(0).permutation(len(boxes)).astype(np.float32)
    labels = np.arange(len(boxes)) % 50
    found = ops.nms(boxes, scores, labels)
    np.testing.assert_array_equal(found, np.argsort(-scores))


def test_many_boxes_in_one_place() -> None:
    boxes, scores, _ = random_set(100_000, side=60)
    found = ops.nms(boxes, scores, None, 0.3)
    chosen = boxes[found[:1500]].astype(np.float64)
    overlaps = ops.box_overlap(chosen[:, np.newaxis], chosen[np.newaxis]) - np.eye(len(chosen))
    assert overlaps.max() <= 0.3 + 1e-6 and 50 < len(found) < 20_000
    assert (np.diff(scores[found]) <= 0).all()


def test_thresholds_and_limits() -> None:
    boxes, scores, labels = random_set(200)
    every = ops.nms(boxes, scores, labels)
    sure = ops.nms(boxes, scores, labels, score_threshold=0.6)
    assert sure.tolist() == every[scores[every] >= np.float32(0.6)].tolist()
    assert ops.nms(boxes, scores, labels, max_boxes=5).tolist() == every[:5].tolist()
    assert len(ops.nms(boxes, scores, labels, score_threshold=2.0)) == 0


def test_nothing() -> None:
    none = np.zeros((0, 4)), np.zeros(0), np.zeros(0, int)
    assert ops.nms(*none).shape == (0,) and ops.nms([], []).shape == (0,)
    assert ops.soft_nms(*none)[0].shape == (0,)
    assert [len(x) for x in ops.weighted_box_fusion(*none)] == [0, 0, 0]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(value: float) -> None:
    boxes, scores, labels = random_set(5)
    scores[3] = value
    with pytest.raises(Error, match=r"nms: scores hold .* at \[3\]"):
        ops.nms(boxes, scores)
    boxes, scores, labels = random_set(5)
    boxes[2, 1] = value
    for function in (ops.nms, ops.soft_nms, ops.weighted_box_fusion):
        with pytest.raises(Error, match=r"boxes hold .* at \[2, 1\]"):
            function(boxes, scores, labels)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda b, s, k: ops.nms(b, s[:2]), r"boxes \(n, 4\) and scores \(n,\)"),
        (lambda b, s, k: ops.nms(b, s, k[:2]), "a label a box"),
        (lambda b, s, k: ops.nms(b, s, iou_threshold=1.5), r"\[0, 1\]"),
        (lambda b, s, k: ops.nms(b, s, iou_threshold="half"), r"\[0, 1\], got 'half'"),
        (lambda b, s, k: ops.nms(b, s, score_threshold=np.nan), "score_threshold must be a number"),
        (lambda b, s, k: ops.nms(b, s, max_boxes=-1), "whole number from 0 on"),
        (lambda b, s, k: ops.nms([[1, 2, 3, 4], [1]], s), "nms: boxes must be an array of numbers"),
        (lambda b, s, k: ops.nms(b, s, criterion="iuo"), "did you mean 'iou'"),
        (lambda b, s, k: ops.soft_nms(b, s, iou_threshold=2), r"\[0, 1\]"),
        (lambda b, s, k: ops.soft_nms(b, s, sigma=0), "sigma must be positive"),
        (lambda b, s, k: ops.soft_nms(b, s, method="hard"), "linear, gaussian"),
        (lambda b, s, k: ops.weighted_box_fusion(b, -s), "must not be negative"),
        (lambda b, s, k: ops.soft_nms(b, s, sigma="wide"), "sigma must be positive, got 'wide'"),
        (lambda b, s, k: ops.soft_nms(b, s, score_threshold=None), "score_threshold must be a number"),
        (lambda b, s, k: ops.weighted_box_fusion(b, s, models=0), "at least 1"),
        (lambda b, s, k: ops.weighted_box_fusion(b, s, models="two"), "at least 1, got 'two'"),
        (lambda b, s, k: ops.nms(b, s, [None] * 5), r"class numbers, or names, got \[None"),
        (lambda b, s, k: ops.nms(b, s, [0, 1, np.nan, 1, 0]), "class numbers, or names, got"),
        (lambda b, s, k: ops.soft_nms([[-np.inf, 0, np.inf, 1]], [1.0]), "soft_nms: boxes hold -inf"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_wrong_arguments(call, message: str) -> None:
    with pytest.raises(Error, match=message):
        call(*random_set(5))


def test_torchvision_agrees() -> None:
    torchvision = pytest.importorskip("torchvision", reason="compares with torchvision")
    torch = pytest.importorskip("torch")
    for seed in range(5):
        boxes, scores, labels = random_set(2000, seed)
        tensors = [torch.from_numpy(x) for x in (boxes, scores, labels)]
        expected = torchvision.ops.nms(tensors[0], tensors[1], 0.45)
        assert ops.nms(boxes, scores, None, 0.45).tolist() == expected.tolist()
