"""Downloads from files: names, checksums, archives and what must not be written."""

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from fastcnn.errors import Error
from fastcnn.utils import get_file
from fastcnn.utils.files import atomic_write

CONTENT = b"numbers\n1,2,3\n"


@pytest.fixture
def origin(tmp_path):
    path = tmp_path / "origin" / "numbers.csv"
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    return path


def tar_of(path, members):
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def zip_of(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def files_below(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_a_file_is_downloaded_once(origin, tmp_path):
    cache = tmp_path / "cache"
    path = get_file(origin=origin.as_uri(), cache_dir=cache)
    assert path == str(cache / "datasets" / "numbers.csv") and Path(path).read_bytes() == CONTENT
    origin.write_bytes(b"new")
    assert Path(get_file(origin=origin.as_uri(), cache_dir=cache)).read_bytes() == CONTENT
    forced = get_file("mine.csv", origin.as_uri(), cache_subdir="a/b", cache_dir=cache, force_download=True)
    assert forced == str(cache / "a/b/mine.csv") and Path(forced).read_bytes() == b"new"
    assert files_below(cache) == ["a/b/mine.csv", "datasets/numbers.csv"]


def test_the_cache_is_where_the_environment_says(origin, tmp_path, monkeypatch):
    monkeypatch.setenv("FASTCNN_HOME", str(tmp_path / "home"))
    assert get_file(origin=origin.as_uri()) == str(tmp_path / "home" / "datasets" / "numbers.csv")


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
def test_checksums(origin, tmp_path, algorithm):
    digest = hashlib.new(algorithm, CONTENT).hexdigest()
    for options in ({}, {"hash_algorithm": algorithm}):
        path = get_file(
            origin=origin.as_uri(), file_hash=digest.upper(), cache_dir=tmp_path / "cache", **options
        )
        assert Path(path).read_bytes() == CONTENT
    Path(path).write_bytes(b"damaged")  # a cached file that differs is fetched again
    assert (
        Path(get_file(origin=origin.as_uri(), file_hash=digest, cache_dir=tmp_path / "cache")).read_bytes()
        == CONTENT
    )


def test_a_wrong_checksum_leaves_nothing(origin, tmp_path):
    with pytest.raises(Error, match=r"sha256 checksum of what came is \w+, expected 0000"):
        get_file(origin=origin.as_uri(), file_hash="0" * 64, cache_dir=tmp_path / "cache")
    with pytest.raises(Error, match="md5 checksum"):
        get_file(origin=origin.as_uri(), md5_hash="0" * 32, cache_dir=tmp_path / "cache")
    assert files_below(tmp_path / "cache") == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "give origin"),
        ({"origin": "https://example.org/"}, "is no file name"),
        ({"origin": "x", "fname": "../up.txt"}, "is no file name"),
        ({"origin": "x", "fname": "a/b"}, "is no file name"),
        ({"origin": "x", "fname": ".."}, "is no file name"),
        ({"origin": "x/y", "file_hash": "12"}, "is no md5 or sha256 checksum"),
        ({"origin": "x/y", "file_hash": "0" * 32, "hash_algorithm": "sha256"}, "is no sha256 checksum"),
        ({"origin": "x/y", "hash_algorithm": "crc"}, "hash_algorithm must be"),
        ({"origin": "gopher://x/y"}, "starts with http"),
        ({"origin": "file:///nowhere/at/all.txt"}, "could not be downloaded"),
    ],
)
def test_what_cannot_be_downloaded(arguments, message, tmp_path):
    with pytest.raises(Error, match=message):
        get_file(**arguments, cache_dir=tmp_path)
    assert files_below(tmp_path) == []


@pytest.mark.parametrize("make", [tar_of, zip_of])
@pytest.mark.parametrize(
    ("fname", "folder"), [(None, "data.bin"), ("flowers", "flowers"), ("flowers.tgz", "flowers_extracted")]
)
def test_archives(make, fname, folder, tmp_path):
    archive = make(tmp_path / "data.bin", {"a.txt": b"1", "inner/b.txt": b"2"})
    path = get_file(fname, archive.as_uri(), extract=True, cache_dir=tmp_path / "cache")
    assert path == str(tmp_path / "cache" / "datasets" / folder)
    assert files_below(tmp_path / "cache" / "datasets" / folder) == ["a.txt", "inner/b.txt"]
    assert get_file(fname, archive.as_uri(), extract=True, cache_dir=tmp_path / "cache") == path


@pytest.mark.parametrize("make", [tar_of, zip_of])
@pytest.mark.parametrize("name", ["../evil.txt", "/tmp/fastcnn-evil.txt", "a/../../../evil.txt"])
def test_archives_stay_in_their_folder(make, name, tmp_path):
    archive = make(tmp_path / "data.bin", {"fine.txt": b"1", name: b"2"})
    cache = tmp_path / "cache"
    try:
        folder = get_file("f", archive.as_uri(), extract=True, cache_dir=cache)
    except Error as error:
        assert "outside" in str(error) or "could not be unpacked" in str(error)
        assert files_below(cache) == ["datasets/f_archive"]
    else:  # tarfile takes the leading slash away
        assert name.startswith("/") and folder == str(cache / "datasets" / "f")
        assert files_below(cache) == [
            "datasets/f/fine.txt",
            "datasets/f/tmp/fastcnn-evil.txt",
            "datasets/f_archive",
        ]
    assert not (tmp_path / "evil.txt").exists()


def test_a_file_that_is_no_archive(origin, tmp_path):
    with pytest.raises(Error, match="is no archive of the format tar or zip"):
        get_file(origin=origin.as_uri(), extract=True, cache_dir=tmp_path / "cache")
    assert files_below(tmp_path / "cache") == ["datasets/numbers.csv_archive"]


def test_an_interrupted_write_leaves_the_earlier_file(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), atomic_write(tmp_path / "a") as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert files_below(tmp_path) == ["a"] and (tmp_path / "a").read_bytes() == b"old"
