"""Rules that can be read from the code: who imports whom, what is never used, what is never missing."""

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FRAMEWORK = sorted((ROOT / "fastcnn").rglob("*.py"))
KERNELS = sorted((ROOT / "kernels" / "fastcnn_kernels").rglob("*.py"))

# The house from the ground up: a module imports only what stands before it, and its own package.
ORDER = """
    version errors config dtypes dtype_policies registry tree tensor graph backend plan ops differentiate
    activations initializers regularizers constraints schedules random data utils preprocessing callbacks
    losses metrics optimizers mixed_precision layers models saving detection datasets cli __init__ __main__
""".split()

MAX_LINES = 60  # of a function, without its docstring


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def each(paths: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", [pytest.param(path, id=name_of(path)) for path in paths])


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def running_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those that only a type checker executes."""
    for child in ast.iter_child_nodes(tree):
        if not (isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING")):
            yield child
            yield from running_nodes(child)


def imports(path: Path) -> Iterator[str]:
    """Full names of the modules (or of the things in them) that a file imports."""
    for node in running_nodes(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}:{node.lineno}: imports are absolute here"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def is_kernel(function: ast.FunctionDef) -> bool:
    return any(ast.unparse(decorator).startswith("cpu_kernel(") for decorator in function.decorator_list)


def kernels_of(path: Path) -> list[ast.FunctionDef]:
    return [function for function in functions(tree_of(path)) if is_kernel(function)]


@cache
def text_of(*folders: str) -> str:
    """All Python text below the folders, file names included."""
    files = [file for folder in folders for file in sorted((ROOT / folder).rglob("*.py"))]
    return "\n".join(f"{file.stem}\n{file.read_text(encoding='utf-8')}" for file in files)


# --- direction of imports ------------------------------------------------------------------------------------


@each(KERNELS)
def test_kernels_need_nothing_of_the_framework(path: Path) -> None:
    allowed = {"numba", "numpy", "llvmlite", "fastcnn_kernels"} | sys.stdlib_module_names
    if path.name == "cuda_code.py":
        allowed.add("cuda")  # the bindings of linker and driver, which come with numba-cuda
    assert {name.split(".")[0] for name in imports(path)} <= allowed


@each(FRAMEWORK)
def test_only_the_backend_runs_kernels(path: Path) -> None:
    """Ops may know the geometry that kernels take; they name kernels through the backend alone."""
    wanted = {
        name for name in imports(path) if name.split(".")[0] in ("numba", "llvmlite", "fastcnn_kernels")
    }
    folder = path.parent.name
    assert folder in ("backend", "ops") or not wanted
    if folder == "ops":
        kernels = {kernel.name for family in KERNELS for kernel in kernels_of(family)}
        modules = {name.split(".")[-1] for name in wanted}
        attributes = {n for n in ast.walk(tree_of(path)) if isinstance(n, ast.Attribute)}
        used = {n.attr for n in attributes if isinstance(n.value, ast.Name) and n.value.id in modules}
        assert not any(name.startswith(("numba", "llvmlite")) for name in wanted)
        assert not (modules | used) & kernels


@each(FRAMEWORK)
def test_imports_point_down(path: Path) -> None:
    here = path.relative_to(ROOT / "fastcnn").parts[0].removesuffix(".py")
    below = set(ORDER[: ORDER.index(here) + 1])
    wanted = {parts[1] for parts in (name.split(".") for name in imports(path)) if parts[0] == "fastcnn"}
    assert wanted <= below, (
        f"{here} may import {', '.join(ORDER[: ORDER.index(here)])}; it imports {wanted - below}"
    )


@pytest.mark.parametrize("package", ["fastcnn", "kernels/fastcnn_kernels"])
def test_every_folder_is_a_package(package: str) -> None:
    folders = {path.parent for path in (ROOT / package).rglob("*.py")}
    assert [name_of(folder) for folder in folders if not (folder / "__init__.py").exists()] == []


# --- what is never used --------------------------------------------------------------------------------------


@each(FRAMEWORK + KERNELS)
def test_nothing_runs_code_from_data(path: Path) -> None:
    banned = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
    if (
        path.name == "jit.py"
    ):  # compiled kernels, in a folder that nobody else can write to, are code by nature
        banned -= {"pickle"}
    assert not {name.split(".")[0] for name in imports(path)} & banned
    called = {ast.unparse(node.func) for node in ast.walk(tree_of(path)) if isinstance(node, ast.Call)}
    assert not called & {"eval", "exec", "compile", "__import__", "builtins.eval", "builtins.exec"}
    if path != ROOT / "fastcnn/backend/cpu.py":  # imports the kernel families, whose names stand in its text
        assert not called & {"importlib.import_module", "import_module"}
    keywords = {ast.unparse(node) for node in ast.walk(tree_of(path)) if isinstance(node, ast.keyword)}
    assert "allow_pickle=True" not in keywords


@each(FRAMEWORK + KERNELS)
def test_one_file_configures_numba(path: Path) -> None:
    compilers = {"jit", "njit", "vectorize", "guvectorize", "cfunc", "stencil"}
    used = {name for name in imports(path) if name.startswith("numba.") and name.split(".")[-1] in compilers}
    assert path.name == "jit.py" or not used


@each(KERNELS)
def test_kernels_call_no_library(path: Path) -> None:
    """Every number is computed by hand-written loops."""
    for kernel in kernels_of(path):
        called = {ast.unparse(node.func) for node in ast.walk(kernel) if isinstance(node, ast.Call)}
        assert not called & {"np.dot", "np.matmul", "np.empty", "np.zeros", "np.ones", "np.sum"}, kernel.name
        assert not any(isinstance(n, ast.BinOp) and isinstance(n.op, ast.MatMult) for n in ast.walk(kernel))


# --- what is never missing -----------------------------------------------------------------------------------


@each(FRAMEWORK + KERNELS)
def test_documented(path: Path) -> None:
    """Modules, public functions and classes, and kernels say what they are."""
    tree = tree_of(path)
    assert ast.get_docstring(tree), "the module has no docstring"
    public = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    ]
    wanted = public if path in FRAMEWORK else kernels_of(path)
    assert [node.name for node in wanted if not ast.get_docstring(node)] == []


@each(FRAMEWORK + KERNELS)
def test_functions_fit_on_a_screen(path: Path) -> None:
    def length(function: ast.FunctionDef) -> int:
        body = function.body[1:] if ast.get_docstring(function) else function.body
        return (function.end_lineno or 0) - body[0].lineno + 1 if body else 0

    found = {function.name: length(function) for function in functions(tree_of(path))}
    assert {name: lines for name, lines in found.items() if lines > MAX_LINES} == {}


@each([path for path in KERNELS if kernels_of(path)])
def test_kernels_are_tested_and_measured(path: Path) -> None:
    """A test names every kernel, or "relu" in a table for relu_forward; a benchmark names the kernel or its family."""
    own_test = ROOT / "tests" / "kernels" / f"test_{path.stem}.py"
    tabled = re.findall(r'"(\w+)"', own_test.read_text(encoding="utf-8"))
    named = set(re.findall(r"\w+", text_of("tests"))) | {
        f"{n}_{way}" for n in tabled for way in ("forward", "backward")
    }
    names = [kernel.name for kernel in kernels_of(path)]
    assert [name for name in names if name not in named] == [], "no test names these kernels"
    assert re.search(rf"\b(bench_)?{path.stem}\b", text_of("bench")), (
        f"no benchmark names the family {path.stem!r}"
    )


def test_kernel_names_are_unique() -> None:
    names = [kernel.name for path in KERNELS for kernel in kernels_of(path)]
    assert sorted({name for name in names if names.count(name) > 1}) == []
