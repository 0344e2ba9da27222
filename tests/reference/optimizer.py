"""One step of every optimizer, as Keras 3 takes it.

A rule maps (w, g, state, step, learning_rate, ...) to (new w, new state). w and g have one shape; state holds
the slots by name and starts empty; step counts 1, 2, ... Nothing is changed in place. One update is, in this
order: clip the gradients, decay the weights, apply the rule (optimizer_step does these), average the weights.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from .shape import Array, float64

State = dict[str, Array]
Step = tuple[Array, State]
Rule = Callable[..., Step]


def slot(state: State, name: str, like: Array, initial: float = 0.0) -> Array:
    """The slot's value, or `initial` everywhere before the first step."""
    return state.get(name, np.full(like.shape, initial))


def clip_by_value(grads: Sequence[ArrayLike], limit: float) -> list[Array]:
    """Every element kept in [-limit, limit]."""
    return [np.clip(float64(g), -limit, limit) for g in grads]


def clip_by_norm(grads: Sequence[ArrayLike], limit: float) -> list[Array]:
    """g limit / max(|g|, limit), each gradient by its own norm."""
    return [float64(g) * limit / max(float(np.linalg.norm(float64(g))), limit) for g in grads]


def clip_by_global_norm(grads: Sequence[ArrayLike], limit: float) -> list[Array]:
    """g limit / max(norm, limit), norm that of all gradients together."""
    norm = np.sqrt(sum(float((float64(g) ** 2).sum()) for g in grads))
    return [float64(g) * limit / max(float(norm), limit) for g in grads]


def decay_weights(w: ArrayLike, weight_decay: float, learning_rate: float) -> Array:
    """w - w weight_decay learning_rate, before the rule and apart from it."""
    return float64(w) - float64(w) * weight_decay * learning_rate


def average_weights(average: ArrayLike, w: ArrayLike, step: int, momentum: float = 0.99) -> Array:
    """momentum average + (1 - momentum) w after a step; the first step starts the average at w."""
    return float64(w) if step == 1 else momentum * float64(average) + (1.0 - momentum) * float64(w)


def optimizer_step(
    rule: Rule,
    weights: Sequence[ArrayLike],
    grads: Sequence[ArrayLike],
    states: Sequence[State],
    step: int,
    learning_rate: float,
    weight_decay: float | None = None,
    clipnorm: float | None = None,
    global_clipnorm: float | None = None,
    clipvalue: float | None = None,
    **hyper: float | bool,
) -> tuple[list[Array], list[State]]:
    """(new weights, new states) of a whole model; at most one way of clipping is given."""
    if clipnorm is not None:
        grads = clip_by_norm(grads, clipnorm)
    elif global_clipnorm is not None:
        grads = clip_by_global_norm(grads, global_clipnorm)
    elif clipvalue is not None:
        grads = clip_by_value(grads, clipvalue)
    if weight_decay is not None:
        weights = [decay_weights(w, weight_decay, learning_rate) for w in weights]
    steps = [
        rule(float64(w), float64(g), state, step, learning_rate, **hyper)
        for w, g, state in zip(weights, grads, states, strict=True)
    ]
    return [w for w, _ in steps], [state for _, state in steps]


def sgd(
    w: Array,
    g: Array,
    state: State,
    step: int = 1,
    learning_rate: float = 0.01,
    momentum: float = 0.0,
    nesterov: bool = False,
) -> Step:
    """m = momentum m - lr g;  w += m, or momentum m - lr g (nesterov)."""
    m = momentum * slot(state, "momentum", w) - learning_rate * g
    return w + (momentum * m - learning_rate * g if nesterov and momentum else m), {"momentum": m}


def rmsprop(
    w: Array,
    g: Array,
    state: State,
    step: int = 1,
    learning_rate: float = 0.001,
    rho: float = 0.9,
    momentum: float = 0.0,
    epsilon: float = 1e-7,
    centered: bool = False,
) -> Step:
    """v = rho v + (1 - rho) g^2;  m = momentum m + lr g / sqrt(v + epsilon);  w -= m.

    centered: a = rho a + (1 - rho) g and v - a^2 under the root (Tieleman & Hinton 2012, Graves 2013).
    """
    v = rho * slot(state, "velocity", w) + (1.0 - rho) * g**2
    a = rho * slot(state, "average_gradient", w) + (1.0 - rho) * g
    increment = learning_rate * g / np.sqrt(v - a**2 + epsilon if centered else v + epsilon)
    m = momentum * slot(state, "momentum", w) + increment
    return w - m, {"velocity": v, "average_gradient": a, "momentum": m}


def adam(
    w: Array,
    g: Array,
    state: State,
    step: int = 1,
    learning_rate: float = 0.001,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-7,
    amsgrad: bool = False,
) -> Step:
    """m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  w -= lr' m / (sqrt(v) + epsilon).

    lr' = lr sqrt(1 - b2^t) / (1 - b1^t): the "epsilon hat" form of Kingma & Ba 2015, section 2.
    amsgrad: the largest v so far under the root (Reddi et al. 2018).
    """
    m = beta_1 * slot(state, "momentum", w) + (1.0 - beta_1) * g
    v = beta_2 * slot(state, "velocity", w) + (1.0 - beta_2) * g**2
    largest = np.maximum(slot(state, "velocity_hat", w), v)
    rate = learning_rate * np.sqrt(1.0 - beta_2**step) / (1.0 - beta_1**step)
    new = w - rate * m / (np.sqrt(largest if amsgrad else v) + epsilon)
    return new, {"momentum": m, "velocity": v, "velocity_hat": largest}


def adamw(
    w: Array,
    g: Array,
    state: State,
    step: int = 1,
    learning_rate: float = 0.001,
    weight_decay: float = 0.004,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-7,
    amsgrad: bool = False,
) -> Step:
    """adam after w -= w weight_decay lr (Loshchilov & Hutter 2019): the decay does not pass through v."""
    decayed = decay_weights(w, weight_decay, learning_rate)
    return adam(decayed, g, state, step, learning_rate, beta_1, beta_2, epsilon, amsgrad)


def adagrad(
    w: Array,
    g: Array,
    state: State,
    step: int = 1,
    learning_rate: float = 0.001,
    initial_accumulator_value: float = 0.1,
    epsilon: float = 1e-7,
) -> Step:
    """s += g^2, from the initial value;  w -= lr g / sqrt(s + epsilon) (Duchi et al. 2011)."""
    s = slot(state, "accumulator", w, initial_accumulator_value) + g**2
    return w - learning_rate * g / np.sqrt(s + epsilon), {"accumulator": s}


def adadelta(
    w: Array,
    g: Array,
    state: State,
    step: int = 1,
    learning_rate: float = 0.001,
    rho: float = 0.95,
    epsilon: float = 1e-7,
) -> Step:
    """s = rho s + (1 - rho) g^2;  d = -sqrt(u + epsilon) / sqrt(s + epsilon) g;  w += lr d;
    u = rho u + (1 - rho) d^2.

    d uses u before its update (Zeiler 2012).
    """
    s = rho * slot(state, "accumulated_grad", w) + (1.0 - rho) * g**2
    u = slot(state, "accumulated_delta_var", w)
    d = -np.sqrt(u + epsilon) / np.sqrt(s + epsilon) * g
    u = rho * u + (1.0 - rho) * d**2
    return w + learning_rate * d, {"accumulated_grad": s, "accumulated_delta_var": u}


def adamax(
    w: Array,
    g: Array,
    state: State,
    step: int = 1,
    learning_rate: float = 0.001,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-7,
) -> Step:
    """m = b1 m + (1 - b1) g;  u = max(b2 u, |g|);  w -= lr m / ((1 - b1^t) (u + epsilon)).

    Kingma & Ba 2015, section 7.
    """
    m = beta_1 * slot(state, "momentum", w) + (1.0 - beta_1) * g
    u = np.maximum(beta_2 * slot(state, "norm", w), np.abs(g))
    return w - learning_rate * m / ((1.0 - beta_1**step) * (u + epsilon)), {"momentum": m, "norm": u}


def nadam_momentum(step: int, beta_1: float) -> float:
    """u_t = b1 (1 - 0.96^t / 2), the warming momentum of Dozat 2016."""
    return beta_1 * (1.0 - 0.5 * 0.96**step)


def nadam(
    w: Array,
    g: Array,
    state: State,
    step: int = 1,
    learning_rate: float = 0.001,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-7,
) -> Step:
    """m, v as in adam;  U_t = u_1 ... u_t;  v' = v / (1 - b2^t);
    m' = u_(t+1) m / (1 - U_(t+1)) + (1 - u_t) g / (1 - U_t);  w -= lr m' / (sqrt(v') + epsilon).
    """
    m = beta_1 * slot(state, "momentum", w) + (1.0 - beta_1) * g
    v = beta_2 * slot(state, "velocity", w) + (1.0 - beta_2) * g**2
    now, after = nadam_momentum(step, beta_1), nadam_momentum(step + 1, beta_1)
    product = np.prod([nadam_momentum(t, beta_1) for t in range(1, step + 1)])
    m_hat = after * m / (1.0 - product * after) + (1.0 - now) * g / (1.0 - product)
    v_hat = v / (1.0 - beta_2**step)
    return w - learning_rate * m_hat / (np.sqrt(v_hat) + epsilon), {"momentum": m, "velocity": v}


def lion(
    w: Array,
    g: Array,
    state: State,
    step: int = 1,
    learning_rate: float = 0.001,
    beta_1: float = 0.9,
    beta_2: float = 0.99,
) -> Step:
    """w -= lr sign(b1 m + (1 - b1) g);  m = b2 m + (1 - b2) g (Chen et al. 2023)."""
    m = slot(state, "momentum", w)
    new = w - learning_rate * np.sign(beta_1 * m + (1.0 - beta_1) * g)
    return new, {"momentum": beta_2 * m + (1.0 - beta_2) * g}


def lamb(
    w: Array,
    g: Array,
    state: State,
    step: int = 1,
    learning_rate: float = 0.001,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-7,
) -> Step:
    """m, v as in adam;  u = m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + epsilon);  w -= lr |w| / |u| u.

    The ratio is 1 where a norm is 0 (You et al. 2020, algorithm 2).
    """
    m = beta_1 * slot(state, "momentum", w) + (1.0 - beta_1) * g
    v = beta_2 * slot(state, "velocity", w) + (1.0 - beta_2) * g**2
    u = m / (1.0 - beta_1**step) / (np.sqrt(v / (1.0 - beta_2**step)) + epsilon)
    norms = float(np.sqrt((w**2).sum())), float(np.sqrt((u**2).sum()))
    ratio = norms[0] / norms[1] if min(norms) > 0 else 1.0
    return w - learning_rate * ratio * u, {"momentum": m, "velocity": v}


def adafactor(
    w: Array,
    g: Array,
    state: State,
    step: int = 1,
    learning_rate: float = 0.001,
    beta_2_decay: float = -0.8,
    epsilon_1: float = 1e-30,
    epsilon_2: float = 1e-3,
    clip_threshold: float = 1.0,
) -> Step:
    """b = 1 - t^d;  v = b v + (1 - b)(g^2 + e1), of matrices r_i c_j / mean(r) with r, c such averages of the means
    over columns and rows;  u = g / sqrt(v);  w -= max(e2, rms(w)) min(lr, 1 / sqrt(t)) u / max(1, rms(u) / clip).

    Shazeer & Stern 2018, algorithms 4 and 5, with the last two axes as rows and columns.
    """
    share = float(step) ** beta_2_decay
    square = g**2 + epsilon_1
    if w.ndim < 2:
        v = (1.0 - share) * slot(state, "velocity", w) + share * square
        state = {"velocity": v}
    else:
        rows = (1.0 - share) * state.get("rows", np.zeros(w.shape[:-1])) + share * square.mean(-1)
        columns = (1.0 - share) * state.get("columns", np.zeros_like(w[..., 0, :])) + share * square.mean(-2)
        v = rows[..., :, None] * columns[..., None, :] / rows.mean(-1)[..., None, None]
        state = {"rows": rows, "columns": columns}
    u = g / np.sqrt(v)
    rate = max(epsilon_2, np.sqrt((w**2).mean())) * min(learning_rate, 1.0 / np.sqrt(step))
    return w - rate * u / max(1.0, np.sqrt((u**2).mean()) / clip_threshold), state


def ftrl(
    w: Array,
    g: Array,
    state: State,
    step: int = 1,
    learning_rate: float = 0.001,
    learning_rate_power: float = -0.5,
    initial_accumulator_value: float = 0.1,
    l1_regularization_strength: float = 0.0,
    l2_regularization_strength: float = 0.0,
    l2_shrinkage_regularization_strength: float = 0.0,
    beta: float = 0.0,
) -> Step:
    """n' = n + g^2;  z += g + 2 shrinkage w - (n'^p - n^p) / lr w with p = -power;
    w = 0 where |z| <= l1, else (sign(z) l1 - z) / ((beta + n'^p) / lr + 2 l2).

    McMahan et al. 2013, algorithm 1.
    """
    p, n = -learning_rate_power, slot(state, "accumulator", w, initial_accumulator_value)
    after = n + g**2
    shrunk = g + 2.0 * l2_shrinkage_regularization_strength * w
    z = slot(state, "linear", w) + shrunk - (after**p - n**p) / learning_rate * w
    weight = (beta + after**p) / learning_rate + 2.0 * l2_regularization_strength
    new = np.where(
        np.abs(z) <= l1_regularization_strength, 0.0, (np.sign(z) * l1_regularization_strength - z) / weight
    )
    return new, {"accumulator": after, "linear": z}


def orthogonal(x: Array, steps: int, a: float, b: float, c: float) -> Array:
    """`steps` of x = a x + (b A + c A A) x, A = x x', from x / |x| (Jordan et al. 2024); the wide way round."""
    if x.shape[0] > x.shape[1]:
        return orthogonal(x.T, steps, a, b, c).T
    x = x / (np.sqrt((x**2).sum()) + 1e-7)
    for _ in range(steps):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x


def muon(
    w: Array,
    g: Array,
    state: State,
    step: int = 1,
    learning_rate: float = 0.001,
    adam_beta_1: float = 0.9,
    adam_beta_2: float = 0.999,
    epsilon: float = 1e-7,
    muon_a: float = 3.4445,
    muon_b: float = -4.7750,
    muon_c: float = 2.0315,
    adam_lr_ratio: float = 1.0,
    momentum: float = 0.95,
    ns_steps: int = 5,
    nesterov: bool = True,
    rms_rate: float | None = 0.2,
) -> Step:
    """m = momentum m + g;  w -= lr rms_rate sqrt(max(shape)) orthogonal(g + momentum m), of m without nesterov.

    All but matrices take steps of adam. Liu et al. 2025, Muon is scalable for LLM training.
    """
    if w.ndim != 2:
        return adam(w, g, state, step, learning_rate * adam_lr_ratio, adam_beta_1, adam_beta_2, epsilon)
    m = momentum * slot(state, "momentum", w) + g
    u = orthogonal(g + momentum * m if nesterov else m, ns_steps, muon_a, muon_b, muon_c)
    scale = 1.0 if rms_rate is None else rms_rate * np.sqrt(max(w.shape))
    return w - learning_rate * scale * u, {"momentum": m}
