"""Windows of series, batches as tuples, sequences of one length."""

import numpy as np
import pytest

import fastcnn
from fastcnn import utils
from fastcnn.errors import Error


def windows(length, sequence_length, stride, rate, start, end, targets):
    """The definition: (window, start) of every window, in order."""
    first, last = start or 0, end or length
    found, at = [], first
    while at + (sequence_length - 1) * rate < last and (targets is None or at < targets):
        found.append(([at + i * rate for i in range(sequence_length)], at))
        at += stride
    return found


@pytest.mark.parametrize(
    ("length", "options"),
    [
        (10, {"sequence_length": 3}),
        (20, {"sequence_length": 3, "sequence_stride": 4}),
        (21, {"sequence_length": 4, "sampling_rate": 3, "sequence_stride": 2}),
        (30, {"sequence_length": 5, "start_index": 7, "end_index": 19}),
        (9, {"sequence_length": 9}),
        (12, {"sequence_length": 2, "batch_size": 3}),
    ],
)
def test_windows(length, options):
    data = np.arange(length) * 10
    wanted = windows(
        length, options["sequence_length"], options.get("sequence_stride", 1), options.get("sampling_rate", 1),
        options.get("start_index"), options.get("end_index"), None,
    )  # fmt: skip
    dataset = utils.timeseries_dataset_from_array(data, None, **options)
    batches = [dataset[i] for i in range(len(dataset))]
    assert all(len(batch) == options.get("batch_size", 128) for batch in batches[:-1])
    assert (np.concatenate(batches) // 10).tolist() == [steps for steps, _ in wanted]
    dataset = utils.timeseries_dataset_from_array(data, data + 1, **options)
    y = np.concatenate([dataset[i][1] for i in range(len(dataset))])
    assert y.tolist() == [10 * at + 1 for _, at in wanted]


def test_fewer_targets_end_the_windows():
    x, y = utils.timeseries_dataset_from_array(np.arange(10), np.arange(4), 3)[0]
    assert x[:, 0].tolist() == y.tolist() == [0, 1, 2, 3]


def test_shuffled_windows_keep_their_targets():
    dataset = utils.timeseries_dataset_from_array(
        np.arange(40), np.arange(40), 3, batch_size=7, shuffle=True, seed=3
    )
    again = utils.timeseries_dataset_from_array(
        np.arange(40), np.arange(40), 3, batch_size=7, shuffle=True, seed=3
    )
    epochs = []
    for _ in range(2):
        batches = [dataset[i] for i in range(len(dataset))]
        assert all((x[:, 0] == y).all() for x, y in batches)
        epochs.append(np.concatenate([y for _, y in batches]).tolist())
        assert epochs[-1] == np.concatenate([again[i][1] for i in range(len(again))]).tolist()
        dataset.on_epoch_end()
        again.on_epoch_end()
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(38)) and epochs[0] != epochs[1]


def test_single_windows():
    x, y = utils.timeseries_dataset_from_array(np.arange(6), np.arange(6), 2, batch_size=None)[3]
    assert x.tolist() == [3, 4] and y == 3


def test_training_on_windows():
    series = np.sin(np.arange(60) / 5).astype("float32")[:, np.newaxis]
    model = fastcnn.Sequential([fastcnn.Input((4, 1)), fastcnn.layers.Flatten(), fastcnn.layers.Dense(1)])
    model.compile("sgd", "mse")
    history = model.fit(
        utils.timeseries_dataset_from_array(series[:-4], series[4:], 4, batch_size=16), verbose=0
    )
    assert np.isfinite(history.history["loss"]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sequence_length": 0}, "no window of sequence_length=0"),
        ({"sequence_length": 11}, "10 steps hold no window"),
        ({"sequence_length": 2, "sampling_rate": 0}, "sampling_rate must lie between 1 and 9"),
        ({"sequence_length": 2, "sequence_stride": 10}, "sequence_stride must lie"),
        ({"sequence_length": 2, "start_index": 5, "end_index": 5}, "give no part"),
        ({"sequence_length": 2, "end_index": 11}, "give no part"),
    ],
)
def test_windows_that_do_not_exist(options, message):
    with pytest.raises(Error, match=message):
        utils.timeseries_dataset_from_array(np.arange(10), None, **options)


def test_packing():
    assert utils.pack_x_y_sample_weight(1) == 1 and utils.pack_x_y_sample_weight([1, 2]) == ([1, 2],)
    assert utils.unpack_x_y_sample_weight((1, 2)) == (1, 2, None)
    with pytest.raises(Error, match="got 4 parts"):
        utils.unpack_x_y_sample_weight((1, 2, 3, 4))


def test_pad_sequences_refuses():
    for arguments, message in [
        (([[1]], None, "int32", "left"), "padding must be"),
        (([1, 2],), "item 0 is 1"),
        (([[[1, 2]], [[1]]],), r"items of sequence 1 have shape \(1,\), others \(2,\)"),
    ]:
        with pytest.raises(Error, match=message):
            utils.pad_sequences(*arguments)
    assert utils.pad_sequences([]).shape == (0, 0) and utils.pad_sequences([[1, 2]], 0).shape == (1, 0)
