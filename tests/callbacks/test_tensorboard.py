"""Event files, read back by a reader written here from the format's description, and by TensorBoard where it is."""

import struct

import numpy as np
import pytest

import fastcnn
from fastcnn.callbacks import TensorBoard
from fastcnn.callbacks.events import EventWriter, crc32c, masked_crc32c
from fastcnn.errors import Error


def bitwise_crc32c(data):
    """The definition: division of polynomials, bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def unmasked(masked):
    turned = masked - 0xA282EAD8 & 0xFFFFFFFF
    return (turned >> 17 | turned << 15) & 0xFFFFFFFF


def records(data):
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        head, body, tail = data[8:12], data[12 : 12 + length], data[12 + length : 16 + length]
        assert unmasked(*struct.unpack("<I", head)) == bitwise_crc32c(data[:8])
        assert unmasked(*struct.unpack("<I", tail)) == bitwise_crc32c(body)
        yield body
        data = data[16 + length :]


def varint(data):
    number = 0
    for i, byte in enumerate(data):
        number |= (byte & 127) << 7 * i
        if byte < 128:
            return number, data[i + 1 :]
    raise AssertionError("a number without end")


def message(data):
    """{field number: values} of a Protocol Buffers message."""
    fields = {}
    while data:
        key, data = varint(data)
        if key & 7 == 0:
            value, data = varint(data)
        elif key & 7 == 2:
            length, data = varint(data)
            value, data = data[:length], data[length:]
        else:
            size, code = {1: (8, "<d"), 5: (4, "<f")}[key & 7]
            (value,), data = struct.unpack(code, data[:size]), data[size:]
        fields.setdefault(key >> 3, []).append(value)
    return fields


def events(folder):
    """(tag, step, what) of everything in the files of a folder; what: a number, or the fields of a histogram."""
    found = []
    for path in sorted(folder.iterdir()):
        first, *others = map(message, records(path.read_bytes()))
        assert first[3] == [b"brain.Event:2"]
        for event in others:
            (value,) = message(event[5][0])[1]
            fields = message(value)
            what = fields[2][0] if 2 in fields else message(fields[5][0])
            found.append((fields[1][0].decode(), event[2][0], what))
    return found


def test_checksums():
    assert crc32c(b"123456789") == 0xE3069283 and crc32c(b"") == 0  # RFC 3720 and the definition
    assert crc32c(bytes(32)) == 0x8A9136AA and crc32c(b"\xff" * 32) == 0x62A8AB43
    data = bytes(range(256)) * 3
    assert crc32c(data) == bitwise_crc32c(data) == unmasked(*struct.unpack("<I", masked_crc32c(data)))


def test_numbers_and_histograms(tmp_path):
    writer = EventWriter(tmp_path)
    for step, value in ((0, 1.5), (300, float("nan")), (2**40, -2e-3)):
        writer.scalar("größe", value, step)
    values = np.array([1.0, 2.0, 2.0, np.inf, 4.0])
    writer.histogram("weights", values, 7)
    writer.histogram("nothing", np.full(2, np.nan), 7)
    writer.close()
    *scalars, (tag, step, histogram) = events(tmp_path)
    assert [s[:2] for s in scalars] == [("größe", 0), ("größe", 300), ("größe", 2**40)]
    np.testing.assert_array_equal([s[2] for s in scalars], np.float32([1.5, np.nan, -2e-3]))
    limits, counts = (np.frombuffer(histogram[i][0]) for i in (6, 7))
    assert (tag, step) == ("weights", 7) and [histogram[i] for i in range(1, 6)] == [
        [1.0],
        [4.0],
        [4.0],
        [9.0],
        [25.0],
    ]
    assert limits[-1] == 4.0 and counts.sum() == 4 and len(limits) == len(counts)


def trained(tmp_path, **options):
    model = fastcnn.Sequential([fastcnn.Input((3,)), fastcnn.layers.Dense(1, name="d")], name="m")
    model.compile("sgd", "mse")
    x, y = np.random.rand(10, 3), np.random.rand(10, 1)
    callback = TensorBoard(tmp_path, **options)
    history = model.fit(x, y, batch_size=4, epochs=2, validation_data=(x, y), verbose=0, callbacks=[callback])
    return history.history


def test_logs_of_epochs(tmp_path):
    history = trained(tmp_path)
    train, validation = events(tmp_path / "train"), events(tmp_path / "validation")
    assert [e[:2] for e in train] == [
        ("epoch_loss", 0), ("epoch_learning_rate", 0), ("epoch_loss", 1), ("epoch_learning_rate", 1),
    ]  # fmt: skip
    assert [e[:2] for e in validation] == [
        ("evaluation_loss_vs_iterations", 3), ("epoch_loss", 0),
        ("evaluation_loss_vs_iterations", 6), ("epoch_loss", 1),
    ]  # fmt: skip
    np.testing.assert_allclose([e[2] for e in train[::2]], history["loss"], rtol=1e-6)
    np.testing.assert_allclose([e[2] for e in validation[1::2]], history["val_loss"], rtol=1e-6)


def test_logs_of_batches_and_histograms(tmp_path):
    trained(tmp_path, update_freq=2, histogram_freq=1, write_steps_per_second=True)
    found = events(tmp_path / "train")
    assert [step for tag, step, _ in found if tag == "batch_loss"] == [2, 4, 6]
    assert all(value > 0 for tag, _, value in found if tag.endswith("steps_per_second"))
    names = {tag for tag, *_ in found}
    assert {"m/d/kernel/histogram", "m/d/bias/histogram", "epoch_steps_per_second"} <= names


def test_every_batch(tmp_path):
    trained(tmp_path, update_freq="batch")
    assert [step for tag, step, _ in events(tmp_path / "train") if tag == "batch_loss"] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"update_freq": 0}, "update_freq must be"),
        ({"update_freq": "sometimes"}, "update_freq must be"),
        ({"write_images": True}, "write_images=True is not supported"),
        ({"profile_batch": (2, 3)}, "profile_batch"),
        ({"embeddings_freq": 1}, "embeddings_freq"),
    ],
)
def test_what_is_refused(options, message):
    with pytest.raises(Error, match=message):
        TensorBoard(**options)


@pytest.mark.peer
@pytest.mark.filterwarnings("ignore")
def test_tensorboard_reads_it(tmp_path):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    history = trained(tmp_path, histogram_freq=1)
    seen = reader.EventAccumulator(str(tmp_path / "train"))
    seen.Reload()
    np.testing.assert_allclose([e.value for e in seen.Scalars("epoch_loss")], history["loss"], rtol=1e-6)
    assert seen.Histograms("m/d/kernel/histogram")[0].histogram_value.num == 3
