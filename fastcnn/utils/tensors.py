"""Where symbolic tensors come from."""

from typing import Any

from fastcnn.tensor import Tensor, is_keras_tensor


def get_source_inputs(tensor: Any) -> list[Tensor]:
    """The input tensors that a symbolic tensor is computed from, each once, in the order they are met."""
    found: dict[int, Tensor] = {}
    seen: set[int] = set()
    stack = [tensor]
    while stack:
        x = stack.pop()
        if not is_keras_tensor(x) or id(x) in seen:
            continue
        seen.add(id(x))
        sources = x.node.inputs if x.node is not None else []
        if not sources:
            found.setdefault(id(x), x)
        stack += reversed(sources)
    return list(found.values())
