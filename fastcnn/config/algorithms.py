"""How plans made from now on compute: which algorithms, and how they may round."""

import os

from fastcnn.errors import Error, did_you_mean

CONVOLUTIONS = ("auto", "measured", "implicit", "columns", "lanes", "winograd", "winograd2", "amx", "amx3")
PRECISIONS = ("strict", "fast", "faster", "tf32")  # what is later permits what is earlier

_convolution_algorithm = "auto"
_precision = "fast"


def convolution_algorithm() -> str:
    """How plans compute convolutions, "auto" unless set here or by `FASTCNN_CONVOLUTION` in the environment."""
    return _convolution_algorithm


def set_convolution_algorithm(name: str) -> None:
    """Choose how plans made from now on compute convolutions, for comparisons: where one cannot, "implicit" does it.

    - "auto": by a model of what each algorithm costs for the shapes at hand;
    - "measured": by trying all that the precision permits, once on every processor; what was found is kept beside the
      compiled kernels. Some per cent faster where the model errs; the last digits then depend on the machine;
    - "implicit": a matrix product whose columns are gathered while they are multiplied;
    - "lanes": sums over taps for as many images at a time as a vector has lanes;
    - "columns": the same with columns that are stored first (im2col, product, col2im);
    - "winograd", "winograd2": 3 x 3 kernels of stride 1 by Winograd's algorithm, tiles of 4 x 4 or 2 x 2;
    - "amx", "amx3": on the matrix tiles of processors that have them, a number as a sum of two or three of bfloat16.
    """
    global _convolution_algorithm
    if name not in CONVOLUTIONS:
        raise Error(f"set_convolution_algorithm: {name!r} is not known{did_you_mean(name, CONVOLUTIONS)}")
    _convolution_algorithm = name


def precision() -> str:
    """How much more than a plain sum a faster algorithm may round: "strict", "fast", "faster" or "tf32"."""
    return _precision


def set_precision(value: str) -> None:
    """Set it for plans made from now on. float64 is always strict.

    - "strict": no more than a plain sum in float32;
    - "fast", the default: Winograd's algorithm too, whose error is a few 1e-6 of the largest result;
    - "faster": numbers as sums of two bfloat16 numbers too, with an error of some 5e-6 of the largest result: what
      PyTorch calls float32_matmul_precision "high". Only processors with matrix tiles gain;
    - "tf32": on CUDA devices, operands of products rounded to 11 bits too, with an error of some 1e-3 of the largest
      result, as PyTorch's convolutions are by default there.
    """
    global _precision
    if value not in PRECISIONS:
        raise Error(f"set_precision: {value!r} is not known{did_you_mean(value, PRECISIONS)}")
    _precision = value


if "FASTCNN_CONVOLUTION" in os.environ:
    set_convolution_algorithm(os.environ["FASTCNN_CONVOLUTION"])
