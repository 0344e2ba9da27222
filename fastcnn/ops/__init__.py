"""The op vocabulary: functions of tensors (or arrays) with shape rules, gradients and kernels.

Names and arguments follow keras.ops. One module a family; each lists its functions in `__all__`. `nn`, `numpy`, `image`
and `linalg` gather families under the names that Keras has for them.
"""

from typing import Any

from fastcnn.errors import missing_name
from fastcnn.ops import linalg as linalg
from fastcnn.ops import nn as nn
from fastcnn.ops import numpy as numpy
from fastcnn.ops.activation import *
from fastcnn.ops.algebra import *
from fastcnn.ops.amx import *
from fastcnn.ops.arithmetic import *
from fastcnn.ops.arrangement import *
from fastcnn.ops.attention import *
from fastcnn.ops.bits import *
from fastcnn.ops.color import *
from fastcnn.ops.columns import *
from fastcnn.ops.control import *
from fastcnn.ops.conv import *
from fastcnn.ops.core import *
from fastcnn.ops.counting import *
from fastcnn.ops.creation import *
from fastcnn.ops.custom import *
from fastcnn.ops.decomposition import *
from fastcnn.ops.detection import *
from fastcnn.ops.diagonals import *
from fastcnn.ops.elementwise import *
from fastcnn.ops.filters import *
from fastcnn.ops.fourier import *
from fastcnn.ops.geometry import *
from fastcnn.ops.image import *
from fastcnn.ops.lanes import *
from fastcnn.ops.logic import *
from fastcnn.ops.loss import *
from fastcnn.ops.matmul import *
from fastcnn.ops.nans import *
from fastcnn.ops.normalization import *
from fastcnn.ops.ordering import *
from fastcnn.ops.policy import *
from fastcnn.ops.pooling import *
from fastcnn.ops.random import *
from fastcnn.ops.rearrange import *
from fastcnn.ops.reduction import *
from fastcnn.ops.regions import *
from fastcnn.ops.resample import *
from fastcnn.ops.segmentation import *
from fastcnn.ops.segments import *
from fastcnn.ops.shape import *
from fastcnn.ops.sparse import *
from fastcnn.ops.special import *
from fastcnn.ops.statistics import *
from fastcnn.ops.suppression import *
from fastcnn.ops.tensor_cores import *
from fastcnn.ops.trigonometry import *
from fastcnn.ops.update import *
from fastcnn.ops.windows import *
from fastcnn.ops.winograd import *

_INSTEAD = {
    "complex": "; tensors hold real numbers",
    "ctc": "; sequences are not among what it is made for",
    "lu_factor": "; ops.solve and ops.inv do without it",
    "jvp": "; gradients are taken backwards: fastcnn.gradient",
    "stft": "; ops.rfft of ops.extract_sequences gives it",
}


def __getattr__(name: str) -> Any:
    """Called for names that are not here."""
    raise missing_name(__name__, name, globals(), _INSTEAD)
