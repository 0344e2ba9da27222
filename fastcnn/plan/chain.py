"""Chains: nodes that a plan executes together, a few images at a time, while these are in the cache.

One op after the other over a whole batch, every tensor goes out to memory and comes back. A chain is a row of nodes
that compute each image from the same image (`Op.by_image`). The batch is cut into blocks; a thread takes a block
through all the nodes of the chain before it takes the next. What is only read inside the chain needs memory for one
block a thread, and no thread waits for another between two nodes.
"""

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastcnn.graph import Node
from fastcnn.tensor import Constant, Tensor, TensorSpec, Variable

# Bytes that the inputs and outputs of a node may have in a block: a quarter of a second-level cache. Weights, what a
# kernel makes of its inputs, and whoever runs on the other half of the core want to be there, too.
CACHE = 1 << 19
# Bytes that a chain computes, less the weights that each block reads again: fewer stay in a last-level cache anyway.
WORTH = 1 << 22
# Blocks of a batch, for threads to share; not as many as there are threads, which may change.
LEAST = max(4, os.cpu_count() or 1)
SIMILAR = 4  # nodes whose best blocks differ by more than this factor go into different chains


@dataclass
class Chain:
    """Nodes to be executed together, a block of images at a time; one node over the whole batch has no blocks."""

    nodes: list[Node]
    images: int = 0
    block: int = 0

    def sizes(self, node: Node) -> list[tuple[list[TensorSpec], list[TensorSpec]]]:
        """(inputs, outputs) of a node in blocks, once for blocks of each size."""
        if not self.block:
            return [([x.spec for x in node.inputs], [y.spec for y in node.outputs])]
        return [self.specs(node, size) for size in sorted({last - first for first, last in self.blocks})]

    def specs(self, node: Node, images: int) -> tuple[list[TensorSpec], list[TensorSpec]]:
        """(inputs, outputs) of a node when only so many images are computed."""
        cut = node.operation.by_image([x.spec for x in node.inputs], [y.spec for y in node.outputs]) or ()
        inputs = [self.spec(x, images) if i in cut else x.spec for i, x in enumerate(node.inputs)]
        return inputs, [self.spec(y, images) for y in node.outputs]

    def spec(self, tensor: Tensor, images: int) -> TensorSpec:
        """Of the part of a tensor that belongs to so many images."""
        n, *rest = tensor.spec.dims
        return TensorSpec((n * images // self.images, *rest), tensor.dtype)

    @property
    def blocks(self) -> list[tuple[int, int]]:
        """First image and one past the last, of each block."""
        return [(i, min(i + self.block, self.images)) for i in range(0, self.images, self.block)]


def rows(tensor: Any) -> int:
    """First dimension; 0 of a scalar."""
    return tensor.spec.dims[0] if tensor.spec.shape else 0


def cut_tensors(node: Node) -> list[Tensor] | None:
    """The tensors of the node that are cut by images; None if it cannot be executed so."""
    cut = node.operation.by_image([x.spec for x in node.inputs], [y.spec for y in node.outputs])
    if cut is None or any(isinstance(node.inputs[i], Variable | Constant) for i in cut):
        return None
    return [*(node.inputs[i] for i in cut), *node.outputs]


def step(node: Node, images: int) -> int | None:
    """The node can be executed for any multiple of so many of the images; None if not."""
    tensors, found = cut_tensors(node), 1
    for tensor in tensors or []:
        n = rows(tensor)
        if n == 0 or (n % images and images % n):
            return None
        found = math.lcm(found, images // math.gcd(n, images))
    return found if tensors and found < images else None


def needed(node: Node, images: int) -> float:
    """How many images a block should have at least: as many as the node takes at a time, and enough that what is not
    cut (weights), read again for every block, is less than they are."""
    cut = sum(x.spec.nbytes for x in cut_tensors(node) or [])
    return max(node.operation.images_at_once, images * uncut(node) / max(cut, 1))


def uncut(node: Node) -> int:
    """Bytes that every block reads: weights, as they are and as they are prepared."""
    cut = cut_tensors(node) or []
    whole = sum(x.spec.nbytes for x in node.inputs if not any(x is other for other in cut))
    specs = [x.spec for x in node.inputs], [y.spec for y in node.outputs]
    return whole + sum(spec.nbytes for spec in node.operation.prepared(*specs))


def images_of(node: Node) -> int:
    """How many images the node works on: the rows of its first cut input."""
    return rows((cut_tensors(node) or node.outputs)[0])


def wanted(node: Node, images: int) -> float:
    """How many images of this node the cache holds."""
    nbytes = sum(tensor.spec.nbytes for tensor in cut_tensors(node) or [])
    return CACHE * images / max(nbytes, 1)


def best(node: Node, images: int) -> float:
    """How many images of this node a block should have."""
    return max(wanted(node, images), needed(node, images))


def form_chains(nodes: Sequence[Node], stands_alone: Callable[[Node], bool]) -> list[Chain]:
    """The nodes in the same order, neighbours that can be executed together in chains."""
    chains: list[Chain] = []
    run: list[Node] = []
    for node in nodes:
        if not run or stands_alone(run[-1]) or stands_alone(node) or not _continues(run, node):
            chains += _close(run)
            run = []
        run.append(node)
    return [*chains, *_close(run)]


def _continues(run: list[Node], node: Node) -> bool:
    """Whether a node can be executed together with those of the run."""
    if not run or cut_tensors(run[0]) is None:
        return False
    images = images_of(run[0])
    if step(run[0], images) is None or step(node, images) is None:
        return False
    if LEAST * max(needed(run[0], images), needed(node, images)) > images:
        return False
    sizes = [best(other, images) for other in run if not _suits_any_block(other)]
    size = best(node, images)
    return (
        _suits_any_block(node) or not sizes or (size < SIMILAR * min(sizes) and size * SIMILAR > max(sizes))
    )


def _suits_any_block(node: Node) -> bool:
    """Whether a node takes what others have just computed as it comes."""
    return node.operation.alias or node.operation.narrow


def _close(run: list[Node]) -> Iterable[Chain]:
    """A chain of the nodes, or a chain for each of them where blocks bring nothing."""
    alone = [Chain([node]) for node in run]
    working = [node for node in run if not node.operation.alias]
    if len(working) < 2:
        return alone
    images = images_of(run[0])
    multiple = math.lcm(*(step(node, images) or 1 for node in run))
    fitting = min(wanted(node, images) for node in working)
    least = max(needed(node, images) for node in working)
    block = max(math.ceil(min(max(fitting, least), images // LEAST) / multiple), 1) * multiple
    computed = sum(y.spec.nbytes for node in working for y in node.outputs)
    again = math.ceil(images / block) * sum(map(uncut, working))
    return alone if block * LEAST > images or computed - again < WORTH else [Chain(run, images, block)]


def cut(array: np.ndarray, images: int, first: int, last: int) -> np.ndarray:
    """The part of an array that belongs to the images [first, last) of `images`."""
    n = array.shape[0]
    return array[n * first // images : n * last // images]


def local_first(nodes: Sequence[Node], held_back: Mapping[float, set[float]]) -> list[Node]:
    """The nodes in an order that keeps their dependencies and makes long chains. `held_back`: further dependencies.

    A node that can be executed by images comes as soon as it can, if that continues a chain. Others wait.
    """
    known = {node.serial for node in nodes}
    waiting = {
        node.serial: ({x.node.serial for x in node.inputs if x.node} | held_back.get(node.serial, set()))
        & known
        for node in nodes
    }
    by_serial = {node.serial: node for node in nodes}
    readers: dict[float, list[float]] = {serial: [] for serial in waiting}
    for serial, needs in waiting.items():
        for other in needs:
            readers[other].append(serial)
    ready = sorted(serial for serial, needs in waiting.items() if not needs)
    order: list[Node] = []
    while ready:
        serial = next((s for s in ready if order and continues(order[-1], by_serial[s])), ready[0])
        ready.remove(serial)
        order.append(by_serial[serial])
        for reader in readers[serial]:
            waiting[reader].discard(serial)
            if not waiting[reader]:
                ready.append(reader)
        ready.sort()
    return order


def continues(before: Node, node: Node) -> bool:
    """Whether a node can be in the chain that another, right before it, is in."""
    return _continues([before], node)
