"""Fusion: fewer kernels that touch memory fewer times.

A backward graph has been built before, from the unfused nodes, so a pass may only remove a tensor that nothing
else reads.
"""

from fastcnn.graph import Node, Trace, tracing
from fastcnn.plan.rewrite import Rewrite


def absorb_readers(rewrite: Rewrite) -> None:
    """An op whose kernel can also do what the only reader of its result does does it: a convolution its ReLU.

    Or the reader does what the op does: the gradient of batch normalisation that of the ReLU behind it.
    """
    with tracing(Trace(training=False)):  # what ops make of weights is a graph, not computed here and now
        for serial in sorted(rewrite.nodes):
            while serial in rewrite.nodes and _absorb(rewrite, rewrite.nodes[serial]):
                pass


def _absorb(rewrite: Rewrite, node: Node) -> bool:
    reader = rewrite.sole_reader(node.outputs[0])
    if reader is None or not reader.outputs:
        return False
    fused = node.operation.absorb(node, reader)
    if fused is None and len(node.outputs) == 1:
        fused = reader.operation.absorb_source(reader, node)
    return fused is not None and rewrite.merge(node, reader, fused)


def take_apart(rewrite: Rewrite) -> None:
    """Ops that consist of several, so that a plan may run the parts apart, are replaced by these."""
    with tracing(Trace(training=False)):
        for node in list(rewrite.nodes.values()):
            outputs = node.operation.parts(node.inputs, rewrite.backend.BLOCKS)
            if outputs is not None:
                rewrite.expand(node, outputs)


def sum_as_stored(rewrite: Rewrite) -> None:
    """An op that can also make a few numbers of its results as it stores them does so: a convolution their moments."""
    for node in list(rewrite.nodes.values()):
        for reader in rewrite.readers(node.outputs[0]) if node.outputs else ():
            both = node.operation.join(node, reader, rewrite.backend.kernels)
            if both is not None:
                rewrite.join(node, reader, both)
                break


def compute_again(rewrite: Rewrite) -> None:
    """What is cheap is not kept from the forward to the backward pass, where sums over chunks of images read it."""
    for node in list(rewrite.nodes.values()):
        if not node.operation.cheap or rewrite.is_wanted(node.outputs[0]):
            continue
        readers = rewrite.readers(node.outputs[0])
        late = [reader for reader in readers if reader.operation.sums_chunks]
        for reader in late if len(late) < len(readers) else ():
            rewrite.repeat(node, reader)
