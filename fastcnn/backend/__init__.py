"""Where plans run. A backend is a module with the names of `backend.cpu`; the only place that imports kernels."""

from types import ModuleType

from fastcnn.backend import cpu
from fastcnn.errors import Error, did_you_mean

_backends: dict[str, ModuleType] = {"cpu": cpu}


def get(name: str) -> ModuleType:
    """The backend of that name."""
    if name not in _backends:
        raise Error(f"unknown device {name!r}{did_you_mean(name, _backends)}")
    return _backends[name]
