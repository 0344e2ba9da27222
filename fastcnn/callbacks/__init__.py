"""Callbacks: what happens around the epochs and batches of training, evaluation and prediction.

A callback is told of each event by the method of that name. `logs` maps names to numbers: the loss and the
metrics, with the prefix `val_` those of the validation data.
"""

from typing import Any

from fastcnn.callbacks.backup import BackupAndRestore
from fastcnn.callbacks.base import Callback
from fastcnn.callbacks.checkpoint import ModelCheckpoint
from fastcnn.callbacks.control import LambdaCallback, LearningRateScheduler, SwapEMAWeights, TerminateOnNaN
from fastcnn.callbacks.listing import CallbackList
from fastcnn.callbacks.monitor import EarlyStopping, MonitorCallback, ReduceLROnPlateau
from fastcnn.callbacks.progress import ProgbarLogger
from fastcnn.callbacks.records import CSVLogger, History, RemoteMonitor
from fastcnn.callbacks.tensorboard import TensorBoard
from fastcnn.errors import missing_name

__all__ = [
    "BackupAndRestore",
    "CSVLogger",
    "Callback",
    "CallbackList",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "MonitorCallback",
    "ProgbarLogger",
    "ReduceLROnPlateau",
    "RemoteMonitor",
    "SwapEMAWeights",
    "TensorBoard",
    "TerminateOnNaN",
]


def __getattr__(name: str) -> Any:
    instead = {"Orbax": "; ModelCheckpoint saves models, BackupAndRestore the state of training"}
    raise missing_name(__name__, name, __all__, instead)
