"""Every CPU kernel has a CUDA kernel of the same name and parameters, in the file beside it. Read from the text."""

import ast
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "kernels" / "fastcnn_kernels"
CUDA_FILES = sorted(FOLDER.glob("*_cuda.py"))
CPU_FILES = sorted(path for path in FOLDER.glob("*.py") if path not in CUDA_FILES)

# Algorithms that only processors gain from, and the kernel that does the same on a device.
CPU_ONLY = {
    "amx_add_gradients": "reduce_sum",
    "amx_backward_weights": "conv_backward_weights",
    "amx_forward": "conv_forward",
    "amx_pack_weights": "conv_pack_weights",
    "lanes_backward_weights": "conv_backward_weights",
    "lanes_forward": "conv_forward",
    "lanes_rotate_weights": "conv_pack_weights_transposed",
    "nms_few": "nms_greedy",
    "winograd_backward_weights": "conv_backward_weights",
    "winograd_forward": "conv_forward",
    "winograd_weights": "conv_pack_weights",
    "winograd_weights_rotated": "conv_pack_weights_transposed",
}
OF_THE_TEAM = {"run_blocks"}  # executes lists of launches on the team of threads


def kernels(paths: list[Path], *decorators: str) -> dict[str, tuple[str, ast.FunctionDef]]:
    """Name -> (family, function) of the kernels in the files."""
    found: dict[str, tuple[str, ast.FunctionDef]] = {}
    for path in paths:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and any(
                ast.unparse(d).split("(")[0] in decorators for d in node.decorator_list
            ):
                found[node.name] = path.stem.removesuffix("_cuda"), node
    return found


def parameters(function: ast.FunctionDef) -> list[str]:
    """Those of a kernel without the range of items; of a function of a tile, those of the kernel that it makes."""
    names = [argument.arg for argument in function.args.args]
    if names == ["tile"]:
        (inner,) = [
            node for node in function.body if isinstance(node, ast.FunctionDef) and node.name == "kernel"
        ]
        return parameters(inner)
    return [name for name in names if name not in ("first", "last", "thread")]


CPU, CUDA = (
    kernels(CPU_FILES, "cpu_kernel"),
    kernels(CUDA_FILES, "cuda_kernel", "tensor_kernel", "tensor_kernel_with", "parts_kernel"),
)


@pytest.mark.parametrize("name", sorted(CPU.keys() - CPU_ONLY.keys() - OF_THE_TEAM))
def test_pair(name: str) -> None:
    assert name in CUDA, "no CUDA kernel of this name"
    (family, on_cpu), (cuda_family, on_cuda) = CPU[name], CUDA[name]
    assert (cuda_family, parameters(on_cuda)) == (family, parameters(on_cpu))
    assert ast.get_docstring(on_cuda)


def test_no_kernel_without_a_pair() -> None:
    """But those for tensor cores, which have the plain kernel beside them."""
    others = CUDA.keys() - CPU.keys()
    assert {name for name in others if not name.endswith("_tf32")} == set()
    assert {name.removesuffix("_tf32") for name in others} <= CUDA.keys()
    assert CUDA.keys() & CPU_ONLY.keys() == set()


def test_algorithms_of_processors_have_another_for_devices() -> None:
    assert CPU_ONLY.keys() <= CPU.keys()
    assert set(CPU_ONLY.values()) <= CUDA.keys()


def test_nothing_is_added_atomically() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in CUDA_FILES)
    assert "atomic" not in text


def test_one_file_imports_the_target() -> None:
    importing = [
        path.name for path in sorted(FOLDER.glob("*.py")) if "numba.cuda" in path.read_text(encoding="utf-8")
    ]
    assert importing == ["cuda.py"]


def test_shared_arrays_are_made_one_a_line() -> None:
    """The simulator tells them apart by the line."""
    for path in CUDA_FILES:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            assert line.count("shared.array(") <= 1, f"{path.name}:{number}"
