"""The op vocabulary: functions of tensors (or arrays) with shape rules, gradients and kernels.

Names and arguments follow keras.ops. One module a family; each lists its functions in `__all__`.
"""

from fastcnn.ops.activation import *
from fastcnn.ops.algebra import *
from fastcnn.ops.arithmetic import *
from fastcnn.ops.arrangement import *
from fastcnn.ops.columns import *
from fastcnn.ops.control import *
from fastcnn.ops.conv import *
from fastcnn.ops.core import *
from fastcnn.ops.creation import *
from fastcnn.ops.elementwise import *
from fastcnn.ops.image import *
from fastcnn.ops.lanes import *
from fastcnn.ops.logic import *
from fastcnn.ops.loss import *
from fastcnn.ops.matmul import *
from fastcnn.ops.normalization import *
from fastcnn.ops.ordering import *
from fastcnn.ops.pooling import *
from fastcnn.ops.random import *
from fastcnn.ops.reduction import *
from fastcnn.ops.shape import *
from fastcnn.ops.update import *
from fastcnn.ops.winograd import *
