"""Layers' work as functions, as keras.ops.nn has it: the families of ops that networks are built of."""

from typing import Any

from fastcnn.errors import missing_name
from fastcnn.ops.activation import *
from fastcnn.ops.algebra import *
from fastcnn.ops.arrangement import *
from fastcnn.ops.attention import *
from fastcnn.ops.conv import *
from fastcnn.ops.filters import *
from fastcnn.ops.loss import *
from fastcnn.ops.normalization import *
from fastcnn.ops.pooling import *
from fastcnn.ops.reduction import *
from fastcnn.ops.sparse import *
from fastcnn.ops.windows import *


def __getattr__(name: str) -> Any:
    """Called for names that are not here."""
    raise missing_name(__name__, name, globals())
