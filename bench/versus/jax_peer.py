"""JAX: the same network as one function of its weights, differentiated and compiled by XLA."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import fastcnn
from bench.versus.structure import Step, steps_of
from bench.versus.worker import CHECKED_RATE

MODES = ("jax",)
LAYOUT = ("NHWC", "HWIO", "NHWC")
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-7

Weights = list[list[jax.Array]]


def convolution(step: Step, weights: list[jax.Array], x: jax.Array) -> jax.Array:
    """Conv2D or DepthwiseConv2D."""
    layer: Any = step.layer
    kernel, *bias = weights
    groups = 1
    if step.kind == "DepthwiseConv2D":
        groups, kernel = kernel.shape[2], kernel.reshape(*kernel.shape[:2], 1, -1)
    y = lax.conv_general_dilated(
        x, kernel, layer.strides, layer.padding.upper(), dimension_numbers=LAYOUT, feature_group_count=groups
    )
    return y + bias[0] if bias else y


def normalization(
    step: Step, weights: list[jax.Array], x: jax.Array, training: bool
) -> tuple[jax.Array, list]:
    """(BatchNormalization, its weights with the moving statistics brought forward)."""
    layer: Any = step.layer
    gamma, beta, mean, variance = weights
    if training:
        found = x.mean((0, 1, 2)), x.var((0, 1, 2))
        moved = [
            layer.momentum * old + (1 - layer.momentum) * new
            for old, new in zip((mean, variance), found, strict=True)
        ]
        weights, (mean, variance) = [gamma, beta, *map(lax.stop_gradient, moved)], found
    return (x - mean) * (gamma * lax.rsqrt(variance + layer.epsilon)) + beta, weights


def pooled(step: Step, x: jax.Array) -> jax.Array:
    """MaxPooling2D."""
    layer: Any = step.layer
    window, strides = (1, *layer.pool_size, 1), (1, *layer.strides, 1)
    return lax.reduce_window(x, -jnp.inf, lax.max, window, strides, "VALID")


def apply(
    step: Step, weights: list[jax.Array], x: jax.Array, others: list, training: bool, keep: Any
) -> tuple:
    """(result of the step, its weights afterwards). keep: a key for the dropout, or None for none."""
    layer: Any = step.layer
    match step.kind:
        case "Conv2D" | "DepthwiseConv2D":
            y = convolution(step, weights, x)
        case "BatchNormalization":
            y, weights = normalization(step, weights, x, training)
        case "Dense":
            y = x @ weights[0] + (weights[1] if len(weights) > 1 else 0)
        case "ReLU":
            y = jax.nn.relu(x)
        case "LeakyReLU":
            y = jax.nn.leaky_relu(x, layer.negative_slope)
        case "MaxPooling2D":
            y = pooled(step, x)
        case "GlobalAveragePooling2D":
            y = x.mean((1, 2))
        case "Flatten":
            y = x.reshape(len(x), -1)
        case "Dropout":
            y = (
                x
                if keep is None
                else x * jax.random.bernoulli(keep, 1 - layer.rate, x.shape) / (1 - layer.rate)
            )
        case "Add":
            y = x + others[0]
        case kind:
            raise ValueError(f"no {kind} here")
    return (jax.nn.relu(y) if step.activation == "relu" and step.kind != "ReLU" else y), weights


def forward(
    steps: list[Step], weights: Weights, x: jax.Array, training: bool, key: Any
) -> tuple[jax.Array, Weights]:
    """(output, weights afterwards)."""
    results, after = [x], []
    for number, (step, own) in enumerate(zip(steps, weights, strict=True)):
        given = [results[source + 1] for source in step.sources]
        keep = None if key is None else jax.random.fold_in(key, number)
        y, own = apply(step, own, given[0], given[1:], training, keep)
        results.append(y)
        after.append(own)
    return results[-1], after


def loss_of(output: jax.Array, y: jax.Array) -> jax.Array:
    """Cross-entropy of labels, or the mean square of differences."""
    if y.dtype.kind == "f":
        return jnp.mean((output - y) ** 2)
    return -jnp.take_along_axis(jax.nn.log_softmax(output), y[:, None], 1).mean()


class JaxPeer:
    """One network. Threads are those that the process may run on."""

    def __init__(self, mode: str, threads: int):
        self.rate, self.drops = 1e-3, True

    def build(self, model: fastcnn.Model, x: np.ndarray, y: np.ndarray, training: bool) -> None:
        self.steps, self.training = steps_of(model), training
        self.weights = [[jnp.asarray(np.array(w)) for w in step.weights] for step in self.steps]
        self.slots = [(jnp.zeros_like(w), jnp.zeros_like(w)) for w in jax.tree.leaves(self.weights)]
        self.x, self.y, self.count = jnp.asarray(x), jnp.asarray(y), 0
        self.infer = jax.jit(lambda weights, x: forward(self.steps, weights, x, False, None)[0])
        self.train = jax.jit(self._train, donate_argnums=(0, 1))

    def made_comparable(self) -> None:
        """No dropout, and small steps."""
        self.rate, self.drops = CHECKED_RATE, False

    def _train(
        self, weights: Weights, slots: Any, x: jax.Array, y: jax.Array, count: jax.Array, rate: float
    ) -> tuple:
        key = jax.random.fold_in(jax.random.key(0), count) if self.drops else None

        def objective(weights: Weights) -> tuple[jax.Array, Weights]:
            output, after = forward(self.steps, weights, x, True, key)
            return loss_of(output, y), after

        (loss, after), gradients = jax.value_and_grad(objective, has_aux=True)(weights)
        scale = rate * jnp.sqrt(1 - BETA_2**count) / (1 - BETA_1**count)

        def adam(w: jax.Array, g: jax.Array, slot: tuple) -> tuple:
            m, v = BETA_1 * slot[0] + (1 - BETA_1) * g, BETA_2 * slot[1] + (1 - BETA_2) * g * g
            return w - scale * m / (jnp.sqrt(v) + EPSILON), (m, v)

        flat, structure = jax.tree.flatten(after)
        updated = [adam(*each) for each in zip(flat, jax.tree.leaves(gradients), slots, strict=True)]
        return loss, structure.unflatten([w for w, _ in updated]), [slot for _, slot in updated]

    def step(self) -> float:
        """A training step; its loss. Or an inference, and 0."""
        if not self.training:
            self.infer(self.weights, self.x).block_until_ready()
            return 0.0
        self.count += 1
        count = jnp.float32(self.count)
        loss, self.weights, self.slots = self.train(
            self.weights, self.slots, self.x, self.y, count, self.rate
        )
        return float(loss)

    def predict(self) -> np.ndarray:
        return np.asarray(self.infer(self.weights, self.x))
