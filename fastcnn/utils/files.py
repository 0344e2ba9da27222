"""Files from the internet: downloaded once, checked, and unpacked without leaving their folder."""

import hashlib
import os
import secrets
import shutil
import tarfile
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from tqdm import tqdm

from fastcnn.errors import Error

CHUNK = 1 << 18  # bytes
TIMEOUT_S = 30
SCHEMES = ("http", "https", "file", "ftp")
HASHES = {32: "md5", 64: "sha256"}  # by the number of their hexadecimal digits


def get_file(
    fname: Any = None,
    origin: str | None = None,
    untar: bool = False,
    md5_hash: str | None = None,
    file_hash: str | None = None,
    cache_subdir: str = "datasets",
    hash_algorithm: str = "auto",
    extract: bool = False,
    archive_format: Any = "auto",
    cache_dir: Any = None,
    force_download: bool = False,
) -> str:
    """The path of the file behind the URL `origin`, downloaded unless it lies in the cache already.

    fname: its name there, by default that of the URL. file_hash: what it must be, sha256 or md5 in hexadecimal
    digits; a cached file that differs is downloaded again, a download that differs is an `Error`.
    extract, untar: unpack the archive and return the folder; archive_format "tar", "zip" or "auto". Members that
    point out of the folder are an `Error`. The cache is `$FASTCNN_HOME` or ~/.cache/fastcnn, or `cache_dir`, with
    `cache_subdir` in it. A file or folder appears only when it is complete.
    """
    if not origin:
        raise Error("get_file: give origin, the URL of the file")
    name = _file_name(fname, origin)
    folder = Path(cache_dir).expanduser() if cache_dir else home()
    unpacks = extract or untar
    target, unpacked = _places(folder / cache_subdir, name, bool(fname), unpacks)
    expected = file_hash or md5_hash
    algorithm = _algorithm("md5" if md5_hash and not file_hash else hash_algorithm, expected)
    if (
        force_download
        or not target.exists()
        or (expected and file_digest(target, algorithm) != expected.lower())
    ):
        download(origin, target, algorithm, expected)
        shutil.rmtree(unpacked, ignore_errors=True)
    if unpacks and not unpacked.exists():
        _unpack(target, unpacked, "tar" if untar else archive_format)
    return str(unpacked if unpacks else target)


def home() -> Path:
    """`$FASTCNN_HOME`, or `~/.cache/fastcnn`."""
    folder = os.environ.get("FASTCNN_HOME")
    return Path(folder) if folder else Path.home() / ".cache" / "fastcnn"


def _file_name(fname: Any, origin: str) -> str:
    name = os.fspath(fname) if fname else os.path.basename(urllib.parse.urlsplit(origin).path)
    if not name or name in (".", "..") or "/" in name or "\\" in name or os.sep in name:
        raise Error(
            f"get_file: {name!r} is no file name; give fname without folders, and cache_dir for the folder"
        )
    return name


def _places(folder: Path, name: str, is_named: bool, unpacks: bool) -> tuple[Path, Path]:
    """Where the file lies, and the folder it is unpacked into."""
    if unpacks and is_named and "." in name:
        return folder / name, folder / f"{name.partition('.')[0]}_extracted"
    return folder / (f"{name}_archive" if unpacks else name), folder / name


def _algorithm(name: str, digest: str | None) -> str:
    if name not in ("auto", "md5", "sha256"):
        raise Error(f"get_file: hash_algorithm must be 'auto', 'md5' or 'sha256', got {name!r}")
    found = HASHES.get(len(digest)) if digest else "sha256"
    if found is None or (digest and name not in ("auto", found)):
        raise Error(f"get_file: {digest!r} is no {name if name != 'auto' else 'md5 or sha256'} checksum")
    return found


def file_digest(path: Path, algorithm: str) -> str:
    """The checksum of a file in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def download(url: str, target: Path, algorithm: str, expected: str | None) -> None:
    """Fetch a URL into a file that appears only when it is complete and has the expected checksum."""
    if urllib.parse.urlsplit(url).scheme not in SCHEMES:
        raise Error(f"{url}: expected a URL that starts with {', '.join(SCHEMES)}")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with atomic_write(target) as out, urllib.request.urlopen(url, timeout=TIMEOUT_S) as response:
            digest = _copy(response, out, hashlib.new(algorithm, usedforsecurity=False), target.name)
            if expected and digest != expected.lower():
                raise Error(f"{url}: the {algorithm} checksum of what came is {digest}, expected {expected}")
    except OSError as error:
        raise Error(f"{url} could not be downloaded ({error}); download it by hand to {target}") from error


def _copy(response: Any, out: BinaryIO, digest: Any, name: str) -> str:
    announced = response.headers.get("Content-Length")
    copied, total = 0, int(announced) if announced and announced.isdecimal() else None
    with tqdm(total=total, unit="B", unit_scale=True, desc=name, disable=None) as bar:
        while block := response.read(CHUNK):
            digest.update(block)
            out.write(block)
            bar.update(len(block))
            copied += len(block)
    if total is not None and copied != total:
        raise OSError(f"{copied} of {total} bytes came")
    return str(digest.hexdigest())


@contextmanager
def atomic_write(target: Path) -> Iterator[BinaryIO]:
    """A file to write that takes the place of `target` when all went well; several processes may do this at once."""
    temporary = _beside(target)
    try:
        with temporary.open("xb") as out:
            yield out
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def _beside(target: Path) -> Path:
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}")


# --- archives --------------------------------------------------------------------------------------------------


def _unpack_tar(tar: tarfile.TarFile, folder: Path) -> None:
    """Unpack files and folders; whatever else is in there, or wants to be elsewhere, is an error."""
    if hasattr(tarfile, "data_filter"):
        tar.extractall(folder, filter="data")
        return
    members = tar.getmembers()  # Python 3.11 before 3.11.4 has no filters
    _check_members([member.name for member in members], folder)
    if odd := [member.name for member in members if not (member.isfile() or member.isdir())]:
        raise Error(f"{tar.name!r} holds {odd[0]!r}, which is neither a file nor a folder")
    for member in members:
        member.mode = 0o755 if member.isdir() else 0o644
    tar.extractall(folder, members)


def _unpack(path: Path, target: Path, archive_format: Any) -> None:
    """Unpack an archive into a folder that appears only when it is complete."""
    formats = ("tar", "zip") if archive_format == "auto" else archive_format
    wanted = [formats] if isinstance(formats, str) else list(formats or ())
    temporary = _beside(target)
    try:
        temporary.mkdir()
        if "tar" in wanted and tarfile.is_tarfile(path):
            with tarfile.open(path) as tar:
                _unpack_tar(tar, temporary)
        elif "zip" in wanted and zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                _check_members(archive.namelist(), temporary)
                archive.extractall(temporary)
        else:
            raise Error(f"{path} is no archive of the format {' or '.join(wanted) or 'None'}")
        os.replace(temporary, target)
    except (OSError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise Error(f"{path} could not be unpacked ({error}); delete it and download it again") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _check_members(names: Iterable[str], folder: Path) -> None:
    inside = folder.resolve()
    for name in names:
        if not (inside / name).resolve().is_relative_to(inside):
            raise Error(f"the archive's member {name!r} would be written outside its folder")
