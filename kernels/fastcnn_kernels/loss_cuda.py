"""Losses on a CUDA device: the formulas of `loss.py`, a thread a row. Sums run in float64."""

import math

from fastcnn_kernels.activation import log_probability, shift_and_total
from fastcnn_kernels.cuda import cuda, cuda_function, cuda_kernel, rows, rows_of_second
from fastcnn_kernels.elementwise import clipped
from fastcnn_kernels.loss import (
    absolute_error,
    absolute_error_grad,
    binary_cross_entropy,
    binary_cross_entropy_grad,
    huber,
    huber_grad,
    is_class,
    sigmoid_cross_entropy,
    sigmoid_cross_entropy_grad,
    squared_error,
    squared_error_grad,
)


@cuda_function
def row_means(f, prediction, target, loss, *constants):
    """loss[r] = mean over j of f(prediction[r, j], target[r, j], *constants)."""
    r = cuda.grid(1)
    if r < prediction.shape[0]:
        total = 0.0
        for j in range(prediction.shape[1]):
            total += f(prediction[r, j], target[r, j], *constants)
        loss[r] = total / prediction.shape[1]


@cuda_function
def row_mean_gradients(f_grad, dloss, prediction, target, dprediction, *constants):
    """dprediction[r, j] = dloss[r] / c f_grad(prediction[r, j], target[r, j], *constants)."""
    r = cuda.grid(1)
    if r < prediction.shape[0]:
        share = dloss[r] / prediction.dtype.type(prediction.shape[1])
        for j in range(prediction.shape[1]):
            dprediction[r, j] = share * f_grad(prediction[r, j], target[r, j], *constants)


@cuda_kernel(rows_of_second)
def one_hot(labels, y):
    """y[r, j] = 1 where j = labels[r], else 0; a label outside the c classes gives a row of zeros."""
    r = cuda.grid(1)
    if r < y.shape[0]:
        ys = y[r]
        for j in range(ys.size):
            ys[j] = labels[r] == j


@cuda_kernel(rows)
def sparse_softmax_cross_entropy_forward(logits, labels, loss, smoothing, ignored):
    """loss[r] = -sum over j of t[j] ln softmax(logits[r])[j], with t the smoothed indicator of labels[r].

    t[j] = (1 - smoothing) [j = labels[r]] + smoothing / c  (Szegedy et al. 2016, section 7).
    A row whose label is `ignored` has loss 0 (NaN: no label is), one whose label is no class has loss NaN.
    """
    classes = logits.shape[1]
    r = cuda.grid(1)
    if r < logits.shape[0]:
        if labels[r] == ignored:
            loss[r] = 0
        elif is_class(labels[r], classes):
            row = logits[r]
            shift, total = shift_and_total(row)
            log_total = math.log(total)
            value = (smoothing - 1) * log_probability(row[int(labels[r])], shift, log_total)
            if smoothing > 0:
                for j in range(classes):
                    value -= smoothing / classes * log_probability(row[j], shift, log_total)
            loss[r] = value
        else:
            loss[r] = math.nan


@cuda_kernel(rows_of_second)
def sparse_softmax_cross_entropy_backward(dloss, logits, labels, dlogits, smoothing, ignored):
    """dlogits[r, j] = dloss[r] (softmax(logits[r])[j] - t[j]), t as in the forward; 0 in ignored rows."""
    classes = logits.shape[1]
    r = cuda.grid(1)
    if r < logits.shape[0]:
        row, drow = logits[r], dlogits[r]
        if labels[r] == ignored:
            for j in range(classes):
                drow[j] = 0
        elif is_class(labels[r], classes):
            shift, total = shift_and_total(row)
            label = int(labels[r])
            for j in range(classes):
                target = (1 - smoothing) * (j == label) + smoothing / classes
                drow[j] = dloss[r] * (math.exp(row[j] - shift) / total - target)
        else:
            for j in range(classes):
                drow[j] = math.nan


@cuda_kernel(rows)
def softmax_cross_entropy_forward(logits, target, loss):
    """loss[r] = -sum over j of target[r, j] ln softmax(logits[r])[j]."""
    r = cuda.grid(1)
    if r < logits.shape[0]:
        row, ts = logits[r], target[r]
        shift, total = shift_and_total(row)
        log_total, value = math.log(total), 0.0
        for j in range(row.size):
            if ts[j] != 0:  # a class of probability 0 may have the logit -inf
                value -= ts[j] * log_probability(row[j], shift, log_total)
        loss[r] = value


@cuda_kernel(rows_of_second)
def softmax_cross_entropy_backward(dloss, logits, target, dlogits):
    """dlogits[r, j] = dloss[r] (softmax(logits[r])[j] sum over k of target[r, k] - target[r, j])."""
    r = cuda.grid(1)
    if r < logits.shape[0]:
        row, ts, drow = logits[r], target[r], dlogits[r]
        shift, total = shift_and_total(row)
        mass = 0.0
        for j in range(row.size):
            mass += ts[j]
        for j in range(row.size):
            drow[j] = dloss[r] * (math.exp(row[j] - shift) / total * mass - ts[j])


@cuda_kernel(rows)
def cross_entropy_forward(probability, target, loss, epsilon):
    """loss[r] = -sum over j of target[r, j] ln q[j], q = probability[r] / its sum, in [eps, 1 - eps]."""
    r = cuda.grid(1)
    if r < probability.shape[0]:
        ps, ts = probability[r], target[r]
        mass, value = 0.0, 0.0
        for j in range(ps.size):
            mass += ps[j]
        for j in range(ps.size):
            value -= ts[j] * math.log(clipped(ps[j] / mass, epsilon, 1 - epsilon))
        loss[r] = value


@cuda_kernel(rows_of_second)
def cross_entropy_backward(dloss, probability, target, dprobability, epsilon):
    """dprobability[r, j] = dloss[r] / sum(probability[r]) (sum over k of u[k] - u[j] / q[j]).

    u = target where q lies strictly inside its bounds, else 0: clipping stops the gradient.
    """
    r = cuda.grid(1)
    if r < probability.shape[0]:
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


@cuda_kernel(rows)
def sigmoid_cross_entropy_forward(logits, target, loss):
    """loss[r] = mean over j of -(t ln s + (1 - t) ln(1 - s)), s = sigmoid(logits[r, j]), t = target[r, j]."""
    row_means(sigmoid_cross_entropy, logits, target, loss)


@cuda_kernel(rows_of_second)
def sigmoid_cross_entropy_backward(dloss, logits, target, dlogits):
    """dlogits[r, j] = dloss[r] / c (sigmoid(logits[r, j]) - target[r, j])."""
    row_mean_gradients(sigmoid_cross_entropy_grad, dloss, logits, target, dlogits)


@cuda_kernel(rows)
def binary_cross_entropy_forward(probability, target, loss, epsilon):
    """loss[r] = mean over j of -(t ln q + (1 - t) ln(1 - q)), q = probability[r, j] in [eps, 1 - eps]."""
    e = probability.dtype.type(epsilon)
    row_means(binary_cross_entropy, probability, target, loss, e)


@cuda_kernel(rows_of_second)
def binary_cross_entropy_backward(dloss, probability, target, dprobability, epsilon):
    """dprobability[r, j] = dloss[r] / c (p - t) / (p (1 - p)); 0 where p was clipped."""
    e = probability.dtype.type(epsilon)
    row_mean_gradients(binary_cross_entropy_grad, dloss, probability, target, dprobability, e)


@cuda_kernel(rows)
def mean_squared_error_forward(prediction, target, loss):
    """loss[r] = mean over j of (prediction[r, j] - target[r, j]) ** 2."""
    row_means(squared_error, prediction, target, loss)


@cuda_kernel(rows_of_second)
def mean_squared_error_backward(dloss, prediction, target, dprediction):
    """dprediction[r, j] = 2 dloss[r] / c (prediction[r, j] - target[r, j])."""
    row_mean_gradients(squared_error_grad, dloss, prediction, target, dprediction)


@cuda_kernel(rows)
def mean_absolute_error_forward(prediction, target, loss):
    """loss[r] = mean over j of |prediction[r, j] - target[r, j]|."""
    row_means(absolute_error, prediction, target, loss)


@cuda_kernel(rows_of_second)
def mean_absolute_error_backward(dloss, prediction, target, dprediction):
    """dprediction[r, j] = dloss[r] / c sign(prediction[r, j] - target[r, j])."""
    row_mean_gradients(absolute_error_grad, dloss, prediction, target, dprediction)


@cuda_kernel(rows)
def huber_forward(prediction, target, loss, delta):
    """loss[r] = mean over j of e e / 2 where |e| <= delta, else delta (|e| - delta / 2), e = prediction - target.

    Huber 1964, Robust estimation of a location parameter.
    """
    row_means(huber, prediction, target, loss, prediction.dtype.type(delta))


@cuda_kernel(rows_of_second)
def huber_backward(dloss, prediction, target, dprediction, delta):
    """dprediction[r, j] = dloss[r] / c times the error prediction - target clipped to [-delta, delta]."""
    d = prediction.dtype.type(delta)
    row_mean_gradients(huber_grad, dloss, prediction, target, dprediction, d)
