"""Callbacks, tried on a model that only pretends to train."""

import csv
import math
from types import SimpleNamespace

import numpy as np
import pytest

from fastcnn import Sequential, layers
from fastcnn import callbacks as cb
from fastcnn.callbacks.base import HOOKS
from fastcnn.errors import Error

NAN = float("nan")


class Optimizer:
    """A learning rate that can be fixed by a schedule."""

    def __init__(self, rate=0.1, scheduled=False):
        self._rate = rate
        self._scheduled = scheduled

    @property
    def learning_rate(self):
        return self._rate

    @learning_rate.setter
    def learning_rate(self, value):
        if self._scheduled:
            raise Error("the learning rate follows a schedule; it cannot be set")
        self._rate = value


class Model:
    """Its weight is the number of the epoch it finished last; it remembers what it saved."""

    def __init__(self, metrics=(), optimizer=None):
        self.optimizer = optimizer or Optimizer()
        self.metrics = [SimpleNamespace(name=name, _direction=direction) for name, direction in metrics]
        self.stop_training = False
        self.weights = [np.zeros(1)]
        self.saved = []

    def get_weights(self):
        return [weight.copy() for weight in self.weights]

    def set_weights(self, weights):
        self.weights = weights

    def save(self, path, overwrite=True):
        self.saved.append(("model", str(path)))

    def save_weights(self, path, overwrite=True):
        self.saved.append(("weights", str(path)))


def fit(model, callbacks, epochs, initial_epoch=0, batches=()):
    """What a training loop does: `epochs` are the logs of the epochs, `batches` those of the batches of each."""
    model.stop_training = False
    callbacks = cb.CallbackList(
        callbacks, add_history=True, model=model, verbose=0, epochs=len(epochs), steps=len(batches)
    )
    callbacks.on_train_begin()
    for epoch, logs in enumerate(epochs, initial_epoch):
        callbacks.on_epoch_begin(epoch)
        for batch, batch_logs in enumerate(batches):
            callbacks.on_train_batch_begin(batch)
            callbacks.on_train_batch_end(batch, batch_logs)
            if model.stop_training:
                break
        model.weights = [np.full(1, float(epoch))]
        callbacks.on_epoch_end(epoch, logs)
        if model.stop_training:
            break
    callbacks.on_train_end(logs)
    return callbacks.history


def losses(*values):
    return [{"val_loss": value} for value in values]


class Recorder(cb.Callback):
    """Notes every event."""

    def __init__(self):
        super().__init__()
        self.events = []

    def __getattribute__(self, name):
        if name not in HOOKS:
            return super().__getattribute__(name)
        return lambda *args, logs=None: self.events.append((name, *args, *([logs] if logs else [])))


def test_every_event_reaches_every_callback_in_order():
    first, second = Recorder(), Recorder()
    events = []
    for recorder in (first, second):
        recorder.events = events
    callbacks = cb.CallbackList([first, [second]])
    for hook in HOOKS:
        args = (3,) if "batch" in hook or "epoch" in hook else ()
        getattr(callbacks, hook)(*args, {"loss": 1.0})
        assert events[-2:] == [(hook, *args, {"loss": 1.0})] * 2
    assert len(HOOKS) == 16


def test_callbacks_know_model_and_params():
    callback = cb.Callback()
    model = Model()
    cb.CallbackList(callback, model=model, verbose=1, epochs=2, steps=3)
    assert callback.model is model and callback.params == {"verbose": 1, "epochs": 2, "steps": 3}


def test_the_older_names_of_batch_events_still_work():
    class Old(cb.Callback):
        seen = 0

        def on_batch_end(self, batch, logs=None):
            self.seen += 1

    old = Old()
    fit(Model(), [old], losses(1), batches=[{"loss": 1}] * 3)
    assert old.seen == 3


def test_logs_of_a_batch_are_not_computed_when_nobody_wants_them():
    def logs():
        raise AssertionError("nobody asked")

    fit(Model(), [cb.EarlyStopping("loss")], [{"loss": 1.0}], batches=[logs] * 3)
    seen = []
    fit(
        Model(),
        [cb.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(logs))],
        losses(1),
        batches=[lambda: {"loss": np.float32(2), "accuracy": 0.5}] * 2,
    )
    assert seen == [{"accuracy": 0.5, "loss": 2.0}] * 2 and list(seen[0]) == ["accuracy", "loss"]


@pytest.mark.parametrize(
    ("wrong", "message"), [(cb.EarlyStopping, r"write EarlyStopping\(...\)"), ("csv", "'csv'")]
)
def test_what_is_no_callback_is_refused(wrong, message):
    with pytest.raises(Error, match=message):
        cb.CallbackList([wrong])


def test_callback_list_takes_one_list_of_another_and_appends():
    recorder = Recorder()
    inner = cb.CallbackList([cb.History()])
    inner.append(recorder)
    outer = cb.CallbackList(inner, add_history=True)
    assert len(outer.callbacks) == 2
    inner.on_train_begin()
    assert recorder.events == [("on_train_begin", {})]


def test_history_has_sorted_keys_and_floats():
    model = Model()
    logs = {"val_loss": np.float32(0.5), "loss": np.float64(1), "accuracy": 1}
    history = fit(model, None, [logs, logs], initial_epoch=3)
    assert list(history.history) == ["accuracy", "loss", "val_loss"]
    assert history.history["val_loss"] == [0.5, 0.5] and type(history.history["val_loss"][0]) is float
    assert history.epoch == [3, 4] and history.params["epochs"] == 2 and model.history is history


def test_history_starts_afresh_with_each_fit():
    history = cb.History()
    for _ in range(2):
        fit(Model(), history, losses(1, 2))
    assert history.history == {"val_loss": [1.0, 2.0]} and history.epoch == [0, 1]


# val_loss by epoch, arguments, epochs run, best epoch
EARLY_STOPPING = [
    pytest.param([3, 2, 1, 0], {}, 4, 3, id="always better"),
    pytest.param([3, 2, 2, 1], {}, 3, 1, id="patience 0 stops at the first epoch without improvement"),
    pytest.param([3, 4, 5, 6, 7], {"patience": 2}, 3, 0, id="patience 2"),
    pytest.param([3, 4, 2, 4, 4, 0], {"patience": 2}, 5, 2, id="improvement resets the wait"),
    pytest.param(
        [3, 2.9, 2.8, 2.7], {"patience": 2, "min_delta": 0.5}, 3, 0, id="improvements below min_delta"
    ),
    pytest.param(
        [3, 2.9, 2.8, 2.7], {"patience": 2, "min_delta": -0.5}, 3, 0, id="the sign of min_delta is ignored"
    ),
    pytest.param(
        [3, 2.5, 9, 9, 9], {"patience": 2, "baseline": 2}, 3, 1, id="improves, but not on the baseline"
    ),
    pytest.param([3, 1.5, 9, 9, 9], {"patience": 2, "baseline": 2}, 4, 1, id="improves on the baseline"),
    pytest.param(
        [3, 9, 9, 9, 9, 9], {"patience": 1, "start_from_epoch": 3}, 5, 3, id="the first epochs do not count"
    ),
    pytest.param([NAN, NAN, NAN], {"patience": 0}, 2, 0, id="NaN never improves; epoch 0 never stops"),
    pytest.param([5, 4, 3], {"mode": "max"}, 2, 0, id="max"),
    pytest.param([3, 4, 4.1, 9], {"mode": "max", "min_delta": 0.5}, 3, 1, id="max with min_delta"),
]


@pytest.mark.parametrize(("values", "kwargs", "ran", "best"), EARLY_STOPPING)
def test_early_stopping(values, kwargs, ran, best):
    stop = cb.EarlyStopping(**kwargs)
    model = Model()
    history = fit(model, stop, losses(*values))
    assert len(history.epoch) == ran and stop.best_epoch == best
    assert model.weights[0][0] == ran - 1
    assert stop.stopped_epoch == (ran - 1 if model.stop_training else 0)


@pytest.mark.parametrize(("values", "kwargs", "ran", "best"), EARLY_STOPPING)
def test_early_stopping_restores_the_best_weights_also_at_a_normal_end(values, kwargs, ran, best):
    stop = cb.EarlyStopping(restore_best_weights=True, **kwargs)
    model = Model()
    fit(model, stop, losses(*values))
    assert model.weights[0][0] == stop.best_epoch == best


def test_early_stopping_starts_afresh_with_each_fit():
    stop = cb.EarlyStopping(patience=1)
    assert len(fit(Model(), stop, losses(1, 2, 3)).epoch) == 2
    assert len(fit(Model(), stop, losses(9, 8, 7)).epoch) == 3


def test_early_stopping_tells_what_it_does(capsys):
    fit(Model(), cb.EarlyStopping(verbose=1, restore_best_weights=True), losses(1, 2, 3))
    assert capsys.readouterr().out == (
        "Epoch 2: early stopping\nRestoring model weights from the end of the best epoch: 1.\n"
    )


def test_a_missing_number_is_warned_of():
    with pytest.warns(
        UserWarning, match="EarlyStopping watches 'val_loss', which is not available; there is loss"
    ):
        fit(Model(), cb.EarlyStopping(), [{"loss": 1.0}])


@pytest.mark.parametrize(
    ("monitor", "metrics", "maximises"),
    [
        ("loss", (), False),
        ("val_loss", (), False),
        ("val_branch_loss", (), False),
        ("val_accuracy", (), True),
        ("acc", (), True),
        ("val_AUC", (), True),
        ("f1_score", (), True),
        ("val_strange", (("strange", "up"),), True),
        ("val_strange", (("other", "down"), ("strange", "down")), False),
        ("branch_strange", (("strange", "up"),), True),
        ("accuracy_gap_loss", (("accuracy_gap_loss", "up"),), True),
    ],
)
def test_auto_mode(monitor, metrics, maximises):
    callback = cb.EarlyStopping(monitor)
    callback.set_model(Model(metrics))
    assert callback.maximises() is maximises


def test_auto_mode_does_not_guess():
    with pytest.raises(Error, match=r"whether 'strange' should grow or shrink; say mode='max'"):
        fit(Model(), cb.EarlyStopping("strange"), [{"strange": 1.0}])
    with pytest.raises(Error, match="mode must be"):
        cb.EarlyStopping(mode="maximum")


def test_checkpoint_after_every_epoch(tmp_path):
    model = Model()
    path = tmp_path / "new" / "{epoch:02d}-{val_loss:.2f}.keras"
    fit(model, cb.ModelCheckpoint(path), losses(0.5, 0.25), initial_epoch=4)
    assert model.saved == [
        ("model", f"{tmp_path}/new/05-0.50.keras"),
        ("model", f"{tmp_path}/new/06-0.25.keras"),
    ]
    assert (tmp_path / "new").is_dir()


def test_checkpoint_of_the_weights(tmp_path):
    model = Model()
    fit(model, cb.ModelCheckpoint(tmp_path / "w.weights.h5", save_weights_only=True), losses(1))
    assert model.saved == [("weights", f"{tmp_path}/w.weights.h5")]


@pytest.mark.parametrize(
    ("values", "kwargs", "saved"),
    [
        ([3, 4, 2, 2, 1], {}, [1, 3, 5]),
        ([3, 4, 2], {"initial_value_threshold": 2.5}, [3]),
        ([3, 4, 2], {"mode": "max"}, [1, 2]),
        ([NAN, 4, NAN], {}, [2]),
    ],
)
def test_checkpoint_of_the_best_only(tmp_path, values, kwargs, saved):
    model = Model()
    fit(model, cb.ModelCheckpoint(f"{tmp_path}/{{epoch}}", save_best_only=True, **kwargs), losses(*values))
    assert [path for _, path in model.saved] == [f"{tmp_path}/{epoch}" for epoch in saved]


def test_checkpoint_keeps_the_best_from_fit_to_fit(tmp_path):
    model = Model()
    checkpoint = cb.ModelCheckpoint(tmp_path / "best", save_best_only=True)
    fit(model, checkpoint, losses(1))
    fit(model, checkpoint, losses(2))
    assert len(model.saved) == 1


def test_checkpoint_needs_no_direction_when_everything_is_saved(tmp_path):
    model = Model()
    fit(model, cb.ModelCheckpoint(tmp_path / "all", monitor="strange"), losses(1))
    assert len(model.saved) == 1


def test_checkpoint_saves_when_the_number_is_missing(tmp_path):
    model = Model()
    with pytest.warns(UserWarning, match="ModelCheckpoint watches 'val_loss'"):
        fit(model, cb.ModelCheckpoint(tmp_path / "best", save_best_only=True), [{"loss": 1.0}])
    assert len(model.saved) == 1


def test_checkpoint_every_few_batches_across_epochs(tmp_path):
    model = Model()
    path = f"{tmp_path}/{{epoch}}-{{batch}}-{{loss:.0f}}"
    fit(
        model, cb.ModelCheckpoint(path, save_freq=4), losses(1, 1, 1), batches=[{"loss": i} for i in range(3)]
    )
    assert [saved for _, saved in model.saved] == [f"{tmp_path}/2-1-0", f"{tmp_path}/3-2-1"]


@pytest.mark.parametrize("save_freq", ["batch", 0, 1.5, None])
def test_checkpoint_refuses_a_senseless_frequency(save_freq):
    with pytest.raises(Error, match="save_freq"):
        cb.ModelCheckpoint("x", save_freq=save_freq)


def test_checkpoint_names_what_the_path_may_hold(tmp_path):
    with pytest.raises(Error, match=r"KeyError\('val_acc'\); the names are epoch, val_loss"):
        fit(Model(), cb.ModelCheckpoint("{epoch}-{val_acc}"), losses(1))
    with pytest.raises(Error, match="is a folder"):
        fit(Model(), cb.ModelCheckpoint(tmp_path), losses(1))


def test_checkpoint_tells_what_it_does(tmp_path, capsys):
    fit(Model(), cb.ModelCheckpoint(tmp_path / "m", verbose=1, save_best_only=True), losses(1, 2))
    assert capsys.readouterr().out == (
        f"\nEpoch 1: val_loss improved from None to 1.00000, saving model to {tmp_path}/m\n"
        f"\nEpoch 1: finished saving model to {tmp_path}/m\n"
        "\nEpoch 2: val_loss did not improve from 1.00000\n"
    )


@pytest.mark.parametrize(
    ("values", "kwargs", "rates"),
    [
        pytest.param([1, 1, 1, 1, 1], {"patience": 2}, [16, 16, 16, 8, 8], id="patience"),
        pytest.param([1, 1, 1, 1], {"patience": 0}, [16, 16, 8, 4], id="patience 0 is patience 1"),
        pytest.param([1, 0.95, 0.9, 0.85], {"patience": 1, "min_delta": 0.2}, [16, 16, 8, 4], id="min_delta"),
        pytest.param([1] * 7, {"patience": 1, "cooldown": 2}, [16, 16, 8, 8, 4, 4, 2], id="cooldown"),
        pytest.param([1] * 6, {"patience": 1, "min_lr": 5}, [16, 16, 8, 5, 5, 5], id="min_lr"),
        pytest.param([1, 2, 3], {"patience": 1, "mode": "max"}, [16, 16, 16], id="max"),
        pytest.param([1] * 3, {"patience": 1, "factor": 0.25}, [16, 16, 4], id="factor"),
    ],
)
def test_reduce_lr_on_plateau(values, kwargs, rates):
    model = Model(optimizer=Optimizer(16.0))
    history = fit(model, cb.ReduceLROnPlateau(**{"factor": 0.5, **kwargs}), losses(*values))
    assert history.history["learning_rate"] == rates  # the rate of the epoch, logged before it is reduced


def test_reduce_lr_on_plateau_starts_afresh_and_says_so(capsys):
    model = Model(optimizer=Optimizer(8.0))
    reduce = cb.ReduceLROnPlateau(factor=0.5, patience=2, verbose=1)
    fit(model, reduce, losses(1, 1))
    fit(model, reduce, losses(1, 1))
    assert model.optimizer.learning_rate == 8.0
    fit(model, reduce, losses(1, 1, 1))
    assert capsys.readouterr().out == "\nEpoch 3: ReduceLROnPlateau reducing learning rate to 4.0.\n"


@pytest.mark.parametrize("factor", [1.0, 2.0, 0.0, -1.0])
def test_reduce_lr_on_plateau_refuses_a_factor(factor):
    with pytest.raises(Error, match="factor"):
        cb.ReduceLROnPlateau(factor=factor)


def test_a_schedule_cannot_be_overruled():
    model = Model(optimizer=Optimizer(scheduled=True))
    for callback in (cb.ReduceLROnPlateau(patience=1), cb.LearningRateScheduler(lambda epoch: 0.1)):
        with pytest.raises(Error, match="follows a schedule"):
            fit(model, callback, losses(1, 1))


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        pytest.param(lambda epoch, lr: lr / 2, [4, 2, 1], id="of epoch and rate"),
        pytest.param(lambda epoch: epoch + 1, [1, 2, 3], id="of epoch"),
        pytest.param(lambda epoch, lr=None: 5.0 if lr is None else lr, [8, 8, 8], id="optional rate"),
        pytest.param(lambda *args: np.float32(len(args)), [2, 2, 2], id="NumPy number"),
    ],
)
def test_learning_rate_scheduler(schedule, rates):
    model = Model(optimizer=Optimizer(8.0))
    assert fit(model, cb.LearningRateScheduler(schedule), losses(1, 1, 1)).history["learning_rate"] == rates


def test_learning_rate_scheduler_lets_errors_of_the_schedule_through():
    def broken(epoch, lr):
        raise TypeError("inside")

    with pytest.raises(TypeError, match="inside"):
        fit(Model(), cb.LearningRateScheduler(broken), losses(1))


@pytest.mark.parametrize("value", [None, "0.1", -1.0, NAN, math.inf, np.ones(2)])
def test_learning_rate_scheduler_refuses_what_is_no_rate(value):
    with pytest.raises(Error, match="for epoch 0, not a number >= 0"):
        fit(Model(), cb.LearningRateScheduler(lambda epoch: value), losses(1))


def test_learning_rate_scheduler_tells_what_it_does(capsys):
    fit(Model(), cb.LearningRateScheduler(lambda epoch: 0.5, verbose=1), losses(1))
    assert capsys.readouterr().out == "\nEpoch 1: LearningRateScheduler setting learning rate to 0.5.\n"


def rows(path, separator=","):
    return list(csv.reader(path.read_text().splitlines(), delimiter=separator))


def test_csv_logger(tmp_path):
    path = tmp_path / "new" / "log.csv"
    path.parent.mkdir()
    path.write_text("old\n")
    fit(Model(), cb.CSVLogger(path), [{"loss": 1.5, "accuracy": 0.25}, {"loss": 1.0, "accuracy": 0.5}])
    assert rows(path) == [["epoch", "accuracy", "loss"], ["0", "0.25", "1.5"], ["1", "0.5", "1.0"]]


def test_csv_logger_with_another_separator(tmp_path):
    fit(Model(), cb.CSVLogger(tmp_path / "log", separator=";"), losses(1))
    assert (tmp_path / "log").read_text().splitlines() == ["epoch;val_loss", "0;1.0"]


def test_csv_logger_appends_under_the_header_that_is_there(tmp_path):
    path = tmp_path / "log"
    fit(Model(), cb.CSVLogger(path), [{"loss": 1.0, "accuracy": 0.5}])
    fit(Model(), cb.CSVLogger(path, append=True), [{"loss": 2.0}], initial_epoch=1)
    assert rows(path) == [["epoch", "accuracy", "loss"], ["0", "0.5", "1.0"], ["1", "NA", "2.0"]]


def test_csv_logger_adds_columns_for_validation_every_other_epoch(tmp_path):
    path = tmp_path / "log"
    fit(Model(), cb.CSVLogger(path), [{"loss": 3}, {"loss": 2, "val_loss": 4}, {"loss": 1}])
    assert rows(path) == [
        ["epoch", "loss", "val_loss"],
        ["0", "3.0", "NA"],
        ["1", "2.0", "4.0"],
        ["2", "1.0", "NA"],
    ]


def test_csv_logger_writes_what_is_no_number(tmp_path):
    path = tmp_path / "log"
    fit(Model(), cb.CSVLogger(path), [{"a": None, "b": [1, 2], "c": "text, quoted", "d": np.array([0.5])}])
    assert rows(path)[1] == ["0", "", "[1, 2]", "text, quoted", "[0.5]"]


@pytest.mark.parametrize("bad", [NAN, math.inf])
def test_terminate_on_nan(bad, capsys):
    model = Model()
    history = fit(
        model, cb.TerminateOnNaN(), losses(1, 1), batches=[{"loss": 1.0}, {"loss": bad}, {"loss": 1.0}]
    )
    assert model.stop_training and history.epoch == [0]
    assert capsys.readouterr().out == "Batch 1: Invalid loss, terminating training\n"


def test_terminate_on_nan_may_raise():
    with pytest.raises(Error, match="the loss is nan after batch 0"):
        fit(Model(), cb.TerminateOnNaN(raise_error=True), losses(1), batches=[{"loss": NAN}])
    fit(Model(), cb.TerminateOnNaN(raise_error=True), losses(1), batches=[{}])


def test_lambda_callback():
    seen = []
    callback = cb.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: seen.append(("begin", epoch)),
        on_epoch_end=lambda epoch, logs: seen.append(("end", epoch, logs["val_loss"])),
        on_train_end=None,
    )
    fit(Model(), callback, losses(7))
    assert seen == [("begin", 0), ("end", 0, 7.0)]
    with pytest.raises(Error, match="no event 'on_epoch'"):
        cb.LambdaCallback(on_epoch=print)


def test_callbacks_see_what_those_before_them_added():
    class Adds(cb.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["val_loss"] = float(-epoch)

    history = fit(Model(), [Adds(), cb.EarlyStopping()], [{"loss": 1.0}] * 3)
    assert history.history["val_loss"] == [0.0, -1.0, -2.0]


def training_output(capsys, verbose, epochs=2, steps=3, known=True):
    callbacks = cb.CallbackList(
        None, add_progbar=True, model=Model(), verbose=verbose, epochs=epochs, steps=steps if known else None
    )
    callbacks.on_train_begin()
    for epoch in range(epochs):
        callbacks.on_epoch_begin(epoch)
        for batch in range(steps):
            callbacks.on_train_batch_end(batch, {"loss": 1.0})
        callbacks.on_test_begin()
        callbacks.on_test_batch_end(0, {"loss": 9.0})
        callbacks.on_test_end({"loss": 9.0})
        callbacks.on_epoch_end(epoch, {"loss": 0.5, "val_loss": 9.0})
    callbacks.on_train_end()
    return capsys.readouterr().out.splitlines()


def test_progbar_logger_writes_the_final_line_of_an_epoch(capsys):
    lines = training_output(capsys, verbose=1)
    assert [lines[0], lines[2]] == ["Epoch 1/2", "Epoch 2/2"] and len(lines) == 4
    assert lines[1].startswith("3/3 ━━━━━━━━━━━━━━━━━━━━ 0s ")
    assert lines[1].endswith("/step - loss: 0.5000 - val_loss: 9.0000")


def test_progbar_logger_writes_a_line_an_epoch(capsys):
    lines = training_output(capsys, verbose=2)
    assert lines[1].startswith("3/3 - 0s - ") and lines[1].endswith("/step - loss: 0.5000 - val_loss: 9.0000")


def test_progbar_logger_is_silent(capsys):
    assert training_output(capsys, verbose=0) == []


def test_progbar_logger_counts_steps_that_were_not_known(capsys):
    assert training_output(capsys, verbose="auto", epochs=1, known=False)[0].startswith("3/3 ━")


def test_progbar_logger_shows_evaluation_and_prediction(capsys):
    callbacks = cb.CallbackList(None, add_progbar=True, verbose=1, epochs=1, steps=2)
    callbacks.on_test_begin()
    for batch in range(2):
        callbacks.on_test_batch_end(batch, {"loss": 1.0})
    callbacks.on_test_end({"loss": 2.0})
    assert capsys.readouterr().out.endswith("/step - loss: 2.0000\n")
    callbacks.on_predict_begin()
    for batch in range(2):
        callbacks.on_predict_batch_end(batch, {"outputs": np.zeros(3)})
    callbacks.on_predict_end()
    assert capsys.readouterr().out.endswith("/step\n")


def test_progbar_logger_asks_for_logs_only_when_it_draws(monkeypatch):
    asked = []
    monkeypatch.setattr("fastcnn.utils.progress._is_live", lambda: True)
    monkeypatch.setattr("fastcnn.utils.progress.show", lambda text: None)
    callbacks = cb.CallbackList(None, add_progbar=True, verbose=1, epochs=1, steps=1000)
    callbacks.on_train_begin()
    callbacks.on_epoch_begin(0)
    for batch in range(1000):
        callbacks.on_train_batch_end(batch, lambda: asked.append(1) or {"loss": 1.0})
    assert 1 <= len(asked) < 100


def test_a_callback_may_end_evaluation_and_prediction():
    class Stop(cb.Callback):
        def on_test_batch_end(self, batch, logs=None):
            self.model.stop_evaluating = batch == 1

        def on_predict_batch_end(self, batch, logs=None):
            self.model.stop_predicting = batch == 1

    model = Sequential([layers.Input((3,)), layers.Dense(1)])
    model.compile("sgd", "mse")
    x = np.arange(30.0).reshape(10, 3)
    found = model.evaluate(x, x[:, 0], 2, verbose=0, callbacks=[Stop()])
    assert found == pytest.approx(model.evaluate(x[:4], x[:4, 0], verbose=0))
    assert len(model.predict(x, 2, verbose=0, callbacks=[Stop()])) == 4
    assert len(model.predict(x, 2, verbose=0)) == 10
