"""Overlaps of boxes on a CUDA device: the kernels of `boxes.py`, a thread a pair of boxes."""

from fastcnn_kernels.boxes import ciou, diou, giou, iou
from fastcnn_kernels.cuda import cuda, cuda_function, cuda_kernel, rows, rows_of_second


@cuda_function
def overlaps(f, a, b, y):
    """y[r] = f(a[r], b[r]).  a, b (rows, 4), y (rows,)."""
    r = cuda.grid(1)
    if r < a.shape[0]:
        y[r] = f(a[r, 0], a[r, 1], a[r, 2], a[r, 3], b[r, 0], b[r, 1], b[r, 2], b[r, 3])[0]


@cuda_function
def overlap_gradients(f, dy, a, b, da):
    """da[r] = dy[r] times the derivatives of f(a[r], b[r]) by a[r].  a, b, da (rows, 4), dy (rows,)."""
    r = cuda.grid(1)
    if r < a.shape[0]:
        _, d1, d2, d3, d4 = f(a[r, 0], a[r, 1], a[r, 2], a[r, 3], b[r, 0], b[r, 1], b[r, 2], b[r, 3])
        da[r, 0], da[r, 1], da[r, 2], da[r, 3] = dy[r] * d1, dy[r] * d2, dy[r] * d3, dy[r] * d4


@cuda_kernel(rows)
def iou_forward(a, b, y):
    """y[r] = IoU of the boxes a[r] and b[r].  a, b (rows, 4), y (rows,)."""
    overlaps(iou, a, b, y)


@cuda_kernel(rows_of_second)
def iou_backward(dy, a, b, da):
    """da = gradient of the box a."""
    overlap_gradients(iou, dy, a, b, da)


@cuda_kernel(rows)
def giou_forward(a, b, y):
    """y[r] = GIoU of the boxes a[r] and b[r]."""
    overlaps(giou, a, b, y)


@cuda_kernel(rows_of_second)
def giou_backward(dy, a, b, da):
    """da = gradient of the box a."""
    overlap_gradients(giou, dy, a, b, da)


@cuda_kernel(rows)
def diou_forward(a, b, y):
    """y[r] = DIoU of the boxes a[r] and b[r]."""
    overlaps(diou, a, b, y)


@cuda_kernel(rows_of_second)
def diou_backward(dy, a, b, da):
    """da = gradient of the box a."""
    overlap_gradients(diou, dy, a, b, da)


@cuda_kernel(rows)
def ciou_forward(a, b, y):
    """y[r] = CIoU of the boxes a[r] and b[r]."""
    overlaps(ciou, a, b, y)


@cuda_kernel(rows_of_second)
def ciou_backward(dy, a, b, da):
    """da = gradient of the box a."""
    overlap_gradients(ciou, dy, a, b, da)
