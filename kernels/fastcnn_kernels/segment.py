"""Segmentation of an image as a graph: pixels that belong together become one tree (Felzenszwalb & Huttenlocher 2004).

One image is one work item: edges are taken one after the other, the weakest first.
"""

from fastcnn_kernels.jit import cpu_kernel, device_function


@device_function
def root_of(parent, i):
    """The root of a tree; the way there becomes shorter."""
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@device_function
def join(parent, size, a, b):
    """One tree of two, under the root of the larger one; that root."""
    if size[a] < size[b]:
        a, b = b, a
    parent[b] = a
    size[a] += size[b]
    return a


@device_function
def join_edges(first_ends, second_ends, weights, parent, size, limit, scale, smallest):
    """All edges, the weakest first; then those of trees that are too small."""
    for e in range(weights.size):
        a, b = root_of(parent, first_ends[e]), root_of(parent, second_ends[e])
        if a != b and weights[e] <= min(limit[a], limit[b]):
            a = join(parent, size, a, b)
            limit[a] = weights[e] + scale / size[a]
    for e in range(weights.size):
        a, b = root_of(parent, first_ends[e]), root_of(parent, second_ends[e])
        if a != b and min(size[a], size[b]) < smallest:
            join(parent, size, a, b)


@cpu_kernel(lambda first_ends, second_ends, weights, parent, size, limit, scale, smallest: 1)
def segment_graph(first_ends, second_ends, weights, parent, size, limit, scale, smallest, first, last):
    """parent[i] = the root of the tree of pixel i.

    Edges (first_ends, second_ends) come with ascending weights. An edge joins two trees if it is no stronger than the
    strongest edge within either plus scale / its size; then trees smaller than `smallest` join a neighbour. parent,
    size and limit (pixels,); limit: working memory.
    """
    for i in range(parent.size):
        parent[i], size[i], limit[i] = i, 1, scale
    join_edges(first_ends, second_ends, weights, parent, size, limit, scale, smallest)
    for i in range(parent.size):
        parent[i] = root_of(parent, i)
