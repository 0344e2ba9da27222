"""Which algorithm computes an op, where there are several.

An op that has alternatives says what each of them costs for its shapes (`Op.cost`), by a model: a function of the
shapes alone, so that what is chosen, and with it every bit of a result, does not change from run to run.
"""

import math

from fastcnn import config
from fastcnn.graph import Node, Op
from fastcnn.plan.rewrite import Rewrite


def choose_algorithms(rewrite: Rewrite) -> None:
    """Every convolution and product by the algorithm that `config` names, or by the cheapest that it permits."""
    for node in rewrite.nodes.values():
        if node.operation.alternatives:
            ready = all(rewrite.is_constant(node.inputs[i]) for i in node.operation.weights)
            node.operation = choose(node, ready, rewrite.algorithms)


def choose(node: Node, ready: bool, available: frozenset[str] | None = None) -> Op:
    """The operation of the node by another algorithm, or as it is. ready: what `prepare` makes is there already.

    available: the names of those that there are kernels for; None: of all.
    """
    op, wanted = node.operation, config.convolution_algorithm()
    names = [name for name in op.alternatives if available is None or name in available]
    inputs, outputs = [x.spec for x in node.inputs], [y.spec for y in node.outputs]
    if wanted != "auto":
        found = op.using(wanted) if wanted in names else op
        return found if permitted(found, node) and found.cost(inputs, outputs, ready) < math.inf else op
    found = [op, *(op.using(name) for name in names)]
    # Gradients in float64 are compared with finite differences: there every digit counts.
    exact = inputs[0].dtype == "float64"
    return min(
        (one for one in found if permitted(one, node) and not (exact and one.rounding)),
        key=lambda one: one.cost(inputs, outputs, ready),
    )


def permitted(op: Op, node: Node) -> bool:
    """Whether an algorithm may round more than a plain sum does: by `config`, or because the node is mixed."""
    return node.mixed if op.mixed else op.rounding <= config.PRECISIONS.index(config.precision())
