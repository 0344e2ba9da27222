"""Where messages go, limits for quick trials, and switches of Keras that change nothing here."""

import logging
import os
import sys
from typing import Any

from fastcnn.errors import Error

_is_interactive = True
_is_filtering = True
_limits: dict[str, int | None] = {"epochs": None, "steps_per_epoch": None}


def backend() -> str:
    """The name of what computes: always "fastcnn"."""
    return "fastcnn"


def set_backend(backend: str) -> None:
    """Accept "fastcnn", the only backend there is."""
    if backend != "fastcnn":
        raise Error(f"set_backend: fastcnn computes with its own kernels, there is no backend {backend!r}")


# --- messages ------------------------------------------------------------------------------------------------------


def enable_interactive_logging() -> None:
    """Show progress and messages of training on standard output, as at the start."""
    global _is_interactive
    _is_interactive = True


def disable_interactive_logging() -> None:
    """Send progress and messages to the logger "fastcnn" (level INFO) from now on, which shows none by default."""
    global _is_interactive
    _is_interactive = False


def is_interactive_logging_enabled() -> bool:
    """Whether progress and messages go to standard output."""
    return _is_interactive


def show(text: str) -> None:
    """Write text for people where such text goes; on standard output as it is, nothing is added."""
    if _is_interactive:
        sys.stdout.write(text)
        sys.stdout.flush()
    elif line := text.strip("\r\n "):
        logging.getLogger("fastcnn").info(line)


# --- limits --------------------------------------------------------------------------------------------------------


def max_epochs() -> int | None:
    """The most epochs that one `fit` trains, or None."""
    return _limits["epochs"]


def set_max_epochs(max_epochs: int | None) -> None:
    """Let no `fit` train more epochs than this, to try a script quickly; None for no limit.

    The environment variable `FASTCNN_MAX_EPOCHS` sets it at the start.
    """
    _limits["epochs"] = _checked_limit("set_max_epochs", max_epochs)


def max_steps_per_epoch() -> int | None:
    """The most batches of one epoch, evaluation or prediction, or None."""
    return _limits["steps_per_epoch"]


def set_max_steps_per_epoch(max_steps_per_epoch: int | None) -> None:
    """Let no epoch, evaluation or prediction have more batches than this; None for no limit.

    The environment variable `FASTCNN_MAX_STEPS_PER_EPOCH` sets it at the start.
    """
    _limits["steps_per_epoch"] = _checked_limit("set_max_steps_per_epoch", max_steps_per_epoch)


def _checked_limit(where: str, limit: Any) -> int | None:
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise Error(f"{where}: expected an integer of at least 1, or None, got {limit!r}")
    return limit


# --- without effect --------------------------------------------------------------------------------------------------


def enable_traceback_filtering() -> None:
    """Note the wish; tracebacks are never filtered, they are short."""
    global _is_filtering
    _is_filtering = True


def disable_traceback_filtering() -> None:
    """Note the wish; tracebacks are never filtered."""
    global _is_filtering
    _is_filtering = False


def is_traceback_filtering_enabled() -> bool:
    """What was last asked for."""
    return _is_filtering


def enable_unsafe_deserialization() -> None:
    """Refuse: there is nothing unsafe to enable."""
    raise Error(
        "enable_unsafe_deserialization: fastcnn runs no code from files, whatever the settings; layers that need code "
        "(Lambda functions, classes of your own) are found by name: define them first, or pass custom_objects={...}"
    )


def enable_flash_attention() -> None:
    """Accept and do nothing: there is no attention."""


def disable_flash_attention() -> None:
    """Accept and do nothing: there is no attention."""


def is_flash_attention_enabled() -> bool:
    """Always False."""
    return False


def is_nnx_enabled() -> bool:
    """Always False: NNX belongs to another backend."""
    return False


def _from_environment(variable: str) -> int | None:
    text = os.environ.get(variable)
    if text and not text.isdecimal():
        raise Error(f"{variable}={text!r} in the environment: expected a whole number of at least 1")
    return int(text) if text else None


set_max_epochs(_from_environment("FASTCNN_MAX_EPOCHS"))
set_max_steps_per_epoch(_from_environment("FASTCNN_MAX_STEPS_PER_EPOCH"))
