"""Files: exact round trips, resuming, and every kind of bad file."""

import json
import os
import struct

import numpy as np
import pytest
from safetensors.numpy import save_file

import fastcnn as keras
from fastcnn import Error, layers
from fastcnn.saving import FileError


def model_of(optimizer="adam", classes=3):
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            layers.Conv2D(4, 3, activation="relu", kernel_regularizer="l2"),
            layers.BatchNormalization(),
            layers.Dropout(0.3),
            layers.Flatten(),
            layers.Dense(classes, activation="softmax"),
        ]
    )
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(32, 6, 6, 1)).astype("float32"), rng.integers(0, 3, 32)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "rmsprop", "nadam"])
def test_resumed_training_is_bit_for_bit(tmp_path, data, optimizer):
    straight = model_of(optimizer)
    for _ in range(4):
        straight.train_on_batch(*data)
    halfway = model_of(optimizer)
    for _ in range(2):
        halfway.train_on_batch(*data)
    halfway.save(tmp_path / "half.safetensors")
    resumed = keras.models.load_model(tmp_path / "half.safetensors")
    for _ in range(2):
        resumed.train_on_batch(*data)
    for a, b in zip(straight.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_predictions_and_evaluation_survive(tmp_path, data):
    model = model_of()
    model.fit(*data, epochs=2, verbose=0)
    model.save(tmp_path / "m.keras")
    again = keras.models.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(model.predict(data[0], verbose=0), again.predict(data[0], verbose=0))
    assert model.evaluate(*data, verbose=0) == again.evaluate(*data, verbose=0)
    assert again.optimizer.iterations == model.optimizer.iterations


def test_weights_go_to_a_second_model_of_the_same_code(tmp_path, data):
    model, twin = model_of(), model_of()
    model.fit(*data, verbose=0)
    model.save_weights(tmp_path / "w.weights.h5")
    twin.load_weights(tmp_path / "w.weights.h5")
    np.testing.assert_array_equal(model.predict(data[0], verbose=0), twin.predict(data[0], verbose=0))


def test_every_mismatch_is_reported_and_nothing_is_loaded(tmp_path):
    model_of().save_weights(tmp_path / "w")
    other = model_of(classes=5)
    before = other.get_weights()
    with pytest.raises(FileError, match=r"dense/kernel.*\(64, 5\).*\(64, 3\).*dense/bias"):
        other.load_weights(tmp_path / "w")
    for a, b in zip(before, other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    other.load_weights(tmp_path / "w", skip_mismatch=True)
    np.testing.assert_array_equal(other.get_weights()[0], model_of().get_weights()[0])


def test_overwrite_false(tmp_path):
    model_of().save(tmp_path / "m")
    with pytest.raises(FileError, match="exists"):
        model_of().save(tmp_path / "m", overwrite=False)


def test_missing_folder_and_missing_file(tmp_path):
    with pytest.raises(FileError, match="does not exist"):
        model_of().save(tmp_path / "no" / "m")
    with pytest.raises(FileError, match="cannot be opened"):
        keras.models.load_model(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError):
        model_of().load_weights(tmp_path / "nothing")


def test_failed_write_leaves_the_earlier_file(tmp_path, monkeypatch):
    path = tmp_path / "m"
    model = model_of()
    model.save(path)
    old = path.read_bytes()
    monkeypatch.setattr(os, "replace", lambda *a: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(FileError, match="disk full"):
        model.save(path)
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def test_truncated_at_every_length_and_flipped_bits(tmp_path):
    path = tmp_path / "m"
    model_of().save(path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for length in [0, 1, 7, 8, 9, 100, *rng.integers(0, len(whole), 40)]:
        path.write_bytes(whole[:length])
        with pytest.raises(FileError):
            keras.models.load_model(path)
    for _ in range(60):
        damaged = bytearray(whole)
        damaged[rng.integers(0, len(whole))] ^= 1 << int(rng.integers(0, 8))
        path.write_bytes(bytes(damaged))
        try:
            keras.models.load_model(path)
        except Error:
            continue


@pytest.mark.parametrize("header", [2**31, 2**32, 2**63, 2**64 - 1])
def test_absurd_header_lengths(tmp_path, header):
    path = tmp_path / "m"
    path.write_bytes(struct.pack("<Q", header) + b"{}" * 50)
    with pytest.raises(FileError, match="header"):
        keras.models.load_model(path)


@pytest.mark.parametrize(
    ("start", "what"), [(b"PK\x03\x04" + b"0" * 30, "Keras"), (b"\x89HDF\r\n\x1a\n" + b"0" * 30, "HDF5")]
)
def test_other_formats_are_named(tmp_path, start, what):
    (tmp_path / "m").write_bytes(start)
    with pytest.raises(FileError, match=what):
        keras.models.load_model(tmp_path / "m")


def hostile(tmp_path, config):
    path = tmp_path / "hostile"
    text = config if isinstance(config, str) else json.dumps(config)
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    save_file({}, path, {"fastcnn_format": "1", "config": text, "sha256": empty})
    return path


@pytest.mark.parametrize(
    "config",
    [
        "[" * 100000,
        "not json",
        "[]",
        "{}",
        {"model": {"class_name": "os.system", "config": {"command": "true"}}},
        {"model": {"kind": "layer", "class_name": "Lambda", "config": {"function": "os.system"}}},
        {"model": {"kind": "layer", "class_name": "Sequential", "config": {"name": "x"}}},
        {"model": {"kind": "layer", "class_name": "Sequential", "config": None}},
        {"model": {"kind": "layer", "class_name": "Dense", "config": {"units": 10**15, "surprise": 1}}},
        {"model": {"module": "builtins", "class_name": "eval", "config": {}}},
    ],
)
def test_hostile_configurations(tmp_path, config):
    with pytest.raises(Error):
        keras.models.load_model(hostile(tmp_path, config))


def test_unknown_format_version(tmp_path):
    save_file({}, tmp_path / "m", {"fastcnn_format": "99"})
    with pytest.raises(FileError, match="newer"):
        keras.models.load_model(tmp_path / "m")
