"""The functions of `ops` against Keras: names, arguments, and values, shapes and dtypes on random arrays.

Each runs eagerly on arrays of every dtype that it takes, and inside a functional model on floating ones. Left out is
what differs on purpose, or where Keras's PyTorch backend leaves the rules of NumPy and of the others:

- whole numbers of 64 bits stay so, where Keras makes some of them 32; places found by NumPy's functions are int32;
- in models, what is true or false is 1 or 0 in floatx;
- an index out of range gives NaN;
- with it, keepdims over all axes, weights of averages, symmetric padding, counts over one of several axes, sparsemax.
"""

import inspect
import os
import warnings

import numpy as np
import pytest

import fastcnn

os.environ.setdefault("KERAS_BACKEND", "torch")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    keras = pytest.importorskip("keras", reason="Keras is not installed")
    torch = pytest.importorskip("torch", reason="PyTorch, the backend of Keras here, is not installed")

pytestmark = [
    pytest.mark.peer,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(keras.backend.backend() != "torch", reason="Keras runs on another backend"),
]

# Of Keras, but not here: sequences, complex numbers, forward derivatives, and what only frameworks need.
ABSENT = {
    "associative_scan", "ctc_decode", "ctc_loss", "imag", "istft", "jvp", "lu_factor", "polar",
    "stft", "view_as_complex", "view_as_real",
}  # fmt: skip
ABSENT_IMAGE = {"elastic_transform"}


class Draw:
    """Random choices from a seed."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def one(self, *values):
        return values[self.rng.integers(len(values))]

    def shape(self, low=1, high=3):
        return tuple(int(n) for n in self.rng.integers(2, 5, self.rng.integers(low, high + 1)))

    def array(self, shape, dtype="float32", low=-4, high=4):
        if dtype.startswith("float"):
            return self.rng.uniform(low, high, shape).astype(dtype)
        if dtype == "bool":
            return self.rng.integers(0, 2, shape).astype(bool)
        return self.rng.integers(0 if dtype.startswith("uint") else int(low), int(high), shape).astype(dtype)

    def axis(self, rank):
        """One of the axes, counted from either end."""
        return int(self.rng.integers(-rank, rank))

    def axes(self, rank):
        """None, one axis, or several."""
        several = tuple(int(i) for i in self.rng.permutation(rank)[: self.rng.integers(1, rank + 1)])
        return self.one(None, self.axis(rank), several)


def plain(value):
    """Arrays in lists."""
    if isinstance(value, int | float):
        return np.asarray(value)
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if value is None:
        return None
    return keras.ops.convert_to_numpy(value) if torch.is_tensor(value) else np.asarray(value)


def dtype_of(array):
    return str(array.dtype)


def compare(expected, got, dtypes=True, rtol=2e-5, atol=2e-5):
    if isinstance(expected, list):
        assert isinstance(got, list) and len(expected) == len(got)
        for pair in zip(expected, got, strict=True):
            compare(*pair, dtypes, rtol, atol)
    elif expected is not None:
        assert expected.shape == got.shape
        if dtypes and dtype_of(expected) != "int64":
            assert dtype_of(expected) == dtype_of(got)
        np.testing.assert_allclose(got.astype("float64"), expected.astype("float64"), rtol, atol)


def find(library, name):
    found = library.ops
    for part in name.split("."):
        found = getattr(found, part)
    return found


def call(library, name, *args, **kwargs):
    return plain(find(library, name)(*args, **kwargs))


def in_model(name, arrays, kwargs):
    """The function in a layer of a functional model, whose inputs have these shapes."""

    class Compute(fastcnn.layers.Layer):
        def call(self, *tensors):
            y = find(fastcnn, name)(*tensors, **kwargs)
            return [fastcnn.ops.cast(item, "float32") for item in (y if isinstance(y, list | tuple) else [y])]

    inputs = [fastcnn.Input(batch_shape=x.shape, dtype="float32") for x in arrays]
    model = fastcnn.Model(inputs, Compute()(*inputs))
    found = model.predict(list(arrays), batch_size=len(arrays[0]), verbose=0)
    return found if isinstance(found, list) else [found]


def as_tensors(value):
    """Arguments as Keras's tensors, where it takes no arrays."""
    if isinstance(value, list | tuple):
        return type(value)(as_tensors(item) for item in value)
    return keras.ops.convert_to_tensor(value) if isinstance(value, np.ndarray) else value


def eager(name, args, kwargs, **tolerance):
    """Both libraries, with the arguments by position and by name."""
    expected = call(keras, name, *as_tensors(args), **kwargs)
    compare(expected, call(fastcnn, name, *args, **kwargs), **tolerance)
    names = [
        p.name
        for p in inspect.signature(find(keras, name)).parameters.values()
        if p.kind == p.POSITIONAL_OR_KEYWORD
    ]
    named = dict(zip(names, args, strict=False)) if len(names) >= len(args) else None
    if named:
        compare(expected, call(fastcnn, name, **named, **kwargs), **tolerance)
    positional = [kwargs[n] for n in names[len(args) : len(args) + len(kwargs)] if n in kwargs]
    if len(positional) == len(kwargs):
        compare(expected, call(fastcnn, name, *args, *positional), **tolerance)
    return expected


def traced(name, arrays, kwargs, expected):
    """The function in a functional model, against what Keras makes of the arrays."""
    expected = expected if isinstance(expected, list) else [expected]
    got = in_model(name, arrays, kwargs)
    compare([x.astype("float32") for x in expected], [np.asarray(y) for y in got])


# --- names and arguments ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("space", ["", "nn", "numpy", "linalg", "image"])
def test_names(space):
    theirs, ours = (getattr(lib.ops, space) if space else lib.ops for lib in (keras, fastcnn))
    names = {name for name in dir(theirs) if not name.startswith("_")} - ABSENT - ABSENT_IMAGE
    assert {name for name in names if not hasattr(ours, name)} == set()


def test_names_of_random():
    names = {name for name in dir(keras.random) if not name.startswith("_")}
    assert {name for name in names if not hasattr(fastcnn.random, name)} == set()


@pytest.mark.parametrize("name", sorted(ABSENT))
def test_absent_names_are_explained(name):
    assert not hasattr(fastcnn.ops, name)
    with pytest.raises(AttributeError, match=f"fastcnn.ops has no '{name}'"):
        getattr(fastcnn.ops, name)


def parameters(function):
    return [
        (p.name, p.default)
        for p in inspect.signature(function).parameters.values()
        if p.kind != p.VAR_KEYWORD
    ]


@pytest.mark.parametrize("space", ["ops", "ops.image", "random"])
def test_arguments(space):
    """The same names, in the same order, with the same defaults; further ones only at the end."""
    theirs, ours = keras, fastcnn
    for part in space.split("."):
        theirs, ours = getattr(theirs, part), getattr(ours, part)
    different = {}
    later = {"average_pool", "batch_normalization", "max_pool"}  # data_format; axis has a default
    for name in dir(theirs):
        function = getattr(theirs, name)
        if name.startswith("_") or not inspect.isfunction(function) or not hasattr(ours, name):
            continue
        wanted = parameters(function)
        if name not in later and parameters(getattr(ours, name))[: len(wanted)] != wanted:
            different[name] = (wanted, parameters(getattr(ours, name)))
    assert different == {}


# --- element by element ----------------------------------------------------------------------------------------

ANY = ("float32", "int32", "bool", "uint8")
NUMBERS = ("float32", "int32", "uint8")
UNARY = {  # name: (dtypes, smallest, largest argument)
    **dict.fromkeys("abs absolute square".split(), (ANY, -4, 4)),
    **dict.fromkeys("sign trunc round".split(), (NUMBERS, -4, 4)),
    **dict.fromkeys("ceil floor exp expm1 exp2 sin cos tan sinh cosh tanh".split(), (ANY, -4, 4)),
    **dict.fromkeys("sigmoid arctan arcsinh fabs sinc deg2rad rad2deg isnan isinf isfinite".split(), (ANY, -4, 4)),
    **dict.fromkeys("isposinf isneginf isreal logical_not".split(), (ANY, -4, 4)),
    **dict.fromkeys("log log2 log10 log1p sqrt rsqrt reciprocal arccosh".split(), (("float32",), 1.1, 5)),
    **dict.fromkeys("arcsin arccos arctanh erfinv".split(), (("float32",), -0.95, 0.95)),
    "negative": (NUMBERS, -4, 4), "cbrt": (("float32",), 0.1, 4), "erf": (("float32",), -3, 3),
    "erfc": (("float32",), -3, 3), "angle": (("float32",), -3, 3), "signbit": (("float32",), -3, 3),
    "nan_to_num": (("float32", "int32"), -3, 3), "zeros_like": (ANY, -4, 4), "ones_like": (ANY, -4, 4),
    "copy": (ANY, -4, 4), "real": (("float32",), -4, 4), "conj": (("float32",), -4, 4), "stop_gradient": (ANY, -4, 4),
    **dict.fromkeys(
        "celu elu gelu hard_sigmoid hard_silu hard_tanh leaky_relu log_sigmoid relu relu6 selu silu softplus softsign "
        "squareplus soft_shrink hard_shrink tanh_shrink sparse_plus sparse_sigmoid".split(), (("float32",), -4, 4),
    ),
}  # fmt: skip
REAL_ONLY = {"conj", "real", "stop_gradient"}  # Keras takes tensors only


@pytest.mark.parametrize("name", UNARY)
def test_unary(name):
    dtypes, low, high = UNARY[name]
    for seed, dtype in enumerate(dtypes):
        d = Draw(seed)
        x = d.array(d.shape(), dtype, low, high)
        expected = eager(name, [x], {})
        if dtype == "float32":
            traced(name, [x], {}, expected)
    for value in (1.5, 2) if "int32" in dtypes else (1.5,) if high > 1 else (0.5,):
        if name not in REAL_ONLY:
            compare(call(keras, name, value), call(fastcnn, name, value))


BINARY = {
    **dict.fromkeys("add multiply maximum minimum".split(), (ANY, -4, 4)),
    **dict.fromkeys("subtract divide true_divide".split(), (NUMBERS, 1, 5)),
    **dict.fromkeys("mod floor_divide power fmod".split(), (("float32", "int32"), 1, 4)),
    **dict.fromkeys("arctan2 hypot logaddexp logaddexp2 divide_no_nan".split(), (("float32",), -3, 3)),
    **dict.fromkeys("fmax fmin heaviside".split(), (("float32",), -3, 3)),
    **dict.fromkeys("equal not_equal greater greater_equal less less_equal".split(), (ANY, -3, 3)),
    **dict.fromkeys("logical_and logical_or logical_xor".split(), (ANY, -3, 3)),
    "isclose": (("float32", "int32"), -3, 3), "ldexp": (("float32",), -3, 3),
}  # fmt: skip


@pytest.mark.parametrize("name", BINARY)
def test_binary(name):
    """Equal shapes, repeated ones, numbers on either side; arrays of different dtypes."""
    if not hasattr(keras.ops, name):
        pytest.skip("Keras has no such function")
    dtypes, low, high = BINARY[name]
    for seed in range(6):
        d = Draw(seed)
        kinds = d.one(*dtypes), d.one(*dtypes)
        if name == "ldexp":
            kinds = "float32", "int32"
        shape = d.shape(2, 3)
        x1, x2 = d.array(shape, kinds[0], low, high), d.array(shape[1:], kinds[1], low, high)
        pairs = [(x1, x2), (x2, x1), (x1, x1)]
        if name != "ldexp":
            pairs += [(x1, 2), (x1, 1.5)] if "int32" in dtypes or low < 1 else [(x1, 1.5)]
        for pair in pairs[: 1 if name == "ldexp" else None]:
            eager(name, list(pair), {})
        if name != "ldexp":
            x1 = d.array(shape, "float32", low, high)
            traced(name, [x1, x1[::-1].copy()], {}, call(keras, name, *as_tensors([x1, x1[::-1].copy()])))


def test_choices():
    for seed in range(6):
        d = Draw(seed)
        shape = d.shape(1, 2)
        condition, x1, x2 = d.array(shape, "bool"), d.array(shape, d.one(*ANY)), d.array(shape, d.one(*ANY))
        eager("where", [condition, x1, x2], {})
        eager("where", [condition, x1, d.one(2, 0.5)], {})
        compare(call(keras, "where", condition), np.stack(call(fastcnn, "where", condition)))
        eager("select", [[condition, ~condition], [x1, x2]], {"default": 3})
        x = d.array(shape, d.one("float32", "int32"), -5, 5)
        eager("clip", [x, -2, 3], {})
        eager("clip", [x, -0.5, 1.5], {})
        eager("full_like", [x1, 1], {"dtype": d.one(None, "int32")})
        eager("heaviside", [d.array(shape, "float32").round(), 0.5], {})
    special = np.array([np.nan, np.inf, -np.inf, 1.0], "float32")
    eager("nan_to_num", [special], {"nan": 2.0, "posinf": 7.0})
    eager("isclose", [special, special], {"equal_nan": True})
    eager("allclose", [special, special], {"equal_nan": True})
    eager("round", [np.array([1.25, 2.55], "float32")], {"decimals": 1})
    eager("threshold", [special[1:], 0.5, 9.0], {})
    for dtype in ("uint8", "int8", "float32", "bool"):
        eager("saturate_cast", [np.array([300.0, -5.5, 3.2], "float32")], {"dtype": dtype})
        eager("cast", [np.array([1.0, 0.0, 3.0], "float32")], {"dtype": dtype})


# --- reductions ------------------------------------------------------------------------------------------------

REDUCTIONS = {
    **dict.fromkeys("sum mean max min amax amin prod".split(), ANY),
    **dict.fromkeys("std var logsumexp".split(), ("float32",)),
    **dict.fromkeys("all any".split(), ANY),
    **dict.fromkeys("nansum nanmean nanmax nanmin nanprod nanstd nanvar".split(), ("float32",)),
    **dict.fromkeys("median ptp".split(), ("float32", "int32")),
}


@pytest.mark.parametrize("name", REDUCTIONS)
def test_reduction(name):
    for seed in range(8):
        d = Draw(seed)
        x = d.array(d.shape(), d.one(*REDUCTIONS[name]), -2, 3)
        if name.startswith("nan"):
            x[d.array(x.shape, "bool") & (np.arange(x.shape[-1]) > 0)] = np.nan
        axis = d.axes(x.ndim)
        keepdims = axis is not None and d.one(True, False)  # of all axes together, Keras forgets it here
        if isinstance(axis, tuple) and name in ("median", "nanmedian", "ptp", "nanprod"):
            axis = axis[0]
        expected = eager(name, [x], {"axis": axis, "keepdims": keepdims})
        if (
            x.dtype == "float32"
            and axis is not None
            and not keepdims
            and 0 not in np.atleast_1d(axis) % x.ndim
        ):
            x = np.nan_to_num(x)
            expected = call(keras, name, x, axis, keepdims)
            traced(name, [x], {"axis": axis, "keepdims": keepdims}, expected)


@pytest.mark.parametrize("name", ["argmax", "argmin", "nanargmax", "nanargmin"])
def test_place(name):
    for seed in range(6):
        d = Draw(seed)
        x = d.array(d.shape(), d.one("float32", "int32") if name[0] == "a" else "float32")
        if name[0] == "n":
            x.reshape(-1)[0] = np.nan
        eager(name, [x], {"axis": d.one(None, d.axis(x.ndim)), "keepdims": d.one(True, False)})


def test_other_reductions():
    for seed in range(6):
        d = Draw(seed)
        x = d.array(d.shape(2, 3), "float32")
        axis = d.axis(x.ndim)
        eager("count_nonzero", [d.array((3, 4), "int32", -1, 2)], {"axis": d.one(None, 0, 1)})
        eager("average", [x], {"axis": axis})
        eager("average", [x], {"axis": -1, "weights": d.array(x.shape[-1:], "float32", 1, 2)})
        eager("moments", [x], {"axes": [axis], "keepdims": d.one(True, False)})
        eager("max", [x], {"axis": axis, "initial": 1.0})
        eager("min", [x], {"axis": axis, "initial": 1.0})
        q = d.one(0.3, [0.1, 0.5, 1.0])
        for method in ("linear", "lower", "higher", "midpoint", "nearest"):
            options = {"axis": d.one(None, axis), "method": method, "keepdims": d.one(True, False)}
            expected = eager("quantile", [x, q], options)
            eager("percentile", [x, np.multiply(q, 100).tolist()], options, rtol=1e-4)
            if options["axis"] is not None and axis % x.ndim and not options["keepdims"] and q == 0.3:
                traced("quantile", [x], {"q": q, **options}, expected)
        x[0, 0] = np.nan
        eager("nanmedian", [x], {"axis": axis})
        eager("nanquantile", [x, q], {"axis": axis})
        eager("median", [x], {"axis": axis})
        for name in ("cumsum", "cumprod", "nancumsum", "nancumprod"):
            eager(name, [x], {"axis": d.one(None, axis)}, rtol=1e-4)
        for order in (None, 1, 2, np.inf, -np.inf):
            eager("norm", [d.array((3, 4), "float32")], {"ord": order, "axis": d.one(0, 1), "keepdims": True})
        eager("norm", [d.array((3, 4), "float32")], {})
        eager(
            "diff", [d.array((5, 4), d.one("float32", "int32"))], {"n": d.one(1, 2), "axis": d.one(0, 1, -1)}
        )
        eager("trapezoid", [d.array((3, 4), "float32")], {"dx": 0.5, "axis": d.one(0, 1)})
        eager("corrcoef", [d.array((3, 6), "float32")], {}, rtol=1e-4)
        eager("cdist", [d.array((3, 2), "float32"), d.array((4, 2), "float32")], {}, rtol=1e-4)


# --- moving numbers --------------------------------------------------------------------------------------------

MOVES = {
    "transpose": lambda d, x: {"axes": d.one(None, tuple(int(i) for i in d.rng.permutation(x.ndim)))},
    "reshape": lambda d, x: {"newshape": d.one((-1,), (x.shape[0], -1), (1, *x.shape))},
    "ravel": lambda d, x: {},
    "expand_dims": lambda d, x: {"axis": d.one(0, -1, 1)},
    "squeeze": lambda d, x: {},
    "flip": lambda d, x: {"axis": d.axes(x.ndim)},
    "flipud": lambda d, x: {},
    "repeat": lambda d, x: {"repeats": 2, "axis": d.one(None, d.axis(x.ndim))},
    "tile": lambda d, x: {"repeats": d.one(2, (2, 1), (2, 1, 2, 1))},
    "roll": lambda d, x: {"shift": d.one(1, -2, 5), "axis": d.one(None, d.axis(x.ndim))},
    "swapaxes": lambda d, x: {"axis1": d.axis(x.ndim), "axis2": d.axis(x.ndim)},
    "moveaxis": lambda d, x: {"source": d.axis(x.ndim), "destination": d.axis(x.ndim)},
    "broadcast_to": lambda d, x: {"shape": (3, *x.shape)},
    "sort": lambda d, x: {"axis": d.axis(x.ndim)},
    "argsort": lambda d, x: {"axis": d.axis(x.ndim)},
    "pad": lambda d, x: {
        "pad_width": [(1, 2)] * x.ndim,
        "mode": "constant",
        "constant_values": d.one(None, 1),
    },
    "tril": lambda d, x: {"k": d.one(-1, 0, 1)} if x.ndim > 1 else None,
    "triu": lambda d, x: {"k": d.one(-1, 0, 1)} if x.ndim > 1 else None,
    "diagonal": lambda d, x: {"offset": d.one(-1, 0, 1)} if x.ndim > 1 else None,
    "trace": lambda d, x: {"offset": d.one(-1, 0, 1)} if x.ndim > 1 else None,
    "diag": lambda d, x: {"k": d.one(-1, 0, 1)} if x.ndim < 3 else None,
    "diagflat": lambda d, x: {"k": d.one(-1, 0, 1)},
    "fliplr": lambda d, x: {} if x.ndim > 1 else None,
    "rot90": lambda d, x: {"k": d.one(-1, 1, 2, 5)} if x.ndim > 1 else None,
    "array_split": lambda d, x: {"indices_or_sections": 2, "axis": d.axis(x.ndim)},
    "vander": lambda d, x: {"N": d.one(None, 3), "increasing": d.one(True, False)} if x.ndim == 1 else None,
    "unstack": lambda d, x: {"axis": d.axis(x.ndim)},
    "extract_sequences": lambda d, x: {"sequence_length": 2, "sequence_stride": d.one(1, 2)},
}
KINDS = dict.fromkeys(MOVES, ("float32", "int32", "bool")) | dict.fromkeys(
    ("vander", "argsort"), ("float32",)
)
KINDS |= dict.fromkeys(("trace", "diagflat", "sort", "tril", "triu"), ("float32", "int32"))


@pytest.mark.parametrize("name", MOVES)
def test_move(name):
    for seed in range(8):
        d = Draw(seed)
        x = d.array(d.shape(), d.one(*KINDS[name]))
        options = MOVES[name](d, x)
        if options is None:
            continue
        expected = eager(name, [x], options)
        first = expected[0] if isinstance(expected, list) else expected
        if x.dtype == "float32" and first.shape[:1] == x.shape[:1]:
            traced(name, [x], options, expected)


def test_joining_and_cutting():
    for seed in range(6):
        d = Draw(seed)
        shape = (4, 6, 2)
        xs = [d.array(shape, d.one("float32", "int32", "bool")) for _ in range(2)]
        for name in ("concatenate", "stack"):
            eager(name, [xs], {"axis": d.axis(3)})
        for name in ("vstack", "hstack", "dstack"):
            eager(name, [xs], {})
            eager(name, [[xs[0][:, 0, 0], xs[1][:, 0, 0]]], {})
        eager("append", xs, {"axis": d.one(None, d.axis(3))})
        eager("split", [xs[0]], {"indices_or_sections": d.one(2, [1, 2], 1), "axis": d.one(0, 1, -2)})
        for name in ("vsplit", "hsplit", "dsplit"):
            eager(name, [xs[0], 2], {})
        eager("take", [xs[0], d.array((2, 3), "int32", 0, 2)], {"axis": d.one(None, d.axis(3))})
        axis = d.axis(3)
        places = np.argsort(d.array(shape, "float32"), axis)
        eager("take_along_axis", [xs[0], places], {"axis": axis})
        eager(
            "meshgrid",
            [np.arange(3.0, dtype="float32"), np.arange(2.0, dtype="float32")],
            {"indexing": d.one("xy", "ij")},
        )
        eager("slice", [xs[0], (1, 2, 0), (2, 3, 1)], {})
        eager("slice_update", [xs[0], (1, 2, 0), xs[0][:2, :3]], {})
        eager("top_k", [d.array((3, 6), "float32")], {"k": 2})
        eager("get_item", [xs[0], (slice(1, None), 0)], {})
        eager("isin", [d.array((4, 3), "int32"), [1, 2]], {"invert": d.one(True, False)})


def test_rearrange():
    x = Draw(0).array((2, 6, 4, 3), "float32")
    for pattern, lengths in [
        ("n h w c -> n c h w", {}), ("n (h b) w c -> n h w (b c)", {"b": 2}), ("n h w c -> (n h w) c", {}),
        ("n (h a) (w b) c -> n h w (a b c)", {"a": 3, "b": 2}),
    ]:  # fmt: skip
        compare(
            call(keras, "rearrange", x, pattern, **lengths), call(fastcnn, "rearrange", x, pattern, **lengths)
        )


# --- products --------------------------------------------------------------------------------------------------


def test_products():
    for seed in range(6):
        d = Draw(seed)
        kind = d.one("float32", "int32")
        m, n, k = (int(i) for i in d.rng.integers(2, 5, 3))
        x, y = d.array((m, k), kind), d.array((k, n), kind)
        eager("dot", [x, y], {})
        eager("tensordot", [x, y], {"axes": d.one(1, [[1], [0]])})
        eager("outer", [x[0], y[0]], {})
        eager("inner", [x, y.T], {})
        eager("vdot", [x[0], y[:, 0]], {})
        eager("kron", [x, y], {})
        eager("cross", [d.array((4, 3), kind), d.array((4, 3), kind)], {})
        eager("matmul", [x.astype("float32"), y.astype("float32")], {})
    x, y, z = (Draw(1).array(shape, "float32") for shape in [(2, 3, 4), (2, 4, 5), (3, 3)])
    for subscripts, *operands in [
        ("bij,bjk->bik", x, y), ("bij,bjk", x, y), ("ii->i", z), ("ii", z), ("...ij->...ji", x), ("ij,kl->", z, z),
        ("b...j,...jk->b...k", x, y[0]), ("ij,jk,kl->il", z, z, z),
    ]:  # fmt: skip
        compare(
            call(keras, "einsum", subscripts, *operands),
            call(fastcnn, "einsum", subscripts, *operands),
            rtol=1e-4,
        )


def test_decompositions():
    d = Draw(0)
    x = d.array((2, 3, 3), "float32")
    positive = x @ x.swapaxes(1, 2) + np.eye(3, dtype="float32")
    for name in ("inv", "det", "slogdet", "pinv", "matrix_rank", "qr", "svd"):
        expected, got = call(keras, name, x), call(fastcnn, name, x)
        if name in ("qr", "svd"):  # vectors are known but for their signs
            expected, got = [np.abs(v) for v in expected], [np.abs(v) for v in got]
        compare(expected, got, rtol=1e-3, atol=1e-4)
    for name in ("cholesky", "logdet"):
        eager(name, [positive], {}, rtol=1e-4)
    eager("cholesky", [positive], {"upper": True}, rtol=1e-4)
    eager("cholesky_inverse", [np.linalg.cholesky(positive)], {}, rtol=1e-3, atol=1e-4)
    compare(call(keras, "eigh", positive)[0], call(fastcnn, "eigh", positive)[0], rtol=1e-4)
    eager("solve", [positive, d.array((2, 3, 2), "float32")], {}, rtol=1e-3, atol=1e-4)
    eager(
        "solve_triangular", [positive[0], d.array((3, 2), "float32")], {"lower": True}, rtol=1e-3, atol=1e-4
    )
    eager("lstsq", [d.array((5, 3), "float32"), d.array((5, 2), "float32")], {}, rtol=1e-3, atol=1e-4)


def in_model_of_pairs(name, arrays):
    """A function of one pair of tensors, in a functional model."""
    inputs = [fastcnn.Input(x.shape[1:]) for x in arrays]
    return fastcnn.Model(inputs, list(find(fastcnn, name)(tuple(inputs)))).predict(arrays, verbose=0)


def test_fourier():
    d = Draw(0)
    x, y = d.array((3, 8), "float32"), d.array((3, 8), "float32")
    for name in ("fft", "fft2", "ifft2"):
        eager(name, [(x, y)], {}, rtol=1e-4, atol=1e-4)
        image = [d.array((2, 3, 8), "float32") for _ in "xy"]
        expected = call(keras, name, as_tensors(tuple(image)))
        compare(expected, in_model_of_pairs(name, image), rtol=1e-4, atol=1e-4)
    for length in (None, 6, 10):
        expected = eager("rfft", [x], {"fft_length": length}, rtol=1e-4, atol=1e-4)
        eager("irfft", [tuple(expected)], {"fft_length": length}, rtol=1e-4, atol=1e-4)
    for mode in ("valid", "same", "full"):
        eager("correlate", [x[0], y[0, :3]], {"mode": mode}, rtol=1e-4)
    eager("i0", [x[0]], {}, rtol=1e-4)
    eager("nextafter", [x[0], y[0]], {})
    for name in ("bartlett", "blackman", "hamming", "hanning"):
        eager(name, [7], {})
    eager("kaiser", [7, 3.0], {})


def test_made():
    for name, args, options in [
        ("arange", (5,), {}), ("arange", (1, 7, 2), {}), ("arange", (0.0, 1.0, 0.25), {}), ("zeros", ((2, 3),), {}),
        ("ones", ((2,),), {"dtype": "int32"}), ("full", ((2, 2), 3), {}), ("full", ((2, 2), 3.5), {"dtype": "int32"}),
        ("eye", (3,), {"M": 4, "k": 1}), ("identity", (3,), {}), ("tri", (3,), {"k": 1}), ("linspace", (0, 1, 5), {}),
        ("linspace", (0, 1, 5), {"endpoint": False}), ("logspace", (0, 2, 3), {}), ("geomspace", (1, 8, 4), {}),
        ("array", ([1, 2],), {}), ("array", ([1.5, 2],), {}), ("convert_to_tensor", ([1, 2],), {}),
        ("convert_to_tensor", ([True],), {}), ("convert_to_tensor", (2.5,), {}), ("empty_like", ([1, 2],), {}),
        ("convert_to_tensor", (np.arange(3),), {"dtype": "float32"}),
    ]:  # fmt: skip
        expected = call(keras, name, *args, **options)
        if name.startswith("empty"):
            expected = np.zeros_like(expected)
        compare(expected, call(fastcnn, name, *args, **options))
    for value in (1, 2.5, True, np.zeros(2, "uint8"), np.zeros(2)):
        tensor = value if not isinstance(value, np.ndarray) else keras.ops.convert_to_tensor(value)
        assert fastcnn.ops.dtype(value) == keras.backend.standardize_dtype(
            keras.ops.convert_to_tensor(tensor).dtype
        )


# --- counting and sending --------------------------------------------------------------------------------------


def test_counting():
    for seed in range(5):
        d = Draw(seed)
        x = d.array((7,), "int32", 0, 5)
        eager("bincount", [x], {"minlength": d.one(0, 8)})
        eager("bincount", [x], {"weights": d.array((7,), "float32")})
        eager("unique", [x], {"return_counts": True, "return_inverse": True})
        eager("digitize", [d.array((3, 4), "float32"), np.array([-1.0, 0.5, 2.0], "float32")], {})
        eager(
            "searchsorted",
            [np.sort(d.array((6,), "float32")), d.array((4,), "float32")],
            {"side": d.one("left", "right")},
        )
        compare(
            call(keras, "histogram", x.astype("float32"), 4),
            call(fastcnn, "histogram", x.astype("float32"), 4),
            False,
        )
        some = d.array((3, 4), "bool")
        compare(call(keras, "nonzero", some), np.stack(call(fastcnn, "nonzero", some)))
        eager("one_hot", [x], {"num_classes": 5, "axis": d.one(-1, 0), "dtype": d.one(None, "int32")})
        eager("multi_hot", [d.array((3, 4), "int32", 0, 5)], {"num_classes": 5})
        eager("in_top_k", [x, d.array((7, 5), "float32")], {"k": 2})
        eager("gcd", [x + 1, 6], {})
        eager("lcm", [x + 1, 6], {})
        eager("unravel_index", [x, (3, 4)], {})
        for name in ("bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_left_shift", "bitwise_right_shift"):
            eager(name, [x, d.array((7,), "int32", 0, 4)], {})
        eager("bitwise_not", [x], {})
        eager("view", [d.array((4,), "float32")], {"dtype": "int32"})


def test_segments():
    for seed in range(6):
        d = Draw(seed)
        data, ids = (
            d.array((6, *d.shape(1, 2)), d.one("float32", "int32")),
            np.sort(d.array((6,), "int32", 0, 4)),
        )
        for name in ("segment_sum", "segment_prod", "segment_max", "segment_min"):
            if data.dtype == "int32" and name in ("segment_max", "segment_min"):
                continue  # of whole numbers, what an empty segment has differs
            eager(name, [data, ids], {"num_segments": 5, "sorted": True})
        indices = np.stack([d.array((5,), "int32", 0, 3), d.array((5,), "int32", 0, 4)], -1)
        values = d.array((5, 2), "float32")
        eager("scatter", [indices, values, (3, 4, 2)], {})
        x = d.array((3, 4, 2), "float32")
        indices = np.unique(indices, axis=0)
        for reduction in (None, "add", "max", "min", "mul"):
            eager("scatter_update", [x, indices, values[: len(indices)]], {"reduction": reduction})


def test_control():
    def both(run):
        compare(plain(run(keras.ops)), plain(run(fastcnn.ops)))

    xs = np.arange(6, dtype="float32").reshape(3, 2)
    both(lambda ops: ops.scan(lambda c, x: (c + x, c * x), np.zeros(2, "float32"), xs))
    both(lambda ops: ops.scan(lambda c, x: (c + x, c * x), np.zeros(2, "float32"), xs, reverse=True))
    both(
        lambda ops: ops.while_loop(
            lambda i, s: i < 3, lambda i, s: (i + 1, s * 2), (0, np.ones(2, "float32"))
        )[1]
    )
    both(lambda ops: ops.fori_loop(0, 3, lambda i, x: x + i, np.ones(2, "float32")))
    both(lambda ops: ops.cond(True, lambda: xs, lambda: -xs))
    both(lambda ops: ops.switch(1, [lambda x: x, lambda x: x * 2], xs))
    both(lambda ops: ops.map(lambda x: x * 2.0, xs))
    both(lambda ops: ops.vectorized_map(lambda x: ops.sum(x), ops.convert_to_tensor(xs)))
    both(lambda ops: ops.vectorize(lambda a, b: a + b)(xs, xs))
    both(lambda ops: ops.unstack(ops.convert_to_tensor(xs), axis=1))


# --- layers' work ----------------------------------------------------------------------------------------------


def test_networks():
    for seed in range(4):
        d = Draw(seed)
        x = d.array((2, 7, 6, 3), "float32")
        size = d.one(3, (2, 3), (4, 4))
        for name in ("adaptive_average_pool", "adaptive_max_pool"):
            expected = eager(name, [x, size], {"data_format": "channels_last"})
            traced(name, [x], {"output_size": size}, expected)
        for name in ("max_pool", "average_pool"):
            expected = eager(
                name, [x], {"pool_size": d.one(2, (2, 3)), "strides": d.one(1, 2), "padding": "valid"}
            )
        images = x.transpose(0, 3, 1, 2)
        window = {
            "kernel_size": d.one(2, (2, 3)),
            "dilation": d.one(1, 2),
            "padding": d.one(0, 1),
            "stride": d.one(1, 2),
        }
        expected = plain(keras.ops.unfold(torch.tensor(images), **window))
        compare(expected, plain(fastcnn.ops.unfold(images, **window)))
        folded = plain(keras.ops.fold(torch.tensor(expected), (7, 6), **window))
        compare(folded, plain(fastcnn.ops.fold(expected, (7, 6), **window)))
        for axis in (-1, 1):
            for name in ("softmax", "log_softmax", "glu"):
                if name != "glu" or not x.shape[axis] % 2:
                    eager(name, [x], {"axis": axis})
            eager("normalize", [x], {"axis": axis})
        eager("rms_normalization", [x], {"scale": d.array((3,), "float32"), "axis": -1})
        eager(
            "layer_normalization",
            [x, d.array((3,), "float32"), d.array((3,), "float32")],
            {"axis": -1},
            atol=1e-4,
        )
        statistics = d.array((3,), "float32"), d.array((3,), "float32", 1, 2)
        eager(
            "batch_normalization",
            [x, *statistics],
            {"axis": -1, "offset": statistics[0], "scale": statistics[1]},
        )
        q, k, v = (d.array((2, 5, 4, 3), "float32") for _ in range(3))
        eager("dot_product_attention", [q, k, v], {"is_causal": d.one(True, False)})
        eager("psnr", [x, x + 0.5], {"max_val": 3.0})
        eager("depth_to_space", [d.array((2, 3, 2, 8), "float32"), 2], {"data_format": "channels_last"})
        p = np.abs(x[0, 0]) / np.abs(x[0, 0]).sum(-1, keepdims=True)
        eager("categorical_crossentropy", [np.eye(3, dtype="float32")[[0, 2, 1, 0, 1, 2]], p], {})
        eager(
            "sparse_categorical_crossentropy", [np.array([0, 2, 1, 0, 1, 2]), x[0, 0]], {"from_logits": True}
        )
        eager("binary_crossentropy", [(p > 0.5).astype("float32"), p], {})


def test_images():
    for seed in range(4):
        d = Draw(seed)
        x = d.array((2, 7, 6, 3), "float32", 0, 1)
        for name in ("rgb_to_grayscale", "rgb_to_hsv", "hsv_to_rgb", "sobel_edges"):
            expected = eager(f"image.{name}", [x], {"data_format": "channels_last"})
            traced(f"image.{name}", [x], {}, expected)
        blur = {"kernel_size": (3, 3), "sigma": (1.0, 0.6), "data_format": "channels_last"}
        eager("image.gaussian_blur", [x], blur)
        eager("pad", [x, [(0, 0), (1, 2), (2, 0), (0, 0)]], {"mode": "constant"})
        for options in ({}, {"crop_to_aspect_ratio": True}, {"pad_to_aspect_ratio": True, "fill_value": 0.5}):
            size = d.one((4, 5), (9, 3), (7, 7))
            eager("image.resize", [x, size], {**options, "interpolation": "bilinear"}, atol=1e-4)
        eager("image.resize", [(x * 255).astype("uint8"), (4, 5)], {"interpolation": "nearest"})
        eager(
            "image.crop_images",
            [x],
            {"top_cropping": 1, "target_height": 4, "left_cropping": 1, "right_cropping": 2},
        )
        eager(
            "image.pad_images",
            [x],
            {"top_padding": 1, "target_height": 9, "left_padding": 1, "right_padding": 2},
        )
        eager(
            "image.extract_patches", [x, d.one(2, (3, 2))], {"strides": d.one(None, 1, 2), "padding": "valid"}
        )
        eager(
            "image.extract_patches_3d", [d.array((2, 4, 5, 4, 2), "float32"), 2], {"strides": d.one(None, 1)}
        )
        y = np.clip(x + d.array(x.shape, "float32", -0.1, 0.1), 0, 1)
        eager("image.ssim", [np.tile(x, (1, 2, 2, 1)), np.tile(y, (1, 2, 2, 1))], {"max_val": 1.0}, rtol=1e-3)
        transform = np.array([[1.1, 0.1, -0.53, -0.2, 0.9, 0.71, 0, 0]] * 2, "float32")
        for mode in ("constant", "nearest", "wrap", "mirror", "reflect"):
            options = {"interpolation": d.one("bilinear", "nearest"), "fill_mode": mode, "fill_value": 0.25}
            expected = eager("image.affine_transform", [x, transform], options, atol=1e-3)
            traced("image.affine_transform", [x], {"transform": transform, **options}, expected)
            coordinates = d.array((3, 10), "float32", -5, 12)
            eager(
                "image.map_coordinates",
                [x[0], coordinates],
                {"order": d.one(0, 1), "fill_mode": mode},
                atol=1e-3,
            )
        start = np.array([[[0, 0], [5, 0], [0, 6], [5, 6]]] * 2, "float32")
        end = start + d.array(start.shape, "float32", -1, 1)
        eager("image.perspective_transform", [x, start, end], {"interpolation": "bilinear"}, atol=1e-3)
        scale, shift = np.array([1.5, 0.8], "float32"), np.array([0.5, -1.0], "float32")
        eager(
            "image.scale_and_translate", [x, (2, 9, 5, 3), scale, shift, (1, 2)], {"method": d.one("linear", "cubic")},
            atol=1e-4,
        )  # fmt: skip
