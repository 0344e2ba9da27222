"""Matrices taken apart, inverted and solved for, by NumPy. They take arrays, stacks of matrices as well."""

from typing import Any

import numpy as np

from fastcnn.ops.known import as_floating, on_arrays

__all__ = [
    "cholesky", "cholesky_inverse", "det", "eig", "eigh", "inv", "logdet", "lstsq", "matrix_rank", "pinv",
    "qr", "slogdet", "solve", "solve_triangular", "svd",
]  # fmt: skip


@on_arrays
def cholesky(x: Any, upper: bool = False) -> np.ndarray:
    """The lower triangle L with x = L L^T, or the upper one."""
    lower = np.linalg.cholesky(as_floating(x))
    return np.swapaxes(lower, -1, -2) if upper else lower


@on_arrays
def cholesky_inverse(x: Any, upper: bool = False) -> np.ndarray:
    """The inverse of the matrix whose Cholesky factor is x."""
    factor = as_floating(x)
    other = np.swapaxes(factor, -1, -2)
    return np.linalg.inv(other @ factor if upper else factor @ other)


@on_arrays
def det(x: Any) -> Any:
    """The determinant."""
    return np.linalg.det(as_floating(x))


@on_arrays
def slogdet(x: Any) -> tuple[Any, Any]:
    """The sign of the determinant, and the logarithm of its size."""
    return tuple(np.linalg.slogdet(as_floating(x)))


@on_arrays
def logdet(x: Any) -> Any:
    """The logarithm of the determinant of a positive definite matrix."""
    return np.linalg.slogdet(as_floating(x))[1]


@on_arrays
def eig(x: Any) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues and eigenvectors, a column each; complex numbers."""
    values, vectors = np.linalg.eig(as_floating(x))
    return values.astype("complex64"), vectors.astype("complex64")


@on_arrays
def eigh(x: Any) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues, ascending, and eigenvectors, a column each, of a symmetric matrix."""
    return tuple(np.linalg.eigh(as_floating(x)))  # type: ignore[return-value]


@on_arrays
def inv(x: Any) -> np.ndarray:
    """The inverse."""
    return np.linalg.inv(as_floating(x))


@on_arrays
def pinv(x: Any, rcond: float | None = None) -> np.ndarray:
    """The pseudo-inverse; singular values below rcond times the largest count as 0."""
    return np.linalg.pinv(as_floating(x)) if rcond is None else np.linalg.pinv(as_floating(x), rcond)


@on_arrays
def matrix_rank(x: Any, tol: float | None = None) -> Any:
    """How many singular values are not 0, or are above tol; int32."""
    return np.linalg.matrix_rank(as_floating(x), tol).astype("int32")


@on_arrays
def qr(x: Any, mode: str = "reduced") -> tuple[np.ndarray, np.ndarray]:
    """Q with columns at right angles and an upper triangle R, x = Q R; "reduced" or "complete"."""
    return tuple(np.linalg.qr(as_floating(x), mode))  # type: ignore[call-overload]


@on_arrays
def svd(x: Any, full_matrices: bool = True, compute_uv: bool = True) -> Any:
    """U, singular values S, descending, and V^T with x = U S V^T; or S alone."""
    if not compute_uv:
        return np.linalg.svd(as_floating(x), compute_uv=False)
    return tuple(np.linalg.svd(as_floating(x), full_matrices))


@on_arrays
def solve(a: Any, b: Any) -> np.ndarray:
    """The x with a x = b."""
    return np.linalg.solve(as_floating(a), as_floating(b))


@on_arrays
def solve_triangular(a: Any, b: Any, lower: bool = False) -> np.ndarray:
    """The x with a x = b, of the upper triangle of a, or the lower one."""
    a = np.tril(as_floating(a)) if lower else np.triu(as_floating(a))
    return np.linalg.solve(a, as_floating(b))


@on_arrays
def lstsq(a: Any, b: Any, rcond: float | None = None) -> np.ndarray:
    """The x for which the sum of squares of a x - b is smallest."""
    return np.linalg.lstsq(as_floating(a), as_floating(b), rcond)[0]
