"""A progress bar while kernels are compiled, so that a first run does not look like one that hangs."""

import contextlib
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from types import ModuleType
from typing import Any

from tqdm import tqdm

_shown: ContextVar[bool] = ContextVar("fastcnn_compile_progress", default=True)

DELAY_S = 1.0  # kernels that come from the cache on disk are ready before that, and no bar appears


@contextlib.contextmanager
def compile_progress(show: bool = True) -> Iterator[None]:
    """Whether plans made inside show a bar when compiling their kernels takes long; elsewhere they do."""
    token = _shown.set(show)
    try:
        yield
    finally:
        _shown.reset(token)


def compile_kernels(launches: Sequence[Any], backend: ModuleType) -> None:
    """Compile what the launches need ahead of their program, with a bar where one is wanted."""
    different = {launch.key: launch for launch in launches}
    text, hidden = "compiling kernels, first run only", not _shown.get()
    with tqdm(total=len(different), desc=text, unit="kernel", delay=DELAY_S, disable=hidden) as bar:
        backend.compile_launches(list(different.values()), bar.update)
