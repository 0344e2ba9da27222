"""Functions of a functional model's tensors, whose batch size is open, against the same functions of arrays."""

import numpy as np
import pytest

import fastcnn
from fastcnn import ops
from fastcnn.errors import Error

X = np.random.default_rng(0).uniform(0.1, 0.9, (3, 4, 6, 3)).astype("float32")

FUNCTIONS = {
    "sort": lambda x: ops.sort(x, 1),
    "argsort": lambda x: ops.argsort(x, -1),
    "top_k": lambda x: ops.top_k(x, 2)[0],
    "median": lambda x: ops.median(x, 2),
    "quantile": lambda x: ops.quantile(x, [0.2, 0.7], (1, 2)),
    "nanpercentile": lambda x: ops.nanpercentile(x, 30, 1),
    "cumsum": lambda x: ops.cumsum(x, 1),
    "cumprod": lambda x: ops.cumprod(x, -1),
    "diff": lambda x: ops.diff(x, axis=1),
    "prod": lambda x: ops.prod(x, (1, 3)),
    "diagonal": lambda x: ops.diagonal(x, 0, 1, 2),
    "trace": lambda x: ops.trace(x, 0, 1, 2),
    "tril": lambda x: ops.tril(x),
    "norm": lambda x: ops.norm(x, axis=-1),
    "einsum": lambda x: ops.einsum("bhwc,bhwd->bcd", x, x),
    "einsum of dots": lambda x: ops.einsum("b...c->bc...", x),
    "take_along_axis": lambda x: ops.take_along_axis(x, ops.argmax(x, 1, keepdims=True), 1),
    "take": lambda x: ops.take(x, [2, 0], axis=2),
    "where": lambda x: ops.where(x > 0.5, x, -x),
    "mask": lambda x: ops.cast((x > 0.5) & ~(x > 0.7), "float32"),
    "mod": lambda x: x % 0.25 + x // 0.25,
    "isin": lambda x: ops.isin(ops.round(x * 4), [1, 3]),
    "roll": lambda x: ops.roll(x, 2, 1),
    "array_split": lambda x: ops.array_split(x, 4, 2)[0],
    "moments": lambda x: ops.moments(x, (1, 2))[1],
    "rms_normalization": lambda x: ops.rms_normalization(x, 2.0),
    "softmax": lambda x: ops.softmax(x, 1),
    "sparsemax": lambda x: ops.sparsemax(x),
    "one_hot": lambda x: ops.one_hot(ops.argmax(x, -1), 3),
    "digitize": lambda x: ops.digitize(x, [0.3, 0.6]),
    "adaptive_max_pool": lambda x: ops.adaptive_max_pool(x, (3, 2)),
    "unfold": lambda x: ops.unfold(x, 2),
    "extract_patches": lambda x: ops.image.extract_patches(x, 2),
    "extract_sequences": lambda x: ops.extract_sequences(x, 2, 1),
    "resize": lambda x: ops.image.resize(x, (5, 5), "bicubic"),
    "crop_images": lambda x: ops.image.crop_images(x, 1, 1, target_height=2, target_width=3),
    "rgb_to_hsv": lambda x: ops.image.rgb_to_hsv(x),
    "hsv_to_rgb": lambda x: ops.image.hsv_to_rgb(x),
    "gaussian_blur": lambda x: ops.image.gaussian_blur(x),
    "sobel_edges": lambda x: ops.image.sobel_edges(x),
    "ssim": lambda x: ops.image.ssim(x, x[:, ::-1], filter_size=3),
    "arctan2": lambda x: ops.arctan2(x, 1.0 - x),
    "erfinv": lambda x: ops.erfinv(x),
    "nan_to_num": lambda x: ops.nan_to_num(ops.log(x - 0.5), posinf=1.0),
    "dot_product_attention": lambda x: ops.dot_product_attention(x, x, x),
    "logsumexp": lambda x: ops.logsumexp(x, 1),
    "std": lambda x: ops.std(x, (1, 2)),
    "cross": lambda x: ops.cross(x, x[:, ::-1]),
    "select": lambda x: ops.select([x > 0.7, x > 0.3], [x, -x], 0.0),
    "cond": lambda x: ops.cond(ops.mean(x) > 0.1, lambda: x, lambda: x * 2),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functional_model(name):
    inputs = fastcnn.Input(X.shape[1:])
    outputs = FUNCTIONS[name](inputs)
    expected = np.asarray(FUNCTIONS[name](X))
    if name == "mask":
        expected = ((X > 0.5) & (X <= 0.7)).astype("float32")
    if name == "quantile":  # the shares come first, but what a model gives has its images first
        outputs, expected = ops.moveaxis(outputs, 0, 1), np.moveaxis(expected, 0, 1)
    found = fastcnn.Model(inputs, outputs).predict(X, verbose=0)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_what_must_be_known_is_named():
    with pytest.raises(Error, match="must be known here"):
        ops.cumsum(fastcnn.Input((None, 3)), 1)
    with pytest.raises(Error, match=r"ops.unique works on arrays only"):
        ops.unique(fastcnn.Input((3,)))
