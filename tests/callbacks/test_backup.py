"""Training that is interrupted and taken up again ends bit for bit where it would have ended."""

import numpy as np
import pytest

import fastcnn
from fastcnn import layers
from fastcnn.callbacks import BackupAndRestore, LambdaCallback
from fastcnn.errors import Error


class PowerError(Exception):
    """What ends training before its time."""


def network():
    fastcnn.utils.set_random_seed(1)
    model = fastcnn.Sequential(
        [
            fastcnn.Input((4,)),
            layers.Dense(6),
            layers.BatchNormalization(),
            layers.Dropout(0.3),
            layers.Dense(1),
        ]
    )
    model.compile(fastcnn.optimizers.Adam(0.05), "mse")
    return model


def train(folder, epochs=5, stop_at=None, model=None, rate=None, **options):
    """The model after training with backups; interrupted at the batch number `stop_at`, counted over all epochs."""
    model = model or network()
    batches = iter(range(1000))

    def interrupt(batch, logs):
        if next(batches) == stop_at:
            raise PowerError

    callbacks = [LambdaCallback(on_train_batch_end=interrupt)]
    if rate is not None:
        callbacks.append(fastcnn.callbacks.LearningRateScheduler(lambda epoch, now: now * rate))
    backup = BackupAndRestore(folder, **options)
    backup.set_model(model)
    backup.on_train_begin()  # tells where to begin
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 4)), rng.normal(size=(20, 1))
    first = getattr(model, "_initial_epoch", 0)
    history = model.fit(
        x, y, batch_size=5, epochs=epochs, initial_epoch=first, verbose=0, callbacks=[*callbacks, backup]
    )
    return model, history


def assert_equal(a, b):
    for one, other in zip(a.variables, b.variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy(), err_msg=one.path)
    for one, other in zip(a.optimizer.variables, b.optimizer.variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    assert a.optimizer.iterations == b.optimizer.iterations


@pytest.mark.parametrize("rate", [None, 0.7])
@pytest.mark.parametrize("stop_at", [4, 10, 19])
def test_training_goes_on_where_it_was(tmp_path, stop_at, rate):
    whole, _ = train(tmp_path / "whole", rate=rate)
    with pytest.raises(PowerError):
        train(tmp_path / "parts", stop_at=stop_at, rate=rate)
    resumed, history = train(tmp_path / "parts", rate=rate)
    assert history.epoch == list(range(stop_at // 4, 5))
    assert_equal(resumed, whole)
    assert not (tmp_path / "parts").exists()


def test_nothing_to_take_up(tmp_path):
    _, history = train(tmp_path / "new", epochs=2, delete_checkpoint=False)
    assert history.epoch == [0, 1]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["backup-000002-00000008.safetensors"]


def test_a_damaged_backup_gives_way_to_the_one_before(tmp_path):
    train(tmp_path, epochs=3, delete_checkpoint=False, double_checkpoint=True)
    earlier, latest = sorted(tmp_path.iterdir())
    latest.write_bytes(latest.read_bytes()[:100])
    model = network()
    backup = BackupAndRestore(tmp_path)
    backup.set_model(model)
    backup.on_train_begin()
    assert (model._initial_epoch, model.optimizer.iterations) == (2, 8)


def test_every_few_batches(tmp_path):
    with pytest.raises(PowerError):
        train(tmp_path, stop_at=10, save_freq=3)
    assert [path.name for path in tmp_path.iterdir()] == ["backup-000002-00000009.safetensors"]
    _, history = train(tmp_path, save_freq=3, epochs=3)
    assert history.epoch == [2]


def test_a_backup_of_another_model(tmp_path):
    train(tmp_path, epochs=1, delete_checkpoint=False)
    other = fastcnn.Sequential([fastcnn.Input((4,)), layers.Dense(1)])
    other.compile("adam", "mse")
    before = other.get_weights()
    with pytest.raises(Error, match="is a backup of another model"):
        train(tmp_path, model=other)
    assert all((a == b).all() for a, b in zip(before, other.get_weights(), strict=True))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("",), "backup_dir is empty"), (("a", 0), "save_freq must be"), (("a", "batch"), "save_freq must be")],
)
def test_what_is_refused(arguments, message):
    with pytest.raises(Error, match=message):
        BackupAndRestore(*arguments)


def test_a_model_without_weights(tmp_path):
    model = fastcnn.Sequential([layers.Dense(1)])
    backup = BackupAndRestore(tmp_path)
    backup.set_model(model)
    with pytest.raises(Error, match="has no weights yet"):
        backup.on_train_begin()


def test_ctrl_c_leaves_the_backup_before_the_incomplete_epoch(tmp_path):
    """`fit` ends in order then, with the end of an epoch that was cut short."""
    model = network()
    backup = BackupAndRestore(tmp_path)
    backup.set_model(model)
    backup.on_train_begin()
    backup.on_epoch_end(0)
    model._interrupted = True
    backup.on_epoch_end(1)
    backup.on_train_end()
    assert [path.name for path in tmp_path.iterdir()] == ["backup-000001-00000000.safetensors"]
