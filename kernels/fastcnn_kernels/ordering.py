"""Order: places of the numbers of a row from the smallest to the largest, and numbers found at places.

An item is a row, sorted or filled by one thread: nothing depends on how the rows are shared out.
"""

import math

from fastcnn_kernels.jit import cpu_kernel, device_function, scalar
from fastcnn_kernels.shape import row_of


def each_row(x, *others) -> int:
    """Work items of a kernel over a (rows, n) array: its rows."""
    return x.shape[0]


@scalar
def in_order(left, right):
    """Whether `left` may stand before `right`: smaller, equal, or `right` is NaN, which stands last."""
    return left <= right or right != right


@device_function
def merge(x, source, target, lo, middle, hi):
    """target[lo:hi] = the places in the two sorted parts of source[lo:hi] in order; the left one first if equal."""
    left, right = lo, middle
    for i in range(lo, hi):
        takes_left = left < middle and (right >= hi or in_order(x[source[left]], x[source[right]]))
        if takes_left:
            target[i] = source[left]
            left += 1
        else:
            target[i] = source[right]
            right += 1


@device_function
def merge_sort(x, places, spare):
    """places = those of the elements of x in order, equal ones as they stand.  x, places, spare (n,)."""
    n, width = x.size, 1
    for i in range(n):
        places[i] = i
    while width < n:
        for lo in range(0, n, 2 * width):
            merge(x, places, spare, lo, min(lo + width, n), min(lo + 2 * width, n))
        for i in range(n):
            places[i] = spare[i]
        width *= 2


@cpu_kernel(each_row)
def argsort_rows(x, places, spare, first, last):
    """places[r] = order of the row x[r], the smallest first, NaN last.  x, places (int), spare (int): (rows, n)."""
    for r in range(first, last):
        merge_sort(x[r], places[r], spare[r])


@device_function
def select(x, places):
    """places = those of the `places.size` smallest elements of x, at most as many as there are, in order.

    Of elements in random order few get in: n comparisons, and some k ln(n / k) insertions.
    """
    found, wanted = 0, places.size
    for i in range(x.size):
        if found == wanted and in_order(x[places[wanted - 1]], x[i]):
            continue
        found = min(found + 1, wanted)
        j = found - 1
        while j > 0 and not in_order(x[places[j - 1]], x[i]):
            places[j] = places[j - 1]
            j -= 1
        places[j] = i


@cpu_kernel(each_row)
def select_rows(x, places, first, last):
    """places[r] = the first of the order of the row x[r].  x (rows, n), places (int) (rows, k), k <= n."""
    for r in range(first, last):
        select(x[r], places[r])


@cpu_kernel(each_row)
def pick_forward(x, index, y, first, last):
    """y[r, k] = x[r, index[r, k]]; NaN where there is no such place.  x (rows, n), index and y (rows, m)."""
    for r in range(first, last):
        for k in range(index.shape[1]):
            place = row_of(index[r, k], x.shape[1])
            if place < 0:
                y[r, k] = math.nan
            else:
                y[r, k] = x[r, place]


@cpu_kernel(each_row)
def pick_backward(dy, index, dx, first, last):
    """dx[r, i] = sum of dy[r, k] over the k with index[r, k] = i.  dy, index (rows, m), dx (rows, n)."""
    for r in range(first, last):
        for i in range(dx.shape[1]):
            dx[r, i] = 0
        for k in range(index.shape[1]):
            place = row_of(index[r, k], dx.shape[1])
            if place >= 0:
                dx[r, place] += dy[r, k]
