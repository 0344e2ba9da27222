"""`fastcnn.random`: distributions, and which seeds repeat which numbers."""

import numpy as np
import pytest
from scipy import stats

import fastcnn
from fastcnn import ops, random
from fastcnn.errors import Error

SIZE = 20_000
DRAWS = {
    "normal": lambda seed: random.normal((3, 5), 1.0, 2.0, seed=seed),
    "uniform": lambda seed: random.uniform((3, 5), -1.0, 2.0, seed=seed),
    "truncated_normal": lambda seed: random.truncated_normal((3, 5), seed=seed),
    "randint": lambda seed: random.randint((30,), -5, 1000, seed=seed),
    "categorical": lambda seed: random.categorical(np.zeros((3, 9), "float32"), 20, seed=seed),
    "shuffle": lambda seed: random.shuffle(np.arange(40), seed=seed),
    "dropout": lambda seed: random.dropout(np.ones((5, 9), "float32"), 0.5, seed=seed),
    "binomial": lambda seed: random.binomial((30,), 20, 0.4, seed=seed),
    "gamma": lambda seed: random.gamma((9,), 2.0, seed=seed),
    "beta": lambda seed: random.beta((9,), 2.0, 3.0, seed=seed),
}
each_draw = pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)


@each_draw
def test_an_integer_repeats_itself(draw):
    np.testing.assert_array_equal(draw(3), draw(3))
    assert (draw(3) != draw(4)).any()


@each_draw
def test_a_generator_moves_on_and_repeats_from_its_seed(draw):
    first, second = random.SeedGenerator(7), random.SeedGenerator(7)
    numbers = [draw(first) for _ in range(3)]
    assert (numbers[0] != numbers[1]).any() and (numbers[1] != numbers[2]).any()
    for x in numbers:
        np.testing.assert_array_equal(x, draw(second))


@each_draw
def test_without_a_seed_the_process_decides(draw):
    fastcnn.utils.set_random_seed(5)
    numbers = draw(None)
    assert (numbers != draw(None)).any()
    fastcnn.utils.set_random_seed(5)
    np.testing.assert_array_equal(numbers, draw(None))


@pytest.mark.parametrize(
    ("sample", "distribution"),
    [
        (lambda: random.normal((SIZE,), 1.0, 2.0, seed=1), stats.norm(1, 2)),
        (lambda: random.uniform((SIZE,), -1.0, 2.0, seed=1), stats.uniform(-1, 3)),
        (lambda: random.truncated_normal((SIZE,), 1.0, 2.0, seed=1), stats.truncnorm(-2, 2, 1, 2)),
        (lambda: random.gamma((SIZE,), 2.0, seed=1), stats.gamma(2)),
        (lambda: random.beta((SIZE,), 2.0, 3.0, seed=1), stats.beta(2, 3)),
    ],
    ids=["normal", "uniform", "truncated_normal", "gamma", "beta"],
)
def test_distributions(sample, distribution):
    assert stats.kstest(sample(), distribution.cdf).pvalue > 0.001


def test_whole_numbers():
    x = random.randint((SIZE,), -3, 4, seed=1)
    assert x.dtype == "int32"
    assert stats.chisquare(np.bincount(x + 3, minlength=7)).pvalue > 0.001
    large = random.randint((SIZE,), 0, 2**31 - 1, seed=1)
    assert stats.kstest(large, stats.uniform(0, 2**31).cdf).pvalue > 0.001 and (large % 256 != 0).any()
    share = np.array([[0.1, 0.2, 0.7], [0.5, 0.5, 0.0]])
    with np.errstate(divide="ignore"):
        classes = random.categorical(np.log(share), SIZE, seed=1)
    assert classes.shape == (2, SIZE) and classes.dtype == "int32"
    assert stats.chisquare(np.bincount(classes[0]), SIZE * share[0]).pvalue > 0.001
    assert abs(random.binomial((SIZE,), 20, 0.4, seed=1).mean() - 8) < 0.1
    assert random.uniform((9,), 0, 5, "int32", seed=1).dtype == "int32"


@pytest.mark.parametrize("axis", [0, 1])
def test_shuffle(axis):
    x = np.arange(60).reshape(6, 10)
    y = random.shuffle(x, axis, seed=2)
    assert (y != x).any() and y.dtype == x.dtype
    np.testing.assert_array_equal(np.sort(y, axis), x)


def test_dropout():
    x = np.ones((100, 200), "float32")
    y = random.dropout(x, 0.25, seed=1)
    assert abs((y == 0).mean() - 0.25) < 0.02
    np.testing.assert_allclose(y[y != 0], 1 / 0.75, rtol=1e-6)
    rows = random.dropout(x, 0.5, noise_shape=(None, 1), seed=1)
    np.testing.assert_array_equal(rows, rows[:, :1] * x)


class Noise(fastcnn.layers.Layer):
    """Adds numbers that are others in every run, and some that are the same."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.generator = random.SeedGenerator(3)

    def call(self, x):
        moving = random.normal(ops.shape(x), seed=self.generator)
        return ops.stack([x + moving, x + random.uniform(ops.shape(x), seed=4)], axis=-1)


def test_in_a_layer():
    model = fastcnn.Sequential([fastcnn.Input((5,)), Noise()])
    x = np.zeros((4, 5), "float32")
    first, second = model.predict(x, verbose=0), model.predict(x, verbose=0)
    assert (first[..., 0] != second[..., 0]).all()
    np.testing.assert_array_equal(first[..., 1], second[..., 1])
    np.testing.assert_array_equal(first[..., 1], random.uniform((4, 5), seed=4))
    again = fastcnn.Sequential([fastcnn.Input((5,)), Noise()]).predict(x, verbose=0)
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: random.normal((2,), seed="a"), "seed must be"),
        (lambda: random.SeedGenerator(1.5), "seed must be an integer"),
        (lambda: random.randint((2,), 3, 3), "maxval must be above"),
        (lambda: random.dropout(np.ones(3), 1.5), "rate"),
        (lambda: random.binomial((2,), fastcnn.Input(()), 0.5), "arrays only"),
        (lambda: random.SeedGenerator(1, sead=2), "unknown arguments sead"),
    ],
)
def test_bad_arguments_are_explained(call, message):
    with pytest.raises(Error, match=message):
        call()
