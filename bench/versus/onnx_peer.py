"""onnxruntime: inference of the same network, made an ONNX graph step by step."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

import fastcnn
from bench.versus.structure import Step, steps_of
from bench.versus.torch_peer import same_padding

MODES = ("onnxruntime",)
OPSET, IR_VERSION = 17, 8


class Graph:
    """Nodes and weights of an ONNX graph under construction."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def weight(self, value: np.ndarray) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name


def convolution(graph: Graph, step: Step, x: str) -> str:
    layer: Any = step.layer
    kernel, *bias = step.weights
    depthwise = step.kind == "DepthwiseConv2D"
    weights = kernel.transpose(2, 3, 0, 1) if depthwise else kernel.transpose(3, 2, 0, 1)
    pads = [(0, 0), (0, 0)]
    if layer.padding == "same":
        sizes = layer.input.shape[1:3]
        pads = [same_padding(n, k, s) for n, k, s in zip(sizes, kernel.shape[:2], layer.strides, strict=True)]
    return graph.add(
        "Conv", x, graph.weight(weights), *(graph.weight(b) for b in bias), strides=list(layer.strides),
        pads=[a for a, _ in pads] + [b for _, b in pads], group=len(weights) if depthwise else 1,
    )  # fmt: skip


def append(graph: Graph, step: Step, *inputs: str) -> str:
    """Add a step; returns the name of its result."""
    layer: Any = step.layer
    x = inputs[0]
    match step.kind:
        case "Conv2D" | "DepthwiseConv2D":
            y = convolution(graph, step, x)
        case "BatchNormalization":
            y = graph.add("BatchNormalization", x, *map(graph.weight, step.weights), epsilon=layer.epsilon)
        case "Dense":
            kernel, *bias = step.weights
            y = graph.add("Gemm", x, graph.weight(kernel), *(graph.weight(b) for b in bias))
        case "ReLU":
            y = graph.add("Relu", x)
        case "LeakyReLU":
            y = graph.add("LeakyRelu", x, alpha=layer.negative_slope)
        case "MaxPooling2D":
            window = {"kernel_shape": list(layer.pool_size), "strides": list(layer.strides)}
            y = graph.add("MaxPool", x, **window)
        case "GlobalAveragePooling2D":
            y = graph.add("Flatten", graph.add("GlobalAveragePool", x))
        case "Flatten":
            y = graph.add("Flatten", graph.add("Transpose", x, perm=[0, 2, 3, 1]))
        case "Add":
            y = graph.add("Add", *inputs)
        case "Dropout":
            y = x
        case _:
            raise ValueError(f"no ONNX form of {step.kind} here")
    return graph.add("Relu", y) if step.activation == "relu" and step.kind != "ReLU" else y


def onnx_model(model: fastcnn.Model, x: np.ndarray) -> bytes:
    """The network for images (n, c, h, w) of this size, its weights inside."""
    graph, results = Graph(), ["x"]
    for step in steps_of(model):
        results.append(append(graph, step, *(results[source + 1] for source in step.sources)))
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, list(x.shape))
    result = helper.make_tensor_value_info(results[-1], TensorProto.FLOAT, None)
    made = helper.make_graph(graph.nodes, "network", [given], [result], graph.weights)
    opset = [helper.make_opsetid("", OPSET)]
    return onnx.ModelProto.SerializeToString(
        helper.make_model(made, opset_imports=opset, ir_version=IR_VERSION)
    )


class OnnxPeer:
    """One network, for inference."""

    def __init__(self, mode: str, threads: int, device: str = "cpu"):
        self.options = onnxruntime.SessionOptions()
        self.options.intra_op_num_threads, self.options.inter_op_num_threads = threads, 1
        self.options.log_severity_level = 3

    def build(self, model: fastcnn.Model, x: np.ndarray, y: np.ndarray, training: bool) -> None:
        if training:
            raise ValueError("onnxruntime is compared in inference only")
        self.x = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
        self.session = onnxruntime.InferenceSession(
            onnx_model(model, self.x), self.options, providers=["CPUExecutionProvider"]
        )

    def made_comparable(self) -> None:
        """It is."""

    def step(self) -> float:
        self.session.run(None, {"x": self.x})
        return 0.0

    def predict(self) -> np.ndarray:
        output = self.session.run(None, {"x": self.x})[0]
        return output.transpose(0, 2, 3, 1) if output.ndim == 4 else output
