"""Names of number formats, and what comes of mixing them."""

from collections.abc import Iterable
from functools import cache
from typing import Any

from fastcnn.config import floatx
from fastcnn.errors import Error, did_you_mean

INTEGERS = ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64")
FLOATS = ("bfloat16", "float16", "float32", "float64")
DTYPES = ("bool", *INTEGERS, *FLOATS, "complex64", "complex128", "string")
_PYTHON: dict[Any, str] = {bool: "bool", int: "int32", float: "float32", str: "string", "int": "int32"}

# Each format and the next larger ones. "int" and "float" are Python's numbers, which take the format of what they
# meet; the graph is that of JAX's "Type promotion semantics".
_LARGER = {
    "bool": ("int",),
    "int": ("uint8", "int8"),
    "uint8": ("int16", "uint16"),
    "uint16": ("int32", "uint32"),
    "uint32": ("int64", "uint64"),
    "uint64": ("float",),
    "int8": ("int16",),
    "int16": ("int32",),
    "int32": ("int64",),
    "int64": ("float",),
    "float": ("bfloat16", "float16"),
    "bfloat16": ("float32",),
    "float16": ("float32",),
    "float32": ("float64",),
    "float64": (),
}


def standardize_dtype(dtype: Any) -> str:
    """The name of a format, given by name, as Python's or NumPy's type, or as that of another library."""
    if dtype is None:
        return floatx()
    try:
        known = _PYTHON.get(dtype, dtype)
    except TypeError:
        known = dtype
    name = str(getattr(known, "name", getattr(known, "__name__", known))).removeprefix("torch.")
    if name not in DTYPES:
        raise Error(f"{dtype!r} is no dtype{did_you_mean(name, DTYPES)}")
    return name


def is_float_dtype(dtype: Any) -> bool:
    """Whether numbers of this format have fractions."""
    return standardize_dtype(dtype).startswith(("float", "bfloat"))


def is_int_dtype(dtype: Any) -> bool:
    """Whether numbers of this format are whole, signed or not."""
    return standardize_dtype(dtype).startswith(("int", "uint"))


def result_type(*dtypes: Any) -> str:
    """The smallest format that holds all of these; Python's int and float adapt to the others. None is floatx."""
    if not dtypes:
        return floatx()
    strong = {standardize_dtype(dtype) for dtype in dtypes if dtype is not int and dtype is not float}
    weak = {dtype.__name__ for dtype in dtypes if dtype is int or dtype is float}
    found = _smallest(strong | weak)
    return {"int": f"int{floatx()[-2:]}", "float": floatx()}.get(found, found)


@cache
def _at_least(name: str) -> frozenset[str]:
    """The format and all larger ones."""
    if name not in _LARGER:
        raise Error(f"numbers of dtype {name!r} cannot be mixed with others")
    return frozenset({name}).union(*(_at_least(larger) for larger in _LARGER[name]))


def _smallest(names: Iterable[str]) -> str:
    common = frozenset.intersection(*map(_at_least, names))
    return max(common, key=lambda name: len(_at_least(name)))  # the only one below all others
