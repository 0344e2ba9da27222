"""One step of an optimizer, in place, on a CUDA device: the formulas and the `hyper` of `optimizer.py`.

The steps of all variables are one launch: what a function here is given is a chunk of one of them (`tensor_kernel`).
"""

import math

import numpy as np

from fastcnn_kernels.cuda import (
    THREADS,
    Shape,
    combine,
    cuda,
    cuda_function,
    cuda_kernel,
    parts_kernel,
    tensor_kernel,
    tensor_kernel_with,
)
from fastcnn_kernels.elementwise import larger
from fastcnn_kernels.jit import CHUNK
from fastcnn_kernels.optimizer import (
    adadelta_step,
    adagrad_step,
    adam_amsgrad_step,
    adam_step,
    adamax_step,
    lion_step,
    momentum_step,
    nadam_step,
    nesterov_step,
    rmsprop_centered_step,
    rmsprop_momentum_step,
    rmsprop_step,
    scaled,
    sgd_step,
    weighted_average,
)
from fastcnn_kernels.reduction import plus


@cuda_function
def step(f, w, g, *constants):
    """w[i] = f(w[i], g[i], *constants)."""
    for i in range(cuda.threadIdx.x, w.size, THREADS):
        w[i] = f(w[i], g[i], *constants)


@cuda_function
def step_slot(f, w, g, m, *constants):
    """(w[i], m[i]) = f(w[i], g[i], m[i], *constants)."""
    for i in range(cuda.threadIdx.x, w.size, THREADS):
        w[i], m[i] = f(w[i], g[i], m[i], *constants)


@cuda_function
def step_two_slots(f, w, g, m, v, *constants):
    """(w[i], m[i], v[i]) = f(w[i], g[i], m[i], v[i], *constants)."""
    for i in range(cuda.threadIdx.x, w.size, THREADS):
        w[i], m[i], v[i] = f(w[i], g[i], m[i], v[i], *constants)


@cuda_function
def step_three_slots(f, w, g, m, v, a, *constants):
    """(w[i], m[i], v[i], a[i]) = f(w[i], g[i], m[i], v[i], a[i], *constants)."""
    for i in range(cuda.threadIdx.x, w.size, THREADS):
        w[i], m[i], v[i], a[i] = f(w[i], g[i], m[i], v[i], a[i], *constants)


@tensor_kernel
def sgd(w, g, hyper):
    """w -= lr g.  hyper = (lr,)."""
    step(sgd_step, w, g, w.dtype.type(hyper[0]))


@tensor_kernel
def sgd_momentum(w, g, m, hyper):
    """m = momentum m - lr g;  w += m.  hyper = (lr, momentum).  Polyak 1964."""
    number = w.dtype.type
    step_slot(momentum_step, w, g, m, number(hyper[0]), number(hyper[1]))


@tensor_kernel
def sgd_nesterov(w, g, m, hyper):
    """m = momentum m - lr g;  w += momentum m - lr g.  hyper = (lr, momentum).  Sutskever et al. 2013."""
    number = w.dtype.type
    step_slot(nesterov_step, w, g, m, number(hyper[0]), number(hyper[1]))


@tensor_kernel
def lion(w, g, m, hyper):
    """w -= lr sign(beta_1 m + (1 - beta_1) g);  m = beta_2 m + (1 - beta_2) g."""
    number = w.dtype.type
    rate, share_1, share_2 = (number(hyper[0]), number(1 - hyper[1]), number(1 - hyper[2]))
    step_slot(lion_step, w, g, m, rate, share_1, share_2)


@tensor_kernel
def adagrad(w, g, v, hyper):
    """v += g g;  w -= lr g / sqrt(v + epsilon).  hyper = (lr, epsilon).  Duchi, Hazan & Singer 2011."""
    number = w.dtype.type
    step_slot(adagrad_step, w, g, v, number(hyper[0]), number(hyper[1]))


@tensor_kernel
def adadelta(w, g, v, u, hyper):
    """v = rho v + (1 - rho) g g;  d = g sqrt(u + epsilon) / sqrt(v + epsilon);  w -= lr d;"""
    number = w.dtype.type
    rate, share, epsilon = (number(hyper[0]), number(1 - hyper[1]), number(hyper[2]))
    step_two_slots(adadelta_step, w, g, v, u, rate, share, epsilon)


@tensor_kernel
def rmsprop(w, g, v, hyper):
    """v = rho v + (1 - rho) g g;  w -= lr g / sqrt(v + epsilon)."""
    number = w.dtype.type
    rate, share, epsilon = (number(hyper[0]), number(1 - hyper[1]), number(hyper[2]))
    step_slot(rmsprop_step, w, g, v, rate, share, epsilon)


@tensor_kernel
def rmsprop_momentum(w, g, v, m, hyper):
    """v as in `rmsprop`;  m = momentum m + lr g / sqrt(v + epsilon);  w -= m."""
    number = w.dtype.type
    rate, share, epsilon = (number(hyper[0]), number(1 - hyper[1]), number(hyper[2]))
    momentum = number(hyper[3])
    step_two_slots(rmsprop_momentum_step, w, g, v, m, rate, share, epsilon, momentum)


@tensor_kernel
def rmsprop_centered(w, g, v, a, m, hyper):
    """v as in `rmsprop`;  a = rho a + (1 - rho) g;  m = momentum m + lr g / sqrt(v - a a + epsilon);  w -= m."""
    number = w.dtype.type
    rate, share, epsilon = (number(hyper[0]), number(1 - hyper[1]), number(hyper[2]))
    momentum = number(hyper[3])
    step_three_slots(rmsprop_centered_step, w, g, v, a, m, rate, share, epsilon, momentum)


@tensor_kernel
def adam(w, g, m, v, hyper):
    """m = beta_1 m + (1 - beta_1) g;  v = beta_2 v + (1 - beta_2) g g;  w -= rate m / (sqrt(v) + epsilon)."""
    number = w.dtype.type
    rate, epsilon = (number(hyper[0]), number(hyper[3]))
    share_1, share_2 = (number(1 - hyper[1]), number(1 - hyper[2]))
    step_two_slots(adam_step, w, g, m, v, rate, share_1, share_2, epsilon)


@tensor_kernel
def adam_amsgrad(w, g, m, v, v_max, hyper):
    """m, v as in `adam`;  v_max = max(v_max, v);  w -= rate m / (sqrt(v_max) + epsilon)."""
    number = w.dtype.type
    rate, epsilon = (number(hyper[0]), number(hyper[3]))
    share_1, share_2 = (number(1 - hyper[1]), number(1 - hyper[2]))
    step_three_slots(adam_amsgrad_step, w, g, m, v, v_max, rate, share_1, share_2, epsilon)


@tensor_kernel
def adamax(w, g, m, u, hyper):
    """m = beta_1 m + (1 - beta_1) g;  u = max(beta_2 u, |g|);  w -= rate m / (u + epsilon)."""
    number = w.dtype.type
    rate, epsilon = (number(hyper[0]), number(hyper[3]))
    share_1, beta_2 = (number(1 - hyper[1]), number(hyper[2]))
    step_two_slots(adamax_step, w, g, m, u, rate, share_1, beta_2, epsilon)


@tensor_kernel
def nadam(w, g, m, v, hyper):
    """m, v as in `adam`;  w -= lr (of_m m + of_g g) / (sqrt(of_v v) + epsilon)."""
    number = w.dtype.type
    rate, epsilon = (number(hyper[0]), number(hyper[3]))
    share_1, share_2 = (number(1 - hyper[1]), number(1 - hyper[2]))
    of_m, of_g, of_v = (number(hyper[4]), number(hyper[5]), number(hyper[6]))
    step_two_slots(nadam_step, w, g, m, v, rate, share_1, share_2, epsilon, of_m, of_g, of_v)


@tensor_kernel
def decay_weights(w, hyper):
    """w -= w decay lr, before the step itself.  hyper = (lr, decay).  Loshchilov & Hutter 2019."""
    step(sgd_step, w, w, w.dtype.type(hyper[0] * hyper[1]))


@tensor_kernel
def moving_average(average, value, hyper):
    """average = momentum average + (1 - momentum) value.  hyper = (momentum,); 0 copies the value."""
    momentum, share = (average.dtype.type(hyper[0]), average.dtype.type(1 - hyper[0]))
    step(weighted_average, average, value, momentum, share)


@tensor_kernel_with("factor")
def scale_by(x, factor, y):
    """y = x factor[0]; y may be x.  factor (1,) in float64."""
    number = x.dtype.type
    for i in range(cuda.threadIdx.x, x.size, THREADS):
        y[i] = scaled(x[i], number(factor[0]))


@parts_kernel(CHUNK)
def squared_norm(g, partial):
    """partial[k] = sum of g[i] ** 2 over chunk k of CHUNK elements: a block a chunk.  partial (chunks,) in float64."""
    shared = cuda.shared.array(THREADS, np.float64)
    thread, total = cuda.threadIdx.x, 0.0
    for i in range(thread, g.size, THREADS):
        total += np.float64(g[i]) * np.float64(g[i])
    shared[thread] = total
    combine(plus, shared, 1)
    if thread == 0:
        partial[cuda.blockIdx.x] = shared[0]


@cuda_kernel(lambda partial, factor, limit: Shape((1, 1, 1), THREADS))
def clip_factor(partial, factor, limit):
    """factor[0] = limit / max(norm, limit), norm = sqrt(sum of partial); NaN of an infinite norm."""
    shared = cuda.shared.array(THREADS, np.float64)
    thread, total = cuda.threadIdx.x, 0.0
    for k in range(thread, partial.size, THREADS):
        total += partial[k]
    shared[thread] = total
    combine(plus, shared, 1)
    if thread == 0:
        norm = math.sqrt(shared[0])
        factor[0] = limit / larger(norm, limit) if norm < math.inf else math.nan
