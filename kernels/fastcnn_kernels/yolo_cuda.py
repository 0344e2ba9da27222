"""The grid of a one-stage detector on a CUDA device: the kernels of `yolo.py`.

A thread does a place: an anchor of a cell. Losses are added up by a block an image, in a fixed order.
"""

import numpy as np

from fastcnn_kernels.cuda import THREADS, Shape, combine, cuda, cuda_function, cuda_kernel, elements
from fastcnn_kernels.reduction import plus
from fastcnn_kernels.yolo import (
    activate_place,
    activate_place_gradient,
    box_loss,
    ciou_box,
    diou_box,
    giou_box,
    iou_box,
    object_loss,
    overlaps_an_object,
    sigmoid_class_loss,
    sigmoid_classes,
    sigmoid_classes_gradient,
    softmax_class_loss,
    softmax_classes,
    softmax_classes_gradient,
    squared_box,
)


def each_place(raw, *others) -> Shape:
    """A thread for every anchor of every cell of (n, rows, columns, anchors, 5 + c)."""
    return elements(raw.size // raw.shape[4])


def each_image(raw, *others) -> Shape:
    """A block for every image."""
    return Shape((raw.shape[0], 1, 1), THREADS)


@cuda_function
def place_of(e, columns, anchors):
    """(row, column, anchor) of place e of an image."""
    return e // anchors // columns, e // anchors % columns, e % anchors


# --- what is predicted -----------------------------------------------------------------------------------------------


@cuda_function
def activate(classes, raw, anchors, y, spread):
    """y = the documented numbers from raw ones."""
    places = raw.shape[1] * raw.shape[2] * raw.shape[3]
    e = cuda.grid(1)
    if e < raw.shape[0] * places:
        n, (i, j, a) = e // places, place_of(e % places, raw.shape[2], raw.shape[3])
        z, out = raw[n, i, j, a], y[n, i, j, a]
        activate_place(classes, z, out, anchors[a, 0], anchors[a, 1], spread)


@cuda_function
def activate_gradient(classes, dy, raw, anchors, y, draw, spread):
    """draw from dy, the inputs and the outputs of `activate`."""
    places = raw.shape[1] * raw.shape[2] * raw.shape[3]
    e = cuda.grid(1)
    if e < raw.shape[0] * places:
        n, (i, j, a) = e // places, place_of(e % places, raw.shape[2], raw.shape[3])
        z, d, out, dz = raw[n, i, j, a], dy[n, i, j, a], y[n, i, j, a], draw[n, i, j, a]
        activate_place_gradient(classes, d, z, out, dz, anchors[a, 0], anchors[a, 1], spread)


@cuda_kernel(each_place)
def yolo_softmax_forward(raw, anchors, y, spread):
    """y = what raw numbers mean, classes as a softmax."""
    activate(softmax_classes, raw, anchors, y, spread)


@cuda_kernel(each_place)
def yolo_softmax_backward(dy, raw, anchors, y, draw, spread):
    """draw = gradient of raw numbers, classes as a softmax."""
    activate_gradient(softmax_classes_gradient, dy, raw, anchors, y, draw, spread)


@cuda_kernel(each_place)
def yolo_sigmoid_forward(raw, anchors, y, spread):
    """y = what raw numbers mean, classes as sigmoids."""
    activate(sigmoid_classes, raw, anchors, y, spread)


@cuda_kernel(each_place)
def yolo_sigmoid_backward(dy, raw, anchors, y, draw, spread):
    """draw = gradient of raw numbers, classes as sigmoids."""
    activate_gradient(sigmoid_classes_gradient, dy, raw, anchors, y, draw, spread)


# --- the loss of boxes and objects -----------------------------------------------------------------------------------


@cuda_function
def object_slots(target, slots, counts):
    """Number of the places of `target` (rows, columns, anchors, 5 + c) with an object; slots[:number] says which.

    Every thread of the block must come here. Each takes a range of places, counts, and writes behind those before it.
    """
    thread, places = cuda.threadIdx.x, target.shape[0] * target.shape[1] * target.shape[2]
    length = (places + THREADS - 1) // THREADS
    counts[thread] = 0
    for e in range(thread * length, min((thread + 1) * length, places)):
        i, j, a = place_of(e, target.shape[1], target.shape[2])
        counts[thread] += 1 if target[i, j, a, 0] > 0 else 0
    cuda.syncthreads()
    at, total = 0, 0
    for k in range(THREADS):
        at += counts[k] if k < thread else 0
        total += counts[k]
    for e in range(thread * length, min((thread + 1) * length, places)):
        i, j, a = place_of(e, target.shape[1], target.shape[2])
        if target[i, j, a, 0] > 0:
            slots[at] = e
            at += 1
    cuda.syncthreads()
    return total


@cuda_function
def of_block(value, partial):
    """The sum of the values of all threads, which must all come here."""
    partial[cuda.threadIdx.x] = value
    combine(plus, partial, 1)
    total = partial[0]
    cuda.syncthreads()
    return total


@cuda_function
def box_and_object_losses(f, raw, target, anchors, loss, draw, slots, terms, counts, partial):
    """loss[n, 0] of the boxes, loss[n, 1] of Pc; draw[..., :5] their gradients.

    A target Pc above 0 is an object, 0 is none, below 0 says nothing.
    """
    n = cuda.blockIdx.x
    count = object_slots(target[n], slots[n], counts)
    of_boxes, of_objects = 0.0, 0.0
    for e in range(cuda.threadIdx.x, raw.shape[1] * raw.shape[2] * raw.shape[3], THREADS):
        i, j, a = place_of(e, raw.shape[2], raw.shape[3])
        z, t, d = raw[n, i, j, a], target[n, i, j, a], draw[n, i, j, a]
        for c in range(5):
            d[c] = 0
        if t[0] > 0:
            of_boxes += box_loss(f, z, t, anchors[a], d, terms)
            of_objects += object_loss(np.float64(z[0]), np.float64(t[0]), terms.object, d)
        elif t[0] == 0 and not (
            terms.ignore < 1 and overlaps_an_object(z, anchors[a], i, j, target[n], slots[n], count, terms)
        ):
            of_objects += object_loss(np.float64(z[0]), 0.0, terms.background, d)
    of_boxes, of_objects = of_block(of_boxes, partial), of_block(of_objects, partial)
    if cuda.threadIdx.x == 0:
        loss[n, 0], loss[n, 1] = of_boxes, of_objects


@cuda_kernel(each_image)
def yolo_squared_loss(raw, target, anchors, loss, draw, slots, terms):
    """Boxes by squared errors of place and root of size; see `box_and_object_losses`."""
    counts = cuda.shared.array(THREADS, np.int32)
    partial = cuda.shared.array(THREADS, np.float64)
    box_and_object_losses(squared_box, raw, target, anchors, loss, draw, slots, terms, counts, partial)


@cuda_kernel(each_image)
def yolo_iou_loss(raw, target, anchors, loss, draw, slots, terms):
    """Boxes by 1 - IoU."""
    counts = cuda.shared.array(THREADS, np.int32)
    partial = cuda.shared.array(THREADS, np.float64)
    box_and_object_losses(iou_box, raw, target, anchors, loss, draw, slots, terms, counts, partial)


@cuda_kernel(each_image)
def yolo_giou_loss(raw, target, anchors, loss, draw, slots, terms):
    """Boxes by 1 - GIoU."""
    counts = cuda.shared.array(THREADS, np.int32)
    partial = cuda.shared.array(THREADS, np.float64)
    box_and_object_losses(giou_box, raw, target, anchors, loss, draw, slots, terms, counts, partial)


@cuda_kernel(each_image)
def yolo_diou_loss(raw, target, anchors, loss, draw, slots, terms):
    """Boxes by 1 - DIoU."""
    counts = cuda.shared.array(THREADS, np.int32)
    partial = cuda.shared.array(THREADS, np.float64)
    box_and_object_losses(diou_box, raw, target, anchors, loss, draw, slots, terms, counts, partial)


@cuda_kernel(each_image)
def yolo_ciou_loss(raw, target, anchors, loss, draw, slots, terms):
    """Boxes by 1 - CIoU."""
    counts = cuda.shared.array(THREADS, np.int32)
    partial = cuda.shared.array(THREADS, np.float64)
    box_and_object_losses(ciou_box, raw, target, anchors, loss, draw, slots, terms, counts, partial)


# --- the loss of classes ---------------------------------------------------------------------------------------------


@cuda_function
def class_losses(f, raw, target, loss, draw, weight, partial):
    """loss[n, 2] of the classes where there are objects; draw[..., 5:] its gradient."""
    n, total = cuda.blockIdx.x, 0.0
    for e in range(cuda.threadIdx.x, raw.shape[1] * raw.shape[2] * raw.shape[3], THREADS):
        i, j, a = place_of(e, raw.shape[2], raw.shape[3])
        z, t, d = raw[n, i, j, a], target[n, i, j, a], draw[n, i, j, a]
        if t[0] > 0 and z.size > 5:
            total += f(z, t, d, weight)
        else:
            for c in range(5, d.size):
                d[c] = 0
    total = of_block(total, partial)
    if cuda.threadIdx.x == 0:
        loss[n, 2] = total


@cuda_kernel(each_image)
def yolo_softmax_class_loss(raw, target, loss, draw, weight):
    """Classes that exclude each other; see `class_losses`."""
    class_losses(softmax_class_loss, raw, target, loss, draw, weight, cuda.shared.array(THREADS, np.float64))


@cuda_kernel(each_image)
def yolo_sigmoid_class_loss(raw, target, loss, draw, weight):
    """Classes by themselves."""
    class_losses(sigmoid_class_loss, raw, target, loss, draw, weight, cuda.shared.array(THREADS, np.float64))


@cuda_kernel(lambda dloss, gradient, draw: elements(draw.size))
def yolo_loss_backward(dloss, gradient, draw):
    """draw = gradient weighed with dloss (images, 3): channels 1 to 4 that of boxes, 0 of Pc, the others of classes."""
    channels = draw.shape[4]
    of_image = draw.shape[1] * draw.shape[2] * draw.shape[3] * channels
    e = cuda.grid(1)
    if e < draw.size:
        n, c = e // of_image, e % channels
        i, j, a = place_of(e % of_image // channels, draw.shape[2], draw.shape[3])
        draw[n, i, j, a, c] = gradient[n, i, j, a, c] * dloss[n, 1 if c == 0 else 0 if c < 5 else 2]
