"""Which device plans are made for: "cpu", "cuda", or "auto", a CUDA device where one can be used."""

from __future__ import annotations

import importlib.util
import warnings
from types import ModuleType

from fastcnn.backend import cpu, machine
from fastcnn.errors import Error, did_you_mean

DEVICES = ("cpu", "cuda", "auto")

_device = "cpu"
_found: dict[str, str] = {}  # names of devices that have been looked for, and what they stand for


def device() -> str:
    """The device that plans are made for unless something else is said: "cpu" until `set_device`."""
    return _device


def set_device(name: str) -> None:
    """Make plans for this device from now on.

    "cpu"; "cuda", an error where that cannot be used; "auto", a CUDA device if one can be used, else the CPU, with a
    notice. What a model's `compile` says goes before it. Functions of arrays (`ops`) always run on the CPU, but for
    suppression of boxes, which runs on this device.
    """
    global _device
    _device = resolved(name)


def resolved(name: str | None) -> str:
    """ "cpu" or "cuda" for the name of a device; for None, that of `set_device`."""
    if name is None:
        return _device
    if name not in DEVICES:
        raise Error(f"unknown device {name!r}{did_you_mean(name, DEVICES)}")
    if name == "auto":
        if "auto" not in _found:
            _found["auto"] = _first_usable()
        return _found["auto"]
    if name == "cuda" and name not in _found:
        get("cuda").check()
        _found[name] = name
    return name


def _first_usable() -> str:
    try:
        get("cuda").check()
        return "cuda"
    except Error as error:
        warnings.warn(f"device 'auto': computing on the CPU ({str(error).partition(';')[0]})", stacklevel=4)
        return "cpu"


def get(name: str) -> ModuleType:
    """The backend of that name."""
    if name == "cpu":
        return cpu
    if name != "cuda":
        raise Error(f"unknown device {name!r}{did_you_mean(name, DEVICES)}")
    if importlib.util.find_spec("numba_cuda") is None:
        driver = machine.cuda_driver()
        extra = "cuda12" if driver is not None and float(driver.version) < 13 else "cuda13"
        raise Error(f"device 'cuda': numba-cuda is not installed; pip install \"fastcnn[{extra}]\"")
    from fastcnn.backend import cuda

    return cuda
