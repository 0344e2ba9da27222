"""The head and its loss in models."""

import numpy as np
import pytest

import fastcnn
from fastcnn import detection, layers, models
from fastcnn.errors import Error
from fastcnn.registry import deserialize, serialize

ANCHORS = ((1.0, 1.5), (2.0, 0.7))


def model_of(grid=3, anchors=ANCHORS, **options) -> fastcnn.Model:
    inputs = fastcnn.Input((24, 24, 2))
    features = layers.Conv2D(6, 3, strides=8, padding="same", activation="relu")(inputs)
    return fastcnn.Model(inputs, detection.YOLOHead(grid, anchors, 3, **options)(features))


@pytest.mark.parametrize(("anchors", "depth"), [(((1, 1),), 8), (ANCHORS, 16)])
def test_shapes_of_the_lectures(anchors, depth) -> None:
    model = model_of(anchors=anchors)
    assert model.output_shape == (None, 3, 3, depth)
    assert model.predict(np.zeros((2, 24, 24, 2)), verbose=0).shape == (2, 3, 3, depth)


def test_meaning_of_the_numbers() -> None:
    head = detection.YOLOHead(None, ANCHORS, 3, prior=0.02, spread=1.2)
    y = head(np.zeros((1, 2, 4, 5), np.float32)).reshape(2, 4, 2, 8)
    assert y[0, 0, 0].tolist() == pytest.approx([0.02, 0.5, 0.5, 1.5, 1.0, 1 / 3, 1 / 3, 1 / 3])
    assert y[0, 0, 1, 3:5].tolist() == pytest.approx([0.7, 2.0])
    sigmoid = detection.YOLOHead(None, ANCHORS, 3, "sigmoid")
    assert sigmoid(np.zeros((1, 1, 1, 5), np.float32))[0, 0, 0, 5:8].tolist() == [0.5, 0.5, 0.5]


def test_configuration_comes_back() -> None:
    head = detection.YOLOHead((3, 4), ANCHORS, 3, "sigmoid", 1.1, 0.05, "he_normal", name="head")
    again = deserialize("layer", serialize(head))
    assert serialize(again) == serialize(head) and again.anchors == ANCHORS
    loss = detection.YOLOLoss("ciou", 2.0, ignore_threshold=0.6)
    assert serialize(deserialize("loss", serialize(loss))) == serialize(loss)


def test_training_and_files(tmp_path) -> None:
    fastcnn.utils.set_random_seed(0)
    model = model_of()
    grid = model.layers[-1].grid_of(model.output_shape)
    (target,) = detection.encode([[0.1, 0.1, 0.5, 0.6], [0.6, 0.5, 0.9, 0.9]], [0, 2], [grid])
    x = np.random.default_rng(0).uniform(size=(4, 24, 24, 2)).astype("float32")
    y = np.stack([target] * 3 + [np.zeros_like(target)])  # one image of background
    model.compile(fastcnn.optimizers.Adam(0.02), detection.YOLOLoss("giou", ignore_threshold=0.7))
    history = model.fit(x, y, batch_size=2, epochs=120, verbose=0).history["loss"]
    assert history[-1] < 0.3 * history[0]
    model.save(tmp_path / "model.safetensors")
    again = models.load_model(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))
    assert again.evaluate(x, y, verbose=0) == model.evaluate(x, y, verbose=0)


def test_two_grids() -> None:
    inputs = fastcnn.Input((16, 16, 1))
    fine = layers.Conv2D(4, 3, strides=4, padding="same")(inputs)
    coarse = layers.Conv2D(4, 3, strides=2, padding="same")(fine)
    heads = [detection.YOLOHead(None, ((1, 1),), 2)(x) for x in (fine, coarse)]
    model = fastcnn.Model(inputs, heads)
    model.compile("adam", [detection.YOLOLoss("diou"), detection.YOLOLoss("diou")])
    grids = [detection.Grid(4, 4, ((1, 1),), 2), detection.Grid(2, 2, ((1, 1),), 2)]
    targets = detection.encode([[0, 0, 0.2, 0.2], [0.4, 0.4, 1, 1]], [0, 1], grids)
    assert [t[..., 0].sum() for t in targets] == [1, 1]
    model.fit(np.zeros((1, 16, 16, 1)), [t[np.newaxis] for t in targets], verbose=0)


def test_a_loss_by_hand() -> None:
    """Nothing predicted but the prior, one object: -ln p for it, -ln(1 - p) for the other places."""
    head = detection.YOLOHead(None, ((1, 1),), 2, prior=0.25)
    raw = np.zeros((1, 1, 2, 7))
    raw[..., 0] = np.log(1 / 3)
    target = np.zeros((1, 1, 2, 7))
    target[0, 0, 0] = [1, 0.5, 0.75, 1, 4, 1, 0]  # bw is 4 where 1 is predicted: (sqrt 1 - sqrt 4)^2 = 1
    parts = fastcnn.ops.yolo_loss(target, raw, head.anchors, weights=(5, 1, 0.5, 1))[0]
    assert parts.tolist() == pytest.approx([5 * (0.0625 + 1), np.log(4) + 0.5 * np.log(4 / 3), np.log(2)])


def test_no_image_at_all() -> None:
    none = np.zeros((0, 3, 3, 8), np.float32)
    assert fastcnn.ops.yolo_loss(none, none, [(1, 1)]).shape == (0, 3)
    gradient = fastcnn.gradient(lambda z: fastcnn.ops.sum(fastcnn.ops.yolo_loss(none, z, [(1, 1)])))
    assert gradient(none).shape == none.shape
    assert fastcnn.ops.yolo_activation(none, [(1, 1)]).shape == none.shape
    assert fastcnn.ops.box_overlap(np.zeros((0, 4)), np.zeros((0, 4))).shape == (0,)
    regions = np.zeros((0, 5), np.float32)
    for pool in (fastcnn.ops.roi_align, fastcnn.ops.roi_pool):
        assert pool(np.zeros((1, 4, 4, 2), np.float32), regions, (2, 3)).shape == (0, 2, 3, 2)


def test_objects_larger_than_cells_and_on_borders() -> None:
    """A box over the whole image, centres on every border: finite losses and gradients."""
    grid = detection.Grid(4, 4, ANCHORS, 3)
    boxes = [[0, 0, 1, 1], [-0.1, 0.2, 0.1, 0.4], [0.9, 0.9, 1.1, 1.1], [0.25, 0.75, 0.75, 1.25]]
    (target,) = detection.encode(boxes, [0, 1, 2, 0], [grid])
    assert (grid.split(target)[..., 0] == 1).sum() == 4 and target.max() == 4
    raw = np.random.default_rng(0).normal(size=(1, *grid.shape)).astype(np.float32) * 5
    for box in ("squared", "iou", "giou", "diou", "ciou"):
        gradient = fastcnn.gradient(
            lambda z, box=box: fastcnn.ops.sum(
                fastcnn.ops.yolo_loss(target[np.newaxis], z, ANCHORS, box_loss=box)
            )
        )
        assert np.isfinite(gradient(raw)).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: model_of(grid=4), r"have \(3, 3\) cells, the grid \(4, 4\)"),
        (lambda: model_of(grid="x"), "grid takes one integer or 2|must be an integer"),
        (lambda: model_of(anchors=[(1, 0)]), "positive and finite, in cells"),
        (lambda: model_of(anchors=[(1, np.inf)]), "positive and finite, in cells"),
        (lambda: model_of(anchors=[]), "positive and finite, in cells"),
        (lambda: model_of(anchors=3), "positive and finite, in cells"),
        (lambda: detection.YOLOHead(3, ANCHORS, ["a", "b"]), "classes must be an integer"),
        (lambda: model_of(class_activation="relu"), "softmax, sigmoid"),
        (lambda: model_of(prior=0), "prior must lie inside"),
        (lambda: detection.YOLOLoss("l2"), "squared, iou"),
        (lambda: detection.YOLOLoss(box_weight=-1), "box_weight must be a finite number"),
        (lambda: detection.YOLOLoss(class_weight=np.nan), "class_weight must be a finite number"),
        (lambda: detection.LocalizationLoss(box_weight="5"), "box_weight must be a finite number"),
        (lambda: detection.YOLOLoss()(np.zeros((1, 2, 2, 8)), np.zeros((1, 2, 2, 8))), "come straight from a YOLOHead"),
        (lambda: fastcnn.ops.yolo_loss(np.zeros((1, 2, 2, 8)), np.zeros((1, 2, 3, 8)), [(1, 1)]), "have shape"),
        (lambda: fastcnn.ops.yolo_activation(np.zeros((1, 2, 2, 9)), ANCHORS), r"2 \* \(5 \+ classes\)"),
    ],
)  # fmt: skip
def test_wrong_arguments(call, message: str) -> None:
    with pytest.raises(Error, match=message):
        call()


def test_targets_of_another_grid_are_refused() -> None:
    model = model_of()
    model.compile("adam", detection.YOLOLoss())
    with pytest.raises(Error, match="make targets with fastcnn.detection.encode"):
        model.fit(np.zeros((2, 24, 24, 2)), np.zeros((2, 3, 3, 8)), verbose=0)
