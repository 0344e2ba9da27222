"""Of boxes that overlap, the best: greedy, soft and fusing suppression.

Boxes come sorted by class and, within a class, by score, the best first, as four rows x1, y1, x2, y2 of an array
(4, n). An item is a class: the boxes starts[s] to starts[s + 1] - 1. What is decided about a class depends on its boxes
alone, and of equal scores on their order, never on time or threads.

A box is compared with those kept before it, best first, LANES at a time, and given up at the first block that holds one
which overlaps too much: k kept and m given up cost at most k (k + m) comparisons, most of them less. The comparisons
are arithmetic on vector registers: boxes kept lie in blocks (block, corner, lane), behind the last of them empty boxes,
which suppress nothing.
"""

import math

import numpy as np

from fastcnn_kernels.jit import cpu_kernel, device_function, scalar, shape_function, stack_array

LANES = 16  # boxes that are compared at once


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


@shape_function
def block_count(boxes, classes=1):
    """Blocks that `boxes` boxes of so many classes need at most."""
    return boxes // LANES + classes


@device_function
def is_suppressed(f, x1, y1, x2, y2, area, kept, first, count, threshold):
    """Whether one of `count` boxes in the blocks of kept from `first` on suppresses this one."""
    one, none = type(x1)(1), type(x1)(0)
    for b in range(first, first + (count + LANES - 1) // LANES):
        found = none  # a sum of floats, which vector units add up in as many lanes as they compare in
        for k in range(LANES):
            u1, v1, u2, v2 = kept[b, 0, k], kept[b, 1, k], kept[b, 2, k], kept[b, 3, k]
            found += one if f(u1, v1, u2, v2, kept[b, 4, k], x1, y1, x2, y2, area, threshold) else none
        if found > 0:
            return True
    return False


@device_function
def keep_box(x1, y1, x2, y2, area, label, kept, first, count):
    """Put a box behind `count` others in the blocks of kept from `first` on."""
    block, lane = first + count // LANES, count % LANES
    if lane == 0:
        for corner in range(kept.shape[1]):
            for k in range(LANES):
                kept[block, corner, k] = 0
    kept[block, 0, lane], kept[block, 1, lane], kept[block, 2, lane], kept[block, 3, lane] = x1, y1, x2, y2
    kept[block, 4, lane], kept[block, 5, lane] = area, label


@device_function
def greedy(f, corners, starts, kept, keep, threshold, first, last):
    """keep[i] = 1 where no box kept before suppresses box i, else 0.

    kept (block_count(n, classes), 6, LANES): working memory; threshold (1,).
    """
    for s in range(first, last):
        begin, count = block_count(starts[s], s), 0
        for i in range(starts[s], starts[s + 1]):
            x1, y1, x2, y2 = corners[0, i], corners[1, i], corners[2, i], corners[3, i]
            area = area_of(x1, y1, x2, y2)
            if is_suppressed(f, x1, y1, x2, y2, area, kept, begin, count, threshold):
                keep[i] = 0
            else:
                keep_box(x1, y1, x2, y2, area, type(x1)(0), kept, begin, count)
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
def rank_run(values, order, first):
    """LANES numbers from `first` on go from row 0 of values and order to row 1, the largest first."""
    run, one, none = values[0, first : first + LANES], values.dtype.type(1), values.dtype.type(0)
    for k in range(LANES):
        value, before = run[k], none
        for other in range(LANES):  # larger ones go before, and equal ones that stood before
            before += one if run[other] > value or (run[other] == value and other < k) else none
        place = first + np.int64(before)
        values[1, place], order[1, place] = value, order[0, first + k]


@device_function
def merge(values, order, source, target, first, middle, last):
    """The sorted runs [first, middle) and [middle, last) of row `source` of values and order become one in `target`."""
    a, b, i = (
        np.uint64(first),
        np.uint64(middle),
        np.uint64(first),
    )  # of signed places Numba asks if they count back
    one, none, half, end = np.uint64(1), np.uint64(0), np.uint64(middle), np.uint64(last)
    while a < half and b < end:  # both loads and no branch: which run is next cannot be foreseen
        left, right = values[source, a], values[source, b]
        is_right = left < right
        values[target, i] = right if is_right else left
        order[target, i] = order[source, b if is_right else a]
        step = one if is_right else none
        a, b, i = a + one - step, b + step, i + one
    for k in range(a, half):
        values[target, i + k - a], order[target, i + k - a] = values[source, k], order[source, k]
    for k in range(b, end):
        values[target, i + k - b], order[target, i + k - b] = values[source, k], order[source, k]


@device_function
def rank(values, order, count):
    """The row of order that has its first `count` numbers by values, largest first; of equal ones, as they stood.

    values and order (2, count + LANES): given in row 0, sorted in either.
    """
    size, row = LANES, 1
    for i in range(count, count + LANES):
        values[0, i] = -np.inf
    for first in range(0, count, LANES):
        rank_run(values, order, first)
    while size < count:
        for first in range(0, count, 2 * size):
            middle, last = min(first + size, count), min(first + 2 * size, count)
            merge(values, order, row, 1 - row, first, middle, last)
        size, row = 2 * size, 1 - row
    return row


@device_function
def are_finite(boxes, scores, n):
    """Whether the first n boxes and scores are finite numbers."""
    none = boxes.dtype.type(0)
    sum_of_boxes, sum_of_scores = none, none  # NaN if a number is not finite
    for i in range(n):
        for corner in range(4):
            sum_of_boxes += boxes[i, corner] * none
        sum_of_scores += scores[i] * none
    return sum_of_boxes == none and sum_of_scores == none


@device_function
def best_left(left, n, most):
    """The first of the largest of left[:n]; behind them -inf up to the next LANES. most (LANES,): working memory."""
    for lane in range(LANES):
        most[lane] = left[lane]
    for start in range(LANES, n, LANES):
        for lane in range(LANES):
            most[lane] = upper(left[start + lane], most[lane])
    value = most[0]
    for lane in range(1, LANES):
        value = upper(most[lane], value)
    best = 0
    while left[best] != value:
        best += 1
    return best


@device_function
def sweep(boxes, labels, left, n, best, threshold):
    """left[i] = -inf where the box `best`, or being it, suppresses box i; how many boxes that is."""
    x1, y1, x2, y2 = boxes[best, 0], boxes[best, 1], boxes[best, 2], boxes[best, 3]
    area, label, gone = area_of(x1, y1, x2, y2), labels[best], type(x1)(-np.inf)
    one, none = type(x1)(1), type(x1)(0)
    left[best] = gone
    count = one
    for i in range(n):
        u1, v1, u2, v2 = boxes[i, 0], boxes[i, 1], boxes[i, 2], boxes[i, 3]
        more = overlaps_more(x1, y1, x2, y2, area, u1, v1, u2, v2, area_of(u1, v1, u2, v2), threshold)
        goes = more and labels[i] == label and left[i] > gone
        left[i] = gone if goes else left[i]
        count += one if goes else none
    return count


@device_function
def take_the_best(boxes, labels, left, order, n, threshold):
    """Boxes that suppress many, before any are sorted: the best of those left, again and again; how many.

    Their numbers go into order[1]. A sweep compares with LANES boxes at once: it pays while one in LANES goes.
    """
    most, found, count = stack_array(left, LANES), 0, n
    while count * LANES >= n:
        best = best_left(left, n, most)
        if not left[best] > -np.inf:
            break
        count = sweep(boxes, labels, left, n, best, threshold)
        order[1, found] = best
        found += 1
    return found


@cpu_kernel(lambda boxes, scores, labels, kept, values, order, counts, limits: 1)
def nms_few(boxes, scores, labels, kept, values, order, counts, limits, first, last):
    """All of suppression by IoU for few boxes: chosen by score, sorted, suppressed.  boxes (m,4), scores, labels (m,).

    counts[0] boxes are given; order[1, :counts[1]] are those that stay, the best first; counts[1] is -1 where a number
    is not finite. limits: IoU, least score. Working memory: kept (block_count(m), 6, LANES), values and order
    (2, m + LANES).
    """
    for _ in range(first, last):
        n, left, gone = counts[0], values[0], values.dtype.type(-np.inf)
        for i in range(n):
            left[i] = scores[i] if scores[i] >= limits[1] else gone
        for i in range(n, n + LANES):
            left[i] = gone
        counts[1] = -1
        if are_finite(boxes, scores, n):
            best = take_the_best(boxes, labels, left, order, n, limits[0])
            rest = suppress_rest(boxes, labels, kept, values, order[:, best:], n, limits[0])
            counts[1] = best + rest


@device_function
def suppress_rest(boxes, labels, kept, values, order, n, threshold):
    """Of the boxes left, sorted, those that no better one suppresses, into order[1]; how many."""
    count, found, left = 0, 0, values[0]
    for i in range(n):
        if left[i] > -np.inf:
            order[0, count], left[count] = i, left[i]
            count += 1
    row = rank(values, order, count)
    for i in range(count):
        box = order[row, i]
        x1, y1, x2, y2 = boxes[box, 0], boxes[box, 1], boxes[box, 2], boxes[box, 3]
        area, label = area_of(x1, y1, x2, y2), labels[box]
        if not is_suppressed_in_class(x1, y1, x2, y2, area, label, kept, found, threshold):
            keep_box(x1, y1, x2, y2, area, label, kept, 0, found)
            order[row, found] = box  # found <= i: what stood there has been looked at
            found += 1
    for i in range(found):
        order[1, i] = order[row, i]
    return found


@device_function
def is_suppressed_in_class(x1, y1, x2, y2, area, label, kept, count, threshold):
    """Whether one of the first `count` boxes of kept suppresses this one, of the same label."""
    one, none = type(x1)(1), type(x1)(0)
    for b in range((count + LANES - 1) // LANES):
        found = none
        for k in range(LANES):
            u1, v1, u2, v2 = kept[b, 0, k], kept[b, 1, k], kept[b, 2, k], kept[b, 3, k]
            more = overlaps_more(u1, v1, u2, v2, kept[b, 4, k], x1, y1, x2, y2, area, threshold)
            found += one if more and kept[b, 5, k] == label else none
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
