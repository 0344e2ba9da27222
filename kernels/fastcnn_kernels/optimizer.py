"""One step of an optimizer, in place: weights w and their slots change, gradients g do not.

All arrays are flat and of one size. `hyper` is a float64 array that a kernel reads when it runs, so that a
learning rate may change from step to step; what it holds, each docstring says, with lr the learning rate and t
the number of the step, from 1. Formulas, and the places of epsilon, are those of Keras 3.
"""

import math

import numpy as np

from fastcnn_kernels.elementwise import flat, larger, map_binary, map_unary, signum
from fastcnn_kernels.jit import cpu_kernel, device_function, scalar, span


@device_function
def step_slot(f, w, g, m, first, last, *constants):
    """(w[i], m[i]) = f(w[i], g[i], m[i], *constants) in the chunks [first, last)."""
    lo, hi = span(first, last, w.size)
    ws, gs, ms = w[lo:hi], g[lo:hi], m[lo:hi]
    for i in range(ws.size):
        ws[i], ms[i] = f(ws[i], gs[i], ms[i], *constants)


@device_function
def step_two_slots(f, w, g, m, v, first, last, *constants):
    """(w[i], m[i], v[i]) = f(w[i], g[i], m[i], v[i], *constants) in the chunks [first, last)."""
    lo, hi = span(first, last, w.size)
    ws, gs, ms, vs = w[lo:hi], g[lo:hi], m[lo:hi], v[lo:hi]
    for i in range(ws.size):
        ws[i], ms[i], vs[i] = f(ws[i], gs[i], ms[i], vs[i], *constants)


@device_function
def step_three_slots(f, w, g, m, v, a, first, last, *constants):
    """(w[i], m[i], v[i], a[i]) = f(w[i], g[i], m[i], v[i], a[i], *constants) in the chunks [first, last)."""
    lo, hi = span(first, last, w.size)
    ws, gs, ms, vs, slots = w[lo:hi], g[lo:hi], m[lo:hi], v[lo:hi], a[lo:hi]
    for i in range(ws.size):
        ws[i], ms[i], vs[i], slots[i] = f(ws[i], gs[i], ms[i], vs[i], slots[i], *constants)


@scalar
def toward(x, goal, share):
    """x moved by a share of the way to its goal: a running average."""
    return x + (goal - x) * share


# --- gradient descent ----------------------------------------------------------------------------------------


@scalar
def sgd_step(w, g, rate):
    return w - rate * g


@cpu_kernel(flat)
def sgd(w, g, hyper, first, last):
    """w -= lr g.  hyper = (lr,)."""
    map_binary(sgd_step, w, g, w, first, last, w.dtype.type(hyper[0]))


@scalar
def momentum_step(w, g, m, rate, momentum):
    m = momentum * m - rate * g
    return w + m, m


@cpu_kernel(flat)
def sgd_momentum(w, g, m, hyper, first, last):
    """m = momentum m - lr g;  w += m.  hyper = (lr, momentum).  Polyak 1964."""
    number = w.dtype.type
    step_slot(momentum_step, w, g, m, first, last, number(hyper[0]), number(hyper[1]))


@scalar
def nesterov_step(w, g, m, rate, momentum):
    m = momentum * m - rate * g
    return w + momentum * m - rate * g, m


@cpu_kernel(flat)
def sgd_nesterov(w, g, m, hyper, first, last):
    """m = momentum m - lr g;  w += momentum m - lr g.  hyper = (lr, momentum).  Sutskever et al. 2013."""
    number = w.dtype.type
    step_slot(nesterov_step, w, g, m, first, last, number(hyper[0]), number(hyper[1]))


@scalar
def lion_step(w, g, m, rate, share_1, share_2):
    return w - rate * signum(toward(m, g, share_1)), toward(m, g, share_2)


@cpu_kernel(flat)
def lion(w, g, m, hyper, first, last):
    """w -= lr sign(beta_1 m + (1 - beta_1) g);  m = beta_2 m + (1 - beta_2) g.

    hyper = (lr, beta_1, beta_2).  Chen et al. 2023, Symbolic discovery of optimization algorithms.
    """
    number = w.dtype.type
    rate, share_1, share_2 = number(hyper[0]), number(1 - hyper[1]), number(1 - hyper[2])
    step_slot(lion_step, w, g, m, first, last, rate, share_1, share_2)


# --- adaptive rates ------------------------------------------------------------------------------------------


@scalar
def adagrad_step(w, g, v, rate, epsilon):
    v = v + g * g
    return w - rate * g / math.sqrt(v + epsilon), v


@cpu_kernel(flat)
def adagrad(w, g, v, hyper, first, last):
    """v += g g;  w -= lr g / sqrt(v + epsilon).  hyper = (lr, epsilon).  Duchi, Hazan & Singer 2011."""
    number = w.dtype.type
    step_slot(adagrad_step, w, g, v, first, last, number(hyper[0]), number(hyper[1]))


@scalar
def adadelta_step(w, g, v, u, rate, share, epsilon):
    v = toward(v, g * g, share)
    delta = math.sqrt(u + epsilon) / math.sqrt(v + epsilon) * g
    return w - rate * delta, v, toward(u, delta * delta, share)


@cpu_kernel(flat)
def adadelta(w, g, v, u, hyper, first, last):
    """v = rho v + (1 - rho) g g;  d = g sqrt(u + epsilon) / sqrt(v + epsilon);  w -= lr d;
    u = rho u + (1 - rho) d d.

    hyper = (lr, rho, epsilon).  Zeiler 2012, ADADELTA: an adaptive learning rate method.
    """
    number = w.dtype.type
    rate, share, epsilon = number(hyper[0]), number(1 - hyper[1]), number(hyper[2])
    step_two_slots(adadelta_step, w, g, v, u, first, last, rate, share, epsilon)


@scalar
def rmsprop_step(w, g, v, rate, share, epsilon):
    v = toward(v, g * g, share)
    return w - rate * g / math.sqrt(v + epsilon), v


@cpu_kernel(flat)
def rmsprop(w, g, v, hyper, first, last):
    """v = rho v + (1 - rho) g g;  w -= lr g / sqrt(v + epsilon).

    hyper = (lr, rho, epsilon).  Tieleman & Hinton 2012, lecture 6.5.
    """
    number = w.dtype.type
    rate, share, epsilon = number(hyper[0]), number(1 - hyper[1]), number(hyper[2])
    step_slot(rmsprop_step, w, g, v, first, last, rate, share, epsilon)


@scalar
def rmsprop_momentum_step(w, g, v, m, rate, share, epsilon, momentum):
    v = toward(v, g * g, share)
    m = momentum * m + rate * g / math.sqrt(v + epsilon)
    return w - m, v, m


@cpu_kernel(flat)
def rmsprop_momentum(w, g, v, m, hyper, first, last):
    """v as in `rmsprop`;  m = momentum m + lr g / sqrt(v + epsilon);  w -= m.

    hyper = (lr, rho, epsilon, momentum).
    """
    number = w.dtype.type
    rate, share, epsilon = number(hyper[0]), number(1 - hyper[1]), number(hyper[2])
    momentum = number(hyper[3])
    step_two_slots(rmsprop_momentum_step, w, g, v, m, first, last, rate, share, epsilon, momentum)


@scalar
def rmsprop_centered_step(w, g, v, a, m, rate, share, epsilon, momentum):
    v, a = toward(v, g * g, share), toward(a, g, share)
    # A constant gradient has variance 0; rounding must not make it negative.
    variance = larger(v - a * a, type(v)(0))
    m = momentum * m + rate * g / math.sqrt(variance + epsilon)
    return w - m, v, a, m


@cpu_kernel(flat)
def rmsprop_centered(w, g, v, a, m, hyper, first, last):
    """v as in `rmsprop`;  a = rho a + (1 - rho) g;  m = momentum m + lr g / sqrt(v - a a + epsilon);  w -= m.

    hyper = (lr, rho, epsilon, momentum); momentum may be 0.  Graves 2013, equations 38 to 45.
    """
    number = w.dtype.type
    rate, share, epsilon = number(hyper[0]), number(1 - hyper[1]), number(hyper[2])
    momentum = number(hyper[3])
    step_three_slots(rmsprop_centered_step, w, g, v, a, m, first, last, rate, share, epsilon, momentum)


@scalar
def adam_step(w, g, m, v, rate, share_1, share_2, epsilon):
    m, v = toward(m, g, share_1), toward(v, g * g, share_2)
    return w - rate * m / (math.sqrt(v) + epsilon), m, v


@cpu_kernel(flat)
def adam(w, g, m, v, hyper, first, last):
    """m = beta_1 m + (1 - beta_1) g;  v = beta_2 v + (1 - beta_2) g g;  w -= rate m / (sqrt(v) + epsilon).

    hyper = (rate, beta_1, beta_2, epsilon), rate = lr sqrt(1 - beta_2**t) / (1 - beta_1**t).  Kingma & Ba 2015,
    the form before section 2.1.
    """
    number = w.dtype.type
    rate, epsilon = number(hyper[0]), number(hyper[3])
    share_1, share_2 = number(1 - hyper[1]), number(1 - hyper[2])
    step_two_slots(adam_step, w, g, m, v, first, last, rate, share_1, share_2, epsilon)


@scalar
def adam_amsgrad_step(w, g, m, v, v_max, rate, share_1, share_2, epsilon):
    m, v = toward(m, g, share_1), toward(v, g * g, share_2)
    v_max = larger(v_max, v)
    return w - rate * m / (math.sqrt(v_max) + epsilon), m, v, v_max


@cpu_kernel(flat)
def adam_amsgrad(w, g, m, v, v_max, hyper, first, last):
    """m, v as in `adam`;  v_max = max(v_max, v);  w -= rate m / (sqrt(v_max) + epsilon).

    hyper as for `adam`.  Reddi, Kale & Kumar 2018.
    """
    number = w.dtype.type
    rate, epsilon = number(hyper[0]), number(hyper[3])
    share_1, share_2 = number(1 - hyper[1]), number(1 - hyper[2])
    step_three_slots(adam_amsgrad_step, w, g, m, v, v_max, first, last, rate, share_1, share_2, epsilon)


@scalar
def adamax_step(w, g, m, u, rate, share_1, beta_2, epsilon):
    m, u = toward(m, g, share_1), larger(beta_2 * u, abs(g))
    return w - rate * m / (u + epsilon), m, u


@cpu_kernel(flat)
def adamax(w, g, m, u, hyper, first, last):
    """m = beta_1 m + (1 - beta_1) g;  u = max(beta_2 u, |g|);  w -= rate m / (u + epsilon).

    hyper = (rate, beta_1, beta_2, epsilon), rate = lr / (1 - beta_1**t).  Kingma & Ba 2015, section 7.1.
    """
    number = w.dtype.type
    rate, epsilon = number(hyper[0]), number(hyper[3])
    share_1, beta_2 = number(1 - hyper[1]), number(hyper[2])
    step_two_slots(adamax_step, w, g, m, u, first, last, rate, share_1, beta_2, epsilon)


@scalar
def nadam_step(w, g, m, v, rate, share_1, share_2, epsilon, of_m, of_g, of_v):
    m, v = toward(m, g, share_1), toward(v, g * g, share_2)
    return w - rate * (of_m * m + of_g * g) / (math.sqrt(of_v * v) + epsilon), m, v


@cpu_kernel(flat)
def nadam(w, g, m, v, hyper, first, last):
    """m, v as in `adam`;  w -= lr (of_m m + of_g g) / (sqrt(of_v v) + epsilon).

    hyper = (lr, beta_1, beta_2, epsilon, of_m, of_g, of_v) with, for u_t = beta_1 (1 - 0.96**t / 2) and U_t the
    product of u_1 to u_t, of_m = u_(t+1) / (1 - U_(t+1)), of_g = (1 - u_t) / (1 - U_t), of_v = 1 / (1 - beta_2**t).
    Dozat 2016, Incorporating Nesterov momentum into Adam.
    """
    number = w.dtype.type
    rate, epsilon = number(hyper[0]), number(hyper[3])
    share_1, share_2 = number(1 - hyper[1]), number(1 - hyper[2])
    of_m, of_g, of_v = number(hyper[4]), number(hyper[5]), number(hyper[6])
    step_two_slots(nadam_step, w, g, m, v, first, last, rate, share_1, share_2, epsilon, of_m, of_g, of_v)


# --- around the step -----------------------------------------------------------------------------------------


@cpu_kernel(lambda w, hyper: flat(w))
def decay_weights(w, hyper, first, last):
    """w -= w decay lr, before the step itself.  hyper = (lr, decay).  Loshchilov & Hutter 2019."""
    map_binary(sgd_step, w, w, w, first, last, w.dtype.type(hyper[0] * hyper[1]))


@scalar
def weighted_average(average, value, momentum, share):
    return momentum * average + share * value


@cpu_kernel(flat)
def moving_average(average, value, hyper, first, last):
    """average = momentum average + (1 - momentum) value.  hyper = (momentum,); 0 copies the value."""
    momentum, share = average.dtype.type(hyper[0]), average.dtype.type(1 - hyper[0])
    map_binary(weighted_average, average, value, average, first, last, momentum, share)


@cpu_kernel(flat)
def squared_norm(g, partial, first, last):
    """partial[k] = sum of g[i] ** 2 over chunk k.  partial (chunks,) in float64."""
    for item in range(first, last):
        lo, hi = span(item, item + 1, g.size)
        gs, total = g[lo:hi], 0.0
        for i in range(gs.size):
            total += np.float64(gs[i]) * np.float64(gs[i])  # float(x) would stay float32
        partial[item] = total


@cpu_kernel(lambda partial, factor, limit: 1)
def clip_factor(partial, factor, limit, first, last):
    """factor[0] = limit / max(norm, limit), norm = sqrt(sum of partial): what clips a gradient to that norm.

    The partial sums of one gradient, or of all gradients together, in float64; factor (1,) in float64. A norm
    that is infinite or NaN makes the factor NaN: nothing is left of such a gradient, and that must show.
    """
    total = 0.0
    for k in range(partial.size):
        total += partial[k]
    norm = math.sqrt(total)
    factor[0] = limit / larger(norm, limit) if norm < math.inf else math.nan


@scalar
def scaled(x, factor):
    return x * factor


@cpu_kernel(lambda x, factor, y: flat(x))
def scale_by(x, factor, y, first, last):
    """y = x factor[0]; y may be x.  factor (1,) in float64."""
    map_unary(scaled, x, y, first, last, x.dtype.type(factor[0]))
