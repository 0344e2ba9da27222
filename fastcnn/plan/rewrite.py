"""Nodes on their way from a graph to a plan, and how a pass changes them."""

from collections import defaultdict
from collections.abc import Sequence

from fastcnn.graph import Node
from fastcnn.tensor import Tensor


class Rewrite:
    """Nodes being rewritten, with the readers of every tensor."""

    def __init__(self, nodes: Sequence[Node], outputs: Sequence[Tensor]):
        self.nodes = {node.serial: node for node in nodes}
        self._replaced: dict[int, Tensor] = {}  # id of an old tensor -> the tensor that stands for it now
        self._wanted = {id(y) for y in outputs}
        self._readers: dict[int, list[Node]] = defaultdict(list)
        self._gone: list[Node] = []  # keeps the ids of replaced tensors valid
        for node in nodes:
            self._register(node)

    def _register(self, node: Node) -> None:
        for tensor in {id(x): x for x in node.inputs}.values():
            self._readers[id(tensor)].append(node)

    def sole_reader(self, tensor: Tensor) -> Node | None:
        """The one node that reads the tensor, or None when it has several readers or is an output."""
        readers = self._readers[id(tensor)]
        return readers[0] if len(readers) == 1 and id(tensor) not in self._wanted else None

    def merge(self, node: Node, reader: Node, fused: Node) -> None:
        """Put `fused`, whose output stands for that of `reader`, in the place of `node` and of `reader`."""
        fused.serial, fused.scope = reader.serial, node.scope
        for old in (node, reader):
            del self.nodes[old.serial]
            self._gone.append(old)
            for x in old.inputs:
                self._readers[id(x)] = [other for other in self._readers[id(x)] if other is not old]
        self.nodes[fused.serial] = fused
        self._register(fused)
        for old_tensor, new in zip(reader.outputs, fused.outputs, strict=True):
            self._replaced[id(old_tensor)] = new
            for other in self._readers.pop(id(old_tensor), []):
                other.inputs = [new if x is old_tensor else x for x in other.inputs]
                self._readers[id(new)].append(other)
            if id(old_tensor) in self._wanted:
                self._wanted.add(id(new))

    def current(self, tensor: Tensor) -> Tensor:
        """The tensor that stands for this one now."""
        while id(tensor) in self._replaced:
            tensor = self._replaced[id(tensor)]
        return tensor

    def in_order(self) -> list[Node]:
        """The nodes in execution order."""
        return [self.nodes[serial] for serial in sorted(self.nodes)]
