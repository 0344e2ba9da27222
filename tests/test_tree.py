"""Nested structures; what Keras does with them is in test_keras_utils_peer.py."""

from collections import OrderedDict, defaultdict, deque, namedtuple

import pytest

from fastcnn import tree
from fastcnn.errors import Error

Point = namedtuple("Point", ["x", "y"])
NESTED = {"b": [1, (2, None)], "a": Point(3, [4]), "c": deque([5, 6], 4), "d": OrderedDict(z=7, y=8)}


def test_flatten_and_back():
    leaves = tree.flatten(NESTED)
    assert leaves == [3, 4, 1, 2, None, 5, 6, 7, 8]
    again = tree.pack_sequence_as(NESTED, leaves)
    assert again == NESTED and list(again) == list(NESTED) and again["c"].maxlen == 4
    assert [path for path, _ in tree.flatten_with_path(NESTED)][:3] == [("a", 0), ("a", 1, 0), ("b", 0)]
    with pytest.raises(Error, match="9 leaves, the sequence 8"):
        tree.pack_sequence_as(NESTED, leaves[1:])


def test_a_leaf_is_a_structure_too():
    assert tree.flatten(3) == [3] and tree.pack_sequence_as("x", [4]) == 4 and not tree.is_nested("ab")
    assert tree.is_nested(()) and tree.is_nested({}) and not tree.is_nested(None)


def test_maps_keep_kinds_and_defaults():
    structure = defaultdict(list, a=[1], b=[2])
    doubled = tree.map_structure(lambda x: 2 * x, structure)
    assert doubled == {"a": [2], "b": [4]} and doubled.default_factory is list
    assert tree.map_structure(lambda *x: sum(x), [1, (2,)], [10, (20,)], [100, (200,)]) == [111, (222,)]
    assert tree.map_structure(str, [None, 1], none_is_leaf=False) == [None, "1"]


@pytest.mark.parametrize("other", [[1], (1, 2), {"a": 1}, 1, [1, [2]]], ids=str)
def test_maps_refuse_structures_that_differ(other):
    with pytest.raises(Error, match="not nested alike"):
        tree.map_structure(lambda a, b: a, [1, 2], other)
    with pytest.raises(Error, match="not nested alike"):
        tree.assert_same_structure([1, 2], other)


def test_named_tuples_of_one_name_differ():
    tree.assert_same_structure(Point(1, 2), Point(3, 4))
    with pytest.raises(Error, match="not nested alike"):
        tree.assert_same_structure(Point(1, 2), namedtuple("Point", ["x", "y"])(1, 2))
    tree.assert_same_paths(Point(1, 2), [1, 2])
    with pytest.raises(Error, match="only the first has"):
        tree.assert_same_paths([1, 2], [1])


def test_traverse_replaces_parts():
    def cut(part):
        return tree.MAP_TO_NONE if part == [2] else "leaf" if part == 3 else None

    assert tree.traverse(cut, (1, [2], {"a": 3})) == (1, None, {"a": "leaf"})
    assert tree.traverse(cut, (1, [2], {"a": 3}), top_down=False) == (1, None, {"a": "leaf"})


def test_up_to_a_shallow_structure():
    assert tree.map_structure_up_to([None, [None]], str, [(1, 2), [[3]]]) == ["(1, 2)", ["[3]"]]
    for run in (tree.map_structure, lambda f: tree.map_structure_up_to([1], f)):
        with pytest.raises(Error, match="at least one structure"):
            run(len)


def test_shapes_are_leaves():
    assert tree.map_shape_structure(len, {"a": (None, 3), "b": [[1, 2, 3], (4,)]}) == {"a": 2, "b": [3, 1]}
