"""Data sets: the shipped one, and readers tried on small archives made here, sound and hostile."""

import gzip
import hashlib
import io
import os
import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest

import fastcnn.datasets._files as files
from fastcnn.datasets import _cifar, _idx, cifar10, cifar100, digits, fashion_mnist, mnist
from fastcnn.errors import Error

REAL_DATA = os.environ.get("FASTCNN_DATA")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty FASTCNN_DATA, an empty cache, and no internet."""
    data = tmp_path / "data"
    data.mkdir()
    monkeypatch.setenv("FASTCNN_DATA", str(data))
    monkeypatch.setenv("FASTCNN_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("urllib.request.urlopen", _offline)
    return data


def _offline(url, timeout):
    raise OSError("no route to host")


def idx(array: np.ndarray) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def digit_images(n: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(n)
    return random.integers(0, 256, (n, 28, 28), np.uint8), random.integers(0, 10, n).astype(np.uint8)


def write_idx(folder: Path, train: int = 7, test: int = 3) -> None:
    folder.mkdir(exist_ok=True)
    for prefix, n in (("train", train), ("t10k", test)):
        x, y = digit_images(n)
        (folder / f"{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(x)))
        (folder / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(y)))


def cifar_records(n: int, label_bytes: int = 1, seed: int = 0) -> tuple[np.ndarray, np.ndarray, bytes]:
    """Images (n, 32, 32, 3), labels (n, label_bytes), and the file that holds them."""
    random = np.random.default_rng(seed)
    x = random.integers(0, 256, (n, 32, 32, 3), np.uint8)
    y = random.integers(0, 10, (n, label_bytes)).astype(np.uint8)
    planes = x.transpose(0, 3, 1, 2).reshape(n, -1)
    return x, y, np.concatenate([y, planes], 1).tobytes()


def write_tar(path: Path, members: dict[str, bytes]) -> None:
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def cifar10_members() -> dict[str, bytes]:
    members = {name: cifar_records(2, seed=i)[2] for i, name in enumerate(cifar10.TRAIN)}
    return {**members, cifar10.TEST: cifar_records(3, seed=9)[2]}


def test_digits_are_the_uci_images():
    (x, y), (x_test, y_test) = digits.load_data()
    images = np.concatenate([x, x_test])
    assert images.shape == (1797, 8, 8, 1)
    assert images.dtype == y.dtype == np.uint8
    assert (images.min(), images.max()) == (0, digits.MAX_PIXEL)
    assert np.bincount(np.concatenate([y, y_test])).tolist() == [
        178,
        182,
        177,
        183,
        181,
        182,
        181,
        179,
        174,
        180,
    ]
    assert images.sum() == 561718


def test_digits_split_is_stratified_and_decided_by_the_seed():
    (x, y), (x_test, y_test) = digits.load_data(test_fraction=0.25, seed=3)
    again = digits.load_data(test_fraction=0.25, seed=3)
    other = digits.load_data(test_fraction=0.25, seed=4)
    assert abs(np.bincount(y_test) - 0.25 * np.bincount(np.concatenate([y, y_test]))).max() <= 0.5
    np.testing.assert_array_equal(x, again[0][0])
    assert not np.array_equal(y_test, other[1][1])
    seen = {image.tobytes() for image in x}
    assert sum(image.tobytes() in seen for image in x_test) == 0


def test_digits_refuses_a_senseless_fraction():
    with pytest.raises(Error, match="test_fraction"):
        digits.load_data(test_fraction=1)


@pytest.mark.parametrize("place", ["mnist", "."])
def test_mnist_reads_the_users_folder(folder, place):
    write_idx(folder / place)
    (x, y), (x_test, y_test) = mnist.load_data()
    np.testing.assert_array_equal(x, digit_images(7)[0])
    np.testing.assert_array_equal(y_test, digit_images(3)[1])
    assert x.shape == (7, 28, 28) and y.shape == (7,) and x_test.dtype == np.uint8
    x[0] = 0  # the caller's own memory


def test_loose_mnist_files_are_not_taken_for_fashion_mnist(folder):
    write_idx(folder)
    with pytest.raises(Error, match="could not be downloaded"):
        fashion_mnist.load_data()


def test_loose_fashion_files_are_not_taken_for_mnist(folder, monkeypatch):
    write_idx(folder / "fashion-mnist")
    monkeypatch.setenv("FASTCNN_DATA", str(folder / "fashion-mnist"))
    assert len(fashion_mnist.load_data()[0][0]) == 7
    with pytest.raises(Error, match="could not be downloaded"):
        mnist.load_data()


def test_the_cache_is_looked_at_after_the_users_folder(folder, tmp_path):
    (tmp_path / "home" / "datasets").mkdir(parents=True)
    write_idx(tmp_path / "home" / "datasets" / "mnist", train=5)
    assert len(mnist.load_data()[0][0]) == 5
    write_idx(folder / "mnist", train=7)
    assert len(mnist.load_data()[0][0]) == 7


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(idx(digit_images(3)[0])[:-1], "truncated or damaged", id="one byte short"),
        pytest.param(idx(digit_images(3)[0]) + b"x", "truncated or damaged", id="one byte long"),
        pytest.param(
            b"\0\0\x08\x03\xff\xff\xff\xff" + b"\xff" * 8, "truncated or damaged", id="2^96 pixels announced"
        ),
        pytest.param(idx(digit_images(3)[1]), "not an IDX file", id="labels for images"),
        pytest.param(b"\0\0\x0d\x03" + bytes(20), "not an IDX file", id="floats"),
        pytest.param(b"\0\0", "not an IDX file", id="no header"),
        pytest.param(b"", "not an IDX file", id="empty"),
    ],
)
def test_parse_idx_names_what_is_wrong(content, message):
    with pytest.raises(Error, match=message):
        _idx.parse(content, 3, "images.gz")


@pytest.mark.parametrize("damage", ["truncated", "not gzip", "bomb", "flipped bit"])
def test_mnist_refuses_damaged_files(folder, damage):
    write_idx(folder / "mnist")
    path = folder / "mnist" / mnist.ARCHIVE.train_images.name
    content = path.read_bytes()
    flipped = bytes([*content[:500], content[500] ^ 255, *content[501:]])
    bomb = gzip.compress(bytes(_idx.MOST_BYTES + 1), 1)
    bad = {"truncated": content[:-100], "not gzip": b"<html>", "bomb": bomb, "flipped bit": flipped}
    path.write_bytes(bad[damage])
    with pytest.raises(Error, match=r"train-images.*delete the file and download it again"):
        mnist.load_data()


def test_mnist_refuses_labels_that_do_not_fit(folder):
    write_idx(folder / "mnist")
    (folder / "mnist" / mnist.ARCHIVE.train_labels.name).write_bytes(gzip.compress(idx(digit_images(6)[1])))
    with pytest.raises(Error, match="6 labels"):
        mnist.load_data()
    (folder / "mnist" / mnist.ARCHIVE.train_labels.name).write_bytes(
        gzip.compress(idx(np.full(7, 10, np.uint8)))
    )
    with pytest.raises(Error, match="below 10"):
        mnist.load_data()


class Server:
    """Serves `content` under every address in `good`, and an error elsewhere."""

    def __init__(self, content: bytes, good: tuple[str, ...]):
        self.content = content
        self.good = good
        self.asked: list[str] = []

    def __call__(self, url, timeout):
        self.asked.append(url)
        if url not in self.good:
            raise OSError("HTTP Error 403: Forbidden")
        return io.BytesIO(self.content)


def remote(content: bytes) -> files.RemoteFile:
    return files.RemoteFile(
        "f.gz", ("https://a/f.gz", "https://b/f.gz"), hashlib.sha256(content).hexdigest(), 9
    )


def test_download_tries_the_next_mirror_and_keeps_the_file(monkeypatch, tmp_path):
    server = Server(b"123456789", good=("https://b/f.gz",))
    monkeypatch.setattr("urllib.request.urlopen", server)
    path = files.locate("some", remote(b"123456789"))
    assert path == tmp_path / "home" / "datasets" / "some" / "f.gz"
    assert path.read_bytes() == b"123456789"
    assert files.locate("some", remote(b"123456789")) == path
    assert server.asked == ["https://a/f.gz", "https://b/f.gz"]


@pytest.mark.parametrize(
    ("served", "reason"),
    [
        pytest.param(b"12345678", "sha256 is", id="truncated"),
        pytest.param(b"123456780", "sha256 is", id="altered"),
        pytest.param(b"1234567890" * 99, "longer than the expected 9 bytes", id="oversized"),
    ],
)
def test_download_refuses_wrong_bytes_and_leaves_nothing(monkeypatch, tmp_path, served, reason):
    file = remote(b"123456789")
    monkeypatch.setattr("urllib.request.urlopen", Server(served, good=file.urls))
    with pytest.raises(Error, match=reason):
        files.locate("some", file)
    assert not list((tmp_path / "home" / "datasets" / "some").iterdir())


def test_download_error_says_what_to_do_by_hand(tmp_path):
    with pytest.raises(Error) as error:
        mnist.load_data()
    for part in (
        "no route to host",
        mnist.ARCHIVE.train_images.urls[0],
        mnist.ARCHIVE.train_images.sha256,
        "FASTCNN_DATA",
        str(tmp_path),
    ):
        assert part in str(error.value)


def test_parse_cifar_turns_planes_into_pixels():
    x, y, content = cifar_records(5, label_bytes=2)
    images, labels = _cifar.parse(content, 2, "train.bin")
    np.testing.assert_array_equal(images, x)
    np.testing.assert_array_equal(labels, y)


def test_cifar10_reads_the_binary_archive(folder):
    write_tar(folder / "cifar10" / cifar10.ARCHIVE.name, cifar10_members())
    (x, y), (x_test, y_test) = cifar10.load_data()
    assert x.shape == (10, 32, 32, 3) and y.shape == (10, 1) and x.dtype == y.dtype == np.uint8
    np.testing.assert_array_equal(x[2:4], cifar_records(2, seed=1)[0])
    np.testing.assert_array_equal(y_test, cifar_records(3, seed=9)[1])


@pytest.mark.parametrize(("mode", "column"), [("coarse", 0), ("fine", 1)])
def test_cifar100_reads_the_binary_archive(folder, mode, column):
    x, y, content = cifar_records(4, label_bytes=2)
    write_tar(folder / cifar100.ARCHIVE.name, {cifar100.TEST: content[: 2 * 3074], cifar100.TRAIN: content})
    (x_train, y_train), (x_test, _) = cifar100.load_data(mode)
    np.testing.assert_array_equal(x_train, x)
    np.testing.assert_array_equal(y_train, y[:, column : column + 1])
    assert len(x_test) == 2


def test_cifar100_knows_two_kinds_of_labels():
    with pytest.raises(Error, match="'fine' or 'coarse'"):
        cifar100.load_data("medium")


def test_cifar_ignores_hostile_members(folder, tmp_path):
    path = folder / "cifar10" / cifar10.ARCHIVE.name
    evil = {"../../evil.bin": b"x", "/etc/evil": b"x", "cifar-10-batches-py/data_batch_1": pickle.dumps([1])}
    write_tar(path, {**evil, **cifar10_members()})
    before = set(tmp_path.rglob("*"))
    assert len(cifar10.load_data()[0][0]) == 10
    assert set(tmp_path.rglob("*")) == before


def test_cifar_never_follows_links(folder):
    path = folder / "cifar10" / cifar10.ARCHIVE.name
    members = cifar10_members()
    del members[cifar10.TEST]
    write_tar(path, members)
    content = gzip.decompress(path.read_bytes())
    link = tarfile.TarInfo(cifar10.TEST)
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    path.write_bytes(gzip.compress(link.tobuf() + content))
    with pytest.raises(Error, match=r"lacks cifar-10-batches-bin/test_batch.bin"):
        cifar10.load_data()


def test_cifar_refuses_an_oversized_member(folder):
    members = cifar10_members()
    members[cifar10.TEST] = bytes(cifar10.BATCH_BYTES + 1)
    write_tar(folder / "cifar10" / cifar10.ARCHIVE.name, members)
    with pytest.raises(Error, match="at most 30730000 were expected"):
        cifar10.load_data()


def test_cifar_refuses_an_archive_that_expands_too_far(folder, monkeypatch):
    monkeypatch.setattr(_cifar, "MOST_BYTES", 100_000)
    write_tar(folder / "cifar10" / cifar10.ARCHIVE.name, {"padding": bytes(200_000), **cifar10_members()})
    with pytest.raises(Error, match="expands to more bytes"):
        cifar10.load_data()


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_cifar_refuses_a_truncated_archive(folder, kept):
    path = folder / "cifar10" / cifar10.ARCHIVE.name
    write_tar(path, cifar10_members())
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(Error, match="cannot be read as an archive"):
        cifar10.load_data()


def test_cifar_refuses_a_member_twice(folder):
    path = folder / "cifar10" / cifar10.ARCHIVE.name
    write_tar(path, cifar10_members())
    once = gzip.decompress(path.read_bytes())
    write_tar(path, {cifar10.TEST: cifar_records(1)[2]})
    first = gzip.decompress(path.read_bytes())[
        : 512 + 3584
    ]  # header and content without the end of the archive
    path.write_bytes(gzip.compress(first + once))
    with pytest.raises(Error, match="twice"):
        cifar10.load_data()


@pytest.mark.parametrize(
    ("test_batch", "message"),
    [
        pytest.param(b"", "no whole number of records", id="empty"),
        pytest.param(bytes(3072), "no whole number of records", id="one byte short"),
        pytest.param(b"\x0a" + bytes(3072), "label 10 is not below 10", id="label out of range"),
    ],
)
def test_cifar_refuses_wrong_records(folder, test_batch, message):
    write_tar(folder / "cifar10" / cifar10.ARCHIVE.name, {**cifar10_members(), cifar10.TEST: test_batch})
    with pytest.raises(Error, match=message):
        cifar10.load_data()


def jpeg(colour: tuple[int, int, int], size: tuple[int, int] = (32, 32), file_format: str = "JPEG") -> bytes:
    image_module = pytest.importorskip("PIL.Image")
    buffer = io.BytesIO()
    image_module.new("RGB", size, colour).save(buffer, file_format)
    return buffer.getvalue()


def jpeg_members() -> dict[str, bytes]:
    """Two images a class for training, one for the test, in no particular order; the red value tells which."""
    train = {
        f"train/{name}/{number:04d}.jpg": jpeg((label * 20 + number * 5, 0, 0))
        for label, name in enumerate(cifar10.CLASS_NAMES)
        for number in (1, 0)
    }
    return {**train, **{f"test/{name}/0000.jpg": jpeg((9, 9, 9)) for name in cifar10.CLASS_NAMES}}


def test_cifar10_decodes_a_jpeg_archive_once(folder, tmp_path, monkeypatch):
    write_tar(folder / "cifar10" / "cifar10-jpeg.tar.gz", jpeg_members())
    (x, y), (x_test, y_test) = cifar10.load_data()
    assert x.shape == (20, 32, 32, 3) and x.dtype == y.dtype == np.uint8 and x_test.shape == (10, 32, 32, 3)
    assert y[:, 0].tolist() == [*range(10), *range(10)]
    expected = np.array([label * 20 + number * 5 for number in (0, 1) for label in range(10)])
    assert abs(x[..., 0].mean((1, 2)) - expected).max() < 3
    monkeypatch.setattr("fastcnn.datasets._cifar_jpeg._decode", None)
    again = cifar10.load_data()
    np.testing.assert_array_equal(again[0][0], x)
    np.testing.assert_array_equal(again[1][1], y_test)


def test_cifar10_decodes_again_when_the_cache_is_damaged(folder, tmp_path):
    write_tar(folder / "cifar10" / "cifar10-jpeg.tar.gz", jpeg_members())
    x = cifar10.load_data()[0][0]
    for path in (tmp_path / "home").rglob("*.npy"):
        path.write_bytes(path.read_bytes()[:200])
    np.testing.assert_array_equal(cifar10.load_data()[0][0], x)


def test_cifar10_prefers_the_original_pixels(folder):
    write_tar(folder / "cifar10" / "cifar10-jpeg.tar.gz", jpeg_members())
    write_tar(folder / "cifar10" / cifar10.ARCHIVE.name, cifar10_members())
    assert len(cifar10.load_data()[1][0]) == 3


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        pytest.param("train/cat/0000.jpg", lambda: b"no image", "cannot be decoded", id="no image"),
        pytest.param(
            "train/cat/0000.jpg", lambda: jpeg((1, 2, 3))[:400], "cannot be decoded", id="truncated"
        ),
        pytest.param(
            "train/cat/0000.jpg", lambda: jpeg((1, 2, 3), (33, 32)), "33x32, expected 32x32", id="size"
        ),
        pytest.param("train/cat/0000.jpg", lambda: jpeg((1, 2, 3), file_format="PNG"), "decoded", id="PNG"),
        pytest.param("train/cat/0000.jpg", lambda: bytes(1 << 17), "at most 65536", id="oversized"),
        pytest.param("train/unicorn/0000.jpg", lambda: jpeg((1, 2, 3)), "no known class", id="class"),
    ],
)
def test_cifar10_names_the_bad_jpeg(folder, name, make, message):
    write_tar(folder / "cifar10" / "cifar10-jpeg.tar.gz", {**jpeg_members(), name: make()})
    with pytest.raises(Error, match=message) as error:
        cifar10.load_data()
    assert name in str(error.value)


def test_cifar10_needs_both_splits(folder):
    only_test = {name: content for name, content in jpeg_members().items() if name.startswith("test")}
    write_tar(folder / "cifar10" / "cifar10-jpeg.tar.gz", only_test)
    with pytest.raises(Error, match="no train"):
        cifar10.load_data()


def real(name: str, monkeypatch) -> None:
    if not REAL_DATA or not (Path(REAL_DATA) / name).is_dir():
        pytest.skip(f"no folder {name}/ in the folder named by FASTCNN_DATA")
    monkeypatch.setenv("FASTCNN_DATA", REAL_DATA)


def test_real_mnist(monkeypatch):
    real("mnist", monkeypatch)
    (x, y), (x_test, y_test) = mnist.load_data()
    assert x.shape == (60000, 28, 28) and x_test.shape == (10000, 28, 28) and x.dtype == y.dtype == np.uint8
    assert y[:5].tolist() == [5, 0, 4, 1, 9] and y_test[:3].tolist() == [7, 2, 1]
    assert round(float(x.mean() / 255), 4) == 0.1307  # the mean every MNIST script knows


@pytest.mark.slow
def test_real_cifar10(monkeypatch):
    real("cifar10", monkeypatch)
    (x, y), (x_test, y_test) = cifar10.load_data()
    assert x.shape == (50000, 32, 32, 3) and x_test.shape == (10000, 32, 32, 3)
    assert np.bincount(y[:, 0]).tolist() == [5000] * 10 and y_test.shape == (10000, 1)
    assert abs(x.mean((0, 1, 2)) - [125.3, 123.0, 113.9]).max() < 0.2  # the published means of the channels
