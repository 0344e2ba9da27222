"""Order on a CUDA device: a thread a row, as an item of `ordering.py`."""

import math

from fastcnn_kernels.cuda import cuda, cuda_kernel, rows
from fastcnn_kernels.ordering import merge_sort, select
from fastcnn_kernels.shape import row_of


@cuda_kernel(rows)
def argsort_rows(x, places, spare):
    """places[r] = order of the row x[r], the smallest first, NaN last.  x, places (int), spare (int): (rows, n)."""
    r = cuda.grid(1)
    if r < x.shape[0]:
        merge_sort(x[r], places[r], spare[r])


@cuda_kernel(rows)
def select_rows(x, places):
    """places[r] = the first of the order of the row x[r].  x (rows, n), places (int) (rows, k), k <= n."""
    r = cuda.grid(1)
    if r < x.shape[0]:
        select(x[r], places[r])


@cuda_kernel(rows)
def pick_forward(x, index, y):
    """y[r, k] = x[r, index[r, k]]; NaN where there is no such place.  x (rows, n), index and y (rows, m)."""
    r = cuda.grid(1)
    if r < x.shape[0]:
        for k in range(index.shape[1]):
            place = row_of(index[r, k], x.shape[1])
            if place < 0:
                y[r, k] = math.nan
            else:
                y[r, k] = x[r, place]


@cuda_kernel(rows)
def pick_backward(dy, index, dx):
    """dx[r, i] = sum of dy[r, k] over the k with index[r, k] = i.  dy, index (rows, m), dx (rows, n)."""
    r = cuda.grid(1)
    if r < dy.shape[0]:
        for i in range(dx.shape[1]):
            dx[r, i] = 0
        for k in range(index.shape[1]):
            place = row_of(index[r, k], dx.shape[1])
            if place >= 0:
                dx[r, place] += dy[r, k]
