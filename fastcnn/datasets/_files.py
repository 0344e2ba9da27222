"""Where data files are found: a folder of the user's, the cache, or an official mirror (with a checksum).

Archives are only ever streamed into memory with a limit on their size; nothing is extracted to disk.
"""

import gzip
import hashlib
import os
import tarfile
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from tqdm import tqdm

from fastcnn.errors import Error
from fastcnn.utils.files import CHUNK, TIMEOUT_S, atomic_write, home

READ_ERRORS = (OSError, EOFError, zlib.error, tarfile.TarError)


class RemoteFile(NamedTuple):
    """A file published on the internet. `nbytes` is its exact size, `sha256` the checksum of the whole file."""

    name: str
    urls: tuple[str, ...]
    sha256: str
    nbytes: int


def cache_folder() -> Path:
    """`$FASTCNN_HOME/datasets`, or `~/.cache/fastcnn/datasets`."""
    return home() / "datasets"


def data_folder() -> Path | None:
    """The folder named by `FASTCNN_DATA`, which is looked at before the cache and the internet."""
    folder = os.environ.get("FASTCNN_DATA")
    return Path(folder) if folder else None


def find(dataset: str, name: str) -> Path | None:
    """The local file `name` of a data set, or None.

    Tried in this order: `$FASTCNN_DATA/dataset/name`, `$FASTCNN_DATA/name`, `cache/dataset/name`.
    """
    candidates = [cache_folder() / dataset / name]
    if folder := data_folder():
        loose = [folder / name] if _loose_files_are(dataset, folder) else []
        candidates = [folder / dataset / name, *loose, *candidates]
    return next((path for path in candidates if path.is_file()), None)


def _loose_files_are(dataset: str, folder: Path) -> bool:
    """Fashion-MNIST reuses MNIST's file names, so files lying loose count as its own only in `fashion_mnist/`."""
    named_fashion = folder.name.lower().replace("-", "_") == "fashion_mnist"
    return named_fashion == (dataset == "fashion_mnist")


def locate(dataset: str, file: RemoteFile) -> Path:
    """The local copy of `file`, downloaded into the cache when there is none.

    Files in `FASTCNN_DATA` are the user's own: their content is validated when read, not their checksum.
    """
    return find(dataset, file.name) or download(file, cache_folder() / dataset / file.name)


def download(file: RemoteFile, target: Path) -> Path:
    """Fetch `file` from the first mirror that serves the right bytes; the target appears only when complete."""
    failures = []
    for url in file.urls:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            _fetch(url, file, target)
            return target
        except (OSError, ValueError) as error:
            failures.append(f"{url}: {error}")
    raise Error(
        f"{file.name} is not on this machine and could not be downloaded ({'; '.join(failures)}). "
        f"Download {file.urls[0]} by hand (sha256 {file.sha256}) and put it into {target.parent}, "
        f"or into {target.parent.name}/ in a folder of your choice named by the environment variable FASTCNN_DATA"
    )


def _fetch(url: str, file: RemoteFile, target: Path) -> None:
    with atomic_write(target) as out, urllib.request.urlopen(url, timeout=TIMEOUT_S) as response:
        digest = _copy(response, out, file)
        if digest != file.sha256:
            raise ValueError(f"sha256 is {digest}, expected {file.sha256}")


def _copy(source: BinaryIO, out: BinaryIO, file: RemoteFile) -> str:
    """Copy all of `source`, at most `file.nbytes`; returns the sha256 of what was copied."""
    digest, copied = hashlib.sha256(), 0
    with tqdm(total=file.nbytes, unit="B", unit_scale=True, desc=file.name, disable=None) as bar:
        while block := source.read(CHUNK):
            copied += len(block)
            if copied > file.nbytes:
                raise ValueError(f"longer than the expected {file.nbytes} bytes")
            digest.update(block)
            out.write(block)
            bar.update(len(block))
    return digest.hexdigest()


class _Limited:
    """A stream that refuses to give more than `limit` bytes, whatever its compressed form expands to."""

    def __init__(self, stream: gzip.GzipFile, limit: int):
        self.stream = stream
        self.left = limit

    def read(self, size: int = -1) -> bytes:
        block = self.stream.read(self.left + 1 if size < 0 else min(size, self.left + 1))
        self.left -= len(block)
        if self.left < 0:
            raise OSError("it expands to more bytes than this data set has")
        return block


def read_gzip(path: Path, limit: int) -> bytes:
    """The uncompressed content of a `.gz` file, at most `limit` bytes long."""
    try:
        with gzip.open(path, "rb") as stream:
            return _Limited(stream, limit).read()
    except READ_ERRORS as error:
        raise _damaged(path, error) from error


def tar_members(path: Path, wanted: Callable[[str], int], limit: int) -> Iterator[tuple[str, bytes]]:
    """Yield (name, content) of the regular files of a `.tar.gz` that `wanted(name)` gives a size limit above 0.

    Names select members and never become paths; links, devices and unwanted members are passed over.
    `limit` bounds the bytes of the whole uncompressed archive.
    """
    try:
        with gzip.open(path, "rb") as stream:
            limited = cast(BinaryIO, _Limited(stream, limit))
            with tarfile.open(fileobj=limited, mode="r|") as archive:
                yield from _regular_members(archive, wanted)
    except READ_ERRORS as error:
        raise _damaged(path, error) from error


def _regular_members(archive: tarfile.TarFile, wanted: Callable[[str], int]) -> Iterator[tuple[str, bytes]]:
    for member in archive:
        most = wanted(member.name) if member.isreg() else 0
        stream = archive.extractfile(member) if most > 0 else None
        if stream is None:
            continue
        if member.size > most:
            raise OSError(f"member {member.name!r} has {member.size} bytes, at most {most} were expected")
        yield member.name, stream.read()


def read_tar(path: Path, sizes: dict[str, int], limit: int) -> dict[str, bytes]:
    """The members named in `sizes` (name -> most bytes allowed), all of which must be there, once."""
    found: dict[str, bytes] = {}
    for name, content in tar_members(path, lambda name: sizes.get(name, 0), limit):
        if name in found:
            raise Error(f"{path}: the archive holds {name!r} twice; delete the file and download it again")
        found[name] = content
    if missing := sorted(set(sizes) - set(found)):
        raise Error(f"{path}: the archive lacks {', '.join(missing)}; delete the file and download it again")
    return found


def _damaged(path: Path, error: Exception) -> Error:
    reason = str(error) or type(error).__name__
    return Error(f"{path}: cannot be read as an archive: {reason}; delete the file and download it again")
