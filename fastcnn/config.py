"""Settings of the whole process: number format, fuzz factor, data format, and the stream of random seeds."""

import os
import random
import secrets
import threading

import numpy as np

from fastcnn.errors import Error, did_you_mean

FLOAT_TYPES = ("float32", "float64")
CONVOLUTIONS = ("auto", "implicit", "columns", "lanes", "winograd", "winograd2")
PRECISIONS = ("fast", "strict")

_floatx = "float32"
_epsilon = 1e-7
_convolution_algorithm = "auto"
_precision = "fast"

_lock = threading.Lock()
_entropy = secrets.randbits(64)
_drawn = 0


def floatx() -> str:
    """The dtype of weights and results, "float32" or "float64"."""
    return _floatx


def set_floatx(value: str) -> None:
    """Set the dtype of everything built from now on; models that exist keep theirs."""
    global _floatx
    name = str(np.dtype(value)) if isinstance(value, (type, np.dtype)) else str(value)
    if name not in FLOAT_TYPES:
        raise Error(f"set_floatx: {name!r} is not supported" + did_you_mean(name, FLOAT_TYPES))
    _floatx = name


def epsilon() -> float:
    """The fuzz factor that keeps divisions and logarithms finite, 1e-7 unless set."""
    return _epsilon


def set_epsilon(value: float) -> None:
    """Set the fuzz factor, a positive number."""
    global _epsilon
    if not 0.0 < float(value) < 1.0:
        raise Error(f"set_epsilon: expected a number between 0 and 1, got {value!r}")
    _epsilon = float(value)


def convolution_algorithm() -> str:
    """How plans compute convolutions, "auto" unless set here or by `FASTCNN_CONVOLUTION` in the environment."""
    return _convolution_algorithm


def set_convolution_algorithm(name: str) -> None:
    """Choose how plans made from now on compute convolutions, for comparisons: where one cannot, "implicit" does it.

    - "auto": by a model of what each algorithm costs for the shapes at hand;
    - "implicit": a matrix product whose columns are gathered while they are multiplied;
    - "lanes": sums over taps for as many images at a time as a vector has lanes;
    - "columns": the same with columns that are stored first (im2col, product, col2im);
    - "winograd", "winograd2": 3 x 3 kernels of stride 1 by Winograd's algorithm, tiles of 4 x 4 or 2 x 2.
    """
    global _convolution_algorithm
    if name not in CONVOLUTIONS:
        raise Error(f"set_convolution_algorithm: {name!r} is not known{did_you_mean(name, CONVOLUTIONS)}")
    _convolution_algorithm = name


def precision() -> str:
    """ "fast": a faster algorithm may round a little more than a plain sum; "strict": it may not."""
    return _precision


def set_precision(value: str) -> None:
    """Set it for plans made from now on. "strict" turns Winograd's algorithm off; float64 is always strict.

    Its error is a few 1e-6 of the largest result, a thousandth of what TF32 of GPUs has.
    """
    global _precision
    if value not in PRECISIONS:
        raise Error(f"set_precision: {value!r} is not known{did_you_mean(value, PRECISIONS)}")
    _precision = value


def image_data_format() -> str:
    """Always "channels_last": images are (batch, height, width, channels)."""
    return "channels_last"


def set_image_data_format(data_format: str) -> None:
    """Accept "channels_last", the only format there is."""
    if data_format == "channels_first":
        raise Error(
            "set_image_data_format: fastcnn works on (batch, height, width, channels) only; "
            "move the channels of your images to the end with numpy.moveaxis(x, 1, -1)"
        )
    if data_format != "channels_last":
        raise Error(f"set_image_data_format: expected 'channels_last', got {data_format!r}")


def set_random_seed(seed: int) -> None:
    """Seed Python's `random`, NumPy's global generator and fastcnn's own: the script repeats itself.

    seed: 0 to 2**32 - 1, the range NumPy takes.
    """
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
        raise Error(f"set_random_seed: expected an integer, got {seed!r} of type {type(seed).__name__}")
    if not 0 <= seed < 2**32:
        raise Error(f"set_random_seed: expected an integer from 0 to 2**32 - 1, got {seed}")
    random.seed(int(seed))
    np.random.seed(int(seed))
    set_seed_stream(int(seed), 0)


def next_seed() -> int:
    """The next seed of the process, 63 random bits.

    Everything random without a seed of its own (initializers, dropout, shuffling) draws one here, so
    `set_random_seed` fixes them all. Seed i is a hash of (entropy, i): two integers are the whole state.
    """
    global _drawn
    with _lock:
        entropy, index = _entropy, _drawn
        _drawn += 1
    hashed = np.random.SeedSequence(entropy, spawn_key=(index,)).generate_state(1, np.uint64)
    return int(hashed[0]) >> 1


def seed_stream() -> tuple[int, int]:
    """(entropy, seeds drawn so far): what a checkpoint stores to resume the stream exactly."""
    with _lock:
        return _entropy, _drawn


def set_seed_stream(entropy: int, drawn: int) -> None:
    """Continue the stream of `entropy` after `drawn` seeds."""
    global _entropy, _drawn
    if entropy < 0 or drawn < 0:
        raise Error(f"set_seed_stream: expected two non-negative integers, got {entropy} and {drawn}")
    with _lock:
        _entropy, _drawn = entropy, drawn


if "FASTCNN_CONVOLUTION" in os.environ:
    set_convolution_algorithm(os.environ["FASTCNN_CONVOLUTION"])
