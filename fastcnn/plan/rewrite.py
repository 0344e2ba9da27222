"""Nodes on their way from a graph to a plan, and how a pass changes them."""

from collections import defaultdict
from collections.abc import Sequence
from types import ModuleType

from fastcnn.graph import Fused, Node, Op, ancestors
from fastcnn.tensor import Constant, Tensor, Variable


class Rewrite:
    """Nodes being rewritten, with the readers of every tensor.

    `updates` are nodes that change variables when the plan runs. They are not rewritten themselves. `backend` is what
    the plan is going to run on.
    """

    def __init__(
        self, nodes: Sequence[Node], outputs: Sequence[Tensor], updates: Sequence[Node], backend: ModuleType
    ):
        self.backend = backend
        self.nodes = {node.serial: node for node in nodes}
        self._changing = {id(node.inputs[i]) for node in updates for i in node.operation.mutates}
        self._replaced: dict[int, Tensor] = {}  # id of an old tensor -> the tensor that stands for it now
        self._wanted = {id(y) for y in outputs}
        self._readers: dict[int, list[Node]] = defaultdict(list)
        self._constants: set[int] = set()  # ids of tensors computed from constants
        self.behind: dict[float, set[float]] = {}  # for nodes that must wait for more than what they read
        self._gone: list[Node] = []  # keeps the ids of replaced tensors valid
        for node in nodes:
            self._register(node)

    def _register(self, node: Node) -> None:
        for tensor in {id(x): x for x in node.inputs}.values():
            self._readers[id(tensor)].append(node)
        if self.is_at_rest(node):
            self._constants.update(map(id, node.outputs))

    def sole_reader(self, tensor: Tensor) -> Node | None:
        """The one node that reads the tensor, once, or None when it is read more often or is an output."""
        readers = self._readers[id(tensor)]
        if len(readers) != 1 or id(tensor) in self._wanted:
            return None
        return readers[0] if sum(x is tensor for x in readers[0].inputs) == 1 else None

    def is_constant(self, tensor: Tensor) -> bool:
        """Whether running the plan cannot change the tensor: it is made of constants and of variables at rest."""
        if isinstance(tensor, Constant | Variable):
            return id(tensor) not in self._changing
        return id(tensor) in self._constants

    def merge(self, node: Node, reader: Node, fused: Fused) -> bool:
        """Put one node in the place of `node` and of `reader`, which reads the first output of `node`.

        Its outputs stand for those of `reader` and then the others of `node`. Tensors that `fused` has made of others
        must be constants. Returns whether that and the order of execution permit it.
        """
        operation, inputs = fused
        known = {id(x) for x in (*node.inputs, *reader.inputs)}
        made = [x for x in inputs if id(x) not in known]
        makers = [maker for maker in ancestors(made) if maker.serial not in self.nodes]
        serial = self._place(node, reader)
        if serial is None or not self._are_constant(makers):
            return False
        old = [*reader.outputs, *node.outputs[1:]]
        new = Node(operation, inputs, [y.spec for y in old], node.scope)
        new.serial, new.mixed = serial, node.mixed
        self._remove(node)
        self._remove(reader)
        for added in (*makers, new):
            self.nodes[added.serial] = added
            self._register(added)
        for before, after in zip(old, new.outputs, strict=True):
            self._replace(before, after)
        return True

    def join(self, node: Node, reader: Node, operation: Op) -> None:
        """Put one node with the outputs of both in the place of `node`, and of `reader`, which reads only that."""
        old = [*node.outputs, *reader.outputs]
        new = Node(operation, node.inputs, [y.spec for y in old], node.scope)
        new.serial, new.mixed = node.serial, node.mixed
        self._remove(reader)
        self._remove(node)
        self.nodes[new.serial] = new
        self._register(new)
        for before, after in zip(old, new.outputs, strict=True):
            self._replace(before, after)

    def expand(self, node: Node, outputs: Sequence[Tensor]) -> None:
        """Put the nodes that have just been made to compute `outputs` in the place of `node`."""
        known = {id(x) for x in node.inputs}
        makers = [
            maker for maker in ancestors(outputs) if maker.serial not in self.nodes and maker is not node
        ]
        makers = [maker for maker in makers if all(id(y) not in known for y in maker.outputs)]
        self._remove(node)
        for i, maker in enumerate(makers):
            maker.serial, maker.scope = node.serial + i / len(makers), node.scope
            maker.mixed = node.mixed
            self.nodes[maker.serial] = maker
            self._register(maker)
        for before, after in zip(node.outputs, outputs, strict=True):
            self._replace(before, after)

    def repeat(self, node: Node, reader: Node) -> None:
        """Let `reader` read a node of its own in the place of `node`, which waits for everything else it reads."""
        again = Node(node.operation, node.inputs, [y.spec for y in node.outputs], node.scope)
        again.serial, again.mixed = reader.serial - 2**-10, node.mixed
        self.behind[again.serial] = {
            x.node.serial for x in reader.inputs if x.node is not None and x.node is not node
        }
        self.nodes[again.serial] = again
        self._register(again)
        for old, new in zip(node.outputs, again.outputs, strict=True):
            reader.inputs = [new if x is old else x for x in reader.inputs]
            self._readers[id(old)] = [other for other in self._readers[id(old)] if other is not reader]
            self._readers[id(new)].append(reader)

    def readers(self, tensor: Tensor) -> list[Node]:
        """The nodes that read a tensor."""
        return list(self._readers[id(tensor)])

    def is_wanted(self, tensor: Tensor) -> bool:
        """Whether the tensor is an output of the plan."""
        return id(tensor) in self._wanted

    def _are_constant(self, makers: Sequence[Node]) -> bool:
        own = {id(y) for maker in makers for y in maker.outputs}
        return all(id(x) in own or self.is_constant(x) for maker in makers for x in maker.inputs)

    def _place(self, node: Node, reader: Node) -> float | None:
        """Where in the order one node can take the place of two: the place of `node`, if its inputs are there by then.

        Else that of `reader`; not where `node` has other outputs, which may be wanted before.
        """
        others = [x.node for x in reader.inputs if x.node is not None and x.node is not node]
        if all(other.serial < node.serial for other in others):
            return node.serial
        return reader.serial if len(node.outputs) == 1 else None

    def _remove(self, node: Node) -> None:
        del self.nodes[node.serial]
        self._gone.append(node)
        for x in node.inputs:
            self._readers[id(x)] = [other for other in self._readers[id(x)] if other is not node]

    def _replace(self, old: Tensor, new: Tensor) -> None:
        self._replaced[id(old)] = new
        for reader in self._readers.pop(id(old), []):
            reader.inputs = [new if x is old else x for x in reader.inputs]
            self._readers[id(new)].append(reader)
        if id(old) in self._wanted:
            self._wanted.add(id(new))

    def current(self, tensor: Tensor) -> Tensor:
        """The tensor that stands for this one now."""
        while id(tensor) in self._replaced:
            tensor = self._replaced[id(tensor)]
        return tensor

    def in_order(self) -> list[Node]:
        """The nodes in execution order, constants first."""
        nodes = [self.nodes[serial] for serial in sorted(self.nodes)]
        return sorted(nodes, key=lambda node: not self.is_at_rest(node))

    def is_at_rest(self, node: Node) -> bool:
        """Whether a node computes what no run of the plan can change."""
        return all(map(self.is_constant, node.inputs))
