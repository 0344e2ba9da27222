"""Which algorithm computes an op, where there are several.

An op that has alternatives says what each of them costs for its shapes (`Op.cost`), by a model: a function of the
shapes alone, so that what is chosen, and with it every bit of a result, does not change from run to run. Users may
name one, or have them all tried (`measured.py`).
"""

import math
from types import ModuleType

from fastcnn import config
from fastcnn.graph import Node, Op
from fastcnn.plan.measured import fastest
from fastcnn.plan.rewrite import Rewrite


def choose_algorithms(rewrite: Rewrite) -> None:
    """Every convolution and product by the algorithm that its user names, or by the cheapest that is permitted."""
    for node in rewrite.nodes.values():
        if node.operation.alternatives:
            ready = all(rewrite.is_constant(node.inputs[i]) for i in node.operation.weights)
            node.operation = choose(node, ready, rewrite.backend)


def choose(node: Node, ready: bool, backend: ModuleType) -> Op:
    """The operation of the node by another algorithm, or as it is. ready: what `prepare` makes is there already."""
    op = node.operation
    wanted = op.algorithm if op.algorithm != "auto" else config.convolution_algorithm()
    inputs, outputs = [x.spec for x in node.inputs], [y.spec for y in node.outputs]

    def cost(one: Op) -> float:
        return one.cost(inputs, outputs, ready)

    available = backend.algorithms()
    if wanted not in ("auto", "measured"):
        found = op.using(wanted) if wanted in available else op
        return found if permitted(found, node) and cost(found) < math.inf else op
    # Gradients in float64 are compared with finite differences: there every digit counts.
    exact = inputs[0].dtype == "float64"
    every = [op, *(op.using(name) for name in op.alternatives if name in available)]
    possible = [
        one for one in every if permitted(one, node) and not (exact and one.rounding) and cost(one) < math.inf
    ]
    if wanted == "measured" and len(possible) > 1 and backend.MEASURES:
        return fastest(possible, node, ready, backend)
    return min(possible, key=cost)


def permitted(op: Op, node: Node) -> bool:
    """Whether an algorithm may round more than a plain sum does: by `config`, or because the node is mixed."""
    return node.mixed if op.mixed else op.rounding <= config.PRECISIONS.index(config.precision())
