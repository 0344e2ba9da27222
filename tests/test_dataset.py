"""Dataset: the same batches whatever the threads and prefetch; sources, sampling, splits, boxes, fit, bad input."""

import os
import sys
import threading
import time

import numpy as np
import pytest
from fastcnn_kernels import team
from hypothesis import given, settings
from hypothesis import strategies as st

import fastcnn
from fastcnn import layers
from fastcnn.data import Dataset, smote
from fastcnn.errors import Error

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (23, 8, 9, 3), dtype=np.uint8)
Y = np.arange(23) % 4


def all_of(dataset, epoch=0):
    return [[array.copy() for _, array in batch.named()] for batch in dataset.epoch(epoch)]


def same(a, b):
    assert len(a) == len(b)
    for first, second in zip(a, b, strict=True):
        assert all(p.tobytes() == q.tobytes() for p, q in zip(first, second, strict=True))


def augmented(x=X, y=Y):
    recipe = layers.Pipeline(
        [
            layers.RandomAffine(True, rotation=0.1, padding=2, seed=3),
            layers.RandomColors(0.1, 0.2, 0.2, seed=4),
        ]
    )
    return Dataset(x, y).shuffle(7).batch(5).map(recipe).map(layers.MixUp(0.3, seed=5))


# --- the same batches ------------------------------------------------------------------------------------------


def test_same_batches_on_any_threads_with_and_without_prefetch():
    before, results = team.num_threads(), []
    try:
        for threads in (1, 2, 4):
            team.set_num_threads(threads)
            for ahead in (0, 1, 3):
                dataset = augmented().prefetch(ahead)
                results.append(all_of(dataset, 0) + all_of(dataset, 1))
    finally:
        team.set_num_threads(before)
    for other in results[1:]:
        same(results[0], other)


def test_datasets_that_share_a_layer_do_not_meet():
    """On two threads each sets the layer's random state: one must not do so between the other's setting and drawing."""
    layer, interval = layers.RandomFlip(seed=1), sys.getswitchinterval()
    datasets = [Dataset(x).batch(1).map(layer) for x in (X, X[::-1])]
    wanted = [all_of(dataset, epoch) for epoch, dataset in enumerate(datasets)]

    def work(number):
        for _ in range(40):
            found[number].append(all_of(datasets[number], number))

    found = [[], []]
    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    for number in range(2):
        assert len(found[number]) == 40
        for epoch in found[number]:
            same(epoch, wanted[number])


def test_a_batch_does_not_depend_on_those_before():
    dataset = augmented()
    expected = all_of(dataset, 3)
    all_of(dataset, 0)
    same(all_of(dataset, 3), expected)
    assert (expected[0][0] != all_of(dataset, 4)[0][0]).any()


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 30), st.integers(1, 12), st.booleans(), st.integers(0, 99), st.integers(0, 3))
def test_an_epoch_holds_every_sample_once(n, size, drop_last, seed, epoch):
    dataset = Dataset(np.arange(n, dtype="int32")).shuffle(seed).batch(size, drop_last)
    found = np.concatenate([np.empty(0, int), *(batch.x for batch in dataset.epoch(epoch))])
    assert len(set(found.tolist())) == len(found) == (n // size * size if drop_last else n)
    assert len(list(dataset.epoch(epoch))) == len(dataset)


def test_iterating_goes_from_epoch_to_epoch():
    dataset = Dataset(np.arange(10)).shuffle(1).batch(4)
    first, second = ([x.tolist() for x in dataset] for _ in range(2))
    assert first == [batch.x.tolist() for batch in dataset.epoch(0)] and first != second
    assert sorted(sum(second, [])) == list(range(10))


# --- where samples come from -----------------------------------------------------------------------------------


def test_bytes_stay_bytes_until_a_layer(tmp_path):
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    dataset = Dataset(mapped, Y).batch(8)
    x, y = next(iter(dataset))
    assert x.dtype == np.uint8 and not isinstance(x, np.memmap)
    np.testing.assert_array_equal(x, X[:8])
    x, _ = next(iter(dataset.map(layers.Rescaling(1 / 255))))
    assert x.dtype == np.float32
    np.testing.assert_allclose(x, X[:8] / 255, rtol=1e-6)


class Items:
    """Samples by number."""

    def __len__(self):
        return 7

    def __getitem__(self, i):
        return np.full((2, 2), i, "float32"), i % 3


def test_indexable_objects_and_lists_of_samples():
    x, y = next(iter(Dataset(Items()).shuffle(0).batch(7)))
    assert x.shape == (7, 2, 2) and sorted(x[:, 0, 0]) == list(range(7))
    np.testing.assert_array_equal(x[:, 0, 0] % 3, y)
    x, y = next(iter(Dataset([(np.ones(3), 0), (np.zeros(3), 1)])))
    assert x.shape == (2, 3) and y.tolist() == [0, 1]


def test_generators():
    dataset = Dataset.from_generator(lambda: ((np.float32([i]), i % 2) for i in range(11))).batch(4)
    assert [len(x) for x, _ in dataset] == [4, 4, 3]
    mixed = dataset.shuffle(3, buffer=5)
    first, again = (np.concatenate([b.x[:, 0] for b in mixed.epoch(0)]) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert sorted(first) == list(range(11)) and (first != np.arange(11)).any()
    assert (np.concatenate([b.x[:, 0] for b in mixed.epoch(1)]) != first).any()
    with pytest.raises(Error, match="how many samples"):
        len(dataset)


@pytest.fixture
def folder(tmp_path):
    image = pytest.importorskip("PIL.Image")
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i in range(4):
            pixels = np.full((10 + i, 12, 3), 40 * i + (name == "dog"), np.uint8)
            image.fromarray(pixels).save(tmp_path / name / f"{i}.png")
    return tmp_path


def test_folder(folder):
    dataset = Dataset.from_folder(folder, (6, 5)).batch(8)
    x, y = next(iter(dataset))
    assert x.shape == (8, 6, 5, 3) and x.dtype == np.uint8 and dataset.class_names == ["cat", "dog"]
    np.testing.assert_array_equal(y, [0] * 4 + [1] * 4)
    np.testing.assert_array_equal(x[:, 0, 0, 0], [0, 40, 80, 120, 1, 41, 81, 121])
    train, test = dataset.split(0.5, 0.5, stratified=True)
    assert np.bincount(next(iter(train))[1]).tolist() == [2, 2] and test.size == 4
    np.testing.assert_array_equal(next(iter(dataset.cache()))[0], x)


def test_damaged_files(folder):
    good = (folder / "cat" / "1.png").read_bytes()
    (folder / "cat" / "1.png").write_bytes(good[: len(good) // 2])
    (folder / "dog" / "0.png").write_bytes(b"no image")
    with pytest.raises(Error, match=r"1\.png: cannot be read"):
        list(Dataset.from_folder(folder, 6))
    dataset = Dataset.from_folder(folder, 6, on_error="skip").batch(9)
    assert dataset.size == 6 and len(dataset.skipped) == 2
    assert "1.png" in dataset.skipped[0] and "0.png" in dataset.skipped[1]
    assert next(iter(dataset))[0].shape == (6, 6, 6, 3)


def test_links_that_lead_round_in_a_circle(folder):
    (folder / "cat" / "again").symlink_to(folder / "cat")
    (folder / "cat" / "dogs").symlink_to(folder / "dog")
    (folder / "cat" / "more dogs").symlink_to(folder / "dog")
    assert Dataset.from_folder(folder, 6).size == 8
    found = Dataset.from_folder(folder, 6, follow_links=True)
    assert found.size == 12 and np.bincount(found.cache().batch(12).epoch().__next__().y).tolist() == [8, 4]


def test_folders_that_cannot_be_read(folder, monkeypatch):
    usual = os.scandir

    def scandir(path):
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied", str(path))
        return usual(path)

    monkeypatch.setattr("os.scandir", scandir)
    with pytest.raises(Error, match="dog: this folder cannot be read .Permission denied"):
        Dataset.from_folder(folder, 6)


def test_images_beside_no_classes(folder):
    with pytest.raises(Error, match=r"ends in .bmp, .*; for images without classes give labels=None"):
        Dataset.from_folder(folder / "cat", 6)
    assert Dataset.from_folder(folder / "cat", 6, labels=None).size == 4


def test_enormous_and_missing_images(folder, monkeypatch):
    monkeypatch.setattr("fastcnn.data.image_files.MOST_PIXELS", 125)
    with pytest.raises(Error, match=r"pixels are more than"):
        list(Dataset.from_folder(folder, 6))
    assert Dataset.from_folder(folder, 6, on_error="skip").size == 2
    monkeypatch.setattr("fastcnn.data.image_files.MOST_PIXELS", 50)
    with pytest.raises(Error, match="none of 8 images"):
        Dataset.from_folder(folder, 6, on_error="skip")
    (folder / "empty").mkdir()
    with pytest.raises(Error, match="there is no image"):
        Dataset.from_folder(folder / "empty", 6)
    with pytest.raises(Error, match="a list of integers or None, got .*a"):
        Dataset.from_folder(folder, 6, labels=["a", "b", "c"])
    with pytest.raises(Error, match="image_size must be"):
        Dataset.from_folder(folder, None)


# --- sampling --------------------------------------------------------------------------------------------------


def test_split_and_stratified_split():
    parts = Dataset(X, Y).split(0.6, 0.2, 0.2, seed=3)
    assert [part.size for part in parts] == [14, 4, 5] or sum(part.size for part in parts) == 23
    y = np.repeat([0, 1], [80, 20])
    for part in Dataset(np.arange(100), y).split(0.6, 0.2, 0.2, stratified=True):
        assert next(iter(part.batch(100)))[1].mean() == 0.2


@pytest.mark.parametrize("stratified", [False, True])
def test_k_fold_validates_every_sample_once(stratified):
    y = np.repeat([0, 1, 2], [11, 7, 5])
    found, shares = [], []
    for train, valid in Dataset(np.arange(23), y).batch(30).k_fold(4, stratified):
        (a, _), (b, labels) = next(iter(train)), next(iter(valid))
        assert not set(a) & set(b) and len(a) + len(b) == 23
        found += b.tolist()
        shares.append(np.bincount(labels, minlength=3))
    assert sorted(found) == list(range(23))
    if stratified:
        assert np.ptp(shares, axis=0).max() <= 1


def test_balanced_and_weighted():
    y = np.repeat([0, 1, 2], [900, 90, 10])
    _, labels = next(iter(Dataset(np.arange(1000), y).balanced(seed=1).batch(1000)))
    np.testing.assert_allclose(np.bincount(labels) / 1000, 1 / 3, atol=0.06)
    (x,) = [Dataset(np.arange(4)).weighted([0, 1, 0, 3], 1).batch(400)._order(0)]
    assert set(x.tolist()) <= {1, 3}


def test_select():
    dataset = Dataset(np.arange(9)).select([4, 2, -1]).batch(9)
    assert next(iter(dataset)).tolist() == [4, 2, 8]
    assert next(iter(dataset.select([1]))).tolist() == [2]
    assert next(iter(dataset.select(np.array([True, False, True])))).tolist() == [4, 8]


def test_a_part_in_memory_is_the_same_part(folder):
    dataset = Dataset(np.arange(20), np.arange(20) % 2)
    for part in (*dataset.split(0.3, 0.7, stratified=True), dataset.select([7, 3, 3])):
        same(all_of(part.shuffle(4), 2), all_of(part.cache().shuffle(4), 2))
    (folder / "cat" / "1.png").write_bytes(b"no image")
    files = Dataset.from_folder(folder, 6, on_error="skip")
    same(all_of(files, 1), all_of(files.cache(), 1))


@pytest.mark.parametrize("cached", [False, True])
def test_a_part_knows_the_classes_of_all(cached):
    part = Dataset(X[:6], np.array([0, 1, 0, 1, 2, 3])).select([0, 1, 2])
    part = part.cache() if cached else part
    _, y = next(iter(part.map(layers.MixUp(seed=1))))
    assert y.shape == (3, 4)


def test_weights_belong_to_all_samples():
    weighted = Dataset(np.arange(6)).weighted(np.arange(6))
    for divide in (
        lambda: weighted.split(0.5, 0.5),
        lambda: weighted.select([1, 2]),
        lambda: next(weighted.k_fold(2)),
    ):
        with pytest.raises(Error, match=r"divide into folds first, then use weighted\(\) or balanced\(\)"):
            divide()


# --- maps ------------------------------------------------------------------------------------------------------


def test_functions_of_arrays():
    dataset = Dataset(X, Y).batch(6).map(lambda x, y: (x[:, ::-1], y + 1))
    x, y = next(iter(dataset))
    np.testing.assert_array_equal(x, X[:6, ::-1])
    np.testing.assert_array_equal(y, Y[:6] + 1)
    noisy = Dataset(X).batch(6).map(lambda x, rng: x + rng.normal(size=x.shape))
    same(all_of(noisy, 2), all_of(noisy.prefetch(), 2))
    with pytest.raises(Error, match="got 2 arrays and returned 1"):
        next(iter(Dataset(X, Y).map(lambda x, y: x)))


def test_labels_become_one_hot_where_samples_are_mixed():
    x, y = next(iter(Dataset(X, Y).batch(6).map(layers.CutMix(seed=1))))
    assert y.shape == (6, 4) and x.dtype == np.float32
    np.testing.assert_allclose(y.sum(1), 1, rtol=1e-5)
    _, y = next(iter(Dataset(X, Y).batch(6).map(layers.RandomFlip(seed=1))))
    assert y.dtype == Y.dtype and y.shape == (6,)


def test_boxes_move_along():
    boxes = [np.array([[0, 0, 4, 4], [2, 2, 8, 7]]), np.zeros((0, 4)), np.array([[1, 1, 3, 3]])]
    dataset = Dataset(X[:3], boxes=boxes, box_labels=[[1, 2], [], [3]]).batch(3)
    _, y = next(iter(dataset))
    assert y["boxes"].shape == (3, 2, 4) and y["labels"].tolist() == [[1, 2], [-1, -1], [3, -1]]
    layer = layers.RandomTranslation((0.0, 0.0), (1 / 9, 1 / 9), bounding_box_format="xyxy")
    _, moved = next(iter(dataset.map(layer)))
    np.testing.assert_allclose(moved["boxes"][0], [[1, 0, 5, 4], [3, 2, 9, 7]], atol=1e-5)
    np.testing.assert_array_equal(moved["labels"], y["labels"])
    _, four = next(iter(dataset.map(layers.Mosaic(bounding_box_format="xyxy"))))
    assert four["boxes"].shape == (3, 8, 4)


def test_errors_of_the_thread_are_raised_and_it_ends():
    def bad(x):
        raise Error("sample 3 is broken")

    with pytest.raises(Error, match="sample 3 is broken"):
        list(Dataset(X).map(bad).prefetch())
    slow = iter(Dataset(X).batch(1).map(lambda x: time.sleep(0.001) or x).prefetch(2))
    next(slow)
    slow.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "fastcnn-prefetch"]


# --- models ----------------------------------------------------------------------------------------------------


def network():
    fastcnn.utils.set_random_seed(1)
    model = fastcnn.Sequential([layers.Input((8, 9, 3)), layers.Flatten(), layers.Dense(4, "softmax")])
    model.compile("sgd", "categorical_crossentropy", metrics=["accuracy"])
    return model


def test_fit_evaluate_and_predict():
    dataset = augmented().map(layers.Rescaling(1 / 255))
    weights = []
    for ahead in (0, 2):
        model = network()
        history = model.fit(dataset.prefetch(ahead), epochs=3, verbose=0, validation_data=dataset)
        assert len(history.history["val_loss"]) == 3
        weights.append(model.get_weights())
    for a, b in zip(*weights, strict=True):
        np.testing.assert_array_equal(a, b)
    assert len(model.evaluate(dataset, verbose=0)) == 2
    plain = Dataset(X).batch(5).map(layers.Rescaling(1 / 255))
    expected = model.predict(X / np.float32(255), batch_size=5, verbose=0)
    np.testing.assert_allclose(model.predict(plain, verbose=0), expected, rtol=1e-5)
    model.fit(dataset, epochs=2, steps_per_epoch=3, verbose=0, class_weight={0: 2.0})


def test_fit_goes_through_epochs_in_other_orders_and_a_generator():
    seen = []

    def note(x, y):
        seen.append(y.argmax(-1).tolist())
        return x, y

    model = network()
    y = np.eye(4)[Y]
    model.fit(Dataset(X / 255, y).shuffle(1).batch(23).map(note), epochs=2, verbose=0)
    assert len({tuple(order) for order in seen}) == 2
    stream = Dataset.from_generator(lambda: zip(X / 255, y, strict=True)).batch(5)
    assert len(model.fit(stream, epochs=2, verbose=0).history["loss"]) == 2


# --- SMOTE -----------------------------------------------------------------------------------------------------


def test_smote_makes_classes_equal_between_neighbours():
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.normal(0, 1, (40, 3)), rng.normal(9, 1, (8, 3)), rng.normal(-9, 1, (2, 3))])
    y = np.repeat([0, 1, 2], [40, 8, 2])
    new_x, new_y = smote(x, y, k=3, seed=2)
    assert np.bincount(new_y).tolist() == [40, 40, 40]
    np.testing.assert_array_equal(new_x[:50], x)
    pair = new_x[50:][new_y[50:] == 2]
    line = x[49] - x[48]
    share = (pair - x[48]) @ line / (line @ line)
    np.testing.assert_allclose(pair, x[48] + share[:, None] * line, atol=1e-4)
    assert share.min() >= -1e-6 and share.max() <= 1 + 1e-6 and np.ptp(share) > 0.5
    again = smote(x, y, k=3, seed=2)
    np.testing.assert_array_equal(again[0], new_x)


def test_smote_keeps_bytes_and_takes_near_neighbours():
    x = np.array([[[0]], [[10]], [[200]], [[210]], *[[[100]]] * 6], np.uint8)
    new_x, new_y = smote(x, np.repeat([0, 1], [4, 6]), k=1)
    assert new_x.dtype == np.uint8 and new_x.shape == (12, 1, 1)
    assert all(v <= 10 or 200 <= v <= 210 for v in new_x[10:].ravel()) and (new_y[10:] == 0).all()


@pytest.mark.parametrize(
    "names", [("segmentation_masks",), ("keypoints",), ("keypoints", "segmentation_masks", "boxes")]
)
def test_layers_move_what_goes_with_a_picture(names):
    """A mask of the bright pixels stays one; points and boxes stay where their pixel went."""
    x = np.random.default_rng(5).permutation(6 * 64).reshape(6, 8, 8, 1).astype(np.float32)
    point, corner = np.array([2.0, 5.0], np.float32), np.array([2.0, 5.0, 3.0, 6.0], np.float32)
    everything = {
        "segmentation_masks": (x > 200).astype(np.uint8),
        "keypoints": np.tile(point, (6, 1, 1)),
        "boxes": np.tile(corner, (6, 1, 1)),
        "labels": np.zeros((6, 1), np.int64),
    }
    wanted = {*names, "labels"} if "boxes" in names else set(names)
    y = {name: value for name, value in everything.items() if name in wanted}
    flip = layers.RandomFlip("horizontal", seed=3, bounding_box_format="xyxy")
    (moved, found), flipped = next(iter(Dataset(x, y).batch(6).map(flip))), 0
    assert set(found) == wanted
    for i in range(6):
        turned = not np.array_equal(moved[i], x[i])
        flipped += turned
        np.testing.assert_array_equal(moved[i], x[i, :, ::-1] if turned else x[i])
        if "segmentation_masks" in found:
            assert found["segmentation_masks"].dtype == np.uint8
            np.testing.assert_array_equal(found["segmentation_masks"][i], moved[i] > 200)
        if "boxes" in found:
            assert found["boxes"][i].tolist() == [[5, 5, 6, 6] if turned else [2, 5, 3, 6]]
        if "keypoints" in found:
            left = found["keypoints"][i, 0, 0]
            assert left in ((5, 6) if turned else (2,)) and found["keypoints"][i, 0, 1] == 5
    assert 0 < flipped < 6


@pytest.mark.parametrize("dtype", ["float64", "float16", "int64", "int16"])
@pytest.mark.parametrize(
    "make",
    [
        lambda: layers.RandomFlip(seed=1, bounding_box_format="xyxy"),
        lambda: layers.RandomContrast(0.3, seed=1),
        lambda: layers.RandomErasing(seed=1),
        lambda: layers.MixUp(seed=1),
        lambda: layers.AugMix(seed=1, bounding_box_format="xyxy"),
        lambda: layers.RandomCrop(5, 6, seed=1, bounding_box_format="xyxy"),
        lambda: layers.AutoAugment(seed=1, bounding_box_format="xyxy"),
        lambda: layers.Rescaling(0.5),
    ],
)
def test_numbers_of_any_format_become_those_of_the_layer(make, dtype):
    """NumPy's own is float64: images, boxes and their kin of it are what they are in float32."""
    layer, x = make(), X[:6] // 2
    boxes = {"boxes": np.tile([[[1, 2, 5, 6]]], (6, 1, 1)), "labels": np.ones((6, 1), np.int64)}

    def made(kind):
        y = {**boxes, "boxes": boxes["boxes"].astype(kind)}
        return next(Dataset(x.astype(kind), y).batch(6).map(layer).epoch(0))

    found, expected = made(dtype), made("float32")
    assert found.x.dtype == np.float32
    np.testing.assert_array_equal(found.x, expected.x)
    for key in expected.y:
        np.testing.assert_array_equal(found.y[key], expected.y[key])


def test_layers_that_know_no_places():
    """What keeps the size leaves them alone, what changes it is refused; mixtures of masks have fractions."""
    x, masks = np.zeros((4, 8, 8, 1), np.uint8), np.eye(2, dtype=np.uint8)[np.arange(4) % 2][:, None, None, :]
    data = Dataset(x, {"segmentation_masks": np.tile(masks, (1, 8, 8, 1))}).batch(4)
    _, found = next(iter(data.map(layers.Rescaling(2.0))))
    assert found["segmentation_masks"].shape == (4, 8, 8, 2)
    with pytest.raises(Error, match=r"changes the size of pictures.*segmentation_masks"):
        next(iter(data.map(layers.MaxPooling2D(2))))
    _, found = next(iter(data.map(layers.MixUp(50.0, seed=1))))
    assert found["segmentation_masks"].dtype == np.float32
    assert ((found["segmentation_masks"] > 0.1) & (found["segmentation_masks"] < 0.9)).any()
    np.testing.assert_allclose(found["segmentation_masks"].sum(-1), 1, rtol=1e-6)


@pytest.mark.parametrize(
    "layer",
    [
        layers.MaxPooling2D(2), layers.AveragePooling2D(2), layers.Conv2D(2, 3), layers.ReLU(),
        layers.GaussianNoise(0.5),
        layers.Pipeline([layers.ZeroPadding2D(1), layers.LayerNormalization()]),
    ],
    ids=lambda layer: layer.name,
)  # fmt: skip
def test_layers_of_numbers_with_fractions_get_such_from_bytes(layer):
    x = np.random.default_rng(0).integers(0, 255, (4, 8, 8, 3)).astype(np.uint8)
    found, _ = next(iter(Dataset(x, np.zeros(4, int)).batch(4).map(layer)))
    assert found.dtype == np.float32
    if "noise" not in layer.name:
        np.testing.assert_allclose(found, layer(x), rtol=1e-6)


def test_smote_refuses_what_has_no_distance():
    for arguments, message in (
        (([["a"], ["b"]], [0, 1]), "must be numbers"),
        (([[1.0], [2.0]], [0, 1], "a"), "k of 1 or more"),
        ((3.0, [0]), "needs samples"),
    ):
        with pytest.raises(Error, match=message):
            smote(*arguments)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_a_pipe_is_no_image(tmp_path):
    """Nobody may ever write to it."""
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(Error, match=r"a.png: is no file"):
        next(iter(Dataset.from_folder(tmp_path, labels=None).batch(1)))


def with_box(box, form="xyxy"):
    return Dataset(X[:1], boxes=[[box]], box_labels=[[1]], bounding_box_format=form)


def test_bad_boxes_and_labels_are_left_out():
    """on_error="skip": box by box, sample by sample, each named; the lists that were given stay."""
    boxes = [[[0, 0, 4, 4], [3, 3, 2, 5]], [[20, 0, 30, 4]], [[1, 1, np.inf, 2], [1, 2, 5, 6]]]
    labels = [[0, 1], [1], [0, 5]]
    options = {"bounding_box_format": "xyxy", "class_names": ["a", "b"], "on_error": "skip"}
    dataset = Dataset(X[:3], boxes=boxes, box_labels=labels, **options).batch(3)
    assert [message[:14] for message in dataset.skipped] == [
        "image 0: box 1", "image 1: box 0", "image 2: box 0", "image 2: box 1",
    ]  # fmt: skip
    assert "has the label 5" in dataset.skipped[3]
    _, y = next(iter(dataset))
    assert y["labels"].tolist() == [[0], [-1], [-1]] and len(boxes[0]) == 2
    some = Dataset(X[:4], np.array([0, 7, 1, -1]), class_names=["a", "b"], on_error="skip").batch(4)
    assert some.size == 2 and len(some.skipped) == 2 and next(iter(some))[1].tolist() == [0, 1]
    with pytest.raises(Error, match="no sample is left"):
        Dataset(X[:1], np.array([3]), class_names=["a"], on_error="skip")


@pytest.mark.parametrize("form", ["center_yxhw", "yxyx", "rel_center_xywh"])
def test_boxes_of_every_format_are_checked(form):
    """A box of the left edge, 2 wide and 4 high, is good; moved to the right by 20 columns it is not."""
    height, width = X.shape[1:3]
    of = {
        "center_yxhw": lambda x: [2, x + 1, 4, 2],
        "yxyx": lambda x: [0, x, 4, x + 2],
        "rel_center_xywh": lambda x: [(x + 1) / width, 2 / height, 2 / width, 4 / height],
    }[form]
    with_box(of(0), form)
    with pytest.raises(Error, match="lies outside"):
        with_box(of(20), form)


# --- bad input -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Dataset(x for x in X), "from_generator"),
        (lambda: Dataset(X, Y[:3]), "23 samples and y has 3"),
        (lambda: Dataset(np.zeros((0, 2))), "no sample"),
        (lambda: Dataset([]), "no sample"),
        (lambda: Dataset(Items(), Y), "bring y"),
        (lambda: Dataset(X, Y, boxes=[[]] * 23, box_labels=[[]] * 23), "place of y"),
        (lambda: Dataset(X, boxes=[[]], box_labels=[[]]), "an entry for each of 23"),
        (lambda: Dataset(X[:1], boxes=[[[0, 0, 1, 1]]], box_labels=[[]]), "image 0 has 1 boxes and 0"),
        (lambda: Dataset(X[:1], boxes=[[[0, 0, np.nan, 1]]], box_labels=[[1]]), "finite"),
        (lambda: with_box([3, 3, 2, 5], "xyxx"), "bounding_box_format 'xyxx' is unknown; did you mean"),
        (lambda: with_box([3, 3, 2, 5]), "image 0: box 0.*no positive width"),
        (lambda: with_box([9, 3, 12, 5]), "lies outside of 9 x 8 pixels"),
        (lambda: with_box([1, 1, -2, 5], "xywh"), "no positive width"),
        (lambda: with_box([1.5, 0.5, 0.2, 0.2], "rel_center_xywh"), "lies outside"),
        (
            lambda: Dataset(X, Y, class_names=["a", "b", "c"]),
            "sample 3 has the label 3, but 3 class_names",
        ),
        (lambda: Dataset("folder"), "from_folder"),
        (lambda: Dataset(X, box_labels=[[]] * 23), "boxes go with box_labels"),
        (lambda: Dataset(Items(), boxes=[[]], box_labels=[[]]), "an array of images"),
        (lambda: Dataset(X[..., 0], boxes=[[]] * 23, box_labels=[[]] * 23), "one array of images"),
        (lambda: with_box([1, 2, 3]), r"image 0: boxes must be numbers \(m, 4\), got shape"),
        (lambda: with_box("all"), "image 0: boxes must be numbers"),
        (lambda: Dataset(X[:1], boxes=[[[1, 1, 2, 2]]], box_labels=[["a"]]), "must be whole numbers"),
        (lambda: Dataset(X[:1], boxes=[[[1, 1, 2, 2]]], box_labels=[[0.5]]), "label 0.5, which is no whole"),
        (lambda: Dataset(X).batch(0), "at least 1"),
        (lambda: Dataset(X).batch(2.5), "size must be a whole number, got 2.5"),
        (lambda: Dataset(X).weighted("ab"), "weights: holds"),
        (lambda: Dataset(X).select("a"), "whole numbers"),
        (lambda: Dataset(X).split(float("nan"), 0.5), "sum to 1"),
        (lambda: Dataset(X).split("a", 0.5), "sum to 1"),
        (lambda: Dataset(X).split(0.5, 0.5, seed="a"), "seed that is a whole number from 0 on, got 'a'"),
        (lambda: Dataset(X, Y, class_names=4), "class_names must be a list of names, one a class, got 4"),
        (lambda: Dataset(X, Y, class_names="abcd"), "class_names must be a list of names"),
        (lambda: next(iter(Dataset(X, Y).map(lambda x: x))), r"must take the 2 arrays of a batch \(x, y\)"),
        *[
            (lambda bad=bad: Dataset.from_folder(bad), "from_folder: expected a path")
            for bad in (None, 3, b"/", ["a"])
        ],
        (lambda: list(Dataset.from_generator(lambda: None)), "returned a NoneType"),
        (lambda: next(iter(Dataset(X).map(lambda x: None))), "expected numbers"),
        (lambda: next(iter(Dataset(X, Y).map(lambda x, y: (x[:2], y)))), "they must be equal"),
        (lambda: Dataset(X).map(3), "a layer or a function"),
        (lambda: Dataset(X).balanced(), "array of labels"),
        (lambda: Dataset(X).weighted([1, 2]), "23 weights"),
        (lambda: Dataset(X).select([23]), "indices reach"),
        (lambda: Dataset(X).split(0.5, 0.6), "sum to 1"),
        (lambda: next(Dataset(X).k_fold(1)), "between 2"),
        (lambda: Dataset.from_generator(iter(X)), "begins anew"),
        (lambda: Dataset.from_folder("/nowhere"), "no folder"),
        (lambda: next(iter(Dataset([(X[0], 0), (X[0, 1:], 1)]))), "one shape"),
        (lambda: next(iter(Dataset((X, X)).map(layers.RandomFlip()))), "takes one array x"),
        (lambda: network().fit(Dataset(X, Y), Y), "cannot be given"),
        (lambda: network().fit(Dataset(X, Y).batch(30, True), verbose=0), "no batch"),
        (lambda: smote(X, Y[:2]), "classes"),
        (lambda: smote(np.ones((3, 1)), np.array([0, 0, 1])), "no neighbour"),
    ],
)
def test_bad_input_is_explained(call, message):
    with pytest.raises(Error, match=message):
        call()


def test_a_stream_can_be_listed() -> None:
    """`list` asks for a length and has to be told that there is none."""
    batches = list(Dataset.from_generator(lambda: iter(X[:5])).batch(2))
    assert [len(batch) for batch in batches] == [2, 2, 1]


@pytest.mark.parametrize("steps", [None, 4])
def test_a_generator_that_does_not_begin_anew(steps: int | None) -> None:
    samples = iter(X[:6])
    batches = Dataset.from_generator(lambda: samples).batch(2).as_batches(steps, True, None)
    with pytest.raises(Error, match="must begin anew"):
        for epoch in range(2):
            assert len(list(batches.epoch(epoch))) == 3


@pytest.mark.parametrize(
    "labels", [np.array([[0], [2], [1]]), np.array([0.0, 2.0, 1.0]), np.array([0.0, 0.5, 1.0]), np.eye(3)],
    ids=["a column", "floats", "no whole number", "one-hot"],
)  # fmt: skip
def test_labels_without_a_name(labels: np.ndarray) -> None:
    with pytest.raises(Error, match="but 2 class_names are for labels from 0 to 1"):
        Dataset(X[:3], labels, class_names=["a", "b"])


def test_a_rare_class_is_in_every_part() -> None:
    labels = np.array([0] * 95 + [1] * 3 + [2] * 4)
    parts = Dataset(np.arange(102), labels).split(0.6, 0.2, 0.2, stratified=True)
    counts = np.array([np.bincount(next(iter(part.batch(102)))[1]) for part in parts])
    assert counts[:, 1].tolist() == [1, 1, 1] and counts[:, 2].min() == 1
    assert counts.sum(0).tolist() == [95, 3, 4]
