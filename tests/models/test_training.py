"""fit, evaluate, predict: what Keras's documentation promises, on small models with exact answers."""

import os
import signal
import threading

import numpy as np
import pytest

import fastcnn as keras
from fastcnn import Error, layers


def linear(units=1, inputs=3, **kwargs):
    return keras.Sequential([keras.Input((inputs,)), layers.Dense(units, **kwargs)])


def small_convnet(classes=4):
    return keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            layers.Conv2D(8, 3, padding="same", activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(classes, activation="softmax"),
        ]
    )


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    return rng.normal(size=(64, 8, 8, 2)).astype("float32"), rng.integers(0, 4, 64)


def test_overfits_64_samples(images):
    keras.utils.set_random_seed(0)
    model = small_convnet()
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(*images, epochs=30, batch_size=16, verbose=0)
    assert history.history["accuracy"][-1] == 1.0


def test_sgd_step_by_hand():
    model = linear(kernel_initializer="ones")
    model.compile(keras.optimizers.SGD(0.1), "mse")
    x, y = np.array([[1.0, 2.0, 3.0], [0.0, 1.0, 0.0]]), np.array([[5.0], [0.0]])
    loss = model.train_on_batch(x, y)
    assert loss == pytest.approx((1 + 1) / 2)
    # dL/dw = mean over samples of 2 (p - y) x; p - y is 1 for both
    np.testing.assert_allclose(model.get_weights()[0][:, 0], 1 - 0.1 * (x[0] + x[1]), rtol=1e-6)
    np.testing.assert_allclose(model.get_weights()[1], [-0.2], rtol=1e-6)


def test_validation_split_takes_the_last_samples():
    x, y = np.arange(10.0)[:, None], np.zeros((10, 1))
    model = linear(inputs=1, kernel_initializer="ones", trainable=False)
    model.compile("sgd", "mse")
    history = model.fit(x, y, validation_split=0.25, epochs=1, verbose=0)
    assert history.history["val_loss"][0] == pytest.approx(np.mean(np.arange(7, 10.0) ** 2))
    assert history.history["loss"][0] == pytest.approx(np.mean(np.arange(7.0) ** 2))


def test_last_partial_batch_is_kept():
    seen = []

    class Count(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(batch)

    model = linear()
    model.compile("sgd", "mse")
    model.fit(np.ones((10, 3)), np.ones(10), batch_size=4, epochs=1, verbose=0, callbacks=[Count()])
    assert seen == [0, 1, 2]
    assert model.predict(np.ones((10, 3)), batch_size=4, verbose=0).shape == (10, 1)


def test_loss_is_weighted_by_batch_size():
    x = np.arange(5.0)[:, None]
    model = linear(inputs=1, kernel_initializer="ones", trainable=False)
    model.compile("sgd", "mse")
    assert model.evaluate(x, np.zeros(5), batch_size=2, verbose=0) == pytest.approx(np.mean(x**2))


def test_regularisation_counts_in_the_loss_of_training_and_evaluation():
    model = linear(kernel_initializer="ones", kernel_regularizer=keras.regularizers.L2(0.5), use_bias=False)
    model.compile(keras.optimizers.SGD(0.0), "mse", metrics=["mse"])
    x = np.zeros((4, 3))
    assert model.train_on_batch(x, np.zeros(4)) == pytest.approx([1.5, 0.0])
    assert model.evaluate(x, np.zeros(4), verbose=0) == pytest.approx([1.5, 0.0])


def test_frozen_batch_norm_uses_moving_statistics(images):
    model = small_convnet()
    norm = model.layers[1]
    norm.trainable = False
    model.compile("sgd", "sparse_categorical_crossentropy")
    before = [w.copy() for w in norm.get_weights()]
    model.fit(*images, epochs=1, verbose=0)
    for old, new in zip(before, norm.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_freezing_works_at_once_without_compile(images):
    model = small_convnet()
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(*images, epochs=1, verbose=0)
    model.layers[0].trainable = False
    before = model.layers[0].get_weights()
    model.fit(*images, epochs=1, verbose=0)
    np.testing.assert_array_equal(before[0], model.layers[0].get_weights()[0])


def test_same_seed_same_bits_whatever_the_threads(images):
    results = []
    for threads in (1, 2, 3):
        keras.set_num_threads(threads)
        keras.utils.set_random_seed(3)
        model = small_convnet()
        model.add(layers.Dropout(0.3))
        model.compile("adam", "mse")
        model.fit(images[0], np.eye(4)[images[1]], epochs=2, batch_size=10, verbose=0)
        results.append(model.get_weights())
    keras.set_num_threads(2)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_averages_of_a_weight_without_gradient_do_not_become_denormal():
    """They shrink by a tenth a step, to numbers that take processors a hundred times as long."""
    model = linear()
    model.compile(keras.optimizers.Adam(), "mse")
    model.train_on_batch(np.ones((1, 3)), np.ones((1, 1)))
    for _ in range(1200):
        model.train_on_batch(np.zeros((1, 3)), np.zeros((1, 1)))
    (momentum,) = (v.numpy() for v in model.optimizer.variables if v.path.endswith("kernel/momentum"))
    assert np.all(np.abs(momentum) < 1e-36) and not np.any(
        (momentum != 0) & (np.abs(momentum) < np.finfo("float32").smallest_normal)
    )


def test_sample_weight_and_class_weight():
    x, y = np.eye(3), np.array([0.0, 1.0, 1.0])
    model = linear(kernel_initializer="ones", trainable=False)
    model.compile("sgd", "mse", weighted_metrics=["mse"])
    loss, weighted = model.evaluate(x, y, sample_weight=np.array([2.0, 1.0, 1.0]), verbose=0)
    assert loss == pytest.approx(2 / 3)
    assert weighted == pytest.approx(2 / 4)
    history = model.fit(x, y, class_weight={0: 3.0}, verbose=0)
    assert history.history["loss"][0] == pytest.approx(1.0)


def test_initial_epoch_and_epochs():
    model = linear()
    model.compile("sgd", "mse")
    history = model.fit(np.ones((4, 3)), np.ones(4), initial_epoch=3, epochs=5, verbose=0)
    assert history.epoch == [3, 4]


def test_history_and_evaluate_order(images):
    model = small_convnet()
    model.compile(
        "adam", "sparse_categorical_crossentropy", metrics=["accuracy", "sparse_top_k_categorical_accuracy"]
    )
    history = model.fit(*images, epochs=1, verbose=0, validation_data=images)
    assert sorted(history.history) == [
        "accuracy", "loss", "sparse_top_k_categorical_accuracy",
        "val_accuracy", "val_loss", "val_sparse_top_k_categorical_accuracy",
    ]  # fmt: skip
    values = model.evaluate(*images, verbose=0)
    named = model.evaluate(*images, verbose=0, return_dict=True)
    assert values == [named["loss"], named["accuracy"], named["sparse_top_k_categorical_accuracy"]]


def test_targets_without_last_axis_are_expanded_not_broadcast():
    model = linear(trainable=False)
    model.compile("sgd", "mse", metrics=["mae"])
    x, y = np.random.default_rng(0).normal(size=(6, 3)), np.arange(6.0)
    assert model.evaluate(x, y, verbose=0) == pytest.approx(model.evaluate(x, y[:, None], verbose=0))


@pytest.fixture
def usual_ctrl_c():
    """Python's own handler, also where the tests run in the background, with Ctrl-C switched off."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_stops_after_the_batch_and_returns_the_history(usual_ctrl_c):
    class Interrupt(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if batch == 2:
                os.kill(os.getpid(), signal.SIGINT)

    model = linear()
    model.compile("sgd", "mse")
    history = model.fit(
        np.ones((100, 3)), np.ones(100), batch_size=10, epochs=5, verbose=0, callbacks=[Interrupt()]
    )
    assert history.epoch == [0]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert np.isfinite(model.predict(np.ones((2, 3)), verbose=0)).all()


def test_predict_from_many_threads(images):
    model = small_convnet()
    expected = model.predict(images[0], verbose=0)
    wrong = []

    def work():
        for _ in range(10):
            if not np.array_equal(model.predict(images[0], verbose=0), expected):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_variable_image_sizes():
    model = keras.Sequential(
        [keras.Input((None, None, 1)), layers.Conv2D(3, 3), layers.GlobalAveragePooling2D(), layers.Dense(2)]
    )
    for size in (5, 8, 11):
        assert model.predict(np.zeros((2, size, size + 1, 1)), verbose=0).shape == (2, 2)


# --- bad input -------------------------------------------------------------------------------------------------


def bad_fit(x=None, y=None, match="", loss="sparse_categorical_crossentropy", **kwargs):
    model = small_convnet()
    model.compile("sgd", loss)
    before = model.get_weights()
    x = np.zeros((6, 8, 8, 2), "float32") if x is None else x
    y = np.zeros(6, int) if y is None else y
    with pytest.raises(Error, match=match):
        model.fit(x, y, verbose=0, **kwargs)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_wrong_channels():
    bad_fit(
        x=np.zeros((6, 8, 8, 3), "float32"), match=r"expected shape \(None, 8, 8, 2\), got \(6, 8, 8, 3\)"
    )


def test_wrong_rank():
    bad_fit(x=np.zeros((6, 8, 8), "float32"), match=r"expected shape")


def test_labels_outside_the_classes():
    bad_fit(y=np.array([0, 1, 2, 3, 4, 0]), match="4")


def test_one_hot_labels_for_the_sparse_loss():
    bad_fit(y=np.eye(4)[np.zeros(6, int)], match="categorical_crossentropy")


def test_integer_labels_for_the_categorical_loss():
    bad_fit(loss="categorical_crossentropy", match="to_categorical|sparse")


def test_mismatched_lengths():
    bad_fit(y=np.zeros(5, int), match="6.*5")


def test_nan_in_the_data():
    x = np.zeros((6, 8, 8, 2), "float32")
    x[3, 1, 1, 0] = np.nan
    bad_fit(x=x, match="sample 3")


def test_empty_data():
    bad_fit(x=np.zeros((0, 8, 8, 2)), y=np.zeros(0, int), match="no sample")


def test_unknown_names_give_the_nearest():
    model = small_convnet()
    with pytest.raises(Error, match="adam"):
        model.compile("adan", "mse")
    with pytest.raises(Error, match="CategoricalCrossentropy"):
        model.compile("sgd", "categorical_crossentropi")


def test_from_logits_after_softmax():
    bad_fit(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), match="from_logits")


def test_fit_before_compile():
    with pytest.raises(Error, match="compile"):
        small_convnet().fit(np.zeros((1, 8, 8, 2)), np.zeros(1))


def test_raw_images_give_a_notice(capsys):
    model = small_convnet()
    model.compile("sgd", "sparse_categorical_crossentropy")
    x = np.full((4, 8, 8, 2), 200, np.uint8)
    model.fit(x, np.zeros(4, int), verbose=0)
    model.fit(x, np.zeros(4, int), verbose=0)
    assert capsys.readouterr().err.count("whole numbers up to 200") == 1


def test_kernel_larger_than_the_input():
    with pytest.raises(Error, match="layer number 1.*conv"):
        keras.Sequential([keras.Input((4, 4, 1)), layers.ReLU(), layers.Conv2D(2, 5)])


@pytest.mark.parametrize("loss", ["sparse_categorical_crossentropy", "mse", None])
def test_plan_is_shown_with_targets_as_the_loss_wants_them(loss):
    model = keras.Sequential(
        [layers.Input((4, 4, 2)), layers.Flatten(), layers.Dense(3, activation="softmax")]
    )
    model.compile("adam", loss)
    if loss is not None:
        assert "Adam" in model.plan(5) and "5x3" in model.plan(5)
    assert "Dense" in model.plan(5, training=False)


def test_every_batch_of_a_generator_is_checked():
    x, y = np.ones((4, 3), "float32"), np.array([0, 1, 0, 1])
    model = linear(2, activation="softmax")
    model.compile("sgd", "sparse_categorical_crossentropy")
    weights = []

    def batches():
        yield x, y
        weights.extend(model.get_weights())
        yield x, y + 5

    with pytest.raises(Error, match=r"label 5 of sample 0 is outside 0\.\.1"):
        model.fit(batches(), verbose=0)
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(after, before)


def test_unknown_metrics_are_refused_by_compile():
    with pytest.raises(Error, match="unknown metric 'acuracy'; did you mean 'Accuracy'"):
        linear().compile("sgd", "mse", metrics=["mae", "acuracy"])


def test_errors_name_the_output():
    x = keras.Input((3,))
    model = keras.Model(x, [layers.Dense(2, name="a")(x), layers.Dense(2, name="b", activation="softmax")(x)])
    model.compile("sgd", ["mse", "sparse_categorical_crossentropy"])
    with pytest.raises(Error, match="output 'b': loss 'sparse_categorical_crossentropy': label 2"):
        model.fit(np.ones((4, 3)), [np.ones((4, 2)), np.full(4, 2)], verbose=0)


@pytest.mark.parametrize("name", ["crossentropy", "ce"])
def test_crossentropy_by_the_shape_of_targets(name):
    x, labels = np.ones((4, 3), "float32"), np.array([0, 1, 1, 0])
    for units, activation, y, expected in [
        (1, "sigmoid", labels, "binary_crossentropy"),
        (2, "softmax", labels, "sparse_categorical_crossentropy"),
        (2, "softmax", np.eye(2)[labels], "categorical_crossentropy"),
    ]:
        model = linear(units, activation=activation)
        losses = []
        for loss in (name, expected):
            model.compile("sgd", loss, metrics=["ce"])
            losses.append(model.evaluate(x, y, verbose=0))
        assert losses[0] == losses[1]


def test_compile_configuration_round_trip():
    model, copy = linear(), linear()
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), keras.losses.Huber(0.5), metrics=["mae"])
    copy.compile_from_config(model.get_compile_config())
    copy.set_weights(model.get_weights())
    x, y = np.ones((8, 3)), np.ones((8, 1))
    assert model.fit(x, y, epochs=3, verbose=0).history == copy.fit(x, y, epochs=3, verbose=0).history
    assert copy.get_metrics_result().keys() == {"loss", "mae"}
