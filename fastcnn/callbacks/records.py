"""Callbacks that write down what happened: in memory, to a file, to a server."""

import csv
import json
import os
import urllib.parse
import urllib.request
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fastcnn.callbacks.base import Callback, Logs
from fastcnn.errors import Error


class History(Callback):
    """Remembers the logs of every epoch: `history` maps a name to its list of values.

    `epoch` lists the epochs that ended. `fit` returns one of these.
    """

    def __init__(self) -> None:
        super().__init__()
        self.history: dict[str, list[Any]] = {}
        self.epoch: list[int] = []

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.history, self.epoch = {}, []

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)


class CSVLogger(Callback):
    """Writes a row for each epoch: `epoch` (from 0) and the logs, sorted by name.

    With `append` rows are added to an existing file, under its header. A value that is missing in an epoch is
    written as NA and None as nothing; a log that turns up later becomes a new column.
    """

    def __init__(self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False):
        super().__init__()
        self.filename = os.fspath(filename)
        self.separator = separator
        self.append = append
        self._fields: list[str] = []

    def on_train_begin(self, logs: Logs | None = None) -> None:
        path = Path(self.filename)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("a" if self.append else "w").close()
        with path.open(newline="") as file:
            self._fields = next(csv.reader(file, delimiter=self.separator), [])

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        row = {"epoch": epoch, **{name: _cell(value) for name, value in (logs or {}).items()}}
        new = [name for name in ("epoch", *sorted(row.keys() - {"epoch"})) if name not in self._fields]
        if new:
            earlier = self._read()
            self._fields += new
            self._write([*earlier, row])
        else:
            with open(self.filename, "a", newline="") as file:
                self._writer(file).writerow(row)

    def _write(self, rows: list[dict[str, Any]]) -> None:
        """Write the file anew."""
        with open(self.filename, "w", newline="") as file:
            writer = self._writer(file)
            writer.writeheader()
            writer.writerows(rows)

    def _writer(self, file: Any) -> Any:
        return csv.DictWriter(file, self._fields, restval="NA", delimiter=self.separator)

    def _read(self) -> list[dict[str, str]]:
        with open(self.filename, newline="") as file:
            return list(csv.DictReader(file, delimiter=self.separator))


def _cell(value: Any) -> Any:
    return f"[{', '.join(map(str, value))}]" if isinstance(value, list | tuple | np.ndarray) else value


class RemoteMonitor(Callback):
    """Sends `epoch` (from 0) and the logs of every epoch to a server, by HTTP POST to the URL root + path.

    They are JSON: the body with `send_as_json`, else the value of `field` in a form. headers: more header lines. A
    server that does not answer is warned of.
    """

    timeout_s = 10.0

    def __init__(
        self,
        root: str = "http://localhost:9000",
        path: str = "/publish/epoch/end/",
        field: str = "data",
        headers: Mapping[str, str] | None = None,
        send_as_json: bool = False,
    ):
        super().__init__()
        if not root.startswith(("http://", "https://")):
            raise Error(f"RemoteMonitor: root must start with http:// or https://, got {root!r}")
        self.root = root
        self.path = path
        self.field = field
        self.headers = headers
        self.send_as_json = send_as_json

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        content = json.dumps({"epoch": epoch, **(logs or {})}, default=np.ndarray.tolist)
        kind, body = "application/json", content
        if not self.send_as_json:
            kind, body = "application/x-www-form-urlencoded", urllib.parse.urlencode({self.field: content})
        headers = {"Content-Type": kind, **(self.headers or {})}
        request = urllib.request.Request(self.root + self.path, body.encode(), headers)
        try:
            urllib.request.urlopen(request, timeout=self.timeout_s).close()
        except OSError as error:
            warnings.warn(f"RemoteMonitor: {self.root} did not take the logs ({error})", stacklevel=2)
