"""RemoteMonitor, SwapEMAWeights, LambdaCallback, and where messages go."""

import json
import logging
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs

import numpy as np
import pytest

import fastcnn
from fastcnn import callbacks, config
from fastcnn.errors import Error


@pytest.fixture
def server():
    """(URL, what came: path, headers, body) of a server on this machine."""
    came = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):  # noqa: N802
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            came.append((self.path, dict(self.headers), body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}", came
        http.shutdown()
        thread.join()


def test_remote_monitor_sends_forms(server):
    root, came = server
    monitor = callbacks.RemoteMonitor(root, headers={"X-Run": "7"})
    monitor.on_epoch_end(3, {"loss": 0.5, "list": np.array([1.0, 2.0])})
    ((path, headers, body),) = came
    assert path == "/publish/epoch/end/" and headers["X-Run"] == "7"
    assert json.loads(parse_qs(body)["data"][0]) == {"epoch": 3, "loss": 0.5, "list": [1.0, 2.0]}


def test_remote_monitor_sends_json(server):
    root, came = server
    callbacks.RemoteMonitor(root, "/x", send_as_json=True).on_epoch_end(0, {"loss": 1.0})
    ((path, headers, body),) = came
    assert (path, headers["Content-Type"], json.loads(body)) == (
        "/x",
        "application/json",
        {"epoch": 0, "loss": 1.0},
    )


def test_remote_monitor_goes_on_without_a_server():
    with pytest.warns(UserWarning, match="did not take the logs"):
        callbacks.RemoteMonitor("http://127.0.0.1:9").on_epoch_end(0, {})
    with pytest.raises(Error, match="root must start with http"):
        callbacks.RemoteMonitor("file:///etc")


def linear(**options):
    model = fastcnn.Sequential([fastcnn.Input((3,)), fastcnn.layers.Dense(1)])
    model.compile(fastcnn.optimizers.SGD(0.1, **options), "mse")
    return model, np.random.rand(8, 3), np.random.rand(8, 1)


def test_swapped_weights_are_back_after_evaluation():
    model, x, y = linear(use_ema=True, ema_momentum=0.5)
    for _ in range(3):
        model.train_on_batch(x, y)
    before = model.get_weights()
    averaged = model.evaluate(x, y, verbose=0, callbacks=[callbacks.SwapEMAWeights()])
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    predicted = model.predict(x, verbose=0, callbacks=[callbacks.SwapEMAWeights()])
    model.optimizer.finalize_variable_values(model.trainable_weights)
    assert model.evaluate(x, y, verbose=0) == averaged != pytest.approx(0)
    np.testing.assert_array_equal(model.predict(x, verbose=0), predicted)


def test_swap_needs_averages():
    model, x, y = linear()
    with pytest.raises(Error, match="use_ema=True"):
        model.evaluate(x, y, verbose=0, callbacks=[callbacks.SwapEMAWeights()])


def test_the_end_of_training_knows_the_last_logs():
    model, x, y = linear()
    seen = []
    watch = callbacks.LambdaCallback(None, None, None, seen.append, on_test_end=seen.append)
    history = model.fit(x, y, epochs=2, validation_data=(x, y), verbose=0, callbacks=[watch])
    assert seen[-1] == {name: values[-1] for name, values in history.history.items()}
    assert len(seen) == 3 and set(seen[0]) == {"loss"}


def test_callbacks_have_a_model_from_the_start():
    class Own(callbacks.Callback):
        def __init__(self):  # without super().__init__(), as some do
            self.mine = 1

        def on_epoch_end(self, epoch, logs=None):
            self.mine = self.model.name

    own = Own()
    assert own.model is None
    model, x, y = linear()
    model.fit(x, y, verbose=0, callbacks=[own])
    assert own.mine == model.name and own.model is model


@pytest.fixture
def quiet():
    config.disable_interactive_logging()
    yield
    config.enable_interactive_logging()


def test_messages_go_to_the_logger(quiet, capsys, caplog):
    assert not fastcnn.utils.is_interactive_logging_enabled()
    model, x, y = linear()
    with caplog.at_level(logging.INFO, "fastcnn"):
        model.fit(x, y, epochs=2, callbacks=[callbacks.LearningRateScheduler(lambda epoch: 0.1, verbose=1)])
    assert capsys.readouterr().out == ""
    text = [record.getMessage() for record in caplog.records]
    assert "Epoch 1/2" in text and any(" - loss: " in line for line in text)
    assert "Epoch 2: LearningRateScheduler setting learning rate to 0.1." in text


def test_messages_go_to_the_terminal(capsys):
    model, x, y = linear()
    model.fit(x, y, epochs=2)
    assert "Epoch 1/2\n" in capsys.readouterr().out
