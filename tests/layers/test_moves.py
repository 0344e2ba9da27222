"""Moves of pixels joined to one: against products of matrices, against one gather after the other, and where not."""

import numpy as np
import pytest
from fastcnn_kernels import team
from reference.image import affine_gather, field_gather

import fastcnn
from fastcnn import layers, ops
from fastcnn.data import Dataset
from fastcnn.errors import Error
from fastcnn.graph import ancestors, gradients
from fastcnn.layers.moves import EXACT, Filling, Move, product
from fastcnn.plan import Function
from fastcnn.tensor import Tensor

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (5, 13, 11, 3)).astype("float32")
SIDE = 64


def smooth(n=4, side=SIDE):
    """A hill in the middle of black: nothing of it gets over the edge by the small moves here."""
    y, x = np.indices((side, side)) - (side - 1) / 2
    hill = 200 * np.exp(-((x - 4) ** 2 + 2 * (y + 3) ** 2 + x * y) / (2 * 6.0**2))
    return np.repeat(hill[None, ..., None], n, 0).astype("float32")


def row(*names, fill_mode="constant", **options):
    """Layers of these names, seeded."""
    options |= {"fill_mode": fill_mode}
    makers = {
        "flip": lambda k: layers.RandomFlip(seed=k),
        "rotation": lambda k: layers.RandomRotation(0.1, seed=k, **options),
        "zoom": lambda k: layers.RandomZoom(0.2, 0.1, seed=k, **options),
        "translation": lambda k: layers.RandomTranslation(0.1, 0.05, seed=k, **options),
        "shear": lambda k: layers.RandomShear(0.1, 0.1, seed=k, **options),
        "perspective": lambda k: layers.RandomPerspective(scale=0.2, seed=k, **options),
        "affine": lambda k: layers.RandomAffine(True, rotation=0.1, padding=2, seed=k, **options),
        "elastic": lambda k: layers.RandomElasticTransform(scale=(0.3, 0.3), seed=k, **options),
        "crop": lambda k: layers.RandomCrop(9, 8, seed=k),
        "brightness": lambda k: layers.RandomBrightness(0.1, seed=k),
    }
    made = [makers[name](number + 1) for number, name in enumerate(names)]
    for layer in made:
        layer.bounding_box_format = "xyxy"
    return made


def gathers(stack, x=X):
    """How many gathers the images go through."""
    images = Tensor(x.shape, "float32")
    with fastcnn.graph.tracing(fastcnn.graph.Trace(training=True)):
        y = stack(images, training=True)
        names = [node.operation.name for node in ancestors([y]) if node.outputs[0].ndim == 4]
    return sum("Gather" in name for name in names)


def matrices(stack, x):
    """The product, in float64, of what the layers draw in their first run."""

    def drawn(images):
        return [layer._maps(layer.get_random_transformation(images), *x.shape[:3]) for layer in stack]

    whole = np.broadcast_to(np.eye(3), (len(x), 3, 3))
    for maps in Function(drawn, training=True)(x):
        whole = whole @ np.append(maps.astype("float64"), np.ones((len(x), 1)), 1).reshape(-1, 3, 3)
    return (whole / whole[:, 2:, 2:]).reshape(-1, 9)[:, :8]


ROWS = [
    ("flip", "rotation"),
    ("rotation", "flip"),
    ("rotation", "zoom", "translation", "shear"),
    ("flip", "perspective", "affine", "rotation"),
]


@pytest.mark.parametrize("names", ROWS, ids="-".join)
@pytest.mark.parametrize("fill_mode", ["constant", "nearest", "reflect", "mirror", "wrap"])
def test_a_row_is_the_product_of_its_matrices(names, fill_mode):
    border = {"nearest": "edge", "reflect": "symmetric", "mirror": "reflect"}.get(fill_mode, fill_mode)
    found = layers.Pipeline(row(*names, fill_mode=fill_mode))(X)
    whole = matrices(row(*names, fill_mode=fill_mode), X)
    expected = affine_gather(X.astype("float64"), whole, X.shape[1:3], "bilinear", border)
    # A map's eight float32 numbers and their products: places to some 1e-5 pixels, of slopes up to 255 a pixel.
    np.testing.assert_allclose(found, expected, rtol=0, atol=0.03)
    assert gathers(layers.Pipeline(row(*names, fill_mode=fill_mode))) == 1


@pytest.mark.parametrize(
    "names",
    [*ROWS, ("elastic", "rotation"), ("rotation", "elastic", "flip", "zoom"), ("elastic", "elastic")],
    ids="-".join,
)
def test_a_row_is_one_layer_after_the_other_but_for_blending(names):
    x = smooth()
    one = layers.Pipeline(row(*names))(x)
    after = layers.Pipeline(row(*names), fused=False)(x)
    # Blending flattens what is curved, by an eighth of the second derivative: 200 / 36 a pixel, doubled by shear,
    # at each blending in two directions. A field bends by half a pixel a pixel, and is itself read between pixels,
    # where the hill has slopes up to 40 a pixel.
    limit = len(names) * 2 * 2 * 200 / 36 / 8 + names.count("elastic") * 2 * 40 * 0.5 / 8
    assert np.abs(one - after).max() < limit
    assert np.abs(one - after).mean() < 0.3
    assert np.abs(one - x).max() > 50  # something has moved


@pytest.mark.parametrize(
    "names",
    [("flip", "flip"), ("crop", "flip"), ("flip", "crop"), ("flip", "crop", "flip")],
    ids="-".join,
)
def test_turned_over_and_cut_it_is_bit_for_bit_the_same(names):
    one, after = layers.Pipeline(row(*names)), layers.Pipeline(row(*names), fused=False)
    for _ in range(5):
        np.testing.assert_array_equal(one(X), after(X))
    assert gathers(layers.Pipeline(row(*names))) == 1


@pytest.mark.parametrize("fill_mode", ["constant", "nearest", "reflect", "mirror", "wrap"])
@pytest.mark.parametrize(
    "names",
    [("flip", "rotation"), ("flip", "affine", "flip"), ("rotation", "crop"), ("rotation", "flip", "crop")],
    ids="-".join,
)
def test_flips_and_crops_change_nothing_beyond_the_edge(names, fill_mode):
    """Every border is turned over with the picture; places differ by rounding, of slopes up to 255 a pixel."""
    one = layers.Pipeline(row(*names, fill_mode=fill_mode))(X)
    after = layers.Pipeline(row(*names, fill_mode=fill_mode), fused=False)(X)
    np.testing.assert_allclose(one, after, rtol=0, atol=0.01)


def test_quarter_turns_and_flips_are_exact():
    """RandomAffine turns by whole quarters: with flips around it, every result is one of the eight of the square."""
    x = X[:, :11]
    stack = [
        layers.RandomFlip(seed=1),
        layers.RandomAffine(quarter_turns=True, interpolation="nearest", seed=2),
    ]
    y = layers.Pipeline([*stack, layers.RandomFlip("vertical", seed=3)])(x)
    for image, turned in zip(x, y, strict=True):
        eight = [np.rot90(side, k) for side in (image, image[:, ::-1]) for k in range(4)]
        assert any(np.array_equal(turned, other) for other in eight)
    again = [
        layers.RandomFlip(seed=1),
        layers.RandomAffine(quarter_turns=True, interpolation="nearest", seed=2),
    ]
    after = layers.Pipeline([*again, layers.RandomFlip("vertical", seed=3)], fused=False)(x)
    np.testing.assert_array_equal(y, after)


def test_a_field_after_maps_and_before():
    """Of a field alone drawn at random: maps are taken at the places of the field, the field at those of maps."""
    x = X.astype("float64")
    maps = np.array([[1.1, 0.2, -1, -0.1, 0.9, 0.5, 0.002, -0.001]] * 5, "float32")
    y, c = np.indices((13, 11))
    field = (
        np.stack([y + 0.3 * np.sin(c / 3), c + 0.4 * np.cos(y / 4)], -1)[None].repeat(5, 0).astype("float32")
    )
    filling = Filling("bilinear", "wrap")
    along = Move((maps,), (13, 11), (13, 11), filling)
    bent = Move((field,), (13, 11), (13, 11), filling)

    def mapped(places):
        rows, columns = places[..., 0], places[..., 1]
        a = maps[0].astype("float64")
        k = a[6] * columns + a[7] * rows + 1
        return np.stack(
            [(a[3] * columns + a[4] * rows + a[5]) / k, (a[0] * columns + a[1] * rows + a[2]) / k], -1
        )

    own = np.stack([y, c], -1)[None].repeat(5, 0).astype("float64")
    first_maps = along.then(bent)
    expected = field_gather(x, mapped(field.astype("float64")), "bilinear", "wrap")
    np.testing.assert_allclose(first_maps.images(X), expected, atol=0.03)
    shift = field_gather(field - own, mapped(own), "bilinear", "edge")
    expected = field_gather(x, mapped(own) + shift, "bilinear", "wrap")
    np.testing.assert_allclose(bent.then(along).images(X), expected, atol=0.03)


def test_a_first_pixel_from_infinitely_far_away():
    """The last number of a product is 0: what is seen of it is undefined, but finite."""
    first = np.array([[1, 0, 0, 0, 1, 0, -0.5, 0]], "float32")
    later = np.array([[1, 0, 2, 0, 1, 0, 0, 0]], "float32")
    whole = product(first, later)
    assert np.isfinite(whole).all()
    y = ops.affine_gather(X[:1], whole, None, "bilinear", "reflect")
    assert np.isfinite(y).all()
    rows, columns = 5.0, 3.0  # elsewhere it is the two, one after the other
    k = -0.5 * (columns + 2) + 1
    place = np.append(whole[0], 1.0).reshape(3, 3) @ [columns, rows, 1]
    np.testing.assert_allclose(place[:2] / place[2], [(columns + 2) / k, rows / k], rtol=1e-5)


# --- where moves stay apart ------------------------------------------------------------------------------------


def own_border(places, n):
    return np.clip(places, 0, n - 1)


@pytest.mark.parametrize(
    ("make", "count"),
    [
        (lambda: row("rotation", "zoom"), 1),
        (lambda: row("rotation") + row("zoom", fill_mode="reflect"), 2),
        (lambda: row("rotation", fill_mode="edge") + row("zoom", fill_mode="nearest"), 1),
        (lambda: row("rotation", fill_value=3.0) + row("zoom"), 2),
        (lambda: row("rotation", fill_mode="wrap", fill_value=3.0) + row("zoom", fill_mode="wrap"), 1),
        (lambda: row("rotation", interpolation="nearest") + row("zoom"), 2),
        (lambda: row("rotation", "brightness", "zoom"), 2),
        (lambda: row("rotation", "crop", "zoom"), 2),
        (lambda: row("rotation", "crop", "flip"), 1),
        (lambda: row("flip", "crop", "rotation", "zoom"), 2),
        (lambda: row("rotation", "zoom", fill_mode=own_border), 2),
        (lambda: row("flip", "zoom", fill_mode=own_border), 2),
        (lambda: row("zoom", "flip", fill_mode=own_border), 1),
        (lambda: [*row("rotation"), layers.RandomAffine(size=(5, 5), seed=1), *row("zoom")], 2),
        (lambda: row("elastic", "elastic"), 2),  # one reads the field of the first, one the images
        (lambda: [*row("elastic"), layers.RandomElasticTransform(fill_mode="constant", value_range=(0, 1))], 2),
        (lambda: row("elastic", "rotation", fill_value=-1.0), 2),
    ],
)  # fmt: skip
def test_what_is_joined(make, count):
    assert gathers(layers.Pipeline(make())) == count


def test_a_layer_that_reads_both_gets_both():
    """What is in between is used elsewhere, too: it stays what it was."""
    first, second = row("rotation", "zoom")
    both = Function(lambda x: (once := first(x, training=True), second(once, training=True)), training=True)
    once, twice = both(X)
    np.testing.assert_array_equal(once, row("rotation")[0](X))
    np.testing.assert_array_equal(twice, layers.Pipeline(row("rotation", "zoom"))(X))


def test_a_class_of_ones_own_is_not_passed_over():
    class Darker(layers.RandomFlip):
        """Turned over, and half as light."""

        def transform_images(self, images, transformation, training=True):
            return super().transform_images(images, transformation, training) * 0.5

    for stack in ([Darker(seed=1), *row("zoom")], [*row("zoom"), Darker(seed=1)]):
        one, after = layers.Pipeline(stack)(X), layers.Pipeline(stack, fused=False)(X)
        assert one.max() < 140 and after.max() < 140


# --- the same everywhere ---------------------------------------------------------------------------------------

NAMES = ("flip", "rotation", "zoom", "elastic")


def test_pipelines_datasets_and_models_agree_on_any_threads():
    model = fastcnn.Sequential([fastcnn.Input(X.shape[1:]), *row(*NAMES)])
    inputs = fastcnn.Input(X.shape[1:])
    outputs = inputs
    for layer in row(*NAMES):
        outputs = layer(outputs)
    functional = fastcnn.Model(inputs, outputs)
    expected, before = layers.Pipeline(row(*NAMES))(X), team.num_threads()
    assert gathers(functional) == gathers(model) == 1
    np.testing.assert_array_equal(model(X, training=True), expected)
    np.testing.assert_array_equal(functional(X, training=True), expected)
    np.testing.assert_array_equal(model(X, training=False), X)
    steps = []
    try:
        for threads in (1, 2, 4):
            team.set_num_threads(threads)
            np.testing.assert_array_equal(layers.Pipeline(row(*NAMES))(X), expected)
            mapped = Dataset(X).batch(3)
            for layer in row(*NAMES):
                mapped = mapped.map(layer)
            steps.append(np.concatenate(list(mapped.prefetch(2 if threads == 2 else 0))))
    finally:
        team.set_num_threads(before)
    assert len(mapped._steps) == 1
    whole = np.concatenate(list(Dataset(X).batch(3).map(layers.Pipeline(row(*NAMES)))))
    for made in steps:
        np.testing.assert_array_equal(made, whole)


def test_one_image_is_a_batch_of_one():
    one, batch = layers.Pipeline(row(*NAMES)), layers.Pipeline(row(*NAMES))
    np.testing.assert_array_equal(one(X[0]), batch(X[:1])[0])
    assert gathers(layers.Pipeline(row(*NAMES)), X[:1]) == 1


def test_a_functions_pictures_lie_between():
    """A function of arrays between two layers sees the pictures of the first."""
    seen = []
    first, second = row("flip", "rotation")
    data = Dataset(X).batch(5).map(first).map(lambda x: seen.append(x) or x).map(second)
    y = next(iter(data))
    np.testing.assert_array_equal(seen[0], next(iter(Dataset(X).batch(5).map(row("flip")[0]))))
    assert y.shape == X.shape


def test_gradients_of_a_row():
    pipeline = layers.Pipeline(row("rotation", "zoom", fill_mode="wrap"))
    x, w = X / 255, RNG.normal(size=X.shape).astype("float32")
    (dx,) = Function(lambda x: gradients(ops.sum(pipeline(x, training=True) * w), [x]), training=True)(x)
    again = layers.Pipeline(row("rotation", "zoom", fill_mode="wrap"))
    np.testing.assert_allclose((dx * x).sum(), (again(x) * w).sum(), rtol=1e-3)  # it is linear in x


# --- what goes along -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [
        ("flip", "rotation", "zoom", "translation", "shear"),
        ("perspective", "flip", "rotation"),
        ("rotation", "elastic"),
        ("elastic", "flip", "rotation"),
    ],
    ids="-".join,
)
def test_boxes_masks_and_points_of_a_row_against_brute_force(names):
    """A box around what is still white: around that, and not around a box around a box."""
    n = 8
    x = np.zeros((n, SIDE, SIDE, 1), "float32")
    x[:, 25:41, 20:41] = 255
    data = {
        "images": x,
        "segmentation_masks": (x > 0).astype("uint8"),
        "bounding_boxes": {"boxes": np.tile([[[20.0, 25, 41, 41]]], (n, 1, 1)), "labels": np.full((n, 1), 3)},
        "keypoints": np.array([[[30.5, 33.0]]] * n, "float32"),
        "labels": np.arange(n),
    }
    found = layers.Pipeline(row(*names))(data)
    assert found["labels"].tolist() == list(range(n))
    for i in range(n):
        rows, columns = np.nonzero(found["segmentation_masks"][i, ..., 0])
        expected = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        np.testing.assert_allclose(found["bounding_boxes"]["boxes"][i, 0], expected, atol=1.5)
        middle = columns.mean() + 0.5, rows.mean() + 0.5
        np.testing.assert_allclose(found["keypoints"][i, 0], middle, atol=2.0 if "elastic" in names else 1.0)
        assert found["bounding_boxes"]["labels"][i, 0] == 3
        white = found["images"][i, ..., 0]
        assert (white[rows, columns] > 60).all() and white.sum() == pytest.approx(255 * len(rows), rel=0.05)


def test_what_comes_back_over_the_edge_is_there():
    """Half a picture to the right and back again: joined nothing is lost, apart the half is; boxes likewise."""
    there = layers.RandomTranslation(0.0, (0.5, 0.5), "constant", bounding_box_format="xyxy")
    back = layers.RandomTranslation(0.0, (-0.5, -0.5), "constant", bounding_box_format="xyxy")
    x = X[:, :, :10]
    data = {
        "images": x,
        "bounding_boxes": {"boxes": np.tile([[[6.0, 2, 9, 5]]], (5, 1, 1)), "labels": np.ones((5, 1))},
    }
    one = layers.Pipeline([there, back])(data)
    np.testing.assert_allclose(one["images"], x, atol=1e-3)
    assert one["bounding_boxes"]["boxes"][0].tolist() == [[6, 2, 9, 5]]
    after = layers.Pipeline([there, back], fused=False)(data)
    assert (after["images"][:, :, 5:] == 0).all() and (after["bounding_boxes"]["labels"] == -1).all()


def test_formats_of_boxes_that_differ_are_not_mixed_up():
    corners = np.tile([[[2.0, 3, 5, 9]]], (5, 1, 1))
    data = {"images": X, "bounding_boxes": {"boxes": corners, "labels": np.ones((5, 1))}}
    flips = [layers.RandomFlip(bounding_box_format=form, seed=1) for form in ("xyxy", "yxyx")]
    one, after = layers.Pipeline(flips)(data), layers.Pipeline(flips, fused=False)
    assert one["bounding_boxes"]["boxes"].shape == (5, 1, 4) and after.get_config()["fused"] is False


def test_layers_that_know_no_places_must_not_move_them():
    boxed = {"images": X, "keypoints": np.zeros((5, 1, 2), "float32")}
    with pytest.raises(
        Error, match=r"'max_pooling2d\w*' makes images \(13, 11\) of \(6, 5\).*keypoints.*RandomCrop"
    ):
        layers.Pipeline([layers.MaxPooling2D(2)])(boxed)
    assert layers.Pipeline([layers.Rescaling(2.0)])(boxed)["keypoints"].shape == (5, 1, 2)
    assert layers.Pipeline([layers.MaxPooling2D(2)])({"images": X})["images"].shape == (5, 6, 5, 3)


def test_exact_moves_look_at_nothing_beyond_the_edge():
    assert layers.RandomFlip().filling == layers.RandomCrop(2, 2).filling == EXACT
