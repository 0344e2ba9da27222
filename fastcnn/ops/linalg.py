"""Products, norms and decompositions of matrices, as keras.ops.linalg has them."""

from typing import Any

from fastcnn.errors import missing_name
from fastcnn.ops.algebra import *
from fastcnn.ops.decomposition import *


def __getattr__(name: str) -> Any:
    """Called for names that are not here."""
    raise missing_name(__name__, name, globals())
