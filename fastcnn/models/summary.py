"""`model.summary()`: layers, shapes, parameters, multiply-adds and activation memory as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastcnn.graph import Op, Trace, ancestors, tracing
from fastcnn.layers.base import Layer, tensors_in
from fastcnn.tensor import Tensor, TensorSpec, Variable


def summarize(
    model: Any, line_length: int | None = None, expand_nested: bool = False, show_trainable: bool = False,
    layer_range: Any = None,
) -> str:  # fmt: skip
    """The text of a summary. MACs and activation bytes are for one sample, where its shape is known."""
    costs = _costs(model)
    connected = model.network is not None and _branches(model)
    header = ["Layer (type)", "Output Shape", "Param #", "MACs"]
    header += ["Connected to"] * connected + ["Trainable"] * show_trainable
    rows = [
        _row(layer, costs, depth, connected and depth == 0, show_trainable, model)
        for layer, depth in _listed(model, expand_nested, layer_range)
    ]
    state = model.optimizer.variables if model.optimizer is not None and model.optimizer.built else []
    lines = [f'Model: "{model.name}"', *_table(header, rows, line_length)]
    lines.append(_parameters("Total", [*model.weights, *state]))
    lines.append(_parameters("Trainable", model.trainable_weights))
    lines.append(_parameters("Non-trainable", model.non_trainable_weights))
    if state:
        lines.append(_parameters("Optimizer", state))
    if costs:
        lines.append(f" Multiply-adds per sample: {sum(c[0] for c in costs.values()):,}")
        lines.append(f" Activations per sample: {_bytes(sum(c[1] for c in costs.values()))}")
    return "\n".join(lines)


def _parameters(which: str, variables: Sequence[Variable]) -> str:
    count, size = sum(v.buffer.size for v in variables), sum(v.buffer.nbytes for v in variables)
    return f" {which} params: {count:,} ({_bytes(size)})"


def _listed(model: Any, expand_nested: bool, layer_range: Any, depth: int = 0) -> list[tuple[Layer, int]]:
    layers = model.layers
    if layer_range is not None:
        names = [layer.name for layer in layers]
        layers = layers[names.index(layer_range[0]) : names.index(layer_range[1]) + 1]
    listed: list[tuple[Layer, int]] = []
    for layer in layers:
        listed.append((layer, depth))
        if expand_nested and hasattr(layer, "layers"):
            listed += _listed(layer, True, None, depth + 1)
    return listed


def _row(
    layer: Layer, costs: dict[str, tuple[int, int]], depth: int, connected: bool, flag: bool, model: Any
) -> list:
    shape = _shape(layer.output_shape) if layer._calls else "?"
    parameters = f"{layer.count_params():,}" if layer.built else "0 (unbuilt)"
    macs = f"{costs[layer.name][0]:,}" if layer.name in costs else "0"
    row = ["   " * depth + f"{layer.name} ({type(layer).__name__})", shape, parameters, macs]
    if connected:
        row.append(", ".join(_sources(layer, model)) or "-")
    if flag:
        row.append("Y" if layer.trainable_weights else "N" if layer.weights else "-")
    return row


def _shape(shape: Any) -> str:
    return ", ".join(map(str, shape)) if isinstance(shape, list) else str(shape)


def _branches(model: Any) -> bool:
    """Whether the graph is more than a chain."""
    return any(len(node.inputs) > 1 or isinstance(node.operation, Op) for node in model.network.nodes) or len(
        {id(x) for node in model.network.nodes for x in node.inputs}
    ) < sum(len(node.inputs) for node in model.network.nodes)


def _sources(layer: Layer, model: Any) -> list[str]:
    nodes = [node for node in model.network.nodes if node.operation is layer]
    return [x.node.operation.name for node in nodes for x in node.inputs if x.node is not None]


def _costs(model: Any) -> dict[str, tuple[int, int]]:
    """Layer name -> (multiply-adds, bytes of outputs) for one sample; empty while shapes are open."""
    declared = model.network.flat_inputs if model.network is not None else []
    if not declared or any(n is None for x in declared for n in x.shape[1:]):
        return {}
    batch = declared[0].shape[0] or 1  # 1 unless the model takes batches of one size only
    inputs = [Tensor((batch, *x.shape[1:]), x.dtype) for x in declared]
    trace = Trace(training=False)
    with tracing(trace):
        outputs = model.network(_like(model.network.inputs, inputs))
    costs: dict[str, tuple[int, int]] = {}
    for node in ancestors(list(tensors_in(outputs))):
        name = node.scope.split("/")[0]
        macs, memory = costs.get(name, (0, 0))
        specs = [x.spec for x in node.inputs], [y.spec for y in node.outputs]
        costs[name] = macs + _macs(node.operation, *specs), memory + sum(y.nbytes for y in specs[1])
    return {name: (macs // batch, memory // batch) for name, (macs, memory) in costs.items()}


def _like(structure: Any, tensors: list[Tensor]) -> Any:
    if isinstance(structure, dict):
        return dict(zip(structure, tensors, strict=True))
    return tensors if isinstance(structure, list | tuple) else tensors[0]


def _macs(op: Op, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> int:
    """Multiply-adds of an op that has any: one whose cost exceeds an operation an output element."""
    flops = op.flops(inputs, outputs)
    return flops // 2 if flops > sum(spec.size for spec in outputs) else 0


def _table(header: list[str], rows: list[list[str]], line_length: int | None) -> list[str]:
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    if line_length:
        widths[-1] += max(0, line_length - sum(widths) - 3 * len(widths) - 1)
    line = "├" + "┼".join("─" * (w + 2) for w in widths) + "┤"
    body = [
        "│" + "│".join(f" {cell.ljust(w)} " for cell, w in zip(row, widths, strict=True)) + "│"
        for row in rows
    ]
    head = "│" + "│".join(f" {cell.ljust(w)} " for cell, w in zip(header, widths, strict=True)) + "│"
    top, bottom = (
        line.replace("├", "┌").replace("┼", "┬").replace("┤", "┐"),
        line.replace("├", "└").replace("┼", "┴").replace("┤", "┘"),
    )
    return [top, head, line, *body, bottom]


def _bytes(count: int) -> str:
    value = float(count)
    for unit in ("B", "KB", "MB"):
        if value < 1024:
            return f"{value:.2f} {unit}"
        value /= 1024
    return f"{value:.2f} GB"
