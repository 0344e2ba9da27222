"""Attention: sums of values, weighted by how well their keys fit a query."""

import functools
import string
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastcnn import ops
from fastcnn.errors import Error
from fastcnn.layers import arguments, weights
from fastcnn.layers.activation import Softmax
from fastcnn.layers.base import Layer
from fastcnn.layers.einsum import EinsumDense
from fastcnn.layers.regularization import Dropout
from fastcnn.ops.core import convert
from fastcnn.ops.shape import known
from fastcnn.registry import deserialize, serialize
from fastcnn.tensor import Shape, Tensor

OUT_OF_SIGHT = 1e9  # what is taken from the scores of masked values, as in Keras


class Attention(Layer):
    """softmax(scores of queries and keys) values (Luong et al. 2015).

    Inputs [query, value] or [query, value, key]: (n, t, d), (n, s, e), (n, s, d) -> (n, t, e); the key is by default
    the value. score_mode "dot": q k^T, times a learned scale if `use_scale`; "concat": c sum of tanh(scale (q + k)),
    c learned. dropout: of the weights. mask: [mask of the query (n, t), mask of the value (n, s)], either may be None.
    """

    def __init__(
        self,
        use_scale: bool = False,
        score_mode: str = "dot",
        dropout: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.use_scale = bool(use_scale)
        self.score_mode = arguments.choice(type(self).__name__, "score_mode", score_mode, ("dot", "concat"))
        self.dropout = arguments.number(type(self).__name__, "dropout", dropout, 0, 1)
        self.seed = seed
        self._dropout = Dropout(self.dropout, seed=seed, name="dropout")

    def build(self, input_shape: Any) -> None:
        _check_list("inputs", input_shape)
        self.scale: Any = self._scale(input_shape[0]) if self.use_scale else 1.0
        if self.score_mode == "concat":
            self.concat_score_weight = self.add_weight((), "ones", name="concat_score_weight")
        self.built = True

    def _scale(self, query_shape: Shape) -> Any:
        return self.add_weight((), "ones", name="scale")

    def call(
        self,
        inputs: Any,
        mask: Any = None,
        training: bool = False,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
    ) -> Any:
        _check_list("inputs", inputs)
        query, value, key = (*inputs, inputs[1])[:3]
        query_mask, value_mask = (None, None) if mask is None else _check_list("mask", mask)[:2]
        scores = self._scores(query, key)
        if value_mask is not None:
            scores = scores - OUT_OF_SIGHT * (1.0 - _numbers(value_mask, scores, -2))
        if use_causal_mask:
            queries, keys = known(scores.shape[-2:])
            scores = scores - OUT_OF_SIGHT * (1.0 - np.tri(queries, keys))
        found = self._dropout(ops.softmax(scores), training=training)
        y = ops.matmul(found, value)
        if query_mask is not None:
            y = y * _numbers(query_mask, y, -1)
        return (y, found) if return_attention_scores else y

    def _scores(self, query: Tensor, key: Tensor) -> Tensor:
        """(n, t, s)"""
        if self.score_mode == "dot":
            return ops.matmul(query, ops.swapaxes(key, -2, -1)) * self.scale
        return ops.sum(ops.tanh(self.scale * _pairs(query, key)), -1) * self.concat_score_weight

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (*input_shape[0][:-1], input_shape[1][-1])


class AdditiveAttention(Attention):
    """Attention whose scores are the sum of scale tanh(q + k), the scale a learned vector (Bahdanau et al. 2015)."""

    def __init__(self, use_scale: bool = True, dropout: float = 0.0, seed: int | None = None, **kwargs: Any):
        super().__init__(use_scale, dropout=dropout, seed=seed, **kwargs)

    def _scale(self, query_shape: Shape) -> Any:
        size = arguments.known_size(query_shape, -1, "features")
        return self.add_weight((size,), "glorot_uniform", name="scale")

    def _scores(self, query: Tensor, key: Tensor) -> Tensor:
        return ops.sum(self.scale * ops.tanh(_pairs(query, key)), -1)


def _pairs(query: Tensor, key: Tensor) -> Tensor:
    """q + k for every query and key: (n, t, d), (n, s, d) -> (n, t, s, d)."""
    return ops.expand_dims(query, -2) + ops.expand_dims(key, -3)


def _check_list(what: str, value: Any) -> Any:
    if not isinstance(value, list | tuple) or len(value) not in (2, 3):
        raise Error(
            f"{what} must be a list of two or three, [query, value] or [query, value, key], got {value!r}"
        )
    return value


def _numbers(mask: Any, like: Tensor, axis: int) -> Tensor:
    """A mask as 1 and 0, with one more axis."""
    return ops.expand_dims(convert(mask, like.dtype), axis)


class MultiHeadAttention(Layer):
    """Attention in several heads, each on projections of its own (Vaswani et al. 2017).

    Of each head, softmax(q k^T / sqrt(key_dim)) v, where q (n, t, key_dim), k (n, s, key_dim) and v (n, s, value_dim)
    are dense layers of query (n, t, d), key and value (n, s, e); one more dense layer makes of all heads together
    (n, t, output_shape), by default of d features. attention_axes: those that queries look along, by default all but
    the batch and the features; sliding_window: how far, in steps, less one; use_gate: what the heads see is weighed by
    a sigmoid of the query.
    """

    def __init__(
        self,
        num_heads: int,
        key_dim: int,
        value_dim: int | None = None,
        dropout: float = 0.0,
        use_bias: bool = True,
        output_shape: Any = None,
        attention_axes: Any = None,
        sliding_window: int | None = None,
        flash_attention: bool | None = None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        use_gate: bool = False,
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.num_heads, self.key_dim, self.value_dim = (
            arguments.integer("MultiHeadAttention", name, size)
            for name, size in (
                ("num_heads", num_heads),
                ("key_dim", key_dim),
                ("value_dim", key_dim if value_dim is None else value_dim),
            )
        )
        self.key_heads = self.num_heads
        self.dropout = arguments.number("MultiHeadAttention", "dropout", dropout, 0, 1)
        self.use_bias, self.use_gate = bool(use_bias), bool(use_gate)
        self.features = (output_shape,) if isinstance(output_shape, int) else output_shape
        self.attention_axes = (
            None if attention_axes is None else arguments.axes("MultiHeadAttention", attention_axes)
        )
        self.sliding_window = (
            None
            if sliding_window is None
            else arguments.integer("MultiHeadAttention", "sliding_window", sliding_window)
        )
        weights.describe(self, "kernel", kernel_initializer, kernel_regularizer, kernel_constraint)
        weights.describe(self, "bias", bias_initializer, bias_regularizer, bias_constraint)
        self.projection_regularizer = (
            deserialize("regularizer", activity_regularizer) if activity_regularizer else None
        )
        self.seed = seed

    def get_config(self) -> dict[str, Any]:
        own = {"output_shape": self.features, "activity_regularizer": self.projection_regularizer}
        config = {**super().get_config(), **{name: serialize(value) for name, value in own.items()}}
        return {name: value for name, value in config.items() if name != "flash_attention"}

    def build(self, query_shape: Shape, value_shape: Shape, key_shape: Shape | None = None) -> None:
        key_shape = value_shape if key_shape is None else key_shape
        if len(query_shape) != len(value_shape) or value_shape[1:-1] != key_shape[1:-1]:
            raise Error(
                f"query of shape {query_shape}, value {value_shape} and key {key_shape} do not fit: expected as many "
                "axes, and as many keys as values"
            )
        self.query_dense = self._dense("query", query_shape, (self.num_heads, self.key_dim))
        self.key_dense = self._dense("key", key_shape, (self.key_heads, self.key_dim))
        if self.use_gate:
            size = (self.num_heads, self.value_dim)
            self.gate_dense = self._dense("gate", query_shape, size, activation="sigmoid")
        self.value_dense = self._dense("value", value_shape, (self.key_heads, self.value_dim))
        rank = len(query_shape)
        axes = range(1, rank - 1) if self.attention_axes is None else self.attention_axes
        self._axes = sorted(axis % rank for axis in axes)
        self._softmax = Softmax(tuple(range(-len(self._axes), 0)), dtype=self.dtype_policy)
        self._dropout = Dropout(self.dropout, dtype=self.dtype_policy, seed=self.seed)
        seen = (*query_shape[:-1], self.num_heads, self.value_dim)
        self.output_dense = self._dense(
            "attention_output", seen, self.features or query_shape[-1:], summed="hv"
        )
        self.built = True

    def _dense(
        self, name: str, shape: Shape, size: Sequence[int | None], summed: str = "x", **options: Any
    ) -> EinsumDense:
        made = string.ascii_letters[: len(size)]
        layer = EinsumDense(
            f"...{summed},{summed}{made}->...{made}", size, bias_axes=made if self.use_bias else None,
            activity_regularizer=self.projection_regularizer, dtype=self.dtype_policy, name=name,
            **weights.description(self, "kernel"), **weights.description(self, "bias"), **options,
        )  # fmt: skip
        layer.build(shape)
        return layer

    def call(
        self,
        query: Tensor,
        value: Any,
        key: Any = None,
        query_mask: Any = None,
        value_mask: Any = None,
        key_mask: Any = None,
        attention_mask: Any = None,
        return_attention_scores: bool = False,
        training: bool = False,
        use_causal_mask: bool = False,
    ) -> Any:
        """attention_mask (n, t, s), query_mask (n, t), value_mask and key_mask (n, s): 0 where nothing is looked at."""
        query, value = convert(query, self.dtype), convert(value, self.dtype)
        key = value if key is None else convert(key, self.dtype)
        masks = [
            attention_mask,
            *(m if m is None else ops.expand_dims(m, -2) for m in (value_mask, key_mask)),
        ]
        masks.append(query_mask if query_mask is None else ops.expand_dims(query_mask, -1))
        masks += self._fixed_masks(query.shape, value.shape, use_causal_mask)
        projected = self.query_dense(query), self.key_dense(key), self.value_dense(value)
        mask = _product([m for m in masks if m is not None], self.dtype)
        if return_attention_scores or self.dropout or query.ndim > 3:
            y, scores = self._attend(*projected, mask, training)
        else:
            mask = mask if mask is None else self._with_heads(mask, 4)
            y = ops.dot_product_attention(*projected, mask=mask, scale=self.key_dim**-0.5)
        y = self.output_dense(y * self.gate_dense(query) if self.use_gate else y)
        return (y, scores) if return_attention_scores else y

    def _fixed_masks(self, query: Shape, value: Shape, is_causal: bool) -> list[np.ndarray]:
        """(1, t, s): nothing later than the query, nothing out of the window."""
        if not is_causal and self.sliding_window is None:
            return []
        t, s = known((query[1], value[1]))
        ahead = np.arange(s) - np.arange(t)[:, None]
        window = s + t if self.sliding_window is None else self.sliding_window
        return [((abs(ahead) < window) & ((ahead <= 0) | (not is_causal)))[None]]

    def _attend(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, training: bool
    ) -> tuple[Tensor, Tensor]:
        """What the heads see (n, ..., heads, value_dim), and the weights (n, ..., heads, queries, keys)."""
        if self.key_heads < self.num_heads:
            times = self.num_heads // self.key_heads
            key, value = ops.repeat(key, times, -2), ops.repeat(value, times, -2)
        seen, hidden = _letters(query.ndim - 2, self._axes)
        free = "".join(n for n in seen if n in hidden)
        pairs = free + "H" + "".join(seen[i] for i in self._axes) + "".join(hidden[i] for i in self._axes)
        scores = ops.einsum(f"{seen}HD,{hidden}HD->{pairs}", query * self.key_dim**-0.5, key)
        weight = self._softmax(scores, mask=mask if mask is None else self._with_heads(mask, scores.ndim))
        y = ops.einsum(f"{pairs},{hidden}HD->{seen}HD", self._dropout(weight, training=training), value)
        return y, weight

    def _with_heads(self, mask: Tensor, rank: int) -> Tensor:
        """A mask (n, queries, keys) of scores (n, ..., heads, queries, keys)."""
        missing = rank - mask.ndim
        first = rank - 2 * len(self._axes) - missing
        return ops.expand_dims(mask, tuple(range(first, first + missing))) if missing else mask

    def compute_output_shape(
        self, query_shape: Shape, value_shape: Shape, key_shape: Shape | None = None
    ) -> Any:
        return (*query_shape[:-1], *self.features) if self.features else tuple(query_shape)


class GroupedQueryAttention(MultiHeadAttention):
    """`MultiHeadAttention` in which several heads share keys and values (Ainslie et al. 2023, GQA).

    num_query_heads: a multiple of num_key_value_heads; head_dim: the size of each. query (n, t, d), value and key
    (n, s, e) -> (n, t, d). All else is as there.
    """

    def __init__(
        self,
        head_dim: int,
        num_query_heads: int,
        num_key_value_heads: int,
        dropout: float = 0.0,
        use_bias: bool = True,
        sliding_window: int | None = None,
        flash_attention: bool | None = None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        use_gate: bool = False,
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(
            num_query_heads, head_dim, dropout=dropout, use_bias=use_bias, sliding_window=sliding_window,
            kernel_initializer=kernel_initializer, bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer, bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer, kernel_constraint=kernel_constraint,
            bias_constraint=bias_constraint, use_gate=use_gate, seed=seed, **kwargs,
        )  # fmt: skip
        self.key_heads = arguments.integer("GroupQueryAttention", "num_key_value_heads", num_key_value_heads)
        if self.num_heads % self.key_heads:
            raise Error(
                "GroupQueryAttention: num_query_heads must be a multiple of num_key_value_heads, got "
                f"{num_query_heads} and {num_key_value_heads}"
            )
        self.head_dim, self.num_query_heads, self.num_key_value_heads = (
            self.key_dim,
            self.num_heads,
            self.key_heads,
        )

    def get_config(self) -> dict[str, Any]:
        """As for every layer."""
        return {name: value for name, value in super().get_config().items() if name != "output_shape"}


GroupQueryAttention = GroupedQueryAttention


def _product(masks: list[Any], dtype: str) -> Tensor | None:
    """1 where all are true; None of none."""
    if not masks:
        return None
    return functools.reduce(ops.multiply, [convert(mask, dtype) for mask in masks])


def _letters(rank: int, axes: Sequence[int]) -> tuple[str, str]:
    """A letter for each axis of queries, and of keys; other ones along the axes that queries look along."""
    letters = string.ascii_lowercase
    return letters[:rank], "".join(letters[rank + i if i in axes else i] for i in range(rank))
