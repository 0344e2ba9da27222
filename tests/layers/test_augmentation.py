"""Layers that change pictures: exact cases, boxes against brute force, seeds, threads, models, files, errors."""

import inspect

import numpy as np
import pytest
from fastcnn_kernels import team
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_harness import round_trip
from scipy import ndimage

import fastcnn
from fastcnn import layers, ops
from fastcnn.data.sources import BOX_FORMATS
from fastcnn.errors import Error
from fastcnn.graph import gradients
from fastcnn.layers import boxes
from fastcnn.layers.augmentation import ImageLayer
from fastcnn.plan import Function

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (6, 12, 12, 3)).astype("float32")
LAYERS = {
    "flip": lambda: layers.RandomFlip(seed=3),
    "rotation": lambda: layers.RandomRotation(0.1, seed=3),
    "translation": lambda: layers.RandomTranslation(0.2, 0.2, seed=3),
    "zoom": lambda: layers.RandomZoom(0.2, seed=3),
    "shear": lambda: layers.RandomShear(0.2, 0.1, seed=3),
    "perspective": lambda: layers.RandomPerspective(scale=0.4, seed=3),
    "elastic": lambda: layers.RandomElasticTransform(seed=3),
    "crop": lambda: layers.RandomCrop(7, 8, seed=3),
    "affine": lambda: layers.RandomAffine(True, True, True, 0.1, 0.1, 0.1, 0.1, 2, seed=3),
    "affine crop": lambda: layers.RandomAffine(crop=(0.3, 1.0), size=(9, 8), seed=3),
    "brightness": lambda: layers.RandomBrightness(0.3, seed=3),
    "contrast": lambda: layers.RandomContrast(0.3, seed=3),
    "saturation": lambda: layers.RandomSaturation((0.3, 0.7), seed=3),
    "hue": lambda: layers.RandomHue(0.3, seed=3),
    "jitter": lambda: layers.RandomColorJitter((0, 255), 0.2, 0.2, (0.4, 0.6), 0.1, seed=3),
    "degeneration": lambda: layers.RandomColorDegeneration(0.5, seed=3),
    "sharpness": lambda: layers.RandomSharpness(0.9, seed=3),
    "grayscale": lambda: layers.RandomGrayscale(0.5, seed=3),
    "invert": lambda: layers.RandomInvert(0.9, seed=3),
    "posterization": lambda: layers.RandomPosterization(5, seed=3),
    "erasing": lambda: layers.RandomErasing(seed=3),
    "blur": lambda: layers.RandomGaussianBlur(seed=3),
    "solarization": lambda: layers.Solarization(0.2, 0.5, seed=3),
    "auto contrast": lambda: layers.AutoContrast(),
    "equalization": lambda: layers.Equalization(),
    "clahe": lambda: layers.ContrastLimitedAdaptiveHistogramEqualization(tile_grid_size=(2, 3)),
    "colors": lambda: layers.RandomColors(0.1, 0.2, 0.2, 0.1, 0.1, 0.1, [9.0, 8, 7], [4.0, 5, 6], seed=3),
    "salt and pepper": lambda: layers.SaltAndPepper(0.2, seed=3),
    "mixup": lambda: layers.MixUp(0.4, seed=3),
    "cutmix": lambda: layers.CutMix(seed=3),
    "mosaic": lambda: layers.Mosaic(seed=3),
    "pairing": lambda: layers.SamplePairing(seed=3),
    "rand augment": lambda: layers.RandAugment(seed=3),
    "aug mix": lambda: layers.AugMix(seed=3),
    "trivial augment": lambda: layers.TrivialAugment(seed=3),
    "auto augment": lambda: layers.AutoAugment("svhn", seed=3),
    "max boxes": lambda: layers.MaxNumBoundingBoxes(4),
    "pipeline": lambda: layers.Pipeline(
        [layers.RandomFlip(seed=1), layers.Rescaling(2.0), layers.MixUp(seed=2)]
    ),
    "row of moves": lambda: layers.Pipeline(
        [
            layers.RandomFlip(seed=1),
            layers.RandomRotation(0.1, seed=2),
            layers.RandomElasticTransform(seed=3),
            layers.RandomPerspective(scale=0.2, fill_mode="reflect", seed=4),
        ]
    ),
    "moves apart": lambda: layers.Pipeline(
        [layers.RandomFlip(seed=1), layers.RandomShear(0.2, 0.1, seed=2)], fused=False
    ),
}
each_layer = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS.keys())
BOXES = {"boxes": np.zeros((6, 1, 4)), "labels": np.zeros((6, 1))}
ALWAYS = (
    layers.ContrastLimitedAdaptiveHistogramEqualization,
    layers.RandomCrop,
    layers.RandomColors,
    layers.AutoContrast,
    layers.Pipeline,
    layers.RandomAffine,
)


@each_layer
def test_same_seed_same_pictures_on_any_threads(make):
    """Two layers of one seed draw alike, call by call; calls differ; the number of threads changes no bit."""
    before, results = team.num_threads(), []
    try:
        for threads in (1, 2, 4):
            team.set_num_threads(threads)
            layer = make()
            results.append([layer(X), layer(X)])
    finally:
        team.set_num_threads(before)
    for first, second in results[1:]:
        assert first.tobytes() == results[0][0].tobytes() and second.tobytes() == results[0][1].tobytes()
    fixed = (
        layers.AutoContrast, layers.ContrastLimitedAdaptiveHistogramEqualization, layers.Equalization,
        layers.MaxNumBoundingBoxes,
    )  # fmt: skip
    if not isinstance(make(), fixed):
        assert (results[0][0] != results[0][1]).any()


@each_layer
def test_passive_without_training(make):
    layer = make()
    y = layer(X, training=False)
    if not isinstance(layer, ALWAYS):
        np.testing.assert_array_equal(y, X)
    np.testing.assert_array_equal(layer(X, training=False), y)


@each_layer
def test_one_image_and_bytes(make):
    layer = make()
    assert layer(X[0]).shape == layer(X).shape[1:]
    assert layer(X.astype("uint8")).dtype == "float32"
    assert layer(X[:1]).shape[0] == 1


@pytest.mark.parametrize("dtype", ["float64", "mixed_bfloat16"])
@each_layer
def test_other_formats_of_numbers(make, dtype):
    layer = make()
    if not isinstance(layer, layers.Pipeline):  # whose layers have their own
        again = type(layer).from_config({**layer.get_config(), "dtype": dtype})
        assert (
            again(X.astype("uint8")).dtype == again.dtype == ("float64" if dtype == "float64" else "float32")
        )


@each_layer
def test_configuration(make):
    layer = make()
    again = round_trip(layer)
    if not isinstance(layer, layers.Pipeline):
        np.testing.assert_array_equal(again(X), make()(X))


@each_layer
def test_in_a_model(make, tmp_path):
    """Active while the model is trained, passive when it predicts; the model can be saved."""
    model = fastcnn.Sequential(
        [fastcnn.Input((12, 12, 3)), make(), layers.GlobalAveragePooling2D(), layers.Dense(2)]
    )
    model.compile("sgd", "mse")
    model.fit(X / 255, np.zeros((6, 2)), verbose=0, batch_size=3)
    expected = model.predict(X / 255, verbose=0)
    np.testing.assert_array_equal(model.predict(X / 255, verbose=0), expected)
    path = tmp_path / "model.fastcnn"
    model.save(path)
    np.testing.assert_array_equal(fastcnn.models.load_model(path).predict(X / 255, verbose=0), expected)


def test_gradients_go_through_moves_and_colours():
    """What is smooth has gradients; those of a move, a mirror and a brightness sum to the number of pixels."""
    pipeline = layers.Pipeline([layers.RandomFlip(seed=1), layers.RandomBrightness(0.1, (0, 1), seed=2)])
    x = RNG.uniform(0.3, 0.7, (2, 5, 4, 3)).astype("float32")
    (dx,) = Function(lambda x: gradients(ops.sum(pipeline(x, training=True)), [x]), training=True)(x)
    np.testing.assert_array_equal(dx, np.ones(x.shape))


# --- exact cases -----------------------------------------------------------------------------------------------


def test_flip_twice_is_nothing():
    layer = layers.RandomFlip("horizontal", seed=1)
    drawn = layer.get_random_transformation(X)
    once = layer.transform_images(X, drawn)
    flips = np.asarray(drawn["flips"]).reshape(-1) > 0
    np.testing.assert_array_equal(once, np.where(flips[:, None, None, None], X[:, :, ::-1], X))
    np.testing.assert_array_equal(layer.transform_images(once, drawn), X)


def test_four_quarter_turns_are_nothing():
    turn = layers.RandomRotation((0.25, 0.25), fill_mode="constant")
    y = turn(X)
    np.testing.assert_allclose(y, np.rot90(X, 1, (1, 2)), atol=2e-3)
    for _ in range(3):
        y = turn(y)
    np.testing.assert_allclose(y, X, atol=5e-3)
    quarter = layers.RandomAffine(quarter_turns=True, interpolation="nearest", seed=1)(X)
    turned = [[np.array_equal(q, np.rot90(x, k)) for k in range(4)] for q, x in zip(quarter, X, strict=True)]
    assert all(any(row) for row in turned) and np.argmax(turned, 1).std() > 0


def test_translation_by_whole_pixels_is_numpy_pad():
    modes = {
        "constant": "constant",
        "nearest": "edge",
        "mirror": "reflect",
        "reflect": "symmetric",
        "wrap": "wrap",
    }
    for mode, theirs in modes.items():
        layer = layers.RandomTranslation((0.25, 0.25), (-0.5, -0.5), mode, "nearest", fill_value=7.0)
        padding = ((0, 0), (3, 0), (0, 6), (0, 0))
        options = {"constant_values": 7.0} if mode == "constant" else {}
        expected = np.pad(X, padding, theirs, **options)[:, :12, 6:]
        np.testing.assert_array_equal(layer(X), expected)


SCIPY = {
    "constant": "grid-constant",
    "nearest": "nearest",
    "reflect": "reflect",
    "mirror": "mirror",
    "wrap": "grid-wrap",
}


@pytest.mark.parametrize("mode", SCIPY)
@pytest.mark.parametrize("kind", ["translation", "zoom", "shear", "affine"])
def test_borders_are_those_of_scipy(mode, kind):
    """Moves far over the edge, by parts of pixels: SciPy's affine_transform of the same matrices."""
    layer = BORDERED[kind](fill_mode=mode, fill_value=9.0)
    drawn = layer.get_random_transformation(X)
    maps = np.asarray(layer._maps(drawn, *X.shape[:3]), "float64")
    found = layer.transform_images(X, drawn)
    for image, (a0, a1, a2, b0, b1, b2, _, _), y in zip(X, maps, found, strict=True):
        matrix, offset = [[b1, b0, 0], [a1, a0, 0], [0, 0, 1]], [b2, a2, 0]
        expected = ndimage.affine_transform(
            image.astype("float64"), matrix, offset, order=1, mode=SCIPY[mode], cval=9.0
        )
        np.testing.assert_allclose(y, expected, atol=0.01)  # float32: places to 1e-5 pixels, slopes up to 255


def test_elastic_of_no_strength_is_nothing():
    np.testing.assert_allclose(layers.RandomElasticTransform(scale=(0.0, 1e-6))(X), X, atol=0.1)
    np.testing.assert_array_equal(layers.RandomElasticTransform(factor=0.0)(X), X)


def test_crop_is_a_window_the_same_for_all():
    layer = layers.RandomCrop(7, 8, seed=1)
    seen = set()
    for _ in range(20):
        drawn = layer.get_random_transformation(X)
        top, left = int(drawn["top"][0]), int(drawn["left"][0])
        seen.add((top, left))
        np.testing.assert_array_equal(layer.transform_images(X, drawn), X[:, top : top + 7, left : left + 8])
    assert len(seen) > 5 and max(seen)[0] <= 5
    np.testing.assert_array_equal(layer(X, training=False), X[:, 2:9, 2:10])


def test_padding_and_crop_of_affine_are_whole_pixels():
    layer = layers.RandomAffine(horizontal_flip=True, padding=4, seed=2)
    padded = np.pad(X, ((0, 0), (4, 4), (4, 4), (0, 0)))
    found = []
    for image, wide in zip(layer(X), padded, strict=True):
        places = [(i, j, step) for i in range(9) for j in range(9) for step in (1, -1)]
        windows = {(i, j, step): wide[i : i + 12, j : j + 12][:, ::step] for i, j, step in places}
        found.append([key for key, window in windows.items() if np.array_equal(window, image)])
    assert all(found) and len({keys[0] for keys in found}) > 2


def test_color_recipes():
    grey = layers.RandomColors(saturation=(-1.0, -1.0))(X)
    np.testing.assert_allclose(
        grey, np.repeat(X @ [0.2989, 0.587, 0.114] / 0.9999, 3).reshape(X.shape), atol=1e-2
    )
    same = layers.RandomColors(hue=(0.0, 1e-6), brightness=(0.1, 0.1))(X)
    np.testing.assert_allclose(same, np.clip(X + 25.5, 0, 255), atol=1e-2)
    third = layers.RandomColors(hue=(1 / 3, 1 / 3))(X)
    np.testing.assert_allclose(third, X[..., [2, 0, 1]], atol=1e-3)
    normal = layers.RandomColors(mean=[1.0, 2, 3], variance=[4.0, 9, 16])
    np.testing.assert_allclose(normal(X), (X - [1, 2, 3]) / [2, 3, 4], atol=1e-4)
    np.testing.assert_array_equal(normal(X, training=False), normal(X))
    cast = layers.RandomColors(pca=0.5, seed=1)(np.full((500, 1, 1, 3), 128.0))[:, 0, 0] - 128
    axes = np.array(layers.recipes.COLOR_AXES) * layers.recipes.COLOR_DEVIATIONS * 127.5
    np.testing.assert_allclose(np.cov(cast.T), axes @ axes.T, atol=120)


def test_statistics():
    """Shares and means of what is drawn, of a thousand images."""
    many = np.full((1000, 2, 2, 3), 100.0, "float32")
    assert (
        0.45
        < np.mean([np.asarray(layers.RandomFlip(seed=1).get_random_transformation(many)["flips"])])
        < 0.55
    )
    delta = layers.RandomBrightness(0.2, seed=1)(many)[:, 0, 0, 0] - 100
    assert abs(delta.mean()) < 3 and abs(delta.std() - 51 * 2 / 12**0.5) < 2 and abs(delta).max() <= 51.01
    assert 0.15 < (layers.RandomInvert((0.2, 0.2), seed=1)(many)[:, 0, 0, 0] == 155).mean() < 0.25
    pepper = layers.SaltAndPepper(0.3, seed=1)(np.full((10, 64, 64, 3), 100.0))
    assert abs((pepper == 0).mean() - 0.15) < 0.01 and abs((pepper == 255).mean() - 0.15) < 0.01
    noise = layers.RandomErasing((1, 1), (0.25, 0.25), 0.0, seed=1)(np.full((50, 32, 32, 1), 9.0))
    np.testing.assert_allclose((noise == 0).mean((1, 2, 3)), 0.25, atol=0.04)


# --- labels, masks, boxes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [layers.MixUp, layers.CutMix])
def test_labels_say_what_is_in_the_picture(kind):
    """Pictures of one colour each: the shares of the colours are the labels, to within a row and a column."""
    x = np.eye(6, dtype="float32")[:, None, None, :] * np.ones((6, 32, 32, 1), "float32")
    found = kind(0.9, seed=2)({"images": x, "labels": np.eye(6)})
    np.testing.assert_allclose(found["images"].mean((1, 2)), found["labels"], atol=0.12)
    assert (found["labels"].max(1) < 0.999).any()


def test_pairing_keeps_the_label():
    found = layers.SamplePairing(seed=2)({"images": X, "labels": np.arange(6.0)})
    np.testing.assert_array_equal(found["labels"], np.arange(6.0))
    drawn = layers.SamplePairing(seed=2).get_random_transformation(X)
    np.testing.assert_allclose(
        found["images"], (X + X[np.asarray(drawn["permutation_order"]).astype(int)]) / 2
    )


BORDERED = {
    "rotation": lambda **k: layers.RandomRotation(0.2, seed=5, **k),
    "translation": lambda **k: layers.RandomTranslation(0.4, 0.4, seed=5, **k),
    "zoom": lambda **k: layers.RandomZoom((0.1, 0.4), seed=5, **k),
    "shear": lambda **k: layers.RandomShear(0.4, 0.3, seed=5, **k),
    "affine": lambda **k: layers.RandomAffine(True, True, True, 0.1, 0.3, 0.3, 0.2, seed=5, **k),
    "elastic": lambda **k: layers.RandomElasticTransform(seed=5, **k),
}


@pytest.mark.parametrize("make", BORDERED.values(), ids=BORDERED.keys())
def test_every_border(make):
    """Every mode gives other pixels; a function of the user's those of the mode that it writes down."""
    x = np.random.default_rng(2).integers(0, 256, (3, 44, 44, 3)).astype("float32")
    modes = ("constant", "nearest", "reflect", "mirror", "wrap")
    found = {mode: make(fill_mode=mode)(x) for mode in modes}
    assert len({pixels.tobytes() for pixels in found.values()}) == len(modes)
    for alias, mode in (("edge", "nearest"), ("symmetric", "reflect")):
        np.testing.assert_array_equal(make(fill_mode=alias)(x), found[mode])
    own = make(fill_mode=lambda places, n: places % n)
    np.testing.assert_allclose(own(x), found["wrap"], atol=0.02)  # of 255
    with pytest.raises(Error, match="fill_mode"):
        make(fill_mode="mirrored")
    with pytest.raises(Error, match="function"):
        own.get_config()


MOVERS = {
    "flip": lambda **k: layers.RandomFlip(seed=5, **k),
    "rotation": lambda **k: layers.RandomRotation(0.1, "constant", seed=5, **k),
    "translation": lambda **k: layers.RandomTranslation(0.2, 0.2, "constant", seed=5, **k),
    "zoom": lambda **k: layers.RandomZoom(0.3, 0.2, "constant", seed=5, **k),
    "shear": lambda **k: layers.RandomShear(0.2, 0.2, fill_mode="constant", seed=5, **k),
    "perspective": lambda **k: layers.RandomPerspective(scale=0.3, seed=5, **k),
    "crop": lambda **k: layers.RandomCrop(40, 36, seed=5, **k),
    "small crop": lambda **k: layers.RandomCrop(80, 90, seed=5, **k),
    "affine": lambda **k: layers.RandomAffine(True, True, False, 0.1, 0.2, 0.1, 0.1, seed=5, **k),
    "affine crop": lambda **k: layers.RandomAffine(crop=(0.4, 1.0), size=(32, 40), seed=5, **k),
    "auto augment": lambda **k: layers.AutoAugment([[("Rotate", 1, 9), ("ShearX", 1, 5)]], seed=5, **k),
    "rand augment": lambda **k: layers.RandAugment(factor=0.2, seed=5, **k),
    "elastic": lambda **k: layers.RandomElasticTransform(scale=(0.6, 0.6), seed=5, **k),
}


@pytest.mark.parametrize("name", MOVERS)
def test_boxes_and_masks_against_brute_force(name):
    """A white rectangle is moved; the box must be the rectangle around what is still white, and masks are the image."""
    x, n = np.zeros((8, 64, 60, 1), "float32"), 8
    corners = np.array([[[20, 18, 41, 47]]] * n, "float32")
    x[:, 18:47, 20:41] = 255.0
    data = {
        "images": x,
        "segmentation_masks": x,
        "bounding_boxes": {"boxes": corners, "labels": np.ones((n, 1))},
    }
    data["keypoints"] = np.array([[[30.5, 32.5]]] * n, "float32")  # the middle of the rectangle
    layer = MOVERS[name](bounding_box_format="xyxy")
    if name == "rand augment":
        layer.fill_mode = "constant"
    found = layer(data)
    for i in range(n):
        rows, columns = np.nonzero(found["segmentation_masks"][i, ..., 0] > 127)
        box = found["bounding_boxes"]["boxes"][i, 0]
        expected = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        scale = {"small crop": 2.5, "auto augment": 6.0}.get(name, 1.5)  # two moves: a box around a box
        np.testing.assert_allclose(box, expected, atol=scale)
        assert found["bounding_boxes"]["labels"][i, 0] == 1
        height, width = found["images"].shape[1:3]
        edges = columns.min() == 0, rows.min() == 0, columns.max() == width - 1, rows.max() == height - 1
        if not any(edges):  # the whole rectangle is there
            middle = (columns.mean() + 0.5, rows.mean() + 0.5)
            np.testing.assert_allclose(found["keypoints"][i, 0], middle, atol=3.0)


def test_perspective_of_the_smallest_images():
    for shape in ((2, 1, 1, 3), (2, 1, 9, 3), (2, 9, 1, 3)):
        layer = layers.RandomPerspective(scale=0.5, fill_mode="edge", seed=1)
        np.testing.assert_array_equal(layer(np.full(shape, 7, "uint8")), np.full(shape, 7.0))


@pytest.mark.parametrize("shape", [(0, 8, 9, 3), (2, 0, 9, 3), (2, 8, 9, 0)])
def test_no_image(shape):
    with pytest.raises(Error, match="at least one image, pixel and channel"):
        layers.RandomFlip()(np.zeros(shape, "uint8"))


def test_points_follow_an_elastic_deformation():
    """A point is where the field, at the place that is found, says it comes from; beyond the edge as at the edge."""
    layer, shape = layers.RandomElasticTransform(scale=(0.5, 0.5), seed=4), (3, 40, 50, 1)
    drawn = layer.get_random_transformation(np.zeros(shape))
    points = RNG.uniform((0, 0), (50, 40), (3, 200, 2)).astype("float32")
    found = layer.transform_keypoints(points, drawn)
    assert np.abs(found - points).max() > 1
    places = np.stack([found[..., 1], found[..., 0]], -1)[:, :, None] - 0.5
    shift = np.asarray(drawn["field"]) - np.moveaxis(np.indices((40, 50)), 0, -1)
    origin = places + ops.field_gather(shift, places, "bilinear", "nearest")
    error = np.abs(origin[:, :, 0, ::-1] + 0.5 - points)
    assert error.max() < 0.3 and (error < 0.01).mean() > 0.97  # slow where the field almost folds


def test_boxes_in_a_mixture_of_chains_are_at_the_mean_place():
    """What is drawn is replaced: one chain, a shift of 6 pixels to the right, with a share of 2 / 3."""
    layer = layers.AugMix(num_chains=1, chain_depth=1, bounding_box_format="xyxy", seed=1)
    x = np.zeros((2, 20, 30, 1), "float32")
    drawn = layer.get_random_transformation(x)
    shift = {"translations": np.array([[6.0, 0.0]] * 2, "float32"), "input_shape": x.shape}
    (step,) = drawn["chain_transforms"][0]
    step["index"] = np.array([list(step["transforms"]).index("random_translation")], "float32")
    step["transforms"]["random_translation"] = shift
    drawn["weight_sample"] = np.array([1 / 3], "float32")
    given = np.array([[[2, 3, 8, 9], [27, 1, 29, 4]]] * 2, "float32")
    found = layer.transform_bounding_boxes({"boxes": given, "labels": np.array([[5, 7]] * 2)}, drawn)
    np.testing.assert_allclose(found["boxes"][0], [[6, 3, 12, 9], [30, 1, 30, 4]], atol=1e-4)
    assert found["labels"].tolist() == [[5, -1]] * 2
    points = layer.transform_keypoints(np.array([[[1, 2]]] * 2, "float32"), drawn)
    np.testing.assert_allclose(points[1], [[5, 2]], atol=1e-5)


def test_whole_labels_stay_whole():
    """Nothing but a mixture of labels touches labels: not their numbers, not their type."""
    labels = np.array([3, 2**30 + 1, 0, 1, 1, 2])
    for layer in (layers.RandomFlip(), layers.SamplePairing(), layers.Pipeline([layers.RandomZoom(0.1)])):
        found = layer({"images": X, "labels": labels})["labels"]
        assert found.dtype == labels.dtype and found.tolist() == labels.tolist()
        one = layer({"images": X[0], "labels": labels[1]})["labels"]
        assert one == labels[1] and np.shape(one) == ()


def test_grey_images_have_no_colour_to_lose():
    grey = X[..., :1]
    for layer in (layers.RandomGrayscale(1.0), layers.RandomColorDegeneration(0.9)):
        np.testing.assert_allclose(layer(grey), grey, atol=1e-4)


def test_clahe_lifts_what_is_dark_and_flat():
    """Half of a picture nearly black: its contrast grows there, at most by the limit; limit 1 leaves a ramp a ramp."""
    x = np.tile(np.linspace(0, 255, 64), (64, 1)).astype("float32")
    x[:, :32] = x[:, :32] / 16 + 4
    y = layers.ContrastLimitedAdaptiveHistogramEqualization(tile_grid_size=(4, 4))(x[:, :, None])[..., 0]
    grown = (y[32, 28] - y[32, 4]) / (x[32, 28] - x[32, 4])
    assert 1.4 < grown <= 4
    ramp = np.arange(256, dtype="float32").reshape(1, 16, 16, 1)
    np.testing.assert_allclose(
        layers.ContrastLimitedAdaptiveHistogramEqualization((0, 255), 1.0, 1)(ramp), ramp, atol=1e-3
    )


def test_zoom_of_everything():
    """factor 1 is allowed, as in Keras: what is drawn lies above -1."""
    assert np.isfinite(layers.RandomZoom(1.0, seed=1)(X)).all()


def test_mosaic_against_brute_force():
    """Rectangles of one colour an image; every box is the rectangle around what is left of a colour in a corner."""
    n, h, w = 5, 40, 36
    x, labels = np.zeros((n, h, w, 1), "float32"), np.arange(1.0, n + 1)[:, None]
    corners = np.array([[[8 + i, 10, 20 + i, 28]] for i in range(n)], "float32")
    for i in range(n):
        x[i, 10:28, 8 + i : 20 + i] = i + 1
    layer = layers.Mosaic(bounding_box_format="xyxy", seed=1)
    drawn = layer.get_random_transformation(x)
    y = layer.transform_images(x, drawn)
    found = layer.transform_bounding_boxes({"boxes": corners, "labels": labels}, drawn)
    for i in range(n):
        row, column = int(drawn["rows"][i]), int(drawn["columns"][i])
        parts = (slice(0, row), slice(row, h)), (slice(0, column), slice(column, w))
        places = [(rows, columns) for rows in parts[0] for columns in parts[1]]
        for k, place in enumerate(places):
            corner = np.zeros((h, w))
            corner[place] = y[i, ..., 0][place]
            rows, columns = np.nonzero(corner)
            assert found["labels"][i, k] == (corner.max() if len(rows) else -1)
            if len(rows):
                expected = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
                np.testing.assert_allclose(found["boxes"][i, k], expected, atol=1e-4)


def test_boxes_outside_are_marked():
    layer = layers.RandomTranslation((0.5, 0.5), (0.0, 0.0), bounding_box_format="xyxy")
    given = {"boxes": np.array([[[0, 7, 3, 12], [0, 0, 6, 6]]], "float32"), "labels": np.array([[4, 5]])}
    found = layer({"images": X[:1], "bounding_boxes": given})["bounding_boxes"]
    np.testing.assert_array_equal(found["labels"], [[-1, 5]])
    np.testing.assert_allclose(found["boxes"], [[[0, 12, 3, 12], [0, 6, 6, 12]]], atol=1e-4)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(BOX_FORMATS), st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**31))
def test_formats_of_boxes_round_trip(form, h, w, seed):
    rng = np.random.default_rng(seed)
    corners = np.sort(rng.uniform(0, 1, (2, 3, 2, 2)) * [w, h], 2).reshape(2, 3, 4)
    there = boxes.from_corners(corners, form, h, w)
    np.testing.assert_allclose(boxes.to_corners(there, form, h, w), corners, atol=1e-9 * max(h, w))


def test_numbers_of_boxes():
    layer = layers.MaxNumBoundingBoxes(3)
    given = {"boxes": np.ones((2, 1, 4)), "labels": np.zeros((2, 1))}
    found = layer({"images": X[:2], "bounding_boxes": given})["bounding_boxes"]
    np.testing.assert_array_equal(found["labels"], [[0, -1, -1]] * 2)
    assert found["boxes"].shape == (2, 3, 4) and (found["boxes"][:, 1:] == -1).all()
    many = {"boxes": np.ones((2, 5, 4)), "labels": np.zeros((2, 5))}
    assert layer({"images": X[:2], "bounding_boxes": many})["bounding_boxes"]["labels"].shape == (2, 3)


# --- policies --------------------------------------------------------------------------------------------------


def test_published_policies():
    for name in ("cifar10", "imagenet", "svhn"):
        found = layers.policies.published(name)
        assert len(found) == 25 and all(len(steps) == 2 for steps in found)
        assert all(0 <= p <= 1 and 0 <= m <= 9 for steps in found for _, p, m in steps)
    assert layers.policies.published("cifar10")[0] == [("Invert", 0.1, 0.0), ("Contrast", 0.2, 6.0)]


def test_policy_of_the_batch():
    """choose="batch": every image of a batch goes through one sub-policy."""
    policy = [[("Invert", 1, 0)], [("Identity", 1, 0)]]
    layer = layers.AutoAugment(policy, choose="batch", seed=1)
    seen = set()
    for _ in range(12):
        y = layer(X)
        inverted = (y == 255 - X).all((1, 2, 3))
        assert inverted.all() or not inverted.any()
        seen.add(bool(inverted.all()))
    assert seen == {True, False}


def test_probability_of_a_step():
    layer = layers.AutoAugment([[("Invert", 0.3, 0)]], seed=1)
    x = np.full((1000, 1, 1, 3), 10.0)
    assert 0.26 < (layer(x)[:, 0, 0, 0] == 245).mean() < 0.34


# --- errors ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: layers.RandomFlip("diagonal"), "mode 'diagonal' is unknown"),
        (lambda: layers.RandomRotation(1.5), "factor must be a number from -1 to 1"),
        (lambda: layers.RandomRotation((0.1, 0.2, 0.3)), "must be a number or two"),
        (lambda: layers.RandomRotation(0.1, "mirrored"), "did you mean 'mirror'"),
        (lambda: layers.RandomZoom((-1, -1)), "nothing of the image is left"),
        (lambda: layers.RandomBrightness(0.1, (3, 3)), "value_range"),
        (lambda: layers.RandomGaussianBlur(kernel_size=4), "odd"),
        (lambda: layers.RandomCrop(0, 3), "at least 1"),
        (lambda: layers.RandomFlip(data_format="channels_first"), "channels_first"),
        (lambda: layers.RandomFlip(bounding_box_format="xyzw"), "bounding_box_format 'xyzw'"),
        (lambda: layers.RandomFlip()(X[0, 0]), "expected images"),
        (lambda: layers.RandomFlip()({"image": X}), "a dict of 'images'"),
        (lambda: layers.RandomFlip()({"images": X, "bounding_boxes": BOXES}), "bounding_box_format='xyxy'"),
        (lambda: layers.RandomFlip()({"images": X, "bounding_boxes": X}), "must be a dict"),
        (lambda: layers.MixUp()({"images": X, "labels": np.arange(6)}), "one-hot"),
        (lambda: layers.CutMix()({"images": X, "bounding_boxes": BOXES}), "MixUp"),
        (lambda: layers.AutoAugment("cifar"), "did you mean 'cifar10'"),
        (lambda: layers.AutoAugment([[("Rotte", 1, 1)]]), "did you mean 'Rotate'"),
        (lambda: layers.AutoAugment([[("Rotate", 2, 1)]]), "probability must be"),
        (lambda: layers.AutoAugment([]), "list of sub-policies"),
        (lambda: layers.RandomColors(hue=0.1)(X[..., :2]), "three channels"),
        (lambda: layers.RandomColors(mean=1.0), None),
        (lambda: layers.RandomColors(mean=1.0)(X), "mean and variance"),
        (lambda: layers.RandomAffine(size=(30, 30))(X), "does not fit"),
        (lambda: layers.RandomAffine(quarter_turns=True)(X[:, :5]), "square"),
        (lambda: layers.RandomErasing(fill_value=[1, 2])(X), "one for each of 3 channels"),
        (lambda: layers.Pipeline([1]), "expected layers"),
        (lambda: layers.Pipeline(None), "expected a list of layers, got a NoneType"),
        (lambda: layers.Pipeline(layers.RandomFlip()), "expected a list of layers"),
        (lambda: layers.RandomHue(0.1)(X[..., :1]), "RandomHue needs images of three channels.* got 1"),
        (lambda: layers.RandomSaturation(0.1)(X[..., :2]), "RandomSaturation needs images of three channels.* got 2"),
        (lambda: layers.RandomColorJitter(saturation_factor=0.1)(X[..., :1]), "needs images of three channels"),
        (lambda: layers.RandomColors(mean=[1, 2], variance=[1, 2])(X), "mean must be a number or one for each of 3"),
        (lambda: layers.RandomColors(mean="a", variance="b")(X), "mean must be a number"),
        (lambda: layers.RandomColors(mean=1, variance=-1)(X), "must not be negative"),
        (lambda: layers.RandomErasing(fill_value="a")(X), "fill_value must be a number or one for each of 3"),
        (lambda: layers.RandomAffine(crop=2), "crop must be a number from 0.0001 to 1"),
        (lambda: layers.RandomZoom(0.1, fill_value="a"), "fill_value must be a number"),
        (lambda: layers.RandomZoom(0.1, fill_value=np.nan), "fill_value must be a number"),
        (lambda: layers.RandomInvert(value_range="ab"), "two different numbers"),
        (lambda: layers.RandomInvert(value_range=("a", "b")), "two different numbers"),
        (lambda: layers.RandomInvert(value_range=(0, np.inf)), "two different numbers"),
        (lambda: layers.RandomZoom(0.1, fill_mode=lambda places: places)(X), r"function \(places, size\) -> indices"),
        (lambda: layers.RandomFlip()({"images": X, "segmentation_masks": X[:2]}), r"\(2, 12, 12, 3\) do not go with"),
        (lambda: layers.RandomFlip()({"images": X, "segmentation_masks": X[:, :5]}), r"expected \(6, 12, 12, any\)"),
        (lambda: layers.RandomFlip()({"images": X, "segmentation_masks": X[..., 0]}), "segmentation_masks of shape"),
        (lambda: layers.RandomFlip()({"images": X, "keypoints": X}), r"keypoints of shape .* \(6, any, 2\)"),
        (lambda: layers.RandomFlip()({"images": X, "bounding_boxes": BOXES | {"boxes": np.zeros((6, 4))}}),
         r"boxes of shape \(6, 4\) do not go with"),
        (lambda: layers.RandomFlip()({"images": X, "bounding_boxes": BOXES | {"labels": np.zeros((6, 2))}}),
         r"labels of shape \(6, 2\) .* \(6, 1\)"),
    ],
)  # fmt: skip
def test_errors_say_what_to_do(call, message):
    if message is None:
        call()
    else:
        with pytest.raises(Error, match=message):
            call()


def test_every_layer_is_here():
    public = {item for name in layers.__all__ if inspect.isclass(item := getattr(layers, name))}
    wanted = {cls for cls in public if issubclass(cls, ImageLayer | layers.Pipeline)} - {ImageLayer}
    wanted -= {layers.CenterCrop, layers.Resizing}  # which draw nothing: test_sizes.py
    assert wanted - {type(make()) for make in LAYERS.values()} == set()


def test_a_layer_of_ones_own():
    class Darker(ImageLayer):
        """Half as light."""

        def transform_images(self, images, transformation, training=True):
            return images * 0.5 if training else images

    np.testing.assert_allclose(Darker()(X), X / 2)
    np.testing.assert_array_equal(Darker()(X, training=False), X)


@pytest.mark.parametrize("layer", [layers.MixUp, layers.CutMix, layers.Mosaic])
def test_class_numbers_are_not_mixed(layer):
    with pytest.raises(Error, match="cannot be mixed; make them one-hot"):
        layer()({"images": np.zeros((3, 4, 5, 3), "float32"), "labels": np.arange(3)})


@pytest.mark.parametrize(
    "policy", [3, None, [], [3], [[]], [[("Rotate", 1, 2)], []], ["a"], [[("Rotate", 1)]]]
)
def test_policies_that_are_none(policy):
    with pytest.raises(Error, match="sub-polic"):
        layers.AutoAugment(policy)
