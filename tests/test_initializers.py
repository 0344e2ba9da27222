"""First values of weights: shapes, ranges, variances, repeatability.

Statistics of n values are compared within 5 standard errors: the sample variance of a normal has relative
error sqrt(2 / n), of a uniform sqrt(0.8 / n); the seeds are fixed, so a test that passes once passes always.
"""

import math

import numpy as np
import pytest

from fastcnn import config, initializers
from fastcnn.errors import Error

SHAPE = (3, 5, 40, 50)  # 30,000 values; fan_in 600, fan_out 750
FIVE_ERRORS = 5 * math.sqrt(2 / 30_000)


def variance_ratio(name, expected, **arguments):
    values = getattr(initializers, name)(seed=1, **arguments)(SHAPE, "float64")
    assert values.shape == SHAPE and abs(values.mean()) < 5 * math.sqrt(expected / values.size)
    return values, values.var() / expected


def test_constants():
    assert initializers.Zeros()((2, 3)).tolist() == [[0] * 3] * 2
    assert initializers.Ones()((2,)).tolist() == [1, 1]
    assert initializers.Constant(2.5)((1, 2)).tolist() == [[2.5, 2.5]]
    assert initializers.Constant([1, 2])((3, 2)).tolist() == [[1, 2]] * 3
    assert initializers.Identity(3.0)((2, 3)).tolist() == [[3, 0, 0], [0, 3, 0]]
    assert initializers.Ones()(()) == 1


@pytest.mark.parametrize(
    "name", ["zeros", "constant", "identity", "random_normal", "glorot_uniform", "orthogonal"]
)
def test_dtype(name):
    initializer = initializers.get(name)
    assert initializer((4, 3)).dtype == np.float32
    assert initializer((4, 3), "float64").dtype == np.float64
    assert initializer((4, 3), dtype="float64").flags.c_contiguous
    config.set_floatx("float64")
    try:
        assert initializer((4, 3)).dtype == np.float64
    finally:
        config.set_floatx("float32")


def test_float32_is_float64_rounded():
    initializer = initializers.HeNormal(3)
    assert np.array_equal(initializer((7, 3)), initializer((7, 3), "float64").astype("float32"))


@pytest.mark.parametrize(
    ("name", "variance"),
    [
        ("GlorotNormal", 2 / (600 + 750)),
        ("HeNormal", 2 / 600),
        ("LecunNormal", 1 / 600),
    ],
)
def test_scaled_normals_are_cut_at_two_standard_deviations_and_keep_the_variance(name, variance):
    values, ratio = variance_ratio(name, variance)
    assert abs(ratio - 1) < FIVE_ERRORS
    limit = 2 * math.sqrt(variance) / 0.8796256610342398
    assert 0.99 * limit < np.abs(values).max() <= limit


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("GlorotUniform", math.sqrt(6 / (600 + 750))),
        ("HeUniform", math.sqrt(6 / 600)),
        ("LecunUniform", math.sqrt(3 / 600)),
    ],
)
def test_scaled_uniforms(name, limit):
    values, ratio = variance_ratio(name, limit**2 / 3)
    assert abs(ratio - 1) < FIVE_ERRORS
    assert 0.999 * limit < np.abs(values).max() <= limit


@pytest.mark.parametrize("mode", ["fan_in", "fan_out", "fan_avg"])
@pytest.mark.parametrize("distribution", ["truncated_normal", "untruncated_normal", "uniform"])
def test_variance_scaling(mode, distribution):
    fan = {"fan_in": 600, "fan_out": 750, "fan_avg": 675}[mode]
    values, ratio = variance_ratio(
        "VarianceScaling", 1.5 / fan, scale=1.5, mode=mode, distribution=distribution
    )
    assert abs(ratio - 1) < FIVE_ERRORS
    assert (np.abs(values).max() > 3 * values.std()) == (distribution == "untruncated_normal")


def test_variance_scaling_normal_means_truncated():
    assert initializers.VarianceScaling(distribution="Normal").distribution == "truncated_normal"


def test_random_normal_uniform_truncated():
    normal = initializers.RandomNormal(1.0, 0.5, seed=2)(SHAPE, "float64")
    assert abs(normal.mean() - 1) < 5 * 0.5 / math.sqrt(normal.size)
    assert abs(normal.var() / 0.25 - 1) < FIVE_ERRORS
    uniform = initializers.RandomUniform(-1, 3, seed=2)(SHAPE, "float64")
    assert -1 <= uniform.min() < -0.99 and 2.99 < uniform.max() < 3
    truncated = initializers.TruncatedNormal(1.0, 0.5, seed=2)(SHAPE, "float64")
    assert truncated.min() >= 0 and truncated.max() <= 2
    assert abs(truncated.std() / 0.5 - 0.8796256610342398) < FIVE_ERRORS


def test_defaults_are_those_of_keras():
    assert initializers.RandomNormal().get_config() == {"mean": 0.0, "stddev": 0.05, "seed": None}
    assert initializers.RandomUniform().get_config() == {"minval": -0.05, "maxval": 0.05, "seed": None}
    assert initializers.VarianceScaling().get_config() == {
        "scale": 1.0, "mode": "fan_in", "distribution": "truncated_normal", "seed": None,
        "input_axes": None, "output_axes": None,
    }  # fmt: skip
    axes = {"input_axes": None, "output_axes": None}
    assert initializers.GlorotUniform(3).get_config() == {"seed": 3, **axes}
    assert initializers.Orthogonal().get_config() == {"gain": 1.0, "seed": None}


@pytest.mark.parametrize(
    ("shape", "fans"),
    [
        pytest.param((), (1, 1), id="number"),
        pytest.param((7,), (7, 7), id="bias"),
        pytest.param((7, 4), (7, 4), id="dense (in, out)"),
        pytest.param((3, 5, 8, 4), (120, 60), id="conv2d (kh, kw, in, out)"),
        pytest.param((3, 5, 8, 1), (120, 15), id="depthwise (kh, kw, in, multiplier)"),
        pytest.param((3, 8, 4), (24, 12), id="conv1d (k, in, out)"),
    ],
)
def test_fans(shape, fans):
    assert initializers.compute_fans(shape) == fans


def test_no_inputs_is_no_division_by_zero():
    assert np.isfinite(initializers.HeNormal(1)((0, 4))).all()


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4), (2, 3, 4, 5)])
def test_orthogonal(shape):
    matrix = initializers.Orthogonal(gain=2.0, seed=1)(shape, "float64").reshape(-1, shape[-1])
    product = matrix.T @ matrix if matrix.shape[0] >= matrix.shape[1] else matrix @ matrix.T
    assert np.allclose(product, 4 * np.eye(len(product)), atol=1e-13)


def test_orthogonal_has_no_preferred_sign():
    signs = [initializers.Orthogonal(seed=seed)((2, 2), "float64")[0, 0] > 0 for seed in range(200)]
    assert 65 < sum(signs) < 135  # 5 standard deviations of 200 fair coins


def test_seeded_initializer_repeats_itself():
    initializer = initializers.GlorotUniform(seed=4)
    assert np.array_equal(initializer((5, 6)), initializer((5, 6)))
    assert np.array_equal(initializer((5, 6)), initializers.GlorotUniform(seed=4)((5, 6)))
    assert not np.array_equal(initializer((5, 6)), initializers.GlorotUniform(seed=5)((5, 6)))
    assert np.array_equal(initializers.HeNormal(-1)((3,)), initializers.HeNormal(-1)((3,)))


def test_unseeded_instance_repeats_itself_but_each_string_is_a_new_one():
    one, two = initializers.get("he_normal"), initializers.get("he_normal")
    assert np.array_equal(one((5, 6)), one((5, 6)))
    assert not np.array_equal(one((5, 6)), two((5, 6)))
    assert not np.array_equal(one((5, 6)), one.clone()((5, 6)))


def test_set_random_seed_fixes_unseeded_initializers():
    def values():
        config.set_random_seed(3)
        return [initializers.get("glorot_uniform")((4, 4)) for _ in range(2)]

    for first, second in zip(values(), values(), strict=True):
        assert np.array_equal(first, second)


def test_get_takes_functions_and_values():
    def rising(shape, dtype=None):
        return np.arange(math.prod(shape), dtype=dtype).reshape(shape)

    assert initializers.get(rising) is rising
    assert initializers.get(np.float32([1, 2]))((2,)).tolist() == [1, 2]
    assert type(initializers.get({"class_name": "HeNormal", "config": {"seed": 3}})) is initializers.HeNormal


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: initializers.VarianceScaling(scale=0), "scale must be positive, got 0"),
        (
            lambda: initializers.VarianceScaling(mode="fanin"),
            "mode 'fanin' is unknown; did you mean 'fan_in'",
        ),
        (lambda: initializers.VarianceScaling(distribution="cauchy"), "distribution 'cauchy' is unknown"),
        (lambda: initializers.RandomNormal(stddev=-1), "RandomNormal: stddev must not be negative"),
        (lambda: initializers.RandomUniform(1, 0), "minval 1 is above maxval 0"),
        (lambda: initializers.HeNormal(seed=1.5), "HeNormal: seed must be an integer or None, got 1.5"),
        (lambda: initializers.Identity()((2, 2, 2)), "two dimensions"),
        (lambda: initializers.Orthogonal()((3,)), "at least two dimensions"),
        (
            lambda: initializers.Constant([1, 2, 3])((2, 2)),
            r"shape \(3,\) does not fit a weight of shape \(2, 2\)",
        ),
        (lambda: initializers.Initializer()((2,)), "must define __call__"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(Error, match=message):
        make()
