"""Regions of feature maps on a CUDA device: the kernels of `roi.py`.

A thread makes one number of what is written. Backwards that is a number of dx, and the thread goes through the regions
of its image in their order and takes from each what concerns its cell.
"""

from fastcnn_kernels.cuda import Shape, cuda, cuda_function, cuda_kernel, elements
from fastcnn_kernels.roi import cells_of, coordinate, image_of, largest_of, sample_of, sample_weights


@cuda_kernel(lambda x, regions, y, *others: elements(y.size))
def roi_align_forward(x, regions, y, scale, shift, least, g):
    """y = means of bilinear samples, g.samples^2 a cell.  He et al. 2017, Mask R-CNN, section 3.

    A region begins at its x1 scale - shift; it is at least `least` cells long.
    """
    number, h, w, channels = x.dtype.type, x.shape[1], x.shape[2], x.shape[3]
    share = number(1.0 / (g.samples * g.samples))
    e = cuda.grid(1)
    if e < y.size:
        c, ox = e % channels, e // channels % g.columns
        oy, r = e // channels // g.columns % g.rows, e // channels // g.columns // g.rows
        n, total = image_of(regions[r], x.shape[0]), number(0)
        for sample in range(g.samples * g.samples if n >= 0 else 0):
            sy, sx = sample // g.samples, sample % g.samples
            y1, y2, x1, x2, fy, fx = sample_weights(regions[r], oy, ox, sy, sx, h, w, g, scale, shift, least)
            if y1 >= 0:
                total += share * number((1 - fy) * (1 - fx)) * x[n, y1, x1, c]
                total += share * number((1 - fy) * fx) * x[n, y1, x2, c]
                total += share * number(fy * (1 - fx)) * x[n, y2, x1, c]
                total += share * number(fy * fx) * x[n, y2, x2, c]
        y[r, oy, ox, c] = total


@cuda_function
def reaches(first, last, scale, shift, least, i, n):
    """Whether samples of a region from first to last may have a share in cell i of n."""
    start = first * scale - shift
    stop = start + max(last * scale - shift - start, least)
    return stop >= -1 and start <= n and i >= min(start, n - 1.0) - 1 and i <= max(stop, 0.0) + 1


@cuda_function
def weight_on(first, last, cell, cells, sample, samples, scale, shift, least, i, n):
    """The share of cell i in a sample, along one axis."""
    low, high, part = sample_of(coordinate(first, last, cell, cells, sample, samples, scale, shift, least), n)
    return (1 - part if low == i else 0.0) + (part if high == i else 0.0)


@cuda_function
def of_region(dy, region, i, j, h, w, c, scale, shift, least, g):
    """What a region hands to the cell (i, j) of channel c.  dy (rows, columns, c)."""
    number, total = dy.dtype.type, dy.dtype.type(0)
    share = 1.0 / (g.samples * g.samples)
    for row in range(g.rows * g.samples):
        oy, sy = row // g.samples, row % g.samples
        wy = weight_on(region[2], region[4], oy, g.rows, sy, g.samples, scale, shift, least, i, h)
        for column in range(g.columns * g.samples if wy > 0 else 0):
            ox, sx = column // g.samples, column % g.samples
            wx = weight_on(region[1], region[3], ox, g.columns, sx, g.samples, scale, shift, least, j, w)
            if wx > 0:
                total += number(share * wy * wx) * dy[oy, ox, c]
    return total


def each_number(dy, dx, *others) -> Shape:
    """A thread for every number of dx."""
    return elements(dx.size)


@cuda_kernel(each_number)
def roi_align_backward(dy, dx, regions, scale, shift, least, g):
    """dx = what the means hand back to the cells that they were made of."""
    h, w, channels = dx.shape[1], dx.shape[2], dx.shape[3]
    e = cuda.grid(1)
    if e < dx.size:
        c, j, i, n = e % channels, e // channels % w, e // channels // w % h, e // channels // w // h
        total = dx.dtype.type(0)
        for r in range(regions.shape[0]):
            region = regions[r]
            if image_of(region, dx.shape[0]) == n:
                if reaches(region[2], region[4], scale, shift, least, i, h) and reaches(
                    region[1], region[3], scale, shift, least, j, w
                ):
                    total += of_region(dy[r], region, i, j, h, w, c, scale, shift, least, g)
        dx[n, i, j, c] = total


# --- pool ------------------------------------------------------------------------------------------------------------


@cuda_kernel(lambda x, regions, y, *others: elements(y.size))
def roi_pool_forward(x, regions, y, scale, g):
    """y = maxima of cells that regions, rounded to whole cells, are divided into; 0 where a cell is empty.

    Girshick 2015, Fast R-CNN, section 2.1.
    """
    channels = x.shape[3]
    e = cuda.grid(1)
    if e < y.size:
        c, ox = e % channels, e // channels % g.columns
        oy, r = e // channels // g.columns % g.rows, e // channels // g.columns // g.rows
        n, region = image_of(regions[r], x.shape[0]), regions[r]
        y[r, oy, ox, c] = 0
        if n >= 0:
            i1, i2 = cells_of(region[2], region[4], scale, oy, g.rows, x.shape[1])
            j1, j2 = cells_of(region[1], region[3], scale, ox, g.columns, x.shape[2])
            if i1 < i2 and j1 < j2:
                i, j = largest_of(x[n], i1, i2, j1, j2, c)
                y[r, oy, ox, c] = x[n, i, j, c]


@cuda_function
def of_pooled_region(dy, x, region, i, j, c, scale, g):
    """What a region hands to the cell (i, j) of channel c.  dy (rows, columns, c), x (h, w, c)."""
    total = dy.dtype.type(0)
    for oy in range(g.rows):
        i1, i2 = cells_of(region[2], region[4], scale, oy, g.rows, x.shape[0])
        for ox in range(g.columns if i1 <= i and i < i2 else 0):
            j1, j2 = cells_of(region[1], region[3], scale, ox, g.columns, x.shape[1])
            if j1 <= j and j < j2:
                bi, bj = largest_of(x, i1, i2, j1, j2, c)
                total += dy[oy, ox, c] if bi == i and bj == j else dy.dtype.type(0)
    return total


@cuda_kernel(lambda dy, x, dx, *others: elements(dx.size))
def roi_pool_backward(dy, x, dx, regions, scale, g):
    """dx: the gradient of a maximum goes to the first cell that has it."""
    h, w, channels = dx.shape[1], dx.shape[2], dx.shape[3]
    e = cuda.grid(1)
    if e < dx.size:
        c, j, i, n = e % channels, e // channels % w, e // channels // w % h, e // channels // w // h
        total = dx.dtype.type(0)
        for r in range(regions.shape[0]):
            if image_of(regions[r], dx.shape[0]) == n:
                total += of_pooled_region(dy[r], x[n], regions[r], i, j, c, scale, g)
        dx[n, i, j, c] = total
