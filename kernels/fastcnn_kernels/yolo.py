"""The grid of a one-stage detector: what it predicts, and the loss with its gradient in one pass.

A cell holds 5 + c numbers for each anchor, in the order of the lectures that these networks are taught with:
[Pc, bx, by, bh, bw, c1 ... cc]. Pc is the probability of an object; bx, by the place of its centre in the cell, from 0
to 1; bh, bw its size, where a cell is 1 high and 1 wide; then the probabilities of the classes. `raw` are the numbers
z that become these:

    Pc = sigmoid(z), bx = s sigmoid(z) - (s - 1) / 2 and by alike, bh = anchor height exp(z), bw = anchor width exp(z)

(Redmon & Farhadi 2017, section 2; s > 1 lets centres reach the border of a cell, Bochkovskiy et al. 2020), classes a
softmax or sigmoids. Arrays are (images, rows, columns, anchors, 5 + c), anchors (anchors, 2) hold width and height.
An item is an image. Losses are computed in float64.
"""

import math
from typing import NamedTuple

import numpy as np

from fastcnn_kernels.activation import log_probability, shift_and_total, sigmoid, softplus
from fastcnn_kernels.boxes import ciou, diou, giou, iou
from fastcnn_kernels.jit import cpu_kernel, device_function, scalar

LARGEST = 8.0  # of |z| of a size: exp(8) = 2981 anchors


class Terms(NamedTuple):
    """What the terms of the loss weigh, and two settings."""

    box: float
    object: float
    background: float
    classes: float
    ignore: float  # a prediction without an object that overlaps one by more (IoU) is not blamed
    spread: float  # s


def each_image(x, *others) -> int:
    """Work items of a kernel over (n, ...) arrays: the images."""
    return x.shape[0]


def each_image_of_second(dy, x, *others) -> int:
    """Work items of a kernel whose second argument is the one over images."""
    return x.shape[0]


@scalar
def scale(z):
    """exp(z), bounded; and its derivative."""
    if z > LARGEST:
        return math.exp(LARGEST), 0.0
    if z < -LARGEST:
        return math.exp(-LARGEST), 0.0
    size = math.exp(z)
    return size, size


@scalar
def place(z, spread):
    """Place of a centre in its cell, and its derivative."""
    s = sigmoid(z)
    return spread * s - (spread - 1) * 0.5, spread * s * (1 - s)


# --- what is predicted --------------------------------------------------------------------------------------


@device_function
def softmax_classes(row, out):
    """out[5:] = softmax(row[5:])."""
    shift, total = shift_and_total(row[5:])
    for j in range(5, row.size):
        out[j] = math.exp(row[j] - shift) / total


@device_function
def sigmoid_classes(row, out):
    """out[5:] = sigmoid(row[5:])."""
    for j in range(5, row.size):
        out[j] = sigmoid(row[j])


@device_function
def activate_place(classes, z, out, width, height, spread):
    """out = what the raw numbers z of an anchor of this size mean."""
    out[0] = sigmoid(z[0])
    out[1] = place(np.float64(z[1]), spread)[0]
    out[2] = place(np.float64(z[2]), spread)[0]
    out[3] = height * scale(np.float64(z[3]))[0]
    out[4] = width * scale(np.float64(z[4]))[0]
    if z.size > 5:
        classes(z, out)


@device_function
def activate(classes, raw, anchors, y, spread, first, last):
    """y = the documented numbers from raw ones."""
    for n in range(first, last):
        for i in range(raw.shape[1]):
            for j in range(raw.shape[2]):
                for a in range(raw.shape[3]):
                    z, out = raw[n, i, j, a], y[n, i, j, a]
                    activate_place(classes, z, out, anchors[a, 0], anchors[a, 1], spread)


@device_function
def softmax_classes_gradient(dy, y, dz):
    """dz[5:] = y (dy - sum of dy y)."""
    total = 0.0
    for j in range(5, y.size):
        total += dy[j] * y[j]
    for j in range(5, y.size):
        dz[j] = y[j] * (dy[j] - total)


@device_function
def sigmoid_classes_gradient(dy, y, dz):
    """dz[5:] = dy y (1 - y)."""
    for j in range(5, y.size):
        dz[j] = dy[j] * y[j] * (1 - y[j])


@device_function
def activate_place_gradient(classes, d, z, out, dz, width, height, spread):
    """dz from the gradient d of what `activate_place` made of z."""
    dz[0] = d[0] * out[0] * (1 - out[0])
    dz[1] = d[1] * place(np.float64(z[1]), spread)[1]
    dz[2] = d[2] * place(np.float64(z[2]), spread)[1]
    dz[3] = d[3] * height * scale(np.float64(z[3]))[1]
    dz[4] = d[4] * width * scale(np.float64(z[4]))[1]
    if z.size > 5:
        classes(d, out, dz)


@device_function
def activate_gradient(classes, dy, raw, anchors, y, draw, spread, first, last):
    """draw from dy, the inputs and the outputs of `activate`."""
    for n in range(first, last):
        for i in range(raw.shape[1]):
            for j in range(raw.shape[2]):
                for a in range(raw.shape[3]):
                    z, d, out, dz = raw[n, i, j, a], dy[n, i, j, a], y[n, i, j, a], draw[n, i, j, a]
                    activate_place_gradient(classes, d, z, out, dz, anchors[a, 0], anchors[a, 1], spread)


@cpu_kernel(each_image)
def yolo_softmax_forward(raw, anchors, y, spread, first, last):
    """y = what raw numbers mean, classes as a softmax."""
    activate(softmax_classes, raw, anchors, y, spread, first, last)


@cpu_kernel(each_image)
def yolo_softmax_backward(dy, raw, anchors, y, draw, spread, first, last):
    """draw = gradient of raw numbers, classes as a softmax."""
    activate_gradient(softmax_classes_gradient, dy, raw, anchors, y, draw, spread, first, last)


@cpu_kernel(each_image)
def yolo_sigmoid_forward(raw, anchors, y, spread, first, last):
    """y = what raw numbers mean, classes as sigmoids."""
    activate(sigmoid_classes, raw, anchors, y, spread, first, last)


@cpu_kernel(each_image)
def yolo_sigmoid_backward(dy, raw, anchors, y, draw, spread, first, last):
    """draw = gradient of raw numbers, classes as sigmoids."""
    activate_gradient(sigmoid_classes_gradient, dy, raw, anchors, y, draw, spread, first, last)


# --- the loss of boxes and objects --------------------------------------------------------------------------


@scalar
def squared_box(x, y, w, h, tx, ty, tw, th):
    """(x - tx)^2 + (y - ty)^2 + (sqrt w - sqrt tw)^2 + (sqrt h - sqrt th)^2 and derivatives (Redmon et al. 2016)."""
    dw, dh = math.sqrt(w) - math.sqrt(tw), math.sqrt(h) - math.sqrt(th)
    value = (x - tx) * (x - tx) + (y - ty) * (y - ty) + dw * dw + dh * dh
    return value, 2 * (x - tx), 2 * (y - ty), dw / math.sqrt(w), dh / math.sqrt(h)


@scalar
def corners(x, y, w, h):
    """(x1, y1, x2, y2) of a box given by its centre and size."""
    return x - w * 0.5, y - h * 0.5, x + w * 0.5, y + h * 0.5


@scalar
def from_corners(value, d1, d2, d3, d4):
    """1 - overlap and its derivatives by centre and size, from those by corners."""
    return 1 - value, -(d1 + d3), -(d2 + d4), (d1 - d3) * 0.5, (d2 - d4) * 0.5


@scalar
def iou_box(x, y, w, h, tx, ty, tw, th):
    """1 - IoU and derivatives by x, y, w, h."""
    return from_corners(*iou(*corners(x, y, w, h), *corners(tx, ty, tw, th)))


@scalar
def giou_box(x, y, w, h, tx, ty, tw, th):
    """1 - GIoU and derivatives by x, y, w, h."""
    return from_corners(*giou(*corners(x, y, w, h), *corners(tx, ty, tw, th)))


@scalar
def diou_box(x, y, w, h, tx, ty, tw, th):
    """1 - DIoU and derivatives by x, y, w, h."""
    return from_corners(*diou(*corners(x, y, w, h), *corners(tx, ty, tw, th)))


@scalar
def ciou_box(x, y, w, h, tx, ty, tw, th):
    """1 - CIoU and derivatives by x, y, w, h."""
    return from_corners(*ciou(*corners(x, y, w, h), *corners(tx, ty, tw, th)))


@device_function
def object_slots(target, slots):
    """Number of the places of `target` (rows, columns, anchors, 5 + c) with an object; slots[:number] says which."""
    columns, anchors = target.shape[1], target.shape[2]
    count = 0
    for i in range(target.shape[0]):
        for j in range(columns):
            for a in range(anchors):
                if target[i, j, a, 0] > 0:
                    slots[count] = (i * columns + j) * anchors + a
                    count += 1
    return count


@device_function
def overlaps_an_object(z, anchor, i, j, target, slots, count, terms):
    """Whether the box predicted by z in cell (i, j) overlaps an object of the image by more than `ignore`."""
    columns, anchors = target.shape[1], target.shape[2]
    x, y = j + place(np.float64(z[1]), terms.spread)[0], i + place(np.float64(z[2]), terms.spread)[0]
    h, w = anchor[1] * scale(np.float64(z[3]))[0], anchor[0] * scale(np.float64(z[4]))[0]
    x1, y1, x2, y2 = corners(x, y, w, h)
    for k in range(count):
        cell, a = slots[k] // anchors, slots[k] % anchors
        t = target[cell // columns, cell % columns, a]
        u1, v1, u2, v2 = corners(
            cell % columns + np.float64(t[1]),
            cell // columns + np.float64(t[2]),
            np.float64(t[4]),
            np.float64(t[3]),
        )
        if iou(x1, y1, x2, y2, u1, v1, u2, v2)[0] > terms.ignore:
            return True
    return False


@device_function
def box_loss(f, z, t, anchor, d, terms):
    """Loss of one box; d[1:5] = its gradient."""
    x, dx = place(np.float64(z[1]), terms.spread)
    y, dy = place(np.float64(z[2]), terms.spread)
    h, dh = scale(np.float64(z[3]))
    w, dw = scale(np.float64(z[4]))
    value, d1, d2, d3, d4 = f(
        x,
        y,
        anchor[0] * w,
        anchor[1] * h,
        np.float64(t[1]),
        np.float64(t[2]),
        np.float64(t[4]),
        np.float64(t[3]),
    )
    d[1], d[2] = terms.box * d1 * dx, terms.box * d2 * dy
    d[3], d[4] = terms.box * d4 * anchor[1] * dh, terms.box * d3 * anchor[0] * dw
    return terms.box * value


@device_function
def object_loss(z, expected, weight, d):
    """Loss of one Pc, -(t ln p + (1 - t) ln(1 - p)) weighed; d[0] = its gradient."""
    d[0] = weight * (sigmoid(z) - expected)
    return weight * (softplus(z) - z * expected)


@device_function
def box_and_object_losses(f, raw, target, anchors, loss, draw, slots, terms, first, last):
    """loss[n, 0] of the boxes, loss[n, 1] of Pc; draw[..., :5] their gradients.

    A target Pc above 0 is an object, 0 is none, below 0 says nothing.
    """
    for n in range(first, last):
        count = object_slots(target[n], slots[n])
        of_boxes, of_objects = 0.0, 0.0
        for i in range(raw.shape[1]):
            for j in range(raw.shape[2]):
                for a in range(raw.shape[3]):
                    z, t, d = raw[n, i, j, a], target[n, i, j, a], draw[n, i, j, a]
                    for c in range(5):
                        d[c] = 0
                    if t[0] > 0:
                        of_boxes += box_loss(f, z, t, anchors[a], d, terms)
                        of_objects += object_loss(np.float64(z[0]), np.float64(t[0]), terms.object, d)
                    elif t[0] == 0 and not (
                        terms.ignore < 1
                        and overlaps_an_object(z, anchors[a], i, j, target[n], slots[n], count, terms)
                    ):
                        of_objects += object_loss(np.float64(z[0]), 0.0, terms.background, d)
        loss[n, 0], loss[n, 1] = of_boxes, of_objects


@cpu_kernel(each_image)
def yolo_squared_loss(raw, target, anchors, loss, draw, slots, terms, first, last):
    """Boxes by squared errors of place and root of size; see `box_and_object_losses`."""
    box_and_object_losses(squared_box, raw, target, anchors, loss, draw, slots, terms, first, last)


@cpu_kernel(each_image)
def yolo_iou_loss(raw, target, anchors, loss, draw, slots, terms, first, last):
    """Boxes by 1 - IoU."""
    box_and_object_losses(iou_box, raw, target, anchors, loss, draw, slots, terms, first, last)


@cpu_kernel(each_image)
def yolo_giou_loss(raw, target, anchors, loss, draw, slots, terms, first, last):
    """Boxes by 1 - GIoU."""
    box_and_object_losses(giou_box, raw, target, anchors, loss, draw, slots, terms, first, last)


@cpu_kernel(each_image)
def yolo_diou_loss(raw, target, anchors, loss, draw, slots, terms, first, last):
    """Boxes by 1 - DIoU."""
    box_and_object_losses(diou_box, raw, target, anchors, loss, draw, slots, terms, first, last)


@cpu_kernel(each_image)
def yolo_ciou_loss(raw, target, anchors, loss, draw, slots, terms, first, last):
    """Boxes by 1 - CIoU."""
    box_and_object_losses(ciou_box, raw, target, anchors, loss, draw, slots, terms, first, last)


# --- the loss of classes ------------------------------------------------------------------------------------


@device_function
def softmax_class_loss(z, t, d, weight):
    """-sum of t ln softmax(z) over the classes; d[5:] = its gradient."""
    shift, total = shift_and_total(z[5:])
    log_total, value, mass = math.log(total), 0.0, 0.0
    for j in range(5, z.size):
        value -= t[j] * log_probability(z[j], shift, log_total)
        mass += t[j]
    for j in range(5, z.size):
        d[j] = weight * (math.exp(z[j] - shift) / total * mass - t[j])
    return weight * value


@device_function
def sigmoid_class_loss(z, t, d, weight):
    """-sum of t ln s + (1 - t) ln(1 - s), s = sigmoid(z), over the classes; d[5:] = its gradient."""
    value = 0.0
    for j in range(5, z.size):
        value += softplus(np.float64(z[j])) - np.float64(z[j]) * t[j]
        d[j] = weight * (sigmoid(z[j]) - t[j])
    return weight * value


@device_function
def class_losses(f, raw, target, loss, draw, weight, first, last):
    """loss[n, 2] of the classes where there are objects; draw[..., 5:] its gradient."""
    for n in range(first, last):
        total = 0.0
        for i in range(raw.shape[1]):
            for j in range(raw.shape[2]):
                for a in range(raw.shape[3]):
                    z, t, d = raw[n, i, j, a], target[n, i, j, a], draw[n, i, j, a]
                    if t[0] > 0 and z.size > 5:
                        total += f(z, t, d, weight)
                    else:
                        d[5:] = 0
        loss[n, 2] = total


@cpu_kernel(each_image)
def yolo_softmax_class_loss(raw, target, loss, draw, weight, first, last):
    """Classes that exclude each other; see `class_losses`."""
    class_losses(softmax_class_loss, raw, target, loss, draw, weight, first, last)


@cpu_kernel(each_image)
def yolo_sigmoid_class_loss(raw, target, loss, draw, weight, first, last):
    """Classes by themselves."""
    class_losses(sigmoid_class_loss, raw, target, loss, draw, weight, first, last)


@cpu_kernel(each_image_of_second)
def yolo_loss_backward(dloss, gradient, draw, first, last):
    """draw = gradient weighed with dloss (images, 3): channels 1 to 4 that of boxes, 0 of Pc, the others of classes."""
    for n in range(first, last):
        for i in range(draw.shape[1]):
            for j in range(draw.shape[2]):
                for a in range(draw.shape[3]):
                    g, d = gradient[n, i, j, a], draw[n, i, j, a]
                    for c in range(d.size):
                        d[c] = g[c] * dloss[n, 1 if c == 0 else 0 if c < 5 else 2]
