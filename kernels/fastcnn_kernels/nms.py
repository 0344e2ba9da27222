"""Of boxes that overlap, the best: greedy, soft and fusing suppression.

Boxes come sorted by class and, within a class, by score, the best first, as four rows x1, y1, x2, y2 of an array
(4, n). An item is a class: the boxes starts[s] to starts[s + 1] - 1. What is decided about a class depends on its boxes
alone, and of equal scores on their order, never on time or threads.

A box is compared with those kept before it, best first, 64 at a time, and given up at the first block that holds one
which overlaps too much: k kept and m given up cost at most k (k + m) comparisons, most of them less. The comparisons
are arithmetic on vector registers.
"""

import math

import numpy as np

from fastcnn_kernels.jit import cpu_kernel, device_function, scalar

BLOCK = 64
LANES = 16  # boxes that are compared at once where there are few
RUN = 8  # boxes sorted by insertion before they are merged


def each_class(corners, starts, *others) -> int:
    """Work items of a kernel: the classes."""
    return starts.size - 1


@scalar
def lower(x, y):
    return x if x < y else y


@scalar
def upper(x, y):
    return x if x > y else y


@scalar
def shared_area(x1, y1, x2, y2, u1, v1, u2, v2):
    """Area that two boxes share."""
    zero = type(x1)(0)
    w, h = lower(x2, u2) - upper(x1, u1), lower(y2, v2) - upper(y1, v1)
    return upper(w, zero) * upper(h, zero)


@scalar
def area_of(x1, y1, x2, y2):
    """Area of a box; 0 where its corners are the wrong way round."""
    zero = type(x1)(0)
    return upper(x2 - x1, zero) * upper(y2 - y1, zero)


@scalar
def overlaps_more(x1, y1, x2, y2, area, u1, v1, u2, v2, area2, threshold):
    """Whether IoU > threshold."""
    inter = shared_area(x1, y1, x2, y2, u1, v1, u2, v2)
    return inter > threshold * (area + area2 - inter)


@scalar
def overlaps_more_and_near(x1, y1, x2, y2, area, u1, v1, u2, v2, area2, threshold):
    """Whether DIoU = IoU - (distance of the centres / diagonal of the box around both)^2 > threshold."""
    inter = shared_area(x1, y1, x2, y2, u1, v1, u2, v2)
    w, h = upper(x2, u2) - lower(x1, u1), upper(y2, v2) - lower(y1, v1)
    sx, sy = x1 + x2 - u1 - u2, y1 + y2 - v1 - v2
    quarter = type(x1)(0.25)
    return inter / (area + area2 - inter) - (sx * sx + sy * sy) * quarter / (w * w + h * h) > threshold


@device_function
def is_suppressed(f, x1, y1, x2, y2, area, kept, lo, count, threshold):
    """Whether one of the boxes kept[:, lo:lo + count] suppresses this one."""
    us, vs, us2, vs2, areas = kept[0, lo:], kept[1, lo:], kept[2, lo:], kept[3, lo:], kept[4, lo:]
    one, none = type(x1)(1), type(x1)(0)
    for start in range(0, count, BLOCK):
        found = none  # a sum of floats, which vector units add up in as many lanes as they compare in
        for k in range(start, min(start + BLOCK, count)):
            found += (
                one if f(us[k], vs[k], us2[k], vs2[k], areas[k], x1, y1, x2, y2, area, threshold) else none
            )
        if found > 0:
            return True
    return False


@device_function
def greedy(f, corners, starts, kept, keep, threshold, first, last):
    """keep[i] = 1 where no box kept before suppresses box i, else 0.  kept (5, n): working memory; threshold (1,)."""
    for s in range(first, last):
        lo, count = starts[s], 0
        for i in range(lo, starts[s + 1]):
            x1, y1, x2, y2 = corners[0, i], corners[1, i], corners[2, i], corners[3, i]
            area = area_of(x1, y1, x2, y2)
            if is_suppressed(f, x1, y1, x2, y2, area, kept, lo, count, threshold):
                keep[i] = 0
            else:
                at = lo + count
                kept[0, at], kept[1, at], kept[2, at], kept[3, at], kept[4, at] = x1, y1, x2, y2, area
                count += 1
                keep[i] = 1


@cpu_kernel(each_class)
def nms_greedy(corners, starts, kept, keep, threshold, first, last):
    """Boxes are suppressed by IoU > threshold[0].  See `greedy`; torchvision's and darknet's rule."""
    greedy(overlaps_more, corners, starts, kept, keep, threshold[0], first, last)


@cpu_kernel(each_class)
def nms_distance(corners, starts, kept, keep, threshold, first, last):
    """Boxes are suppressed by DIoU > threshold[0], so that neighbours with other centres stay (Zheng et al. 2020)."""
    greedy(overlaps_more_and_near, corners, starts, kept, keep, threshold[0], first, last)


# --- few boxes ------------------------------------------------------------------------------------------------


@device_function
def insert_in_order(scores, order, first, last):
    """order[first:last], numbers of boxes, sorted: the best score first, of equal ones the one that was first."""
    for i in range(first + 1, last):
        box, k = order[i], i
        while k > first and scores[order[k - 1]] < scores[box]:
            order[k] = order[k - 1]
            k -= 1
        order[k] = box


@device_function
def merge(scores, source, target, first, middle, last):
    """target[first:last] = the sorted runs source[first:middle] and source[middle:last] in order."""
    a, b, i = first, middle, first
    while a < middle and b < last:  # both loads and no branch: which run is next cannot be foreseen
        left, right = source[a], source[b]
        is_right = scores[left] < scores[right]
        target[i] = right if is_right else left
        a, b, i = a + (0 if is_right else 1), b + (1 if is_right else 0), i + 1
    for k in range(a, middle):
        target[i + k - a] = source[k]
    for k in range(b, last):
        target[i + k - b] = source[k]


@device_function
def rank(scores, order, count):
    """Row of order (2, n) in which its first `count` numbers of boxes end up in the order of their scores."""
    for first in range(0, count, RUN):
        insert_in_order(scores, order[0], first, min(first + RUN, count))
    size, row = RUN, 0
    while size < count:
        for first in range(0, count, 2 * size):
            middle = min(first + size, count)
            merge(scores, order[row], order[1 - row], first, middle, min(middle + size, count))
        size, row = 2 * size, 1 - row
    return row


@device_function
def candidates(boxes, scores, order, n, least):
    """Numbers of the boxes whose score reaches `least`, into order[0]: how many; -1 where a number is not finite."""
    count, sum_of_all = 0, 0.0
    for i in range(n):
        sum_of_all += boxes[i, 0] * 0.0 + boxes[i, 1] * 0.0 + boxes[i, 2] * 0.0 + boxes[i, 3] * 0.0
        sum_of_all += scores[i] * 0.0  # NaN if one of them is not finite
        if scores[i] >= least:
            order[0, count] = i
            count += 1
    return count if sum_of_all == 0.0 else -1


@cpu_kernel(lambda boxes, scores, labels, kept, order, counts, limits: 1)
def nms_few(boxes, scores, labels, kept, order, counts, limits, first, last):
    """All of suppression by IoU for few boxes: chosen by score, sorted, suppressed.  boxes (m,4), scores, labels (m,).

    counts[0] boxes are given; order[1, :counts[1]] are those that stay, the best first; counts[1] is -1 where a number
    is not finite. kept (6, m + LANES) and order (2, m): working memory; limits: IoU, least score. The comparisons go
    over whole registers: behind the boxes kept so far lie empty ones, which suppress nothing.
    """
    for _ in range(first, last):
        count = candidates(boxes, scores, order, counts[0], limits[1])
        row, found = rank(scores, order, count), 0
        for i in range(count):
            box = order[row, i]
            if i % LANES == 0:
                for k in range(i, i + LANES):
                    for corner in range(6):
                        kept[corner, k] = 0
            x1, y1, x2, y2 = boxes[box, 0], boxes[box, 1], boxes[box, 2], boxes[box, 3]
            area, label = area_of(x1, y1, x2, y2), labels[box]
            if not is_suppressed_in_class(x1, y1, x2, y2, area, label, kept, found, limits[0]):
                kept[0, found], kept[1, found], kept[2, found], kept[3, found] = x1, y1, x2, y2
                kept[4, found], kept[5, found] = area, label
                order[row, found] = box  # found <= i: what stood there has been looked at
                found += 1
        for i in range(found):
            order[1, i] = order[row, i]
        counts[1] = found if count >= 0 else -1


@device_function
def is_suppressed_in_class(x1, y1, x2, y2, area, label, kept, count, threshold):
    """Whether one of the first `count` boxes kept suppresses this one, of the same label."""
    us, vs, us2, vs2, areas, labels = kept[0], kept[1], kept[2], kept[3], kept[4], kept[5]
    one, none = type(x1)(1), type(x1)(0)
    for start in range(0, count, LANES):
        found = none
        for k in range(start, start + LANES):
            more = overlaps_more(us[k], vs[k], us2[k], vs2[k], areas[k], x1, y1, x2, y2, area, threshold)
            found += one if more and labels[k] == label else none
        if found > 0:
            return True
    return False


# --- scores that fade -----------------------------------------------------------------------------------------


@scalar
def overlap(x1, y1, x2, y2, area, u1, v1, u2, v2):
    """IoU; 0 where the boxes have no area."""
    inter = shared_area(x1, y1, x2, y2, u1, v1, u2, v2)
    union = area + area_of(u1, v1, u2, v2) - inter
    return inter / union if union > 0 else type(x1)(0)


@scalar
def linear_decay(iou, threshold):
    """1 - IoU where IoU > threshold, else 1."""
    one = type(iou)(1)
    return one - iou if iou > threshold else one


@scalar
def gaussian_decay(iou, sigma):
    """exp(-IoU^2 / sigma)."""
    return math.exp(-iou * iou / sigma)


@device_function
def best_of(scores, lo, hi):
    """The place of the first of the largest scores in [lo, hi)."""
    best = lo
    for i in range(lo + 1, hi):
        if scores[i] > scores[best]:
            best = i
    return best


@device_function
def fade(decay, corners, starts, scores, left, constant, least, first, last):
    """The best box is taken, the scores of those left fade by their overlap with it, and so on.

    scores[i]: of box i when it was taken; left: working memory like scores. Ends when no score reaches `least`.
    """
    for s in range(first, last):
        lo, hi = starts[s], starts[s + 1]
        for i in range(lo, hi):
            left[i] = scores[i]
        for _ in range(lo, hi):
            i = best_of(left, lo, hi)
            if not left[i] >= least:
                break
            scores[i], left[i] = left[i], -np.inf
            x1, y1, x2, y2 = corners[0, i], corners[1, i], corners[2, i], corners[3, i]
            area = area_of(x1, y1, x2, y2)
            for k in range(lo, hi):
                iou = overlap(
                    x1, y1, x2, y2, area, corners[0, k], corners[1, k], corners[2, k], corners[3, k]
                )
                if left[k] > -np.inf:  # else -inf times 0
                    left[k] *= decay(iou, constant)
        for i in range(lo, hi):
            if left[i] > -np.inf:
                scores[i] = left[i]


@cpu_kernel(each_class)
def nms_linear(corners, starts, scores, left, threshold, least, first, last):
    """Soft suppression with the factor 1 - IoU above the threshold (Bodla et al. 2017); see `fade`."""
    fade(linear_decay, corners, starts, scores, left, scores.dtype.type(threshold), least, first, last)


@cpu_kernel(each_class)
def nms_gaussian(corners, starts, scores, left, sigma, least, first, last):
    """Soft suppression with the factor exp(-IoU^2 / sigma) (Bodla et al. 2017); see `fade`."""
    fade(gaussian_decay, corners, starts, scores, left, scores.dtype.type(sigma), least, first, last)


# --- fusion ---------------------------------------------------------------------------------------------------


@device_function
def nearest_cluster(x1, y1, x2, y2, fused, lo, count):
    """The first of the clusters that overlap a box most, and that IoU; -1 where there is none."""
    best, most = -1, -1.0
    for k in range(lo, lo + count):
        u1, v1, u2, v2 = fused[0, k], fused[1, k], fused[2, k], fused[3, k]
        iou = overlap(x1, y1, x2, y2, area_of(x1, y1, x2, y2), u1, v1, u2, v2)
        if iou > most:
            best, most = k, iou
    return best, most


@cpu_kernel(each_class)
def fuse_boxes(corners, starts, scores, fused, totals, counts, threshold, first, last):
    """Boxes that overlap (IoU > threshold with what has been fused) become one, its corners weighed by scores.

    fused (4, n) and totals (2, n), sum of scores and number of boxes, of the clusters of class s from starts[s] on;
    counts[s]: how many there are. float64 throughout. Solovyev et al. 2021, Weighted boxes fusion.
    """
    for s in range(first, last):
        lo, count = starts[s], 0
        for i in range(lo, starts[s + 1]):
            x1, y1, x2, y2 = corners[0, i], corners[1, i], corners[2, i], corners[3, i]
            k, iou = nearest_cluster(x1, y1, x2, y2, fused, lo, count)
            if not iou > threshold:
                k = lo + count
                count += 1
                fused[0, k], fused[1, k], fused[2, k], fused[3, k] = x1, y1, x2, y2
                totals[0, k], totals[1, k] = scores[i], 1
            else:
                total = totals[0, k] + scores[i]
                for c in range(4):
                    if total > 0:
                        fused[c, k] += (corners[c, i] - fused[c, k]) * (scores[i] / total)
                totals[0, k], totals[1, k] = total, totals[1, k] + 1
        counts[s] = count
