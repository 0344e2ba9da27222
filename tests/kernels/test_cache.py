"""Compiled kernels on disk: found again, private, and never in the way, whatever happens to the files."""

import ctypes
import errno
import importlib.util
import os
import pickle
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from fastcnn_kernels import jit, team
from fastcnn_kernels.jit import Kernel


def scale(x, y, factor, first, last):
    """y = factor x."""
    for i in range(first, last):
        y[i] = factor * x[i]


def shift(x, y, term, first, last):
    """y = x + term."""
    for i in range(first, last):
        y[i] = x[i] + term


class Process:
    """What a new process would find: a kernel that has compiled nothing yet."""

    def __init__(self, function: Callable = scale):
        self.kernel = Kernel(function, lambda x, y, number: x.size)
        self.function = function

    def result(self, dtype: str = "float64") -> np.ndarray:
        x = np.arange(5, dtype=dtype)
        self.kernel(x, y := np.full_like(x, np.nan), 3.0)
        return y

    def is_right(self, dtype: str = "float64") -> bool:
        x = np.arange(5, dtype=dtype)
        return np.array_equal(self.result(dtype), 3 * x if self.function is scale else x + 3)

    def compiles(self, dtype: str = "float64") -> bool:
        """Computes; whether that took the compiler rather than the cache."""
        before = self.kernel.compilations
        assert self.is_right(dtype)
        assert self.kernel.compilations + self.kernel.cache_hits == 1
        return self.kernel.compilations > before


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache; where its files will be."""
    registry = dict(Kernel.registry)
    monkeypatch.setenv("FASTCNN_CACHE_DIR", str(tmp_path / "cache"))
    yield jit.cache_folder()
    Kernel.registry.clear()
    Kernel.registry.update(registry)


def only_file(folder: Path) -> Path:
    (file,) = folder.iterdir()
    return file


# --- what is kept --------------------------------------------------------------------------------------------


def test_second_process_does_not_compile(folder: Path) -> None:
    assert Process().compiles()
    assert not Process().compiles()


def test_each_combination_of_types_is_kept(folder: Path) -> None:
    first, second = Process(), Process()
    assert first.is_right("float32")
    assert first.is_right("float64")
    assert len(list(folder.iterdir())) == first.kernel.compilations == 2
    assert second.is_right("float64")
    assert second.is_right("float32")
    assert (second.kernel.compilations, second.kernel.cache_hits) == (0, 2)


def test_files_are_for_the_owner_alone(folder: Path) -> None:
    Process().result()
    if os.name != "nt":
        assert folder.stat().st_mode & 0o777 == 0o700
        assert only_file(folder).stat().st_mode & 0o777 == 0o600


def test_functions_of_one_name_are_kept_apart(folder: Path) -> None:
    def scale(x, y, factor, first, last):
        for i in range(first, last):
            y[i] = factor * x[i] + 1

    assert Process().compiles()
    np.testing.assert_array_equal(Process(scale).result(), 3 * np.arange(5.0) + 1)
    assert not Process().compiles()


def test_closures_are_not_kept(folder: Path) -> None:
    for constant in (1.0, 2.0):

        def closure(x, y, factor, first, last):
            for i in range(first, last):
                y[i] = factor * x[i] + constant  # noqa: B023

        np.testing.assert_array_equal(Process(closure).result(), 3 * np.arange(5.0) + constant)
    assert not folder.exists()


LABS = ctypes.CDLL(None).labs if os.name != "nt" else ctypes.cdll.msvcrt.labs
LABS.argtypes, LABS.restype = [ctypes.c_long], ctypes.c_long


def test_addresses_in_this_process_are_not_kept(folder: Path) -> None:
    def absolute(x, y, number, first, last):
        for i in range(first, last):
            y[i] = LABS(int(-x[i]))

    np.testing.assert_array_equal(Process(absolute).result(), np.arange(5.0))
    assert not folder.exists()


def test_functions_without_a_file_are_not_kept(folder: Path) -> None:
    names: dict[str, Callable] = {}
    exec("def typed_in(x, y, z, first, last):\n    for i in range(first, last): y[i] = z * x[i]", names)
    np.testing.assert_array_equal(Process(names["typed_in"]).result(), 3 * np.arange(5.0))
    assert not folder.exists()


def test_compiler_settings_are_kept_apart(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Process().compiles()
    monkeypatch.setattr(jit, "_COMPILER", ("another Numba", *jit._COMPILER[1:]))
    assert Process().compiles()
    monkeypatch.undo()


# --- damage --------------------------------------------------------------------------------------------------


def checked(content: bytes) -> bytes:
    """A file whose checksum is right."""
    return jit.hashlib.sha256(content).digest() + content


def flipped(content: bytes) -> bytes:
    position = random.randrange(8 * len(content))
    changed = bytearray(content)
    changed[position // 8] ^= 1 << position % 8
    return bytes(changed)


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "shorter than the checksum": lambda content: content[:20],
    "only the checksum": lambda content: content[:32],
    "half": lambda content: content[: len(content) // 2],
    "last byte missing": lambda content: content[:-1],
    "one byte more": lambda content: content + b"x",
    "a bit flipped": flipped,
    "zeros": lambda content: bytes(len(content)),
    "not a pickle": lambda content: checked(b"not a pickle"),
    "a pickle of something else": lambda content: checked(pickle.dumps((1, 2, 3))),
    "from Numba itself": lambda content: content[32:],
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_file_is_replaced(name: str, folder: Path) -> None:
    Process().result()
    file = only_file(folder)
    file.write_bytes(DAMAGE[name](file.read_bytes()))
    assert Process().compiles()
    assert only_file(folder) == file
    assert not Process().compiles()


def test_no_flipped_bit_goes_unnoticed(folder: Path) -> None:
    Process().result()
    file = only_file(folder)
    content = file.read_bytes()
    for _ in range(500):
        file.write_bytes(flipped(content))
        with pytest.raises(ValueError, match="is damaged"):
            jit.read_file(file)


def test_file_of_other_types_is_not_used(folder: Path) -> None:
    first = Process()
    first.result("float64")
    file = only_file(folder)
    first.result("float32")
    (other,) = set(folder.iterdir()) - {file}
    shutil.copy(other, file)
    assert Process().compiles("float64")


def test_deleted_file_or_folder(folder: Path) -> None:
    Process().result()
    only_file(folder).unlink()
    assert Process().compiles()
    shutil.rmtree(folder)
    assert Process().compiles()
    assert not Process().compiles()


def test_a_folder_in_place_of_a_file(folder: Path) -> None:
    Process().result()
    file = only_file(folder)
    file.unlink()
    file.mkdir()
    assert Process().compiles()
    assert list(folder.iterdir()) == [file]


# --- folders that cannot be used -----------------------------------------------------------------------------


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    assert Process().compiles()
    assert Process().compiles()


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="no folder that nobody may write to")
def test_a_folder_that_cannot_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTCNN_CACHE_DIR", "/proc/self")
    assert Process().compiles()


@pytest.mark.skipif(os.name == "nt" or os.getuid() == 0, reason="permissions do not bind this user")
def test_read_only_folder(folder: Path) -> None:
    Process().result("float64")
    folder.chmod(0o500)
    assert not Process().compiles("float64")
    assert Process().compiles("float32")
    only_file(folder).chmod(0)
    assert Process().compiles("float64")
    folder.chmod(0)
    assert Process().compiles("float64")
    folder.chmod(0o700)


CALLS = [(os, "stat"), (os, "makedirs"), (jit.tempfile, "mkstemp"), (os, "replace"), (Path, "read_bytes")]


@pytest.mark.parametrize(("owner", "name"), CALLS, ids=[name for _, name in CALLS])
@pytest.mark.parametrize("code", [errno.EACCES, errno.ENOSPC, errno.EIO], ids=errno.errorcode.get)
def test_calls_that_fail(owner: object, name: str, code: int, folder: Path) -> None:
    Process().result("float64")

    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, fail)
        assert Process(scale).is_right("float64")
        assert Process(shift).is_right("float64")
    assert not list(folder.glob("*.tmp"))
    assert not Process(scale).compiles("float64")
    assert Process(shift).is_right("float64")


def test_full_disk(folder: Path) -> None:
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        assert Process().compiles()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(folder.iterdir())


def test_interrupt_while_writing_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", interrupt)
        with pytest.raises(KeyboardInterrupt):
            Process().result()
    assert not list(folder.iterdir())
    assert Process().compiles()


# --- folders that are not to be trusted ----------------------------------------------------------------------


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_folder_that_others_may_write_to_is_refused(mode: int, folder: Path) -> None:
    Process().result("float64")
    folder.chmod(mode)
    assert Process().compiles("float64")
    assert Process().compiles("float32")
    assert len(list(folder.iterdir())) == 1
    folder.chmod(0o755)
    assert not Process().compiles("float64")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_folder_of_another_user_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Process().result("float64")
    me = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: me + 1)
    assert Process().compiles("float64")
    assert Process().compiles("float32")
    assert len(list(folder.iterdir())) == 1


# --- where the folder is -------------------------------------------------------------------------------------


def test_folder_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "numba"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert jit.cache_folder().parent == tmp_path / "cache"
    monkeypatch.delenv("FASTCNN_CACHE_DIR")
    assert jit.cache_folder().parent == tmp_path / "numba"
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    if sys.platform.startswith("linux"):
        assert jit.cache_folder().parent == tmp_path / "xdg" / "fastcnn"
        monkeypatch.setenv("XDG_CACHE_HOME", "")
        assert jit.cache_folder().parent == Path.home() / ".cache" / "fastcnn"


def test_a_user_without_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for variable in ("FASTCNN_CACHE_DIR", "NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(Path, "home", fail)
    assert jit.tempfile.gettempdir() in str(jit.cache_folder())


def copy_of_the_package(to: Path) -> Path:
    return shutil.copytree(Path(jit.__file__).parent, to, ignore=shutil.ignore_patterns("__pycache__"))


def folder_of_copy(package: Path) -> Path:
    spec = importlib.util.spec_from_file_location("copy_of_jit", package / "jit.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.cache_folder()


def test_every_edit_of_the_package_makes_a_new_folder(tmp_path: Path, folder: Path) -> None:
    package = copy_of_the_package(tmp_path / "copy")
    assert folder_of_copy(package) == folder
    for name in ("elementwise.py", "jit.py"):
        with open(package / name, "a") as file:
            file.write("# edited\n")
    (package / "another.py").write_text("")
    assert folder_of_copy(package) != folder
    assert folder_of_copy(package).parent == folder.parent


def test_command_line_clears_all_versions(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from fastcnn.__main__ import main

    Process().result()
    old = folder.with_name("kernels-0123456789abcdef")
    old.mkdir()
    (old / "scale.nbc").write_bytes(bytes(3_000_000))
    assert main(["cache", "info"]) == 0
    shown = capsys.readouterr().out
    assert str(folder) in shown
    assert "old versions  3.0 MB" in shown
    assert main(["cache", "clear"]) == 0
    assert not folder.exists()
    assert not old.exists()
    assert Process().compiles()


# --- real processes ------------------------------------------------------------------------------------------

SCRIPT = """
import numpy as np
from numba.core import event

class Compilations(event.Listener):
    count = 0
    def on_start(self, event):
        self.count += 1
    def on_end(self, event):
        pass

event.register("numba:compile", compilations := Compilations())
from fastcnn_kernels.activation import relu_forward
from fastcnn_kernels.elementwise import add
x = np.linspace(-1, 1, 9001, dtype=np.float32)
add(x, x, doubled := np.empty_like(x))
relu_forward(doubled, y := np.empty_like(x))
assert np.array_equal(y, np.maximum(2 * x, 0))
kernels = [add, relu_forward]
print(sum(k.compilations for k in kernels), sum(k.cache_hits for k in kernels), compilations.count)
"""


WARMUP = """
from fastcnn.cli.warmup import warmup
from fastcnn.plan.progress import compile_progress
from fastcnn_kernels.jit import Kernel
with compile_progress(False):
    warmup()
kernels = Kernel.registry.values()
print(sum(k.compilations for k in kernels), sum(k.cache_hits for k in kernels), compilations.count)
"""


def start(script: str = SCRIPT) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    pipe = subprocess.PIPE
    command = [sys.executable, "-W", "error", "-c", script]
    return subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True)


def finish(process: subprocess.Popen[str]) -> list[int]:
    output, errors = process.communicate(timeout=500)
    assert (process.returncode, errors) == (0, "")
    return [int(number) for number in output.split()]


def test_four_processes_at_once_and_a_fifth(folder: Path) -> None:
    for process in [start() for _ in range(4)]:
        compiled, loaded, _ = finish(process)
        assert compiled + loaded == 2
    assert finish(start()) == [0, 2, 0]
    assert not list(folder.glob("*.tmp"))


@pytest.mark.slow
def test_no_kernel_of_the_package_is_compiled_twice(folder: Path) -> None:
    everything = SCRIPT.partition("from fastcnn_kernels")[0] + WARMUP
    compiled, loaded, _ = finish(start(everything))
    assert compiled > 100 and not loaded
    assert finish(start(everything)) == [0, compiled, 0]


def test_team_functions_are_kept_too() -> None:
    assert all(isinstance(function._cache, jit.KernelCache) for function in (team.serve, team.lead))
