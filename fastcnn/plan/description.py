"""A plan as a table for people."""

from collections import Counter

from fastcnn.graph import Node
from fastcnn.plan.run import Plan

COLUMNS = ["operation", "layer", "output", "MFLOP", "MB", "kernels", "place"]
TIMED = ["us", "GFLOP/s"]
REPEATS = 5  # runs of each operation when timed; the best counts


def describe(plan: Plan, timed: bool = False) -> str:
    """A table of what runs: operation, layer, output shape, MFLOP, MB touched, kernels, place; and the sums.

    timed: also the time of each operation, run by itself on whatever is in memory.
    """
    rows = [COLUMNS + TIMED * timed]
    for node, launches in plan.steps:
        rows.append(_row(plan, node, launches) + (_timing(plan, node, launches) if timed else []))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    total = sum(flops(node) for node in plan.nodes)
    lines.append(
        f"{len(plan.nodes)} operations, {total / 1e6:.2f} MFLOP, arena {plan.nbytes / 2**20:.2f} MiB"
    )
    return "\n".join(lines)


def flops(node: Node) -> int:
    """Floating-point operations of a node; none where nothing is computed."""
    if node.operation.alias:
        return 0
    return node.operation.flops([x.spec for x in node.inputs], [y.spec for y in node.outputs])


def _row(plan: Plan, node: Node, launches: list) -> list[str]:
    touched = sum(tensor.spec.nbytes for tensor in [*node.inputs, *node.outputs])
    shapes = " ".join("x".join(map(str, y.shape)) or "scalar" for y in node.outputs) or "(update)"
    kernels = Counter(launch.kernel.__name__ for launch in launches)
    names = ", ".join(f"{count}x {name}" if count > 1 else name for name, count in kernels.items())
    places = " ".join(map(str, map(plan.storage.offset, node.outputs))) or "-"
    mflop, mb = f"{flops(node) / 1e6:.3f}", f"{touched / 1e6:.3f}"
    return [node.operation.name, node.scope, shapes, mflop, mb, names, places]


def _timing(plan: Plan, node: Node, launches: list) -> list[str]:
    program = plan.backend.Program(launches)
    best = min(plan.backend.seconds(program.run) for _ in range(REPEATS))
    return [f"{best * 1e6:.1f}", f"{flops(node) / best / 1e9:.1f}"]
