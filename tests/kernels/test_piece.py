"""Pieces of kernels: compiled inside others, and nowhere else."""

import numpy as np
import pytest
from fastcnn_kernels import jit
from fastcnn_kernels.piece import Piece, PieceLibrary

pytestmark = pytest.mark.skipif(not jit.COMPILED, reason="nothing is compiled")


@jit.scalar
def twice(x):
    """2 x."""
    return x + x


@jit.shape_function
def half(size):
    """size / 2, rounded up."""
    return (size + 1) // 2


@jit.device_function
def fill_pairs(y, formula, first, last):
    """y[2 i] = y[2 i + 1] = formula(i)."""
    for i in range(first, min(last, half(y.size))):
        y[2 * i : 2 * i + 2] = formula(i)


@pytest.fixture(scope="module")
def kernel():
    def pairs(y, first, last):
        fill_pairs(y, twice, first, last)

    made = jit.Kernel(pairs, lambda y: half(y.size))
    del jit.Kernel.registry[made.__name__]
    return made


def test_a_kernel_is_made_of_its_pieces(kernel):
    for dtype in ("float32", "int64"):
        kernel(y := np.zeros(5, dtype))
        assert y.tolist() == [0, 0, 2, 2, 4]


def test_a_piece_has_no_machine_code_of_its_own(kernel):
    kernel(np.zeros(5))
    for piece in (twice, fill_pairs):
        assert isinstance(piece, Piece)
        assert piece.overloads
        for version in piece.overloads.values():
            library = version.library
            assert isinstance(library, PieceLibrary)
            assert not library.codegen._engine.is_symbol_defined(version.fndesc.llvm_func_name)


def test_python_calls_a_version_of_its_own(kernel):
    kernel(np.zeros(5))
    assert twice(3) == 6
    assert twice(1.5) == 3.0
    assert half(3) == 2
    fill_pairs(y := np.zeros(4), twice, 0, 2)
    assert y.tolist() == [0, 0, 2, 2]


def test_what_cannot_be_compiled_is_an_error_of_the_kernel(kernel):
    with pytest.raises(TypeError, match="pairs> cannot be compiled for"):
        kernel(np.zeros(5, "S3"))
