"""PyTorch: the same networks, each step a module; the best that a user gets without writing another network."""

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import fastcnn
from bench.versus.structure import Step, steps_of
from bench.versus.worker import CHECKED_RATE

EPSILON = 1e-7  # Keras's
MODES = (
    "nchw",
    "channels_last",
    "compile",
    "bfloat16",
    "float32",
    "tf32",
    "compile_tf32",
)  # the last three on CUDA


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Cells in front and behind, as Keras pads for "same"."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class Padded(nn.Module):
    """A convolution whose padding is not the same on both sides."""

    def __init__(self, pads: tuple[int, int, int, int], convolution: nn.Module):
        super().__init__()
        self.pads, self.convolution = pads, convolution

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.convolution(functional.pad(x, self.pads))


class Flattened(nn.Module):
    """(n, c, h, w) as rows in the order of (h, w, c), so that dense weights fit."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.permute(0, 2, 3, 1).flatten(1)


def convolution(step: Step, size: tuple[int, int]) -> nn.Module:
    """Conv2D or DepthwiseConv2D."""
    layer: Any = step.layer
    kernel, *bias = (torch.from_numpy(np.array(w)) for w in step.weights)
    depthwise = step.kind == "DepthwiseConv2D"
    kernel = kernel.permute(2, 3, 0, 1) if depthwise else kernel.permute(3, 2, 0, 1)
    filters, (kh, kw) = kernel.shape[0], kernel.shape[2:]
    channels = filters if depthwise else kernel.shape[1]
    stride = tuple(layer.strides)
    pads = [(0, 0), (0, 0)]
    if layer.padding == "same":
        pads = [same_padding(n, k, s) for n, k, s in zip(size, (kh, kw), stride, strict=True)]
    even = all(a == b for a, b in pads)
    made = nn.Conv2d(
        channels, filters, (kh, kw), stride, padding=tuple(a for a, _ in pads) if even else 0,
        groups=channels if depthwise else 1, bias=bool(bias),
    )  # fmt: skip
    made.weight.data = kernel.contiguous()
    if bias:
        made.bias.data = bias[0]
    return made if even else Padded((*pads[1], *pads[0]), made)


def normalization(step: Step) -> nn.Module:
    """BatchNormalization."""
    layer: Any = step.layer
    gamma, beta, mean, variance = (torch.from_numpy(np.array(w)) for w in step.weights)
    made = nn.BatchNorm2d(len(gamma), eps=layer.epsilon, momentum=1 - layer.momentum)
    made.weight.data, made.bias.data = gamma, beta
    made.running_mean, made.running_var = mean, variance
    return made


def dense(step: Step) -> nn.Module:
    """Dense."""
    kernel, *bias = (torch.from_numpy(np.array(w)) for w in step.weights)
    made = nn.Linear(*kernel.shape, bias=bool(bias))
    made.weight.data = kernel.T.contiguous()
    if bias:
        made.bias.data = bias[0]
    return made


class GlobalAverage(nn.Module):
    """(n, c, h, w) -> (n, c)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3))


def module_of(step: Step, size: tuple[int, int]) -> nn.Module | None:
    """The step as a module; None for an addition."""
    layer: Any = step.layer
    makers: dict[str, Any] = {
        "Conv2D": lambda: convolution(step, size),
        "DepthwiseConv2D": lambda: convolution(step, size),
        "BatchNormalization": lambda: normalization(step),
        "Dense": lambda: dense(step),
        "ReLU": nn.ReLU,
        "LeakyReLU": lambda: nn.LeakyReLU(layer.negative_slope),
        "MaxPooling2D": lambda: nn.MaxPool2d(tuple(layer.pool_size), tuple(layer.strides)),
        "GlobalAveragePooling2D": GlobalAverage,
        "Flatten": Flattened,
        "Dropout": lambda: nn.Dropout(layer.rate),
        "Add": lambda: None,
    }
    made = makers[step.kind]()
    return nn.Sequential(made, nn.ReLU()) if step.activation == "relu" and step.kind != "ReLU" else made


class Network(nn.Module):
    """Steps in a row, with the results that later steps read."""

    def __init__(self, model: fastcnn.Model):
        super().__init__()
        self.sources, modules = [], []
        for step in steps_of(model):
            shape = step.layer.input.shape if not isinstance(step.layer.input, list) else (None,)
            size = tuple(shape[1:3]) if len(shape) == 4 else (0, 0)
            made = module_of(step, size)
            modules.append(nn.Identity() if made is None else made)
            self.sources.append(step.sources)
        self.steps = nn.ModuleList(modules)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        results = [x]
        for module, sources in zip(self.steps, self.sources, strict=True):
            if len(sources) == 1:
                results.append(module(results[sources[0] + 1]))
            else:
                results.append(results[sources[0] + 1] + results[sources[1] + 1])
        return results[-1]


class TorchPeer:
    """One network in one of the modes."""

    def __init__(self, mode: str, threads: int, device: str = "cpu"):
        self.mode, self.checked_steps, self.device = mode, -1, device
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = mode.endswith("tf32")
        torch.backends.cudnn.benchmark = True
        # As fastcnn does in training. Threads inherit it, so before there are any.
        torch.set_flush_denormal(True)
        torch.set_num_threads(threads)
        torch.manual_seed(0)

    def build(self, model: fastcnn.Model, x: np.ndarray, y: np.ndarray, training: bool) -> None:
        self.network = Network(model)
        images = torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
        if self.mode != "nchw":
            self.network = self.network.to(memory_format=torch.channels_last)
            images = images.to(memory_format=torch.channels_last)
        self.network = self.network.to(self.device)
        self.images, self.training = images, training
        targets = torch.from_numpy(y if y.dtype.kind == "f" else y.astype(np.int64))
        if self.device == "cuda":
            self.images, targets = images.pin_memory(), targets.pin_memory()
        self.targets = targets
        if training:
            self.network.train()
            self.optimizer = torch.optim.Adam(self.network.parameters(), lr=1e-3, eps=EPSILON, fused=True)
        else:
            self.network.eval()
        self.call = torch.compile(self.network) if self.mode.startswith("compile") else self.network

    def made_comparable(self) -> None:
        """No dropout, and Adam's epsilon where Keras adds it: not to the corrected deviation but to the plain one."""
        self.checked_steps = 0
        if self.training:
            self.optimizer.param_groups[0]["lr"] = CHECKED_RATE
        for module in self.network.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0

    def _forward(self) -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.mode == "bfloat16"):
            return self.call(self.images.to(self.device, non_blocking=True))

    def _loss(self) -> torch.Tensor:
        output = self._forward().float()
        targets = self.targets.to(
            self.device, non_blocking=True
        )  # as fastcnn does: every batch comes from the host
        if targets.dtype == torch.int64:
            return functional.cross_entropy(output, targets)
        return functional.mse_loss(output.permute(0, 2, 3, 1) if output.ndim == 4 else output, targets)

    def step(self) -> float:
        """A training step; its loss. Or an inference, and 0."""
        if not self.training:
            self.predict()
            return 0.0
        if self.checked_steps >= 0:
            self.checked_steps += 1
            for group in self.optimizer.param_groups:
                group["eps"] = EPSILON / (1 - 0.999**self.checked_steps) ** 0.5
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._loss()
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def predict(self) -> np.ndarray:
        with torch.inference_mode():
            output = self._forward().float().cpu()
        return (output.permute(0, 2, 3, 1) if output.ndim == 4 else output).numpy()
