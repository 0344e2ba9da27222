"""Dtype policies to and from plain data."""

from typing import Any

from fastcnn.config import DTypePolicy, dtype_policy
from fastcnn.errors import Error

__all__ = ["DTypePolicy", "FloatDTypePolicy", "deserialize", "get", "serialize"]

FloatDTypePolicy = DTypePolicy


def serialize(dtype_policy: DTypePolicy) -> dict[str, Any]:
    """A policy as plain data."""
    return {"class_name": "DTypePolicy", "config": dtype_policy.get_config()}


def deserialize(config: dict[str, Any], custom_objects: Any = None) -> DTypePolicy:
    """The policy that `serialize` described, here or in Keras."""
    if not isinstance(config, dict) or config.get("class_name") not in ("DTypePolicy", "FloatDTypePolicy"):
        raise Error(f"expected the configuration of a DTypePolicy, got {config!r}")
    return DTypePolicy.from_config(config["config"])


def get(identifier: Any) -> DTypePolicy:
    """A policy from its name or configuration; None gives the one in use, a policy is returned as it is."""
    if identifier is None:
        return dtype_policy()
    if isinstance(identifier, DTypePolicy):
        return identifier
    return deserialize(identifier) if isinstance(identifier, dict) else DTypePolicy(identifier)
