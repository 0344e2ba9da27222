"""Number and data formats: floatx, dtype policies, the fuzz factor."""

from typing import Any

import numpy as np

from fastcnn.errors import Error, did_you_mean

FLOAT_TYPES = ("float32", "float64")
MIXED = "mixed_bfloat16"
POLICIES = (*FLOAT_TYPES, MIXED)

_floatx = "float32"
_mixed = False
_epsilon = 1e-7


def floatx() -> str:
    """The dtype of weights and results, "float32" or "float64"."""
    return _floatx


def set_floatx(value: str) -> None:
    """Set the dtype of everything built from now on; models that exist keep theirs."""
    global _floatx
    name = str(np.dtype(value)) if isinstance(value, (type, np.dtype)) else str(value)
    if name not in FLOAT_TYPES:
        raise Error(f"set_floatx: {name!r} is not supported" + did_you_mean(name, FLOAT_TYPES))
    _floatx = name


def epsilon() -> float:
    """The fuzz factor that keeps divisions and logarithms finite, 1e-7 unless set."""
    return _epsilon


def set_epsilon(value: float) -> None:
    """Set the fuzz factor, a positive number."""
    global _epsilon
    if not 0.0 < float(value) < 1.0:
        raise Error(f"set_epsilon: expected a number between 0 and 1, got {value!r}")
    _epsilon = float(value)


def image_data_format() -> str:
    """Always "channels_last": images are (batch, height, width, channels)."""
    return "channels_last"


def set_image_data_format(data_format: str) -> None:
    """Accept "channels_last", the only format there is."""
    if data_format == "channels_first":
        raise Error(
            "set_image_data_format: fastcnn works on (batch, height, width, channels) only; "
            "move the channels of your images to the end with numpy.moveaxis(x, 1, -1)"
        )
    if data_format != "channels_last":
        raise Error(f"set_image_data_format: expected 'channels_last', got {data_format!r}")


class DTypePolicy:
    """The number format of a layer, given as its `dtype`; one of the same name is equal to it.

    name: "float32" or "float64", of weights and computation alike, or "mixed_bfloat16": weights are float32, and
    convolutions and dense layers round what they multiply to bfloat16 where the processor does that faster, adding up
    in float32. Default: the policy that `dtype_policy` gives.
    """

    def __init__(self, name: str | None = None):
        self.name: str = dtype_policy().name if name is None else _known_policy(name)

    @property
    def compute_dtype(self) -> str:
        """The dtype of what layers multiply."""
        return self.name.removeprefix("mixed_")

    @property
    def variable_dtype(self) -> str:
        """The dtype of weights, and of what is handed from layer to layer."""
        return "float32" if self.name == MIXED else self.name

    @property
    def quantization_mode(self) -> None:
        """Always None: nothing is quantized."""

    def get_config(self) -> dict[str, Any]:
        """The constructor arguments."""
        return {"name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "DTypePolicy":
        """The policy that `get_config` described."""
        return cls(**config)

    def __repr__(self) -> str:
        return f'<DTypePolicy "{self.name}">'

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DTypePolicy) and self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)


def _known_policy(name: Any) -> str:
    if name in POLICIES:
        return str(name)
    if name in ("mixed_float16", "float16", "bfloat16"):
        raise Error(
            f"there is no dtype policy {name!r}: weights are float32 or float64; use 'mixed_bfloat16' for products of "
            "bfloat16 numbers"
        )
    raise Error(f"there is no dtype policy {name!r}{did_you_mean(str(name), POLICIES)}")


def dtype_policy() -> DTypePolicy:
    """The policy of layers that are given none: "mixed_bfloat16" where that was set, else that of `floatx`."""
    return DTypePolicy(MIXED if _mixed else _floatx)


def set_dtype_policy(policy: Any) -> None:
    """Set the number format of everything built from now on, by a policy, its name or its configuration.

    It sets `floatx` too: to that of the weights.
    """
    global _mixed
    config = policy.get("config", policy) if isinstance(policy, dict) else None
    name = config.get("name") if config is not None else getattr(policy, "name", policy)
    found = DTypePolicy(_known_policy(name))
    set_floatx(found.variable_dtype)
    _mixed = found.name == MIXED
