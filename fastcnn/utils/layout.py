"""Where to put the boxes of a graph: in ranks, so that edges point down, with few crossings.

The method of Sugiyama, Tagawa & Toda 1981: ranks by longest path, an invisible box wherever an edge passes a rank,
orders by the means of neighbours, and positions pulled towards neighbours as far as the order allows.
"""

from collections.abc import Sequence
from typing import NamedTuple

SWEEPS = 8


class Place(NamedTuple):
    """The centre of a box, in pixels."""

    x: float
    y: float


class Layout(NamedTuple):
    """Centres of the boxes, the points that each edge passes, and the size of the whole, in pixels."""

    places: list[Place]
    routes: list[list[Place]]
    width: float
    height: float


def lay_out(sizes: Sequence[tuple[float, float]], edges: Sequence[tuple[int, int]], gap: float) -> Layout:
    """Boxes of (width, height) joined by edges (from, to), an acyclic graph; `gap` pixels between neighbours."""
    rank = _ranks(len(sizes), edges)
    boxes, paths = _with_bends(list(sizes), edges, rank)
    neighbours = _neighbours(len(boxes), paths)
    rows = _rows(rank, neighbours)
    x = _columns(rows, [width for width, _ in boxes], neighbours, gap)
    tops, tallest = _heights(rows, [height for _, height in boxes], gap)
    left = min((x[i] - boxes[i][0] / 2 for i in range(len(boxes))), default=0.0)
    right = max((x[i] + boxes[i][0] / 2 for i in range(len(boxes))), default=0.0)
    places = [Place(x[i] - left, tops[rank[i]] + tallest[rank[i]] / 2) for i in range(len(boxes))]
    routes = [_route(path, places, [tallest[rank[i]] for i in path], boxes) for path in paths]
    return Layout(places[: len(sizes)], routes, right - left, max(0.0, sum(tallest) + gap * (len(rows) - 1)))


def _ranks(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """The length of the longest path to each box; a source is moved down to just above its first reader."""
    rank = [0] * count
    for _ in range(count):
        longer = {b: max(rank[b], rank[a] + 1) for a, b in edges if rank[b] <= rank[a]}
        if not longer:
            break
        for a, b in edges:
            rank[b] = max(rank[b], rank[a] + 1)
    has_source = {b for _, b in edges}
    for i in range(count):
        readers = [rank[b] for a, b in edges if a == i]
        if i not in has_source and readers:
            rank[i] = min(readers) - 1
    return rank


def _with_bends(
    boxes: list[tuple[float, float]], edges: Sequence[tuple[int, int]], rank: list[int]
) -> tuple[list[tuple[float, float]], list[list[int]]]:
    """The boxes with an empty one for every rank that an edge passes, and each edge as the boxes it joins."""
    paths = []
    for start, end in edges:
        bends = range(len(boxes), len(boxes) + rank[end] - rank[start] - 1)
        boxes += [(1.0, 1.0)] * len(bends)
        rank += range(rank[start] + 1, rank[end])
        paths.append([start, *bends, end])
    return boxes, paths


def _neighbours(count: int, paths: Sequence[Sequence[int]]) -> list[tuple[list[int], list[int]]]:
    """(those above, those below) of each box."""
    found: list[tuple[list[int], list[int]]] = [([], []) for _ in range(count)]
    for path in paths:
        for above, below in zip(path, path[1:], strict=False):
            found[above][1].append(below)
            found[below][0].append(above)
    return found


def _rows(rank: Sequence[int], neighbours: Sequence[tuple[list[int], list[int]]]) -> list[list[int]]:
    """The boxes of each rank in an order with few crossings."""
    rows: list[list[int]] = [[] for _ in range(max(rank, default=-1) + 1)]
    for box, number in enumerate(rank):
        rows[number].append(box)
    for sweep in range(SWEEPS):
        position = {box: i for row in rows for i, box in enumerate(row)}
        for row in rows if sweep % 2 == 0 else reversed(rows):
            side = sweep % 2
            row.sort(key=lambda box: _mean([position[n] for n in neighbours[box][side]], position[box]))
            position.update((box, i) for i, box in enumerate(row))
    return rows


def _columns(
    rows: Sequence[Sequence[int]],
    widths: Sequence[float],
    neighbours: Sequence[tuple[list[int], list[int]]],
    gap: float,
) -> list[float]:
    """The centres across: each box as near to the mean of its neighbours as those beside it allow."""
    x = [0.0] * len(widths)
    for row in rows:
        _set_row(row, [0.0] * len(row), widths, gap, x)
    for sweep in range(4 * SWEEPS):
        for row in rows if sweep % 2 == 0 else reversed(rows):
            wanted = [_mean([x[n] for side in neighbours[box] for n in side], x[box]) for box in row]
            _set_row(row, wanted, widths, gap, x)
    return x


def _set_row(
    row: Sequence[int], wanted: Sequence[float], widths: Sequence[float], gap: float, x: list[float]
) -> None:
    """Boxes at the wanted places, moved apart where they touch: halfway between pushing right and pushing left."""
    need = [(widths[a] + widths[b]) / 2 + gap for a, b in zip(row, row[1:], strict=False)]
    right, left = list(wanted), list(wanted)
    for i, distance in enumerate(need):
        right[i + 1] = max(right[i + 1], right[i] + distance)
    for i, distance in reversed(list(enumerate(need))):
        left[i] = min(left[i], left[i + 1] - distance)
    for box, a, b in zip(row, left, right, strict=True):
        x[box] = (a + b) / 2


def _heights(
    rows: Sequence[Sequence[int]], heights: Sequence[float], gap: float
) -> tuple[list[float], list[float]]:
    """The top of each rank, and its height."""
    tallest = [max(heights[box] for box in row) for row in rows]
    return [sum(tallest[:i]) + gap * i for i in range(len(rows))], tallest


def _route(
    path: Sequence[int],
    places: Sequence[Place],
    tallest: Sequence[float],
    boxes: Sequence[tuple[float, float]],
) -> list[Place]:
    """From the first box to the last, straight through the ranks in between."""
    first, *bends, last = path
    points = [Place(places[first].x, places[first].y + boxes[first][1] / 2)]
    for bend, height in zip(bends, tallest[1:], strict=False):
        x, y = places[bend]
        points += [Place(x, y - height / 2), Place(x, y + height / 2)]
    return [*points, Place(places[last].x, places[last].y - boxes[last][1] / 2)]


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise
