"""How much two boxes overlap: IoU and its relatives, with gradients. Boxes are rows (x1, y1, x2, y2), one pair a row.

IoU = I / U, with I the area that two boxes share and U the area that at least one of them covers; 0 where U = 0.
GIoU = IoU - (C - U) / C, C the area of the smallest box around both (Rezatofighi et al. 2019).
DIoU = IoU - r / d, r the squared distance of the centres, d the squared diagonal of that box (Zheng et al. 2020).
CIoU = DIoU - v v / (1 - IoU + v), v = (2 / pi (atan(w / h) - atan(w' / h')))^2 (same paper; its alpha = v / (1 - IoU
+ v) is differentiated like everything else).

Each is symmetric, so one gradient, that of the first box, serves both. Where two edges meet, the minimum and the
maximum have no derivative and half of each side's is taken: equal boxes have the gradient 0.
"""

import math

from fastcnn_kernels.elementwise import by_rows, row_span
from fastcnn_kernels.jit import cpu_kernel, device_function, scalar


@scalar
def step(x, y):
    """Derivative of max(x, y) by x."""
    return type(x)(1) if x > y else type(x)(0.5) if x == y else type(x)(0)


@scalar
def extent(lo, hi):
    """Length of an interval; of one whose ends are the wrong way round 0, of NaN NaN."""
    return type(lo)(0) if hi <= lo else hi - lo


@scalar
def shared(lo, hi, lo2, hi2):
    """Length that two intervals share, and its derivatives by lo and hi."""
    length = (hi if hi < hi2 else hi2) - (lo if lo > lo2 else lo2)
    if length > 0:
        return length, -step(lo, lo2), step(hi2, hi)
    return type(lo)(0), type(lo)(0), type(lo)(0)


@scalar
def cover(lo, hi, lo2, hi2):
    """Length of the smallest interval around two, and its derivatives by lo and hi."""
    length = (hi if hi > hi2 else hi2) - (lo if lo < lo2 else lo2)
    return length, -step(lo2, lo), step(hi, hi2)


@scalar
def areas(x1, y1, x2, y2, u1, v1, u2, v2):
    """I and U, and the four derivatives of each by the first box."""
    w, h = extent(x1, x2), extent(y1, y2)
    iw, iw1, iw2 = shared(x1, x2, u1, u2)
    ih, ih1, ih2 = shared(y1, y2, v1, v2)
    inter = iw * ih
    union = w * h + extent(u1, u2) * extent(v1, v2) - inter
    i1, i2, i3, i4 = iw1 * ih, iw * ih1, iw2 * ih, iw * ih2
    return inter, union, i1, i2, i3, i4, -h - i1, -w - i2, h - i3, w - i4


@scalar
def quotient(inter, union, di, du):
    """Derivative of inter / union."""
    return (di * union - inter * du) / (union * union)


@scalar
def iou(x1, y1, x2, y2, u1, v1, u2, v2):
    """IoU and its derivatives by x1, y1, x2, y2."""
    inter, union, i1, i2, i3, i4, n1, n2, n3, n4 = areas(x1, y1, x2, y2, u1, v1, u2, v2)
    if union == 0:
        zero = type(x1)(0)
        return zero, zero, zero, zero, zero
    d1, d2 = quotient(inter, union, i1, n1), quotient(inter, union, i2, n2)
    d3, d4 = quotient(inter, union, i3, n3), quotient(inter, union, i4, n4)
    return inter / union, d1, d2, d3, d4


@scalar
def giou(x1, y1, x2, y2, u1, v1, u2, v2):
    """GIoU and its derivatives by x1, y1, x2, y2; IoU where the box around both has no area."""
    value, d1, d2, d3, d4 = iou(x1, y1, x2, y2, u1, v1, u2, v2)
    _, union, _, _, _, _, n1, n2, n3, n4 = areas(x1, y1, x2, y2, u1, v1, u2, v2)
    cw, cw1, cw2 = cover(x1, x2, u1, u2)
    ch, ch1, ch2 = cover(y1, y2, v1, v2)
    hull = cw * ch
    if hull == 0:
        return value, d1, d2, d3, d4
    d1, d2 = d1 + quotient(union, hull, n1, cw1 * ch), d2 + quotient(union, hull, n2, cw * ch1)
    d3, d4 = d3 + quotient(union, hull, n3, cw2 * ch), d4 + quotient(union, hull, n4, cw * ch2)
    return value - type(x1)(1) + union / hull, d1, d2, d3, d4


@scalar
def diou(x1, y1, x2, y2, u1, v1, u2, v2):
    """DIoU and its derivatives by x1, y1, x2, y2; IoU where both boxes are the same point."""
    value, d1, d2, d3, d4 = iou(x1, y1, x2, y2, u1, v1, u2, v2)
    cw, cw1, cw2 = cover(x1, x2, u1, u2)
    ch, ch1, ch2 = cover(y1, y2, v1, v2)
    quarter, two = type(x1)(0.25), type(x1)(2)
    sx, sy = x1 + x2 - u1 - u2, y1 + y2 - v1 - v2
    r, d = (sx * sx + sy * sy) * quarter, cw * cw + ch * ch
    if d == 0:
        return value, d1, d2, d3, d4
    d1 -= quotient(r, d, sx * two * quarter, two * cw * cw1)
    d2 -= quotient(r, d, sy * two * quarter, two * ch * ch1)
    d3 -= quotient(r, d, sx * two * quarter, two * cw * cw2)
    d4 -= quotient(r, d, sy * two * quarter, two * ch * ch2)
    return value - r / d, d1, d2, d3, d4


@scalar
def ciou(x1, y1, x2, y2, u1, v1, u2, v2):
    """CIoU and its derivatives by x1, y1, x2, y2."""
    value, d1, d2, d3, d4 = diou(x1, y1, x2, y2, u1, v1, u2, v2)
    overlap, o1, o2, o3, o4 = iou(x1, y1, x2, y2, u1, v1, u2, v2)
    w, h = extent(x1, x2), extent(y1, y2)
    one, two = type(x1)(1), type(x1)(2)
    turn = type(x1)(2 / math.pi) * (math.atan2(w, h) - math.atan2(extent(u1, u2), extent(v1, v2)))
    v, length = turn * turn, w * w + h * h
    s = one - overlap + v
    if s <= 0 or length == 0:
        return value, d1, d2, d3, d4
    by_turn = v * (two * s - v) / (s * s) * two * turn * type(x1)(2 / math.pi) / length
    by_overlap = v * v / (s * s)
    d1, d3 = d1 + by_turn * h - by_overlap * o1, d3 - by_turn * h - by_overlap * o3
    d2, d4 = d2 - by_turn * w - by_overlap * o2, d4 + by_turn * w - by_overlap * o4
    return value - v * v / s, d1, d2, d3, d4


# --- pairs of boxes -----------------------------------------------------------------------------------------


@device_function
def overlaps(f, a, b, y, first, last):
    """y[r] = f(a[r], b[r]).  a, b (rows, 4), y (rows,)."""
    lo, hi = row_span(first, last, a)
    for r in range(lo, hi):
        p, q = a[r], b[r]
        y[r] = f(p[0], p[1], p[2], p[3], q[0], q[1], q[2], q[3])[0]


@device_function
def overlap_gradients(f, dy, a, b, da, first, last):
    """da[r] = dy[r] times the derivatives of f(a[r], b[r]) by a[r].  a, b, da (rows, 4), dy (rows,)."""
    lo, hi = row_span(first, last, a)
    for r in range(lo, hi):
        p, q, d = a[r], b[r], da[r]
        _, d1, d2, d3, d4 = f(p[0], p[1], p[2], p[3], q[0], q[1], q[2], q[3])
        d[0], d[1], d[2], d[3] = dy[r] * d1, dy[r] * d2, dy[r] * d3, dy[r] * d4


def by_rows_of_second(dy, a, *others) -> int:
    """Work items of a gradient, whose first argument is one number a row."""
    return by_rows(a)


@cpu_kernel(by_rows)
def iou_forward(a, b, y, first, last):
    """y[r] = IoU of the boxes a[r] and b[r].  a, b (rows, 4), y (rows,)."""
    overlaps(iou, a, b, y, first, last)


@cpu_kernel(by_rows_of_second)
def iou_backward(dy, a, b, da, first, last):
    """da = gradient of the box a."""
    overlap_gradients(iou, dy, a, b, da, first, last)


@cpu_kernel(by_rows)
def giou_forward(a, b, y, first, last):
    """y[r] = GIoU of the boxes a[r] and b[r]."""
    overlaps(giou, a, b, y, first, last)


@cpu_kernel(by_rows_of_second)
def giou_backward(dy, a, b, da, first, last):
    """da = gradient of the box a."""
    overlap_gradients(giou, dy, a, b, da, first, last)


@cpu_kernel(by_rows)
def diou_forward(a, b, y, first, last):
    """y[r] = DIoU of the boxes a[r] and b[r]."""
    overlaps(diou, a, b, y, first, last)


@cpu_kernel(by_rows_of_second)
def diou_backward(dy, a, b, da, first, last):
    """da = gradient of the box a."""
    overlap_gradients(diou, dy, a, b, da, first, last)


@cpu_kernel(by_rows)
def ciou_forward(a, b, y, first, last):
    """y[r] = CIoU of the boxes a[r] and b[r]."""
    overlaps(ciou, a, b, y, first, last)


@cpu_kernel(by_rows_of_second)
def ciou_backward(dy, a, b, da, first, last):
    """da = gradient of the box a."""
    overlap_gradients(ciou, dy, a, b, da, first, last)
