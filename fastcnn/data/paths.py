"""Paths that a user gave."""

from os import PathLike, fspath
from pathlib import Path
from typing import Any

from fastcnn.errors import Error


def as_path(owner: str, value: Any) -> Path:
    """The path, of text or of an object that stands for one; an `Error` for anything else."""
    if isinstance(value, str) or (isinstance(value, PathLike) and isinstance(fspath(value), str)):
        return Path(value)
    raise Error(f"{owner}: expected a path, as text or as a pathlib.Path, got {value!r}")
