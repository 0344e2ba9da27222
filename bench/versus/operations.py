"""python -m bench.versus.operations [WORD]: single operations against PyTorch, forward and backward.

Networks that nobody has compared are made of these. Both run in this process, taking turns of a hundredth of a second,
the shortest counts; the ratio says how many times as fast fastcnn is. PyTorch gets images in the order of channels
last, as they are here. WORD: only operations with it in their name.
"""

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn import functional
from tqdm import tqdm

from bench.measure import alternating, backward_work, forward_work
from fastcnn import ops

BUDGET_S = 0.2  # of each of both, in each direction

Shape = tuple[int, ...]


class Case(NamedTuple):
    """What is compared: two functions of arrays of the same shapes, and the inputs that want gradients."""

    ours: Callable[..., Any]
    theirs: Callable[..., Any]
    shapes: tuple[Shape, ...]
    wanted: tuple[int, ...] | None = None  # None: all

    @property
    def gradients(self) -> tuple[int, ...]:
        return tuple(range(len(self.shapes))) if self.wanted is None else self.wanted


def channels_first(x: torch.Tensor) -> torch.Tensor:
    """The same memory, as PyTorch sees images."""
    return x.permute(0, 3, 1, 2)


def channels_last(x: torch.Tensor) -> torch.Tensor:
    """The way back."""
    return x.permute(0, 2, 3, 1)


def of_images(function: Callable[..., torch.Tensor], **options: Any) -> Callable[..., torch.Tensor]:
    """A function of PyTorch's for images as they are here."""
    return lambda x: channels_last(function(channels_first(x), **options))


def convolution(image: Shape, kernel: Shape, stride: int = 1, dilation: int = 1) -> Case:
    """Convolution with padding "same" of odd kernels; groups follow from the kernel."""
    groups, pad = image[-1] // kernel[2], dilation * (kernel[0] - 1) // 2

    def theirs(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        w = w.permute(3, 2, 0, 1)
        return channels_last(functional.conv2d(channels_first(x), w, None, stride, pad, dilation, groups))

    def ours(x: Any, w: Any) -> Any:
        pads = ((pad, pad), (pad, pad))
        return ops.conv2d(x, w, strides=stride, padding=pads, dilation_rate=dilation)

    return Case(ours, theirs, (image, kernel))


def transposed(image: Shape, kernel: Shape, stride: int) -> Case:
    """Transposed convolution that crops nothing."""

    def theirs(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        w = w.permute(3, 2, 0, 1)
        return channels_last(functional.conv_transpose2d(channels_first(x), w, stride=stride))

    return Case(lambda x, w: ops.conv2d_transpose(x, w, strides=stride), theirs, (image, kernel))


IMAGES = (16, 32, 32, 64)

CASES = {
    "convolution 3x3, 3 channels": convolution((32, 64, 64, 3), (3, 3, 3, 32)),
    "convolution 7x7, stride 2": convolution((8, 112, 112, 3), (7, 7, 3, 64), 2),
    "convolution 5x5": convolution((32, 16, 16, 32), (5, 5, 32, 32)),
    "convolution 3x3, odd sizes": convolution((16, 19, 19, 17), (3, 3, 17, 23)),
    "convolution 3x3, stride 2": convolution((16, 28, 28, 64), (3, 3, 64, 128), 2),
    "convolution 3x3, dilation 2": convolution((16, 32, 32, 32), (3, 3, 32, 32), 1, 2),
    "convolution 1x1": convolution((16, 28, 28, 96), (1, 1, 96, 24)),
    "convolution of 4 groups": convolution((16, 32, 32, 64), (3, 3, 16, 64)),
    "convolution of 32 groups": convolution((16, 16, 16, 128), (3, 3, 4, 128)),
    "convolution, a group a channel": convolution((16, 16, 16, 64), (3, 3, 1, 64)),
    "transposed 2x2, stride 2": transposed((16, 16, 16, 64), (2, 2, 32, 64), 2),
    "transposed 4x4, stride 2": transposed((16, 16, 16, 64), (4, 4, 32, 64), 2),
    "max pooling": Case(lambda x: ops.max_pool(x, 2, 2), of_images(functional.max_pool2d, kernel_size=2), (IMAGES,)),
    "average pooling": Case(
        lambda x: ops.average_pool(x, 2, 2), of_images(functional.avg_pool2d, kernel_size=2), (IMAGES,)
    ),
    "mean of images": Case(lambda x: ops.mean(x, (1, 2)), lambda x: x.mean((1, 2)), (IMAGES,)),
    "relu": Case(ops.relu, functional.relu, (IMAGES,)),
    "gelu": Case(lambda x: ops.gelu(x, False), functional.gelu, (IMAGES,)),
    "silu": Case(ops.silu, functional.silu, (IMAGES,)),
    "sigmoid": Case(ops.sigmoid, torch.sigmoid, (IMAGES,)),
    "tanh": Case(ops.tanh, torch.tanh, (IMAGES,)),
    "exp": Case(ops.exp, torch.exp, (IMAGES,)),
    "softmax": Case(ops.softmax, lambda x: functional.softmax(x, -1), (IMAGES,)),
    "log softmax": Case(ops.log_softmax, lambda x: functional.log_softmax(x, -1), (IMAGES,)),
    "logsumexp": Case(lambda x: ops.logsumexp(x, -1), lambda x: torch.logsumexp(x, -1), ((4096, 100),)),
    "layer normalization": Case(
        lambda x, g, b: ops.layer_normalization(x, g, b), lambda x, g, b: functional.layer_norm(x, (64,), g, b),
        (IMAGES, (64,), (64,)),
    ),
    "unit length": Case(lambda x: ops.normalize(x, -1), lambda x: functional.normalize(x, dim=-1), ((4096, 128),)),
    "addition": Case(lambda x, y: x + y, lambda x, y: x + y, (IMAGES, IMAGES)),
    "addition of a row": Case(lambda x, y: x + y, lambda x, y: x + y, (IMAGES, (64,))),
    "product with channels": Case(lambda x, y: x * y, lambda x, y: x * y, (IMAGES, (16, 1, 1, 64))),
    "product with pixels": Case(lambda x, y: x * y, lambda x, y: x * y, (IMAGES, (16, 32, 32, 1))),
    "joining channels": Case(
        lambda x, y: ops.concatenate([x, y], -1), lambda x, y: torch.cat([x, y], -1), (IMAGES, IMAGES)
    ),
    "transposition": Case(
        lambda x: ops.transpose(x, (0, 3, 1, 2)), lambda x: x.permute(0, 3, 1, 2).contiguous(), (IMAGES,)
    ),
    "product 64 x 784 x 128": Case(ops.matmul, torch.matmul, ((64, 784), (784, 128))),
    "product 32 x 4096 x 1000": Case(ops.matmul, torch.matmul, ((32, 4096), (4096, 1000))),
    "product 256 x 1024 x 1024": Case(ops.matmul, torch.matmul, ((256, 1024), (1024, 1024))),
    "product of one row": Case(ops.matmul, torch.matmul, ((1, 4096), (4096, 1000))),
    "products of a batch": Case(ops.matmul, torch.matmul, ((32, 64, 64), (32, 64, 64))),
    "the largest five": Case(lambda x: ops.top_k(x, 5)[0], lambda x: x.topk(5).values, ((256, 1000),)),
    "sorting": Case(lambda x: ops.sort(x, -1), lambda x: x.sort(-1).values, ((256, 1024),)),
    "place of the largest": Case(
        lambda x: ops.argmax(x, -1), lambda x: x.argmax(-1), ((16384, 64),), wanted=()
    ),
}  # fmt: skip


def compared(case: Case) -> list[tuple[float, float]]:
    """(our seconds, theirs) of the forward pass, and of the backward pass where there is one."""
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=shape).astype("float32") for shape in case.shapes]
    xs = [torch.tensor(array, requires_grad=i in case.gradients) for i, array in enumerate(arrays)]

    def theirs() -> torch.Tensor:
        with torch.no_grad():
            return case.theirs(*xs)

    forward = forward_work(case.ours, arrays)
    forward.run()
    np.testing.assert_allclose(forward.keep.output_arrays[0], theirs(), rtol=1e-3, atol=1e-3)
    pairs: list[tuple[Callable[[], Any], Callable[[], Any]]] = [(forward.run, theirs)]
    if case.gradients:
        y = case.theirs(*xs)
        dy, wanted = torch.ones_like(y), [xs[i] for i in case.gradients]
        ours = backward_work(case.ours, arrays, rng, case.gradients).run
        pairs.append((ours, lambda: torch.autograd.grad(y, wanted, dy, retain_graph=True)))
    found = [alternating({"ours": a, "theirs": b}, BUDGET_S) for a, b in pairs]
    return [(best["ours"], best["theirs"]) for best in found]


def main() -> None:
    """Print a line an operation."""
    from fastcnn_kernels.team import num_threads

    word = sys.argv[1] if len(sys.argv) > 1 else ""
    torch.set_num_threads(num_threads())
    print(f"{'':34s}{'forward':>20s}{'backward':>20s}")
    for name in tqdm([name for name in CASES if word in name], unit="operation", disable=None):
        cells = [f"{ours * 1e6:9.0f} us {theirs / ours:6.2f}x" for ours, theirs in compared(CASES[name])]
        tqdm.write(f"{name:34s}" + "".join(f"{cell:>20s}" for cell in cells))


if __name__ == "__main__":
    main()
