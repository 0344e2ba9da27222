"""Attention, and dense layers between any axes, against NumPy's einsum and softmax."""

import numpy as np
import pytest
from layer_harness import assert_close, check_gradients, prepared, round_trip
from scipy.special import softmax

import fastcnn
from fastcnn import Error, Input, Model, layers

RNG = np.random.default_rng(0)
QUERY, VALUE = (2, 3, 4), (2, 5, 6)


def weighted(scores, value):
    return softmax(scores, -1) @ value


def test_dot_product_attention():
    query, value, key = (RNG.normal(size=shape).astype("float32") for shape in (QUERY, VALUE, (2, 5, 4)))
    scores = query @ key.swapaxes(1, 2)
    assert_close(layers.Attention()([query, value, key]), weighted(scores, value), terms=64)
    mask = np.array([[1, 1, 0, 1, 0], [1, 0, 0, 0, 0]], bool)
    seen = layers.Attention()([query, value, key], mask=[np.array([[1, 0, 1]] * 2), mask])
    expected = weighted(np.where(mask[:, None], scores, -np.inf), value)
    assert_close(seen, expected * np.array([1, 0, 1])[:, None], terms=64)
    y, found = layers.Attention()([query, value, key], use_causal_mask=True, return_attention_scores=True)
    causal = softmax(np.where(np.tri(3, 5, dtype=bool), scores, -np.inf), -1)
    assert_close(found, causal, terms=64)
    assert_close(y, causal @ value, terms=64)


@pytest.mark.parametrize("layer", [
    layers.Attention(True, "concat"), layers.Attention(True), layers.AdditiveAttention(),
    layers.AdditiveAttention(False),
], ids=lambda layer: f"{type(layer).__name__}{layer.use_scale}")  # fmt: skip
def test_gradients_of_attention(layer):
    fastcnn.config.set_floatx("float64")
    try:
        layer = type(layer).from_config({**layer.get_config(), "dtype": "float64"})
        xs = [RNG.normal(size=shape) for shape in (QUERY, (2, 5, 4))]
        check_gradients(prepared(layer, [x.shape for x in xs], RNG), xs)
    finally:
        fastcnn.config.set_floatx("float32")


def test_attention_wants_lists():
    x = np.ones(QUERY)
    with pytest.raises(Error, match=r"inputs must be a list of two or three, \[query, value\]"):
        layers.Attention()(x)
    with pytest.raises(Error, match="mask must be a list of two or three"):
        layers.Attention()([x, x], mask=x)


def test_heads_that_share_keys():
    query, value = (RNG.normal(size=shape).astype("float32") for shape in (QUERY, VALUE))
    grouped, plain = layers.GroupQueryAttention(2, 6, 3), layers.MultiHeadAttention(6, 2)
    grouped(query, value)
    plain(query, value)
    assert grouped.key_dense.kernel.shape == grouped.value_dense.kernel.shape == (6, 3, 2)
    shared = grouped.get_weights()
    plain.set_weights(shared[:2] + [np.repeat(w, 2, axis=-2) for w in shared[2:6]] + shared[6:])
    assert_close(grouped(query, value), plain(query, value), terms=64)
    found, scores = grouped(query, value, return_attention_scores=True, use_causal_mask=True)
    expected, of_plain = plain(query, value, return_attention_scores=True, use_causal_mask=True)
    assert_close(found, expected, terms=64)
    assert_close(scores, of_plain, terms=64)
    assert round_trip(grouped)(query, value).shape == QUERY
    with pytest.raises(Error, match=r"multiple of num_key_value_heads, got 4 and 3"):
        layers.GroupQueryAttention(2, 4, 3)


def heads_by_hand(layer, query, value):
    q, k, v = (
        np.einsum("nxd,dhe->nxhe", x, dense.kernel.numpy()) + dense.bias.numpy()
        for x, dense in ((query, layer.query_dense), (value, layer.key_dense), (value, layer.value_dense))
    )
    scores = softmax(np.einsum("nthd,nshd->nhts", q, k) / np.sqrt(layer.key_dim), -1)
    seen = np.einsum("nhts,nshd->nthd", scores, v)
    return np.einsum(
        "nthd,hdo->nto", seen, layer.output_dense.kernel.numpy()
    ) + layer.output_dense.bias.numpy(), scores


def test_multi_head_attention():
    query, value = (RNG.normal(size=shape).astype("float32") for shape in (QUERY, VALUE))
    layer = layers.MultiHeadAttention(3, 2, value_dim=5, name="heads")
    layer(query, value)
    layer.set_weights([RNG.normal(size=w.shape) for w in layer.weights])
    parts = ("query", "key", "value", "attention_output")
    assert [w.path for w in layer.weights] == [f"heads/{p}/{w}" for p in parts for w in ("kernel", "bias")]
    expected, scores = heads_by_hand(layer, query, value)
    assert_close(layer(query, value), expected, terms=512)
    y, found = layer(query, value, return_attention_scores=True)
    assert_close(y, expected, terms=512)
    assert_close(found, scores, terms=512)
    inputs = [Input(QUERY[1:]), Input(VALUE[1:])]
    assert_close(Model(inputs, layer(*inputs)).predict([query, value], verbose=0), expected, terms=512)
    assert round_trip(layer).get_config() == layer.get_config()


def test_training_of_heads():
    layer = layers.MultiHeadAttention(2, 4, dropout=0.2, output_shape=3, use_gate=True)
    image = Input((4, 5, 3))
    model = Model(image, layers.GlobalAveragePooling2D()(layer(image, image)))
    model.compile("adam", "mse")
    x = RNG.normal(size=(32, 4, 5, 3)).astype("float32")
    losses = model.fit(x, x.mean((1, 2)), epochs=8, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


def test_queries_and_values_must_fit():
    with pytest.raises(Error, match="as many keys as values"):
        layers.MultiHeadAttention(2, 3)(np.ones((1, 2, 3)), np.ones((1, 4, 3)), np.ones((1, 5, 3)))
    with pytest.raises(Error, match="num_heads must be at least 1"):
        layers.MultiHeadAttention(0, 3)


def test_einsum_dense():
    layer = prepared(layers.EinsumDense("abc,cde->abde", (None, 2, 3), "relu", bias_axes="e"), VALUE, RNG)
    kernel, bias = layer.get_weights()
    assert kernel.shape == (6, 2, 3) and bias.shape == (3,)
    x = RNG.normal(size=VALUE).astype("float32")
    assert_close(layer(x), np.maximum(np.einsum("abc,cde->abde", x, kernel) + bias, 0), terms=6)
    assert layers.EinsumDense("...x,xy->...y", 7)(Input((3, 4))).shape == (None, 3, 7)
    limit = np.abs(layers.EinsumDense("abc,cde->abde", (None, 20, 30))(np.eye(4)[None])).max()
    np.testing.assert_allclose(limit, np.sqrt(6 / (4 + 600)), rtol=0.01)  # 4 inputs, 600 outputs


@pytest.mark.parametrize("arguments, what", [
    (("ab,bc", 3), "is not like"), (("ab,bc->ad", 3), "does not say all lengths"),
    (("ab,bc->ac", 3, None, "b"), "does not say all lengths"),
])  # fmt: skip
def test_einsum_dense_refuses(arguments, what):
    with pytest.raises(Error, match=what):
        layers.EinsumDense(*arguments)


def test_einsum_dense_compares_lengths():
    with pytest.raises(Error, match="'b' is 3 long in an input of shape .*, and 4 in output_shape"):
        layers.EinsumDense("abc,cx->abx", (4, 5))(np.ones((2, 3, 6)))
    with pytest.raises(Error, match="the length of 'x' in .* must be known"):
        layers.EinsumDense("abc,cx->abx", (None, None))(np.ones((2, 3, 6)))
