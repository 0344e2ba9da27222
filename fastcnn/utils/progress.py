"""The progress bar, and where messages for people go."""

import math
import shutil
import sys
import time
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from fastcnn.config.session import is_interactive_logging_enabled, show
from fastcnn.errors import Error


class Progbar:
    """A bar on the terminal, in Keras's look: `12/47 ━━━━━━━━━━━━━━━━━━━━ 3s 12ms/step - loss: 0.3012`.

    On a terminal (or in a notebook) the line is redrawn at most every `interval` seconds; anywhere else, and
    with verbose=2, only the final line is written. Values are averaged over the steps, except those named in
    `stateful_metrics`, or those not named in `stateless_metrics`, which are shown as they are.
    """

    def __init__(
        self,
        target: int | None,
        width: int = 20,
        verbose: int = 1,
        interval: float = 0.05,
        stateful_metrics: Iterable[str] | None = None,
        stateless_metrics: Iterable[str] | None = None,
        unit_name: str = "step",
    ):
        if stateful_metrics is not None and stateless_metrics is not None:
            raise Error(
                "Progbar: stateful_metrics and stateless_metrics exclude each other; give one of them"
            )
        self.target = target
        self.width = width
        self.verbose = verbose
        self.interval = interval
        self.stateful_metrics = set(stateful_metrics or ())
        self.stateless_metrics = None if stateless_metrics is None else set(stateless_metrics)
        self.unit_name = unit_name
        self._seen = 0
        self._sums: dict[str, tuple[float, int]] = {}
        self._start = self._first_step_end = time.monotonic()
        self._last_draw = -math.inf
        self._drawn_width = 0

    def update(
        self, current: int, values: Iterable[tuple[str, float]] | None = None, finalize: bool | None = None
    ) -> None:
        """`current` steps are done; `values` are (name, value) of the last one."""
        done = self.target is not None and current >= self.target if finalize is None else finalize
        steps = max(current - self._seen, 1)
        for name, value in values or ():
            total, count = self._sums.get(name, (0.0, 0))
            alone = done or self._is_shown_as_it_is(name)
            self._sums[name] = (value, 1) if alone else (total + value * steps, count + steps)
        self._seen = current
        self.show(current, {name: total / count for name, (total, count) in self._sums.items()}, done)

    def _is_shown_as_it_is(self, name: str) -> bool:
        if self.stateless_metrics is not None:
            return name not in self.stateless_metrics
        return name in self.stateful_metrics

    def add(self, n: int, values: Iterable[tuple[str, float]] | None = None) -> None:
        """`n` more steps are done."""
        self.update(self._seen + n, values)

    def due(self, current: int) -> bool:
        """Whether a line drawn now would be shown; `current` steps are done."""
        now = time.monotonic()
        if current <= 1:
            self._first_step_end = now  # the first step compiles: its time says nothing about the others
        return self.verbose == 1 and now - self._last_draw >= self.interval and _is_live()

    def show(self, current: int, values: Mapping[str, Any], finalize: bool = False) -> None:
        """Draw the line with these values as they are, unless it is too early for the next one."""
        if not self.verbose or not (self.due(current) or finalize):
            return
        self._last_draw = time.monotonic()
        metrics = "".join(f" - {name}: {_format_value(value)}" for name, value in values.items())
        if self.verbose == 2:
            show(f"{self._count(current)} - {self._clock(current, True)} -{self._pace(current)}{metrics}\n")
        else:
            self._draw(current, f" {self._clock(current, finalize)}{self._pace(current)}{metrics}", finalize)

    def _draw(self, current: int, tail: str, finalize: bool) -> None:
        """One line that fits the terminal: the bar shrinks first, then the values are cut."""
        head = self._count(current) + " "
        columns = shutil.get_terminal_size().columns - 1 if _is_live() else sys.maxsize
        bar = min(self.width, max(0, columns - len(head) - len(tail))) if self.target else 0
        tail = tail[: max(0, columns - len(head) - bar)]
        width = len(head) + bar + len(tail)
        line = head + self._bar(bar, current) + tail + " " * (self._drawn_width - width)
        show(("\r" if _is_live() else "") + line + ("\n" if finalize else ""))
        self._drawn_width = width

    def _bar(self, width: int, current: int) -> str:
        done = min(width, width * current // (self.target or 1))
        block = "━" if _canshow("━") else "="
        if _is_live():
            return f"\x1b[32m{block * done}\x1b[37m{block * (width - done)}\x1b[0m"
        return block * done + " " * (width - done)

    def _count(self, current: int) -> str:
        return f"{current:>{len(str(self.target))}}/{self.target}" if self.target else f"{current:>7}/Unknown"

    def _clock(self, current: int, finalize: bool) -> str:
        """Time left, or time passed when that is not known or all is done."""
        if finalize or not self.target:
            return f"{time.monotonic() - self._start:.0f}s"
        return _format_duration(self._seconds_a_step(current) * (self.target - current))

    def _pace(self, current: int) -> str:
        seconds = self._seconds_a_step(current)
        factor, unit = (
            (1.0, "s") if seconds >= 1 or not seconds else (1e3, "ms") if seconds >= 1e-3 else (1e6, "us")
        )
        return f" {seconds * factor:.0f}{unit}/{self.unit_name}"

    def _seconds_a_step(self, current: int) -> float:
        """Mean over all steps but the first, where there are others."""
        now = time.monotonic()
        if current > 1 and self._first_step_end > self._start:
            return (now - self._first_step_end) / (current - 1)
        return (now - self._start) / current if current else 0.0


def _format_value(value: Any) -> str:
    if not isinstance(value, float | int | np.number):
        return str(value)
    number = float(value)
    return f"{number:.4e}" if 0 < abs(number) <= 1e-3 else f"{number:.4f}"


def _format_duration(seconds: float) -> str:
    whole = int(seconds)
    if whole >= 3600:
        return f"{whole // 3600}:{whole % 3600 // 60:02d}:{whole % 60:02d}"
    return f"{whole // 60}:{whole % 60:02d}" if whole >= 60 else f"{whole}s"


def _is_live() -> bool:
    """Whether a line can be drawn over: a terminal or a notebook."""
    if not is_interactive_logging_enabled():
        return False
    return "ipykernel" in sys.modules or bool(getattr(sys.stdout, "isatty", bool)())


def _canshow(text: str) -> bool:
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except (UnicodeError, LookupError):
        return False
    return True
