"""Average precision against pycocotools, and by hand."""

import contextlib
import io

import numpy as np
import pytest

from fastcnn.detection import Detections, Evaluation, Objects, evaluate_detections
from fastcnn.errors import Error

NAMES = ("cat", "dog", "owl")


def random_sets(seed: int, images: int = 12, crowds: bool = False) -> tuple[list[Objects], list[Detections]]:
    """Objects, and detections near them with chance, doubles, false alarms and equal scores."""
    rng = np.random.default_rng(seed)
    truths, found = [], []
    for _ in range(images):
        n = int(rng.integers(0, 7))
        corner = rng.uniform(0, 80, (n, 2))
        boxes = np.concatenate([corner, corner + rng.uniform(4, 40, (n, 2))], 1)
        labels = rng.integers(0, 2 if seed % 2 else 3, n)
        truths.append(Objects.of(boxes, labels, rng.uniform(size=n) < 0.3 if crowds else None))
        near = np.repeat(boxes, 2, 0) + rng.normal(0, 3, (2 * n, 4))
        wild = rng.uniform(0, 60, (5, 2))
        wild = np.concatenate([wild, wild + rng.uniform(5, 50, (5, 2))], 1)
        every = np.concatenate([near, wild])
        every[:, 2:] = np.maximum(every[:, 2:], every[:, :2] + 1)
        names = np.concatenate([np.repeat(labels, 2), rng.integers(0, 3, 5)])
        found.append(Detections.of(every, np.round(rng.uniform(size=len(every)), 1), names))
    return truths, found


def by_pycocotools(truths: list[Objects], found: list[Detections]) -> tuple[np.ndarray, np.ndarray]:
    """Precision (thresholds, recalls, classes) and mean AP of each class, -1 where there are no objects."""
    coco = pytest.importorskip("pycocotools.coco", reason="compares with pycocotools")
    evaluation = pytest.importorskip("pycocotools.cocoeval")
    marks = []
    for number, truth in enumerate(truths):
        for box, label, crowd in zip(truth.boxes.tolist(), truth.labels, truth.crowd, strict=True):
            x1, y1, x2, y2 = box
            mark = {
                "id": len(marks) + 1,
                "image_id": number,
                "category_id": int(label) + 1,
                "iscrowd": int(crowd),
            }
            marks.append({**mark, "bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)})
    with contextlib.redirect_stdout(io.StringIO()):
        known = coco.COCO()
        known.dataset = {
            "info": {},
            "images": [{"id": i} for i in range(len(truths))],
            "annotations": marks,
            "categories": [{"id": i + 1, "name": name} for i, name in enumerate(NAMES)],
        }
        known.createIndex()
        results = []
        for number, detections in enumerate(found):
            for box, score, label in detections:
                x1, y1, x2, y2 = box.tolist()
                entry = {"image_id": number, "category_id": label + 1, "score": score}
                results.append({**entry, "bbox": [x1, y1, x2 - x1, y2 - y1]})
        run = evaluation.COCOeval(known, known.loadRes(results), "bbox")
        run.evaluate()
        run.accumulate()
    precision = run.eval["precision"][:, :, :, 0, 2]
    return precision, precision.mean(1)


@pytest.mark.parametrize("crowds", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_pycocotools_agrees(seed: int, crowds: bool) -> None:
    truths, found = random_sets(seed, crowds=crowds)
    _, expected = by_pycocotools(truths, found)
    own = evaluate_detections(truths, found, NAMES)
    for label in range(3):
        for place, threshold in enumerate(own.thresholds):
            value = own.ap(label, threshold)
            assert (-1 if value is None else value) == pytest.approx(expected[place, label], abs=1e-6)
    defined = expected[:, expected[0] >= 0]
    assert own.map50 == pytest.approx(defined[0].mean(), abs=1e-6)
    assert own.map50_95 == pytest.approx(defined.mean(), abs=1e-6)


def test_more_than_count_are_cut() -> None:
    truths, found = random_sets(3)
    few = [Detections(d.boxes[:0], d.scores[:0], d.labels[:0]) for d in found]
    for detections, one in zip(found, range(len(few)), strict=True):
        keep = np.sort(np.concatenate([np.flatnonzero(detections.labels == k)[:2] for k in range(3)]))
        few[one] = Detections(detections.boxes[keep], detections.scores[keep], detections.labels[keep])
    cut = evaluate_detections(truths, found, NAMES, max_detections=2)
    assert cut.map50_95 == evaluate_detections(truths, few, NAMES).map50_95


def evaluation(boxes, scores, objects=((0, 0, 10, 10), (20, 20, 30, 30))) -> Evaluation:
    truth = Objects.of(np.array(objects, float).reshape(-1, 4), [0] * len(objects))
    return evaluate_detections([truth], [Detections.of(boxes, scores, [0] * len(scores))], ("cat",), (0.5,))


def test_by_hand() -> None:
    perfect = evaluation([[0, 0, 10, 10], [20, 20, 30, 30]], [0.9, 0.8])
    assert perfect.map50 == 1 and perfect.precision_recall(0, 0.5) == (1, 1)
    half = evaluation([[0, 0, 10, 10]], [0.9])
    assert half.map50 == pytest.approx(51 / 101)  # precision 1 at the recalls 0, 0.01, ..., 0.5
    late = evaluation([[50, 50, 60, 60], [0, 0, 10, 10]], [0.9, 0.8])
    assert late.map50 == pytest.approx(0.5 * 51 / 101)
    assert late.precision_recall(0, 0.85) == (0, 0) and late.precision_recall(0, 0.5) == (0.5, 0.5)
    twice = evaluation([[0, 0, 10, 10], [0, 0, 10, 9]], [0.9, 0.8])
    assert twice.precision_recall(0, 0.5) == (0.5, 0.5)
    precision, recall, scores = twice.curve(0)
    assert (precision.tolist(), recall.tolist(), scores.tolist()) == ([1, 0.5], [0.5, 0.5], [0.9, 0.8])


def test_what_is_undefined_is_not_a_number_but_na() -> None:
    nothing = evaluation(np.zeros((0, 4)), [])
    assert nothing.map50 == 0 and nothing.precision_recall(0, 0.5) == (None, 0)
    no_objects = evaluation([[0, 0, 1, 1]], [0.5], objects=())
    assert no_objects.map50 is None and no_objects.precision_recall(0, 0.5) == (0, None)
    assert "n/a" in str(no_objects) and "nan" not in str(no_objects)
    assert no_objects.curve(0)[0].shape == (0,)
    empty = evaluate_detections([], [], NAMES)
    assert empty.map50 is None and str(empty).count("n/a") == 8


def test_table() -> None:
    truths, found = random_sets(1)
    table = str(evaluate_detections(truths, found, NAMES))
    assert table.splitlines()[0].split() == ["objects", "AP50", "AP"]
    assert [line.split()[0] for line in table.splitlines()[1:]] == ["cat", "dog", "owl", "all"]


ONE, NONE = Objects.of([[0, 0, 1, 1]], [1]), Detections.of([], [], [])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: evaluate_detections([], [Detections.of([], [], [])], NAMES), "give both for all images"),
        (lambda: evaluate_detections([], [], NAMES, [0.0]), r"\(0, 1\]"),
        (
            lambda: evaluate_detections([], [], NAMES).ap(len(NAMES)),
            "has no class .*; classes are numbered 0 to",
        ),
        (
            lambda: evaluate_detections([], [], NAMES).ap(NAMES[0]),
            "has no class .*; classes are numbered 0 to",
        ),
        (lambda: evaluate_detections([], [], NAMES).precision_recall(-1, 0.5), "has no class -1"),
        (lambda: evaluate_detections([], [], NAMES).ap(0, 0.77), "has no IoU threshold 0.77"),
        (
            lambda: evaluate_detections([ONE], [NONE], ["cat"]),
            r"image 0: labels 1\.\.1, but there are 1 classes",
        ),
        (lambda: Detections.of([[0, 0, 1, 1]], [np.nan], [0]), "must be finite"),
        (lambda: Detections.of([[0, 0, 1, 1]], [0.5, 0.5], [0]), "one each a box"),
        (lambda: Objects.of([[0, 0, 1, np.inf]], [0]), "must be finite"),
        (lambda: Objects.of([[0, 0, 1, 1]], []), "one each a box"),
        (lambda: Objects.of([[0, 0, 1, 1]], ["cat"]), "labels must be an array of numbers"),
    ],
)
def test_wrong_arguments(call, message: str) -> None:
    with pytest.raises(Error, match=message):
        call()
