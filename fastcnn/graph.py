"""The graph: operations applied to tensors, and the gradients of that.

`apply(op, x, ...)` adds a node. A *trace* records what a model does for one concrete input shape and one mode
(training or not); outside a trace the same calls describe a functional model whose batch size is still open.
"""

from __future__ import annotations

import contextlib
import contextvars
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeVar, dataclass_transform

import numpy as np

from fastcnn.errors import Error, did_you_mean
from fastcnn.tensor import Tensor, TensorSpec, Variable

if TYPE_CHECKING:
    from fastcnn_kernels.jit import Launch


C = TypeVar("C")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def operation(cls: type[C]) -> type[C]:
    """Make a class of ops a frozen dataclass whose methods are those of `Op`.

    `dataclass(frozen=True)` would write and compile six for each of the classes, which takes a tenth of an import.
    """
    return dataclass(init=False, repr=False, eq=False)(cls)


class Op:
    """One entry of the op vocabulary: an `operation` on attributes, with a shape rule, a gradient rule and the kernels
    that run it. See docs/architecture.md, "How to add an op".
    """

    alias = False  # the output is the first input under another shape: no kernel, no memory
    mutates: tuple[int, ...] = ()  # positions of the inputs (variables) that running it changes
    weights: ClassVar[tuple[int, ...]] = ()  # positions of the inputs that `prepare` reads
    sums_chunks = False  # it sums over chunks of images, for plans that execute it block by block
    narrow = False  # it makes a few numbers of many, as fast for a few images at a time as for many
    cheap = False  # to compute it again from its inputs costs less than to keep the result in memory
    images_at_once = 1  # fewer take as long
    images: tuple[int, ...] | None = None  # what `by_image` says, where it is the same for all shapes
    rounding = (
        0  # errors beside those of a plain sum of the same numbers: 0 no larger, else as `config.PRECISIONS`
    )
    mixed = False  # it rounds its operands to bfloat16, which is for nodes that are `mixed`

    registry: ClassVar[dict[str, type[Op]]] = {}
    alternatives: ClassVar[dict[str, type[Op]]] = {}  # other algorithms for it, by name
    algorithm = "auto"  # the one that the user wants, or as `config.convolution_algorithm` says

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        Op.registry[cls.__name__] = cls

    def __init__(self, *values: Any, **named: Any):
        known = self._fields()
        places = [f.name for f in known if not f.kw_only]
        given = dict(zip(places, values, strict=False))
        if len(values) > len(places) or given.keys() & named.keys() or named.keys() - {f.name for f in known}:
            raise TypeError(f"{self.name} takes {', '.join(f.name for f in known)}; got {values}, {named}")
        attributes = {f.name: (given | named).get(f.name, f.default) for f in known}
        if missing := [name for name, value in attributes.items() if value is MISSING]:
            raise TypeError(f"{self.name} also needs {', '.join(missing)}")
        self.__dict__.update(attributes)

    @classmethod
    def _fields(cls) -> tuple[Field, ...]:
        return fields(cls) if is_dataclass(cls) else ()

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{self.name} is one for life; replace() makes another")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash((self.name, *self.__dict__.values()))

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(f'{name}={value!r}' for name, value in self.__dict__.items())})"

    @property
    def name(self) -> str:
        return type(self).__name__

    def get_config(self) -> dict[str, Any]:
        """Name and attributes, for files."""
        return {"name": self.name, **self.__dict__}

    @staticmethod
    def from_config(config: dict[str, Any]) -> Op:
        """The op that `get_config` described; only ops of the vocabulary are made."""
        attributes = {name: _tuples(value) for name, value in config.items() if name != "name"}
        if config["name"] not in Op.registry:
            raise Error(f"unknown op {config['name']!r}{did_you_mean(str(config['name']), Op.registry)}")
        return Op.registry[config["name"]](**attributes)

    def infer(self, *inputs: Any, **options: Any) -> TensorSpec | tuple[TensorSpec, ...]:
        """Shape and dtype of the output, or of each output."""
        raise Error(f"{self.name} defines no shape rule")

    def gradient(
        self, inputs: Sequence[Tensor], outputs: Sequence[Tensor], grads: Sequence[Tensor | None]
    ) -> Sequence[Tensor | None]:
        """Gradient for each input, given the gradient of each output (None where it has no influence)."""
        raise Error(f"{self.name} has no gradient")

    def prepared(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> list[TensorSpec]:
        """What `prepare` makes of the inputs at `weights` for `launch`, which finds it before its scratch."""
        return []

    def prepare(
        self, k: Any, inputs: list[np.ndarray], outputs: list[np.ndarray], prepared: list[np.ndarray]
    ) -> list[Launch]:
        """Kernels that make it. In a plan that does not change these weights they run once, not in every run."""
        return []

    def scratch(
        self, k: Any, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
    ) -> list[TensorSpec]:
        """Working memory that `launch` with the same kernels needs for the time of this node."""
        return []

    def workspace(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> TensorSpec | None:
        """Working memory of one thread. `launch` finds an array with a row a thread behind its scratch."""
        return None

    def launch(
        self, k: Any, inputs: list[np.ndarray], outputs: list[np.ndarray], scratch: list[np.ndarray]
    ) -> list[Launch]:
        """Kernels of the backend `k` bound to these arrays, in order."""
        return []

    def by_image(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Sequence[int] | None:
        """Positions of the inputs that are cut when only some images (first indices) of the outputs are computed.

        Of those it needs the same images, of the others everything. None if it cannot be cut so.
        """
        return self.images

    def parts(self, inputs: Sequence[Tensor], by_image: bool) -> Sequence[Tensor] | None:
        """The outputs, by several smaller ops that a plan may run at different times; None if it is one piece.

        by_image: whether the plan would execute some of them on a few images at a time.
        """
        return None

    def using(self, algorithm: str) -> Op:
        """The same operation by the algorithm of that name, where it has one."""
        other = self.alternatives.get(algorithm)
        return self if other is None else other(**self.__dict__)

    def cost(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], ready: bool) -> float:
        """Estimate for an op with alternatives, in multiply-adds at full speed; infinite where it is impossible.

        ready: what `prepare` makes need not be made again.
        """
        raise Error(f"{self.name} has no estimate of its cost")

    def absorb(self, node: Node, reader: Node) -> Fused | None:
        """What does the work of `node`, which is of this op, and of `reader` in one go; None if nothing does.

        Asked when nothing but `reader` reads the node's first output. Inputs may be new tensors made of weights.
        """
        return None

    def absorb_source(self, node: Node, source: Node) -> Fused | None:
        """What does the work of `source`, whose result only `node` reads, and of `node`, which is of this op."""
        return None

    def join(self, node: Node, reader: Node, k: Any) -> Op | None:
        """What does the work of `node`, which is of this op, and of `reader`, which reads nothing but its first output.

        It has the inputs of `node`, and the outputs of both: `node`'s first. k: the kernels of the backend.
        """
        return None

    def flops(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> int:
        """Floating-point operations, a multiply-add counting two."""
        return sum(spec.size for spec in outputs)


Fused = tuple[Op, Sequence[Tensor]]  # an op in place of two, and its inputs


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


_serial = itertools.count()


class Node:
    """An operation (an op, or a layer while a functional model is built) applied to tensors."""

    def __init__(
        self, operation: Any, inputs: Sequence[Tensor], specs: Sequence[TensorSpec], scope: str = "",
        call: Any = None,
    ):  # fmt: skip
        self.operation = operation
        self.inputs = list(inputs)
        self.outputs = [Tensor(*spec) for spec in specs]
        self.scope = scope
        self.call = call  # how a layer was called: arguments with tensors in place
        self.mixed = is_mixed()  # its products may take their operands as bfloat16 numbers
        self.serial: float = next(
            _serial
        )  # creation order is an execution order; parts of a node get fractions
        for output in self.outputs:
            output.node = self

    def __repr__(self) -> str:
        return f"<{self.scope or 'node'} {getattr(self.operation, 'name', self.operation)}>"


class Report(NamedTuple):
    """A function to call after each run of what is traced, with arrays in place of the tensors among its arguments."""

    function: Callable[..., Any]
    args: tuple
    kwargs: dict[str, Any]


class Trace:
    """What happens while a function of tensors runs once, symbolically, on known shapes."""

    def __init__(self, training: bool):
        self.training = training
        self.updates: list[Node] = []  # nodes that change variables
        self.losses: list[Tensor] = []  # added by layers: penalties, auxiliary losses
        self.reports: list[Report] = []  # what is to be told after each run
        self.optimizers: list[Any] = []  # whose updates of variables are among those
        self.scopes: list[str] = []
        self.mixed = False  # inside of a layer that computes in bfloat16
        self.after: Any = None  # a function (layer, outputs) -> outputs, called after each layer

    @property
    def scope(self) -> str:
        return "/".join(self.scopes)


_trace: contextvars.ContextVar[Trace | None] = contextvars.ContextVar("fastcnn_trace", default=None)


def current_trace() -> Trace | None:
    """The trace being recorded, or None."""
    return _trace.get()


def is_mixed() -> bool:
    """Whether what is being traced computes in bfloat16."""
    trace = current_trace()
    return trace is not None and trace.mixed


@contextlib.contextmanager
def tracing(trace: Trace | None) -> Iterator[Trace | None]:
    """Record into `trace` (None: outside any trace)."""
    token = _trace.set(trace)
    try:
        yield trace
    finally:
        _trace.reset(token)


def apply(op: Op, *inputs: Tensor) -> Any:
    """Apply `op`; returns its output tensor, or a tuple of them.

    Everything that is not a tensor yet must have been made one by the caller (`ops.convert`).
    """
    trace = current_trace()
    specs = op.infer(*inputs)
    several = not isinstance(specs, TensorSpec)
    node = Node(op, inputs, specs if several else [specs], trace.scope if trace else "")  # type: ignore[list-item,arg-type]
    return tuple(node.outputs) if several else node.outputs[0]


def update(op: Op, *inputs: Tensor) -> None:
    """Apply an op that changes variables in place (`op.mutates`) when the traced function runs."""
    trace = current_trace()
    if trace is None:
        raise Error(
            f"{op.name} changes variables, which is possible only inside a layer's call or a train step"
        )
    trace.updates.append(Node(op, inputs, [], trace.scope))


# --- order ---------------------------------------------------------------------------------------------------


def ancestors(tensors: Iterable[Tensor]) -> list[Node]:
    """All nodes that the tensors depend on, in execution order."""
    found: dict[float, Node] = {}
    stack = [t.node for t in tensors if t.node is not None]
    while stack:
        node = stack.pop()
        if node.serial not in found:
            found[node.serial] = node
            stack.extend(t.node for t in node.inputs if t.node is not None)
    return [found[serial] for serial in sorted(found)]


# --- gradients -----------------------------------------------------------------------------------------------


def gradients(
    of: Tensor | Sequence[Tensor],
    with_respect_to: Sequence[Tensor],
    grads: Sequence[Tensor] | None = None,
) -> list[Tensor | None]:
    """d(sum of `of`) / d(each of `with_respect_to`): symbolic tensors, None where there is no dependence.

    `grads` weighs the elements of `of` (default: ones). Reverse-mode differentiation: nodes are visited last
    first; contributions to a tensor used several times (shared weights, branches) are added up.
    """
    add, ones_like = Tensor.operators["add"], Tensor.operators["ones_like"]
    ys = [of] if isinstance(of, Tensor) else list(of)
    nodes = ancestors(ys)
    sources = {id(x) for x in with_respect_to}
    dependents = _dependents(nodes, sources)
    totals: dict[int, Tensor] = {}

    def accumulate(x: Tensor, dx: Tensor) -> None:
        totals[id(x)] = add(totals[id(x)], dx) if id(x) in totals else dx

    for i, y in enumerate(ys):
        accumulate(y, grads[i] if grads is not None else ones_like(y))
    for node in reversed(nodes):
        dys = [totals.get(id(y)) for y in node.outputs]
        if node.serial not in dependents or all(dy is None for dy in dys):
            continue
        with _scope_of(node):
            dxs = node.operation.gradient(node.inputs, node.outputs, dys)
            for x, dx in zip(node.inputs, dxs, strict=True):
                if dx is not None and _depends(x, sources, dependents):
                    accumulate(x, dx)
    return [totals.get(id(x)) for x in with_respect_to]


def _depends(x: Tensor, sources: set[int], dependents: set[float]) -> bool:
    return id(x) in sources or (x.node is not None and x.node.serial in dependents)


def _dependents(nodes: list[Node], sources: set[int]) -> set[float]:
    """Serials of the nodes whose outputs depend on the source tensors (given by id)."""
    found: set[float] = set()
    for node in nodes:
        if any(_depends(x, sources, found) for x in node.inputs):
            found.add(node.serial)
    return found


@contextlib.contextmanager
def _scope_of(node: Node) -> Iterator[None]:
    """Nodes of the backward graph carry the name and the precision of the layer whose forward they differentiate."""
    trace = current_trace()
    if trace is None:
        yield
        return
    outer = trace.scopes, trace.mixed
    trace.scopes, trace.mixed = [node.scope] if node.scope else [], node.mixed
    try:
        yield
    finally:
        trace.scopes, trace.mixed = outer


def variables_of(nodes: Iterable[Node]) -> list[Variable]:
    """The variables that the nodes read, each once, in first-use order."""
    found = {id(x): x for node in nodes for x in node.inputs if isinstance(x, Variable)}
    return list(found.values())
