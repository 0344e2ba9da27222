"""Losses: one number a row; backward, the gradient of the prediction from one upstream number a row.

Predictions and targets are (rows, c) views, labels (class indices stored as floats) and losses (rows,). The
backward of a loss always wants the *inputs* of the forward. Sums run in float64.
"""

import numpy as np

from fastcnn_kernels import elementary
from fastcnn_kernels.activation import log_probability, shift_and_total, sigmoid, softplus
from fastcnn_kernels.elementwise import by_rows, clipped, row_span, signum
from fastcnn_kernels.jit import cpu_kernel, device_function, scalar


def by_rows_of_second(dloss, x, *others) -> int:
    """Work items of a backward, whose first argument is one number a row."""
    return by_rows(x)


# --- classification -----------------------------------------------------------------------------------------


@cpu_kernel(lambda labels, y: by_rows(y))
def one_hot(labels, y, first, last):
    """y[r, j] = 1 where j = labels[r], else 0; a label outside the c classes gives a row of zeros."""
    lo, hi = row_span(first, last, y)
    for r in range(lo, hi):
        ys = y[r]
        for j in range(ys.size):
            ys[j] = labels[r] == j


@scalar
def is_class(label, classes):
    return label >= 0 and label < classes


@cpu_kernel(by_rows)
def sparse_softmax_cross_entropy_forward(logits, labels, loss, smoothing, ignored, first, last):
    """loss[r] = -sum over j of t[j] ln softmax(logits[r])[j], with t the smoothed indicator of labels[r].

    t[j] = (1 - smoothing) [j = labels[r]] + smoothing / c  (Szegedy et al. 2016, section 7).
    A row whose label is `ignored` has loss 0 (NaN: no label is), one whose label is no class has loss NaN.
    """
    lo, hi = row_span(first, last, logits)
    classes = logits.shape[1]
    for r in range(lo, hi):
        if labels[r] == ignored:
            loss[r] = 0
        elif is_class(labels[r], classes):
            row = logits[r]
            shift, total = shift_and_total(row)
            log_total = elementary.log(total)
            value = (smoothing - 1) * log_probability(row[int(labels[r])], shift, log_total)
            if smoothing > 0:
                for j in range(classes):
                    value -= smoothing / classes * log_probability(row[j], shift, log_total)
            loss[r] = value
        else:
            loss[r] = np.nan


@cpu_kernel(by_rows_of_second)
def sparse_softmax_cross_entropy_backward(dloss, logits, labels, dlogits, smoothing, ignored, first, last):
    """dlogits[r, j] = dloss[r] (softmax(logits[r])[j] - t[j]), t as in the forward; 0 in ignored rows."""
    lo, hi = row_span(first, last, logits)
    classes = logits.shape[1]
    for r in range(lo, hi):
        row, drow = logits[r], dlogits[r]
        if labels[r] == ignored:
            drow[:] = 0
        elif is_class(labels[r], classes):
            shift, total = shift_and_total(row)
            label = int(labels[r])
            for j in range(classes):
                target = (1 - smoothing) * (j == label) + smoothing / classes
                drow[j] = dloss[r] * (elementary.exp(row[j] - shift) / total - target)
        else:
            drow[:] = np.nan


@cpu_kernel(by_rows)
def softmax_cross_entropy_forward(logits, target, loss, first, last):
    """loss[r] = -sum over j of target[r, j] ln softmax(logits[r])[j]."""
    lo, hi = row_span(first, last, logits)
    for r in range(lo, hi):
        row, ts = logits[r], target[r]
        shift, total = shift_and_total(row)
        log_total, value = elementary.log(total), 0.0
        for j in range(row.size):
            if ts[j] != 0:  # a class of probability 0 may have the logit -inf
                value -= ts[j] * log_probability(row[j], shift, log_total)
        loss[r] = value


@cpu_kernel(by_rows_of_second)
def softmax_cross_entropy_backward(dloss, logits, target, dlogits, first, last):
    """dlogits[r, j] = dloss[r] (softmax(logits[r])[j] sum over k of target[r, k] - target[r, j])."""
    lo, hi = row_span(first, last, logits)
    for r in range(lo, hi):
        row, ts, drow = logits[r], target[r], dlogits[r]
        shift, total = shift_and_total(row)
        mass = 0.0
        for j in range(row.size):
            mass += ts[j]
        for j in range(row.size):
            drow[j] = dloss[r] * (elementary.exp(row[j] - shift) / total * mass - ts[j])


@cpu_kernel(by_rows)
def cross_entropy_forward(probability, target, loss, epsilon, first, last):
    """loss[r] = -sum over j of target[r, j] ln q[j], q = probability[r] / its sum, in [eps, 1 - eps]."""
    lo, hi = row_span(first, last, probability)
    for r in range(lo, hi):
        ps, ts = probability[r], target[r]
        mass, value = 0.0, 0.0
        for j in range(ps.size):
            mass += ps[j]
        for j in range(ps.size):
            value -= ts[j] * elementary.log(clipped(ps[j] / mass, epsilon, 1 - epsilon))
        loss[r] = value


@cpu_kernel(by_rows_of_second)
def cross_entropy_backward(dloss, probability, target, dprobability, epsilon, first, last):
    """dprobability[r, j] = dloss[r] / sum(probability[r]) (sum over k of u[k] - u[j] / q[j]).

    u = target where q lies strictly inside its bounds, else 0: clipping stops the gradient.
    """
    lo, hi = row_span(first, last, probability)
    for r in range(lo, hi):
        ps, ts, dps = probability[r], target[r], dprobability[r]
        mass, inside = 0.0, 0.0
        for j in range(ps.size):
            mass += ps[j]
        for j in range(ps.size):
            q = ps[j] / mass
            inside += 0.0 if q <= epsilon or q >= 1 - epsilon else ts[j]
        for j in range(ps.size):
            q = ps[j] / mass
            own = 0.0 if q <= epsilon or q >= 1 - epsilon else ts[j] / q
            dps[j] = dloss[r] / mass * (inside - own)


# --- means over the last axis --------------------------------------------------------------------------------


@device_function
def row_means(f, prediction, target, loss, first, last, *constants):
    """loss[r] = mean over j of f(prediction[r, j], target[r, j], *constants)."""
    lo, hi = row_span(first, last, prediction)
    for r in range(lo, hi):
        ps, ts = prediction[r], target[r]
        total = 0.0
        for j in range(ps.size):
            total += f(ps[j], ts[j], *constants)
        loss[r] = total / ps.size


@device_function
def row_mean_gradients(f_grad, dloss, prediction, target, dprediction, first, last, *constants):
    """dprediction[r, j] = dloss[r] / c f_grad(prediction[r, j], target[r, j], *constants)."""
    lo, hi = row_span(first, last, prediction)
    for r in range(lo, hi):
        ps, ts, dps = prediction[r], target[r], dprediction[r]
        share = dloss[r] / ps.dtype.type(ps.size)
        for j in range(ps.size):
            dps[j] = share * f_grad(ps[j], ts[j], *constants)


@scalar
def sigmoid_cross_entropy(z, t):
    return softplus(z) - z * t


@scalar
def sigmoid_cross_entropy_grad(z, t):
    return sigmoid(z) - t


@cpu_kernel(by_rows)
def sigmoid_cross_entropy_forward(logits, target, loss, first, last):
    """loss[r] = mean over j of -(t ln s + (1 - t) ln(1 - s)), s = sigmoid(logits[r, j]), t = target[r, j]."""
    row_means(sigmoid_cross_entropy, logits, target, loss, first, last)


@cpu_kernel(by_rows_of_second)
def sigmoid_cross_entropy_backward(dloss, logits, target, dlogits, first, last):
    """dlogits[r, j] = dloss[r] / c (sigmoid(logits[r, j]) - target[r, j])."""
    row_mean_gradients(sigmoid_cross_entropy_grad, dloss, logits, target, dlogits, first, last)


@scalar
def binary_cross_entropy(p, t, epsilon):
    one = type(p)(1)
    q = clipped(p, epsilon, one - epsilon)
    return -(t * elementary.log(q) + (one - t) * elementary.log(one - q))


@scalar
def binary_cross_entropy_grad(p, t, epsilon):
    one = type(p)(1)
    return type(p)(0) if p <= epsilon or p >= one - epsilon else (p - t) / (p * (one - p))


@cpu_kernel(by_rows)
def binary_cross_entropy_forward(probability, target, loss, epsilon, first, last):
    """loss[r] = mean over j of -(t ln q + (1 - t) ln(1 - q)), q = probability[r, j] in [eps, 1 - eps]."""
    e = probability.dtype.type(epsilon)
    row_means(binary_cross_entropy, probability, target, loss, first, last, e)


@cpu_kernel(by_rows_of_second)
def binary_cross_entropy_backward(dloss, probability, target, dprobability, epsilon, first, last):
    """dprobability[r, j] = dloss[r] / c (p - t) / (p (1 - p)); 0 where p was clipped."""
    e = probability.dtype.type(epsilon)
    row_mean_gradients(binary_cross_entropy_grad, dloss, probability, target, dprobability, first, last, e)


@scalar
def squared_error(p, t):
    return (p - t) * (p - t)


@scalar
def squared_error_grad(p, t):
    return type(p)(2) * (p - t)


@cpu_kernel(by_rows)
def mean_squared_error_forward(prediction, target, loss, first, last):
    """loss[r] = mean over j of (prediction[r, j] - target[r, j]) ** 2."""
    row_means(squared_error, prediction, target, loss, first, last)


@cpu_kernel(by_rows_of_second)
def mean_squared_error_backward(dloss, prediction, target, dprediction, first, last):
    """dprediction[r, j] = 2 dloss[r] / c (prediction[r, j] - target[r, j])."""
    row_mean_gradients(squared_error_grad, dloss, prediction, target, dprediction, first, last)


@scalar
def absolute_error(p, t):
    return abs(p - t)


@scalar
def absolute_error_grad(p, t):
    return signum(p - t)


@cpu_kernel(by_rows)
def mean_absolute_error_forward(prediction, target, loss, first, last):
    """loss[r] = mean over j of |prediction[r, j] - target[r, j]|."""
    row_means(absolute_error, prediction, target, loss, first, last)


@cpu_kernel(by_rows_of_second)
def mean_absolute_error_backward(dloss, prediction, target, dprediction, first, last):
    """dprediction[r, j] = dloss[r] / c sign(prediction[r, j] - target[r, j])."""
    row_mean_gradients(absolute_error_grad, dloss, prediction, target, dprediction, first, last)


@scalar
def huber(p, t, delta):
    half, size = type(p)(0.5), abs(p - t)
    return half * size * size if size <= delta else delta * (size - half * delta)


@scalar
def huber_grad(p, t, delta):
    return clipped(p - t, -delta, delta)


@cpu_kernel(by_rows)
def huber_forward(prediction, target, loss, delta, first, last):
    """loss[r] = mean over j of e e / 2 where |e| <= delta, else delta (|e| - delta / 2), e = prediction - target.

    Huber 1964, Robust estimation of a location parameter.
    """
    row_means(huber, prediction, target, loss, first, last, prediction.dtype.type(delta))


@cpu_kernel(by_rows_of_second)
def huber_backward(dloss, prediction, target, dprediction, delta, first, last):
    """dprediction[r, j] = dloss[r] / c times the error prediction - target clipped to [-delta, delta]."""
    d = prediction.dtype.type(delta)
    row_mean_gradients(huber_grad, dloss, prediction, target, dprediction, first, last, d)
