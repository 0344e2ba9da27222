"""Nested structures of lists, tuples, named tuples, deques and dicts: to flat lists and back, function by function.

None is a leaf, as is everything else. A dict is walked in the order of its sorted keys, an OrderedDict in its own.
"""

from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Hashable, Iterable
from typing import Any

from fastcnn.errors import Error

__all__ = [
    "MAP_TO_NONE",
    "assert_same_paths",
    "assert_same_structure",
    "flatten",
    "flatten_with_path",
    "is_nested",
    "lists_to_tuples",
    "map_shape_structure",
    "map_structure",
    "map_structure_up_to",
    "pack_sequence_as",
    "traverse",
]

SEQUENCES = (list, tuple, deque)
DICTS = (dict, OrderedDict, defaultdict)


class MAP_TO_NONE:  # noqa: N801  (Keras's name)
    """What a function given to `traverse` returns for None to take the place of a part."""


def is_nested(structure: Any) -> bool:
    """Whether this is a list, tuple, named tuple, deque or dict, an empty one too."""
    return type(structure) in (*SEQUENCES, *DICTS) or _is_named_tuple(structure)


def _is_named_tuple(structure: Any) -> bool:
    return isinstance(structure, tuple) and hasattr(structure, "_fields")


def _items(structure: Any) -> list[tuple[Any, Any]]:
    """(key or index, part) of each part of a nested structure, in the order of walking."""
    if type(structure) in (dict, defaultdict):
        return [(key, structure[key]) for key in sorted(structure)]
    return list(structure.items()) if isinstance(structure, dict) else list(enumerate(structure))


def _rebuilt(structure: Any, parts: Iterable[Any]) -> Any:
    """A structure like this one of other parts, which come in the order of walking."""
    new = list(parts)
    if isinstance(structure, dict):
        by_key = dict(zip((key for key, _ in _items(structure)), new, strict=True))
        ordered = {key: by_key[key] for key in structure}
        if isinstance(structure, defaultdict):
            return defaultdict(structure.default_factory, ordered)
        return type(structure)(ordered)
    if _is_named_tuple(structure):
        return type(structure)(*new)
    return deque(new, structure.maxlen) if isinstance(structure, deque) else type(structure)(new)


def flatten(structure: Any) -> list[Any]:
    """The leaves in order.

    >>> flatten({"b": [1, (2,)], "a": None})
    [None, 1, 2]
    """
    return [leaf for _, leaf in flatten_with_path(structure)]


def flatten_with_path(structure: Any) -> list[tuple[tuple[Any, ...], Any]]:
    """(path, leaf) of each leaf; a path is the keys and indices that lead to it."""
    if not is_nested(structure):
        return [((), structure)]
    return [((key, *path), leaf) for key, part in _items(structure) for path, leaf in flatten_with_path(part)]


def pack_sequence_as(structure: Any, flat_sequence: Iterable[Any]) -> Any:
    """The structure with other leaves; undoes `flatten`."""
    leaves = list(flat_sequence)
    wanted = len(flatten(structure))
    if len(leaves) != wanted:
        raise Error(f"pack_sequence_as: the structure has {wanted} leaves, the sequence {len(leaves)}")
    supply = iter(leaves)
    return map_structure(lambda _: next(supply), structure)


def map_structure(func: Callable[..., Any], *structures: Any, none_is_leaf: bool = True) -> Any:
    """func of the corresponding leaves of structures that are nested alike, in that structure.

    none_is_leaf: whether func is called for None; else None stays.
    """
    if not structures:
        raise Error("map_structure: give at least one structure")
    first = structures[0]
    if not any(is_nested(structure) for structure in structures):
        return None if first is None and not none_is_leaf else func(*structures)
    _check_alike(structures)
    columns = zip(*(_parts(structure) for structure in structures), strict=True)
    return _rebuilt(first, (map_structure(func, *parts, none_is_leaf=none_is_leaf) for parts in columns))


def _parts(structure: Any) -> list[Any]:
    return [part for _, part in _items(structure)]


def _check_alike(structures: Iterable[Any]) -> None:
    """Whether all are of one kind with the same keys, or as many parts."""
    shapes = {_outline(structure) for structure in structures}
    if len(shapes) > 1:
        raise Error(f"the structures are not nested alike: {' and '.join(sorted(map(str, shapes)))}")


def _outline(structure: Any) -> Hashable:
    if not is_nested(structure):
        return "a leaf"
    if isinstance(structure, dict):
        return f"a dict of {sorted(map(str, structure))}"
    # classes, not their names: two named tuples of one name are different structures
    return (type(structure), len(structure))


def map_structure_up_to(shallow_structure: Any, func: Callable[..., Any], *structures: Any) -> Any:
    """func of the parts of structures that stand where `shallow_structure` has its leaves."""
    if not structures:
        raise Error("map_structure_up_to: give at least one structure")
    if not is_nested(shallow_structure):
        return func(*structures)
    _check_alike((shallow_structure, *structures))
    columns = zip(*(_parts(structure) for structure in (shallow_structure, *structures)), strict=True)
    return _rebuilt(shallow_structure, (map_structure_up_to(s, func, *parts) for s, *parts in columns))


def assert_same_structure(a: Any, b: Any, check_types: bool | None = None) -> None:
    """Raise `Error` unless both are nested alike: kinds, lengths, keys. `check_types` changes nothing, as in Keras."""
    map_structure(lambda *leaves: None, a, b)


def assert_same_paths(a: Any, b: Any) -> None:
    """Raise `Error` unless the same paths lead to the leaves of both; kinds of sequences do not matter."""
    of_a, of_b = ({path for path, _ in flatten_with_path(x)} for x in (a, b))
    if of_a != of_b:
        raise Error(f"the structures differ: only the first has {of_a - of_b}, only the second {of_b - of_a}")


def traverse(func: Callable[[Any], Any], structure: Any, top_down: bool = True) -> Any:
    """The structure with each part replaced by what func gives for it; None keeps it, `MAP_TO_NONE` makes it None.

    top_down: outer parts come first, and replaced ones are not entered; else inner parts come first.
    """
    if top_down:
        found = func(structure)
        return _inside(func, structure, top_down) if found is None else _replacement(found)
    inner = _inside(func, structure, top_down)
    found = func(inner)
    return inner if found is None else _replacement(found)


def _inside(func: Callable[[Any], Any], structure: Any, top_down: bool) -> Any:
    if not is_nested(structure):
        return structure
    return _rebuilt(structure, (traverse(func, part, top_down) for part in _parts(structure)))


def _replacement(found: Any) -> Any:
    return None if found is MAP_TO_NONE else found


def lists_to_tuples(structure: Any) -> Any:
    """The structure with tuples for its lists."""
    return traverse(lambda part: tuple(part) if isinstance(part, list) else None, structure, top_down=False)


def map_shape_structure(func: Callable[[Any], Any], structure: Any) -> Any:
    """func of each shape, a list or tuple of integers and None, in a structure of shapes."""
    if isinstance(structure, list | tuple) and all(n is None or isinstance(n, int) for n in structure):
        return func(structure)
    if not is_nested(structure):
        return func(structure)
    return _rebuilt(structure, (map_shape_structure(func, part) for part in _parts(structure)))
