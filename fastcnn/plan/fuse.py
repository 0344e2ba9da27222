"""Fusion: fewer kernels that touch memory fewer times.

A backward graph has been built before, from the unfused nodes, so a pass may only remove a tensor that nothing
else reads.
"""

from fastcnn.graph import Node
from fastcnn.plan.rewrite import Rewrite


def absorb_readers(rewrite: Rewrite) -> None:
    """An op whose kernel can also do what the only reader of its result does (a convolution its ReLU) does it."""
    for serial in sorted(rewrite.nodes):
        node = rewrite.nodes.get(serial)
        if node is None or len(node.outputs) != 1:
            continue
        reader = rewrite.sole_reader(node.outputs[0])
        if reader is None or len(reader.inputs) != 1 or not reader.outputs:
            continue
        op = node.operation.absorb(reader.operation)
        if op is not None:
            rewrite.merge(node, reader, Node(op, node.inputs, [y.spec for y in reader.outputs]))
