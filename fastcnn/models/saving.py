"""Model files: one safetensors file with every array, and the configuration as JSON in its metadata.

Format 1. Metadata: `fastcnn_format` "1"; `config`: {"model", "compile", "training"}; `sha256` of all arrays.
Arrays: `weights/PATH`, `state/PATH` (random states), `optimizer/NAME`. PATH names layers by class and position
("layers/conv2d_1/kernel"), so that a model built twice in one process can exchange weights with itself.

A file is data: loading constructs registered classes only and runs no code from it. Files are written to a
temporary name and moved into place, so a crash leaves the earlier file whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import struct
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from fastcnn.errors import Error
from fastcnn.layers.base import Layer
from fastcnn.registry import custom_object_scope, deserialize, serialize, snake_case
from fastcnn.tensor import Variable

FORMAT = "1"
MAX_HEADER = 64 << 20  # bytes; a header is JSON, names and shapes only
MAX_DEPTH = 64


class FileError(Error):
    """A model file that cannot be read or written."""


class MissingFileError(FileError, FileNotFoundError):
    """A model file that is not there."""


# --- writing ---------------------------------------------------------------------------------------------------


def save_model(
    model: Any, filepath: Any, overwrite: bool = True, extra: dict[str, Any] | None = None
) -> None:
    """Write architecture, weights, random states, and compile arguments with the optimizer's state.

    extra: further entries of the configuration, plain data, for whoever reads them again.
    """
    if not model.built:
        raise Error(f"model {model.name!r} has no weights yet; build it or train it before saving")
    config: dict[str, Any] = {**(extra or {}), "model": serialize(model)}
    arrays = _arrays_of(model)
    if model.compiled:
        config["compile"] = model.get_compile_config()
        config["training"] = {"batches": model.optimizer.batches}
        state = model.optimizer.named_state(named_variables(model))
        arrays.update({f"optimizer/{name}": variable.buffer for name, variable in state.items()})
    write(filepath, arrays, config, overwrite)


def save_weights(model: Any, filepath: Any, overwrite: bool = True) -> None:
    """Write weights and random states only."""
    if not model.built:
        raise Error(f"model {model.name!r} has no weights yet; build it or train it before saving")
    write(filepath, _arrays_of(model), {}, overwrite)


def _arrays_of(model: Layer) -> dict[str, np.ndarray]:
    return {path: variable.buffer for path, variable in named_variables(model).items()}


def write(
    filepath: Any, arrays: dict[str, np.ndarray], config: dict[str, Any], overwrite: bool = True
) -> None:
    """Write a file of this format, or leave things as they were."""
    path = Path(filepath)
    if path.exists() and not overwrite:
        raise FileError(f"{path}: exists already and overwrite is False")
    if not path.parent.is_dir():
        raise FileError(f"{path}: the folder {path.parent} does not exist; make it first")
    metadata = {
        "fastcnn_format": FORMAT,
        "config": json.dumps(config, allow_nan=False),
        "sha256": _digest(arrays),
    }
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        save_file(
            {name: np.ascontiguousarray(a).reshape(a.shape) for name, a in arrays.items()},
            temporary,
            metadata,
        )
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent)
    except (OSError, SafetensorError) as error:
        raise FileError(
            f"{path}: could not be written ({error}); the earlier file, if any, is as it was"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _sync(path: Path) -> None:
    """Make sure that what was written survives a power loss. Folders cannot be synced everywhere."""
    if path.is_dir() and os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _digest(arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(arrays[name]).data)
    return digest.hexdigest()


# --- names -----------------------------------------------------------------------------------------------------


def named_variables(model: Layer) -> dict[str, Variable]:
    """Every variable of a model by its path in files; a shared layer counts where it is met first."""
    found: dict[str, Variable] = {}
    seen: set[int] = set()
    for path, layer in _walk(model, "layers", set()):
        names: Counter[str] = Counter()
        for variable in layer._variables:
            names[variable.name or ""] += 1
            suffix = f"_{names[variable.name or ''] - 1}" if names[variable.name or ""] > 1 else ""
            if id(variable) not in seen:
                kind = "state" if getattr(variable, "is_state", False) else "weights"
                found[f"{kind}/{path}/{variable.name}{suffix}"] = variable
            seen.add(id(variable))
    return found


def _walk(layer: Layer, path: str, seen: set[int]) -> Iterator[tuple[str, Layer]]:
    seen.add(id(layer))
    yield path, layer
    counts: Counter[str] = Counter()
    for inner in layer._sublayers:
        kind = snake_case(type(inner).__name__)
        number = counts[kind]
        counts[kind] += 1
        if id(inner) not in seen:
            yield from _walk(inner, f"{path}/{kind}_{number}" if number else f"{path}/{kind}", seen)


# --- reading ---------------------------------------------------------------------------------------------------


def load_model(
    filepath: Any, custom_objects: Any = None, compile: bool = True, safe_mode: bool = True
) -> Any:
    """The model that `model.save` wrote, ready to predict and, when it was compiled, to train on exactly.

    custom_objects: name -> class or function of your own that the file mentions. Files never run code, whatever
    `safe_mode` says.
    """
    arrays, config = read(filepath)
    if "model" not in config:
        raise FileError(f"{filepath}: holds weights only; build the model and call load_weights")
    with custom_object_scope(custom_objects or {}):
        model = _construct(filepath, config["model"])
        _assign(model, arrays, filepath)
        if compile and config.get("compile"):
            model.compile_from_config(config["compile"])
            model.optimizer.restore(
                named_variables(model), _under(arrays, "optimizer/"), config["training"]["batches"]
            )
    return model


def _construct(filepath: Any, config: Any) -> Any:
    try:
        return deserialize("layer", config)
    except Error:
        raise
    except (KeyError, TypeError, IndexError, AttributeError, ValueError, RecursionError) as error:
        raise FileError(
            f"{filepath}: its model configuration is damaged ({type(error).__name__}: {error})"
        ) from error


def load_weights(model: Any, filepath: Any, skip_mismatch: bool = False) -> None:
    """Read weights into a model of the same architecture."""
    arrays, _ = read(filepath)
    if not model.built:
        raise Error(f"model {model.name!r} has no weights yet; build it before loading weights")
    _assign(model, arrays, filepath, skip_mismatch)


def _under(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}


def _assign(model: Any, arrays: dict[str, np.ndarray], filepath: Any, skip_mismatch: bool = False) -> None:
    """Copy arrays into the model's variables after everything has been compared."""
    variables = named_variables(model)
    saved = {name: a for name, a in arrays.items() if name.startswith(("weights/", "state/"))}
    problems = [
        f"{name} ({variables[name].path}) is not in the file" for name in variables if name not in saved
    ]
    problems += [f"{name} of the file has no place in the model" for name in saved if name not in variables]
    problems += [
        f"{name} ({v.path}): the model has shape {v.shape}, the file {saved[name].shape}"
        for name, v in variables.items()
        if name in saved and saved[name].shape != v.shape
    ]
    if problems and not skip_mismatch:
        raise FileError(
            f"{filepath}: does not fit model {model.name!r}, nothing was loaded: " + "; ".join(problems)
            + ". load_weights(..., skip_mismatch=True) loads what fits"
        )  # fmt: skip
    for name, variable in variables.items():
        if name in saved and saved[name].shape == variable.shape:
            variable.assign(saved[name])


def read(filepath: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays and configuration of a file, checked: header size, declared sizes, format, digest, JSON."""
    path = Path(filepath)
    _check_start(path)
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("fastcnn_format") != FORMAT:
                raise FileError(
                    f"{path}: format {metadata.get('fastcnn_format')!r} is not {FORMAT!r}; "
                    "it was written by something else or by a newer fastcnn"
                )
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
        if isinstance(error, Error):
            raise
        raise FileError(f"{path}: is damaged or no fastcnn file ({error})") from error
    if metadata.get("sha256") != _digest(arrays):
        raise FileError(f"{path}: its contents do not match their checksum; the file is damaged")
    return arrays, _parse(path, metadata.get("config", "{}"))


def _check_start(path: Path) -> None:
    """Refuse early, by the first bytes, what is no safetensors file or claims an absurd header."""
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            start = file.read(8)
    except OSError as error:
        what = MissingFileError if isinstance(error, FileNotFoundError) else FileError
        raise what(f"{path}: cannot be opened ({error.strerror})") from error
    if start[:4] == b"PK\x03\x04":
        raise FileError(f"{path}: is a Keras .keras archive; fastcnn reads its own safetensors files")
    if start[:4] == b"\x89HDF":
        raise FileError(f"{path}: is an HDF5 file; fastcnn reads its own safetensors files")
    if len(start) < 8:
        raise FileError(f"{path}: is empty or truncated ({size} bytes)")
    (header,) = struct.unpack("<Q", start)
    if header > min(MAX_HEADER, size - 8):
        raise FileError(
            f"{path}: is damaged or no fastcnn file (header of {header} bytes in a file of {size})"
        )


def _parse(path: Path, text: str) -> dict[str, Any]:
    depth = deepest = 0
    for letter in text:
        depth += (letter in "[{") - (letter in "]}")
        deepest = max(deepest, depth)
    if deepest > MAX_DEPTH:
        raise FileError(f"{path}: its configuration is nested deeper than {MAX_DEPTH} levels")
    try:
        config = json.loads(text)
    except ValueError as error:
        raise FileError(f"{path}: its configuration is no valid JSON ({error})") from error
    if not isinstance(config, dict):
        raise FileError(f"{path}: its configuration is a {type(config).__name__}, expected an object")
    return config
