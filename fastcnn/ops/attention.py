"""Attention: sums of values, weighted by how well their keys fit a query."""

from typing import Any

import numpy as np

from fastcnn.ops.activation import softmax, tanh
from fastcnn.ops.core import convert, op_function
from fastcnn.ops.elementwise import where
from fastcnn.ops.matmul import matmul
from fastcnn.ops.shape import floating, known, repeat, transpose

__all__ = ["dot_product_attention"]

FAR_BELOW = -1e30  # as a score: what is masked has no weight


@op_function
def dot_product_attention(
    query: Any, key: Any, value: Any, bias: Any = None, mask: Any = None, scale: float | None = None,
    is_causal: bool = False, flash_attention: bool | None = None, attn_logits_soft_cap: float | None = None,
) -> Any:  # fmt: skip
    """softmax(scale q k^T + bias) v for each head: (n, t, heads, d), (n, s, heads, d) twice -> (n, t, heads, d).

    mask: 0 where a query must not look at a key, (n, heads, t, s). is_causal: nor at later ones. scale: default
    1 / sqrt(d). attn_logits_soft_cap c: scores x become c tanh(x / c). Vaswani et al. 2017.
    """
    q, k, v = (transpose(floating(x), (0, 2, 1, 3)) for x in (query, key, value))
    if q.shape[1] != k.shape[1]:  # several heads of queries share one of keys
        times = known(q.shape[1:2])[0] // known(k.shape[1:2])[0]
        k, v = repeat(k, times, 1), repeat(v, times, 1)
    (d,) = known(q.shape[-1:])
    scores = matmul(q, transpose(k, (0, 1, 3, 2))) * (d**-0.5 if scale is None else scale)
    if attn_logits_soft_cap is not None:
        scores = tanh(scores / attn_logits_soft_cap) * attn_logits_soft_cap
    if bias is not None:
        scores = scores + convert(bias, scores.dtype)
    if mask is not None:
        scores = where(mask, scores, FAR_BELOW)
    if is_causal:
        queries, keys = known(scores.shape[-2:])
        scores = where(np.tri(queries, keys), scores, FAR_BELOW)
    return transpose(matmul(softmax(scores), v), (0, 2, 1, 3))
