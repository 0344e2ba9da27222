"""Suppression on a CUDA device: the kernels of `nms.py`, a block a class.

Greedy suppression takes the boxes of a class in order, BLOCK at a time. The threads of the block compare each of them
with the boxes kept so far, and with those before it in the same BLOCK; the latter answers are a matrix of bits, a row a
box. What is then left is decided by one thread, which goes down the matrix once. So the matrix takes the same few
kilobytes of shared memory however many boxes there are, and what stays is what stays on the CPU.
"""

import math

import numpy as np

from fastcnn_kernels.cuda import SIMULATED, THREADS, Shape, cuda, cuda_function, cuda_kernel
from fastcnn_kernels.nms import (
    area_of,
    gaussian_decay,
    linear_decay,
    overlap,
    overlaps_more,
    overlaps_more_and_near,
)

BLOCK = 4 if SIMULATED else 64  # boxes of a row of bits
ONE = np.uint64(1)


def each_class(corners, starts, *others) -> Shape:
    """A block for every class."""
    return Shape((starts.size - 1, 1, 1), THREADS)


@cuda_function
def mark_by_kept(f, corners, kept, lo, count, start, here, gone, threshold):
    """gone[t] = 1 where a box kept suppresses the box start + t % BLOCK: thread t compares every THREADS/BLOCK-th."""
    thread = cuda.threadIdx.x
    found, i = 0, start + thread % BLOCK
    if thread % BLOCK < here:
        x1, y1, x2, y2 = corners[0, i], corners[1, i], corners[2, i], corners[3, i]
        area = area_of(x1, y1, x2, y2)
        for k in range(lo + thread // BLOCK, lo + count, THREADS // BLOCK):
            u1, v1, u2, v2 = kept[0, k], kept[1, k], kept[2, k], kept[3, k]
            if f(u1, v1, u2, v2, kept[4, k], x1, y1, x2, y2, area, threshold):
                found = 1
                break
    gone[thread] = found


@cuda_function
def mark_by_each_other(f, corners, start, here, bits, threshold):
    """Bit j of bits[i] = whether box start + j, a better one, suppresses box start + i."""
    i = cuda.threadIdx.x
    if i < here:
        x1, y1 = corners[0, start + i], corners[1, start + i]
        x2, y2 = corners[2, start + i], corners[3, start + i]
        area, row = area_of(x1, y1, x2, y2), np.uint64(0)
        for j in range(i):
            u1, v1 = corners[0, start + j], corners[1, start + j]
            u2, v2 = corners[2, start + j], corners[3, start + j]
            if f(u1, v1, u2, v2, area_of(u1, v1, u2, v2), x1, y1, x2, y2, area, threshold):
                row |= ONE << np.uint64(j)
        bits[i] = row


@cuda_function
def decide(corners, kept, keep, lo, count, start, here, gone, bits):
    """keep[start:start+here], one box after the other; returns how many boxes have been kept now."""
    stay = np.uint64(0)
    for i in range(here):
        keep[start + i] = 0
        is_gone = (bits[i] & stay) != 0
        for part in range(THREADS // BLOCK):
            is_gone = is_gone or gone[part * BLOCK + i] == 1
        if not is_gone:
            stay |= ONE << np.uint64(i)
            x1, y1 = corners[0, start + i], corners[1, start + i]
            x2, y2 = corners[2, start + i], corners[3, start + i]
            k = lo + count
            kept[0, k], kept[1, k], kept[2, k], kept[3, k] = x1, y1, x2, y2
            kept[4, k] = area_of(x1, y1, x2, y2)
            count += 1
            keep[start + i] = 1
    return count


@cuda_function
def greedy(f, corners, starts, kept, keep, threshold, gone, bits, counts):
    """keep[i] = 1 where no box kept before suppresses box i, else 0.  kept (5, n): working memory; threshold (1,)."""
    lo, hi = starts[cuda.blockIdx.x], starts[cuda.blockIdx.x + 1]
    count = 0
    for start in range(lo, hi, BLOCK):
        here = min(BLOCK, hi - start)
        mark_by_kept(f, corners, kept, lo, count, start, here, gone, threshold)
        mark_by_each_other(f, corners, start, here, bits, threshold)
        cuda.syncthreads()
        if cuda.threadIdx.x == 0:
            counts[0] = decide(corners, kept, keep, lo, count, start, here, gone, bits)
        cuda.syncthreads()
        count = counts[0]


@cuda_kernel(each_class)
def nms_greedy(corners, starts, kept, keep, threshold):
    """Boxes are suppressed by IoU > threshold[0].  See `greedy`; torchvision's and darknet's rule."""
    gone = cuda.shared.array(THREADS, np.uint8)
    bits = cuda.shared.array(BLOCK, np.uint64)
    counts = cuda.shared.array(1, np.int64)
    greedy(overlaps_more, corners, starts, kept, keep, threshold[0], gone, bits, counts)


@cuda_kernel(each_class)
def nms_distance(corners, starts, kept, keep, threshold):
    """Boxes are suppressed by DIoU > threshold[0], so that neighbours with other centres stay (Zheng et al. 2020)."""
    gone = cuda.shared.array(THREADS, np.uint8)
    bits = cuda.shared.array(BLOCK, np.uint64)
    counts = cuda.shared.array(1, np.int64)
    greedy(overlaps_more_and_near, corners, starts, kept, keep, threshold[0], gone, bits, counts)


# --- the best of all threads -----------------------------------------------------------------------------------------


@cuda_function
def best_of_block(value, place, values, places):
    """The largest value that a thread has brought, and its place; of equal ones the first place.

    Every thread of the block must come here. A place of -1 is none.
    """
    thread, step = cuda.threadIdx.x, 1
    values[thread], places[thread] = value, place
    cuda.syncthreads()
    while step < THREADS:
        if thread % (2 * step) == 0:
            mine, other = places[thread], places[thread + step]
            is_better = values[thread + step] > values[thread]
            is_first = values[thread + step] == values[thread] and other < mine
            if other >= 0 and (mine < 0 or is_better or is_first):
                values[thread], places[thread] = values[thread + step], other
        cuda.syncthreads()
        step *= 2
    value, place = values[0], places[0]
    cuda.syncthreads()
    return value, place


# --- scores that fade ------------------------------------------------------------------------------------------------


@cuda_function
def best_score(left, lo, hi, values, places):
    """The place of the first of the largest scores in [lo, hi), found by all threads."""
    best, most = -1, left.dtype.type(-math.inf)
    for i in range(lo + cuda.threadIdx.x, hi, THREADS):
        if best < 0 or left[i] > most:
            best, most = i, left[i]
    return best_of_block(most, best, values, places)


@cuda_function
def fade(decay, corners, starts, scores, left, constant, least, values, places):
    """The best box is taken, the scores of those left fade by their overlap with it, and so on.

    scores[i]: of box i when it was taken; left: working memory like scores. Ends when no score reaches `least`.
    """
    lo, hi, thread = starts[cuda.blockIdx.x], starts[cuda.blockIdx.x + 1], cuda.threadIdx.x
    for i in range(lo + thread, hi, THREADS):
        left[i] = scores[i]
    for _ in range(lo, hi):
        score, i = best_score(left, lo, hi, values, places)
        if not score >= least:
            break
        x1, y1, x2, y2 = corners[0, i], corners[1, i], corners[2, i], corners[3, i]
        area = area_of(x1, y1, x2, y2)
        for k in range(lo + thread, hi, THREADS):
            if k == i:
                scores[i], left[i] = score, -math.inf
            elif left[k] > -math.inf:  # else -inf times 0
                iou = overlap(
                    x1, y1, x2, y2, area, corners[0, k], corners[1, k], corners[2, k], corners[3, k]
                )
                left[k] *= decay(iou, constant)
    for i in range(lo + thread, hi, THREADS):
        if left[i] > -math.inf:
            scores[i] = left[i]


@cuda_kernel(each_class)
def nms_linear(corners, starts, scores, left, threshold, least):
    """Soft suppression with the factor 1 - IoU above the threshold (Bodla et al. 2017); see `fade`."""
    values = cuda.shared.array(THREADS, scores.dtype)
    places = cuda.shared.array(THREADS, np.int64)
    constant = scores.dtype.type(threshold)
    fade(linear_decay, corners, starts, scores, left, constant, least, values, places)


@cuda_kernel(each_class)
def nms_gaussian(corners, starts, scores, left, sigma, least):
    """Soft suppression with the factor exp(-IoU^2 / sigma) (Bodla et al. 2017); see `fade`."""
    values = cuda.shared.array(THREADS, scores.dtype)
    places = cuda.shared.array(THREADS, np.int64)
    fade(gaussian_decay, corners, starts, scores, left, scores.dtype.type(sigma), least, values, places)


# --- fusion ----------------------------------------------------------------------------------------------------------


@cuda_function
def nearest_cluster(x1, y1, x2, y2, fused, lo, count, values, places):
    """The first of the clusters that overlap a box most, and that IoU; -1 where there is none. By all threads."""
    best, most = -1, -1.0
    for k in range(lo + cuda.threadIdx.x, lo + count, THREADS):
        u1, v1, u2, v2 = fused[0, k], fused[1, k], fused[2, k], fused[3, k]
        iou = overlap(x1, y1, x2, y2, area_of(x1, y1, x2, y2), u1, v1, u2, v2)
        if iou > most:
            best, most = k, iou
    return best_of_block(most, best, values, places)


@cuda_function
def add_to_cluster(k, is_new, i, corners, scores, fused, totals):
    """Box i becomes cluster k, or is fused with it."""
    total = scores[i] if is_new else totals[0, k] + scores[i]
    for c in range(4):
        if is_new:
            fused[c, k] = corners[c, i]
        elif total > 0:
            fused[c, k] += (corners[c, i] - fused[c, k]) * (scores[i] / total)
    totals[0, k], totals[1, k] = total, 1.0 if is_new else totals[1, k] + 1


@cuda_kernel(each_class)
def fuse_boxes(corners, starts, scores, fused, totals, counts, threshold):
    """Boxes that overlap (IoU > threshold with what has been fused) become one, its corners weighed by scores.

    fused (4, n) and totals (2, n), sum of scores and number of boxes, of the clusters of class s from starts[s] on;
    counts[s]: how many there are. float64 throughout. Solovyev et al. 2021, Weighted boxes fusion.
    """
    values = cuda.shared.array(THREADS, np.float64)
    places = cuda.shared.array(THREADS, np.int64)
    lo, count = starts[cuda.blockIdx.x], 0
    for i in range(lo, starts[cuda.blockIdx.x + 1]):
        iou, k = nearest_cluster(
            corners[0, i], corners[1, i], corners[2, i], corners[3, i], fused, lo, count, values, places
        )
        is_new = not iou > threshold
        if is_new:
            k, count = lo + count, count + 1
        if cuda.threadIdx.x == 0:
            add_to_cluster(k, is_new, i, corners, scores, fused, totals)
        cuda.syncthreads()
    if cuda.threadIdx.x == 0:
        counts[cuda.blockIdx.x] = count
