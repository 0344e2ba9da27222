"""Models as drawings, and where their boxes go."""

import sys
from xml.etree import ElementTree

import pytest

import fastcnn
from fastcnn import Input, Model, Sequential, layers, utils
from fastcnn.errors import Error
from fastcnn.utils.layout import lay_out

SVG = "{http://www.w3.org/2000/svg}"


def residual():
    inputs = Input((8, 8, 3), name="image")
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="first")(inputs)
    y = layers.Conv2D(4, 3, padding="same", name="second")(x)
    x = layers.Add(name="join")([x, y])
    head = Sequential([Input((4,)), layers.Dense(2, name="inner")], name="head")
    return Model(inputs, head(layers.GlobalAveragePooling2D(name="pool")(x)), name="net")


def words(drawing):
    return [element.text for element in ElementTree.fromstring(drawing.svg()).iter(f"{SVG}text")]


def count(drawing, tag):
    return len(list(ElementTree.fromstring(drawing.svg()).iter(SVG + tag)))


def test_a_box_a_layer_and_an_arrow_a_tensor():
    drawing = utils.plot_model(residual(), None)
    assert sorted(words(drawing)) == sorted(
        ["InputLayer", "Conv2D", "Conv2D", "Add", "GlobalAveragePooling2D", "Sequential"]
    )
    assert count(drawing, "polyline") == count(drawing, "polygon") == 6
    assert count(drawing, "rect") == 1 + 6  # the page


def test_what_boxes_say():
    options = dict.fromkeys(("show_shapes", "show_dtype", "show_layer_names", "show_layer_activations"), True)
    said = words(utils.plot_model(residual(), None, show_trainable=True, expand_nested=True, **options))
    for line in (
        "first (Conv2D)",
        "activation: relu",
        "dtype: float32",
        "input: (None, 8, 8, 3)",
        "trainable: yes",
    ):
        assert line in said
    assert "inner (Dense)" in said and "input: (None, 8, 8, 4), (None, 8, 8, 4)" in said


def test_frozen_layers_say_so():
    model = residual()
    model.trainable = False
    assert "trainable: no" in words(utils.plot_model(model, None, show_trainable=True))


def test_files(tmp_path):
    image_module = pytest.importorskip("PIL.Image")
    drawing = utils.plot_model(residual(), tmp_path / "a.svg")
    assert (tmp_path / "a.svg").read_text() == drawing.svg() == drawing._repr_svg_()
    for dpi, scale in ((96, 1), (192, 2)):
        utils.plot_model(residual(), tmp_path / "a.png", dpi=dpi)
        with image_module.open(tmp_path / "a.png") as image:
            assert image.size == tuple(round(side * scale) for side in drawing.size)
            assert len(image.convert("RGB").getcolors(1 << 20)) > 3
    with pytest.raises(Error, match="cannot draw into a '.pdf' file; use .svg"):
        utils.plot_model(residual(), tmp_path / "a.pdf")


def test_bitmaps_need_pillow(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(Error, match=r'pip install "fastcnn\[data\]"'):
        utils.plot_model(residual(), tmp_path / "a.png")


def test_sideways_is_wider_than_tall():
    (across, down), (width, height) = (
        utils.plot_model(residual(), None, rankdir=d).size for d in ("LR", "TB")
    )
    assert across > down and height > width
    with pytest.raises(Error, match="rankdir must be one of"):
        utils.plot_model(residual(), None, rankdir="up")


def test_text_for_graphviz(tmp_path):
    dot = utils.model_to_dot(residual())
    text = dot.to_string()
    assert text.startswith('digraph "net" {') and 'label="first (Conv2D)"' in text
    edges = [line for line in text.splitlines() if "->" in line]
    assert edges == [f"n{a} -> n{b};" for a, b in [(0, 1), (1, 2), (1, 3), (2, 3), (3, 4), (4, 5)]]
    dot.write(tmp_path / "net.dot")
    assert (tmp_path / "net.dot").read_text() == str(dot)
    inner = utils.model_to_dot(residual(), expand_nested=True, subgraph=True).to_string()
    assert inner.startswith('subgraph "cluster_net"') and "n4 -> n5_0;" in inner and "n5_0 -> n5_1;" in inner


def test_models_without_a_graph():
    class Own(fastcnn.Model):
        def __init__(self):
            super().__init__(name='own "net"')
            self.dense = layers.Dense(2)

        def call(self, x):
            return self.dense(x)

    model = Own()
    with pytest.raises(Error, match="has no layers to draw yet"):
        utils.plot_model(model, None)
    model.build((None, 3))
    assert words(utils.plot_model(model, None, show_layer_names=True)) == ['own "net" (Own)']
    assert r"own \"net\" (Own)" in utils.model_to_dot(model).to_string()


# --- layout ------------------------------------------------------------------------------------------------------


def overlaps(a, size_a, b, size_b):
    return abs(a.x - b.x) < (size_a[0] + size_b[0]) / 2 and abs(a.y - b.y) < (size_a[1] + size_b[1]) / 2


@pytest.mark.parametrize(
    "edges",
    [
        [], [(0, 1)], [(0, 1), (1, 2), (0, 2)], [(0, 3), (1, 3), (2, 3), (3, 4), (3, 5), (0, 5)],
        [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (0, 5), (1, 5), (0, 4)], [(4, 5), (0, 5), (1, 2), (2, 5), (3, 5)],
    ],
    ids=str,
)  # fmt: skip
def test_layout(edges):
    """No boxes overlap, edges go down from box to box, and everything is on the page."""
    sizes = [(40.0 + 13 * i, 20.0 + 7 * (i % 3)) for i in range(6)]
    layout = lay_out(sizes, edges, 10.0)
    places = list(zip(layout.places, sizes, strict=True))
    for i, (a, size_a) in enumerate(places):
        assert not any(overlaps(a, size_a, b, size_b) for b, size_b in places[:i])
        assert size_a[0] / 2 - 1e-6 <= a.x <= layout.width - size_a[0] / 2 + 1e-6
        assert size_a[1] / 2 - 1e-6 <= a.y <= layout.height - size_a[1] / 2 + 1e-6
    for (start, end), route in zip(edges, layout.routes, strict=True):
        assert route[0] == (layout.places[start].x, layout.places[start].y + sizes[start][1] / 2)
        assert route[-1] == (layout.places[end].x, layout.places[end].y - sizes[end][1] / 2)
        assert all(a.y < b.y for a, b in zip(route, route[1:], strict=False))


def test_a_chain_is_straight():
    layout = lay_out([(10.0, 10.0), (50.0, 10.0), (30.0, 10.0)], [(0, 1), (1, 2)], 5.0)
    assert len({place.x for place in layout.places}) == 1
    assert [place.y for place in layout.places] == [5.0, 20.0, 35.0] and (layout.width, layout.height) == (
        50,
        40,
    )
