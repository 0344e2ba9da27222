"""Models as pictures: a box for each call of a layer, an arrow for each tensor."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from fastcnn.errors import Error
from fastcnn.utils.drawing import LETTER, LINE, Box, Drawing, Line, Point, Words
from fastcnn.utils.layout import Place, lay_out

GAP = 28.0  # pixels between boxes
MARGIN = 8.0
COLORS = {"input": "#e2f0d9", "weights": "#dae8fc", "plain": "#f5f5f5", "group": "#ffffff"}
DIRECTIONS = ("TB", "LR")


class What(NamedTuple):
    """What the boxes say besides the class of the layer."""

    shapes: bool
    dtype: bool
    names: bool
    nested: bool
    activations: bool
    trainable: bool


class Dot:
    """A graph in the language of Graphviz; `to_string()` is its text, `write(path)` a file of it."""

    def __init__(self, text: str):
        self.text = text

    def to_string(self) -> str:
        return self.text

    __str__ = to_string

    def write(self, path: Any) -> None:
        with open(path, "w", encoding="utf-8") as file:
            file.write(self.text)


def plot_model(
    model: Any, to_file: Any = "model.png", show_shapes: bool = False, show_dtype: bool = False,
    show_layer_names: bool = False, rankdir: str = "TB", expand_nested: bool = False, dpi: int = 200,
    show_layer_activations: bool = False, show_trainable: bool = False, splines: str = "ortho",
) -> Drawing:  # fmt: skip
    """Draw a model into a file (.svg; .png and other bitmaps with Pillow), and return the drawing for a notebook.

    to_file: None writes no file. rankdir: "TB" from top to bottom, "LR" from left to right. expand_nested: draw
    models inside the model with their layers. A layer called twice has two boxes. Graphviz is not needed: `splines`
    changes nothing.
    """
    if rankdir not in DIRECTIONS:
        raise Error(f"plot_model: rankdir must be one of {DIRECTIONS}, got {rankdir!r}")
    what = What(
        show_shapes, show_dtype, show_layer_names, expand_nested, show_layer_activations, show_trainable
    )
    shapes, (width, height) = _draw(_calls(model), what, rankdir == "LR")
    drawing = Drawing(
        [_moved(shape, MARGIN, MARGIN) for shape in shapes], (width + 2 * MARGIN, height + 2 * MARGIN)
    )
    if to_file is not None:
        drawing.save(to_file, dpi)
    return drawing


def model_to_dot(
    model: Any, show_shapes: bool = False, show_dtype: bool = False, show_layer_names: bool = True,
    rankdir: str = "TB", expand_nested: bool = False, dpi: int = 200, subgraph: bool = False,
    show_layer_activations: bool = False, show_trainable: bool = False, splines: str = "ortho",
) -> Dot:  # fmt: skip
    """The model as a graph for Graphviz."""
    what = What(
        show_shapes, show_dtype, show_layer_names, expand_nested, show_layer_activations, show_trainable
    )
    head = f'graph [rankdir={rankdir}, dpi={dpi}, splines={splines}]; node [shape=box, fontname="monospace"];'
    lines = _dot(_calls(model), what, "n")
    kind = f'subgraph "cluster_{model.name}"' if subgraph else f"digraph {_quoted(model.name)}"
    return Dot("\n".join([f"{kind} {{", head, *lines, "}"]) + "\n")


# --- what there is to draw -------------------------------------------------------------------------------------


def _calls(model: Any) -> list[Any]:
    """The nodes of a model's graph; of a model without one, the model itself."""
    if not model.built:
        raise Error(f"model {model.name!r} has no layers to draw yet; build it or call it on data first")
    network = getattr(model, "network", None)
    return [model] if network is None else list(network.nodes)


def _edges(calls: list[Any]) -> list[tuple[int, int]]:
    """(from, to) for each tensor that goes from one call to another."""
    position = {id(call): i for i, call in enumerate(calls)}
    sources = [(x.node, i) for i, call in enumerate(calls) if _is_call(call) for x in call.inputs]
    return [(position[id(node)], i) for node, i in sources if id(node) in position]


def _is_call(thing: Any) -> bool:
    return hasattr(thing, "operation")


def _inner(call: Any, what: What) -> list[Any]:
    """The calls inside a nested model, where they are wanted."""
    network = getattr(call.operation, "network", None) if what.nested and _is_call(call) else None
    return [] if network is None else list(network.nodes)


def _said(call: Any, what: What) -> Iterator[str]:
    """The lines of a box."""
    thing = call.operation if _is_call(call) else call
    is_layer = hasattr(thing, "weights") and hasattr(thing, "trainable_weights")
    kind = type(thing).__name__
    yield f"{thing.name} ({kind})" if what.names and is_layer else kind
    function = getattr(thing, "activation", None)
    if what.activations and function is not None:
        yield f"activation: {getattr(function, '__name__', function)}"
    if what.dtype and _is_call(call):
        yield f"dtype: {call.outputs[0].dtype}"
    if what.shapes and _is_call(call):
        if call.inputs:
            yield f"input: {_shapes(call.inputs)}"
        yield f"output: {_shapes(call.outputs)}"
    if what.trainable and is_layer and thing.weights:
        yield f"trainable: {'yes' if thing.trainable_weights else 'no'}"


def _shapes(tensors: Any) -> str:
    return ", ".join(str(x.shape) for x in tensors)


def _color(call: Any) -> str:
    if _is_call(call) and not call.inputs:
        return COLORS["input"]
    thing = call.operation if _is_call(call) else call
    return COLORS["weights" if getattr(thing, "weights", None) else "plain"]


# --- as a picture ------------------------------------------------------------------------------------------------

Shape = Box | Line | Words
Picture = tuple[list[Shape], Point]


def _draw(calls: list[Any], what: What, sideways: bool) -> Picture:
    """The shapes of a graph, from (0, 0), and its size."""
    pictures = [_box(call, what, sideways) for call in calls]
    edges = list(dict.fromkeys(_edges(calls)))
    sizes = [size[::-1] if sideways else size for _, size in pictures]
    layout = lay_out(sizes, edges, GAP)
    shapes: list[Shape] = [Line(_curve(route, sideways), True) for route in layout.routes]
    for (box, (width, height)), place in zip(pictures, layout.places, strict=True):
        x, y = _turned(place, sideways)
        shapes += [_moved(shape, x - width / 2, y - height / 2) for shape in box]
    size = (layout.width, layout.height)
    return shapes, (size[1], size[0]) if sideways else size


def _box(call: Any, what: What, sideways: bool) -> Picture:
    """A box with its lines of text, and below them the graph of a nested model."""
    texts = list(_said(call, what))
    inside, (inner_width, inner_height) = (
        _draw(_inner(call, what), what, sideways) if _inner(call, what) else ([], (0, 0))
    )
    width = max(max(map(len, texts)) * LETTER, inner_width) + 2 * MARGIN
    height = len(texts) * LINE + MARGIN + (inner_height + MARGIN if inside else 0)
    color = COLORS["group"] if inside else _color(call)
    shapes: list[Shape] = [Box((0, 0), (width, height), color)]
    for i, text in enumerate(texts):
        shapes.append(Words((width / 2, MARGIN / 2 + (i + 0.5) * LINE), text, i == 0))
    left, top = (width - inner_width) / 2, len(texts) * LINE + MARGIN
    return [*shapes, *(_moved(shape, left, top) for shape in inside)], (width, height)


def _moved(shape: Shape, dx: float, dy: float) -> Shape:
    if isinstance(shape, Box):
        return shape._replace(corner=(shape.corner[0] + dx, shape.corner[1] + dy))
    if isinstance(shape, Words):
        return shape._replace(centre=(shape.centre[0] + dx, shape.centre[1] + dy))
    return shape._replace(points=[(x + dx, y + dy) for x, y in shape.points])


def _turned(place: Place, sideways: bool) -> Point:
    return (place.y, place.x) if sideways else (place.x, place.y)


def _curve(route: list[Place], sideways: bool) -> list[Point]:
    """A line through the points of a route, bent so that it leaves and arrives straight."""
    points = [route[0]]
    for a, b in zip(route, route[1:], strict=False):
        steps = 1 if abs(a.x - b.x) < 1 else 12
        shares = [i / steps for i in range(1, steps + 1)]
        points += [Place(a.x + (b.x - a.x) * s * s * (3 - 2 * s), a.y + (b.y - a.y) * s) for s in shares]
    return [_turned(point, sideways) for point in points]


# --- as text for Graphviz ------------------------------------------------------------------------------------------


def _dot(calls: list[Any], what: What, prefix: str) -> Iterator[str]:
    """Nodes PREFIX0, PREFIX1, ... and the edges between them. A nested model is a cluster around its own nodes."""
    for i, call in enumerate(calls):
        name, label = f"{prefix}{i}", _quoted("\n".join(_said(call, what)))
        if inner := _inner(call, what):
            yield f'subgraph "cluster_{name}" {{ label={label};'
            yield from _dot(inner, what, f"{name}_")
            yield "}"
        else:
            yield f"{name} [label={label}];"
    for start, end in dict.fromkeys(_edges(calls)):
        yield f"{_end(calls[start], what, f'{prefix}{start}', -1)} -> {_end(calls[end], what, f'{prefix}{end}', 0)};"


def _end(call: Any, what: What, name: str, which: int) -> str:
    """Where an edge of a call begins (-1) or ends (0): of a nested model, at its last or first node."""
    inner = _inner(call, what)
    if not inner:
        return name
    at = which % len(inner)
    return _end(inner[at], what, f"{name}_{at}", which)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
