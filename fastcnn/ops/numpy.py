"""Functions that NumPy has too, as keras.ops.numpy has them."""

from typing import Any

from fastcnn.errors import missing_name
from fastcnn.ops.activation import *
from fastcnn.ops.algebra import *
from fastcnn.ops.arithmetic import *
from fastcnn.ops.arrangement import *
from fastcnn.ops.bits import *
from fastcnn.ops.control import *
from fastcnn.ops.counting import *
from fastcnn.ops.creation import *
from fastcnn.ops.decomposition import *
from fastcnn.ops.diagonals import *
from fastcnn.ops.elementwise import *
from fastcnn.ops.fourier import *
from fastcnn.ops.logic import *
from fastcnn.ops.matmul import *
from fastcnn.ops.nans import *
from fastcnn.ops.ordering import *
from fastcnn.ops.reduction import *
from fastcnn.ops.shape import *
from fastcnn.ops.special import *
from fastcnn.ops.statistics import *
from fastcnn.ops.trigonometry import *


def __getattr__(name: str) -> Any:
    """Called for names that are not here."""
    raise missing_name(__name__, name, globals())
