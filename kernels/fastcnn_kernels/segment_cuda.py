"""Segmentation of an image as a graph on a CUDA device: the kernel of `segment.py`.

Edges are taken one after the other, which one thread does; a block of them does the rest. There for images whose edges
are on the device: where they are not, the CPU is faster.
"""

from fastcnn_kernels.cuda import THREADS, Shape, cuda, cuda_kernel
from fastcnn_kernels.segment import join_edges


@cuda_kernel(
    lambda first_ends, second_ends, weights, parent, size, limit, scale, smallest: Shape((1, 1, 1), THREADS)
)
def segment_graph(first_ends, second_ends, weights, parent, size, limit, scale, smallest):
    """parent[i] = the root of the tree of pixel i.

    Edges (first_ends, second_ends) come with ascending weights. An edge joins two trees if it is no stronger than the
    strongest edge within either plus scale / its size; then trees smaller than `smallest` join a neighbour. parent,
    size and limit (pixels,); limit: working memory.
    """
    for i in range(cuda.threadIdx.x, parent.size, THREADS):
        parent[i], size[i], limit[i] = i, 1, scale
    cuda.syncthreads()
    if cuda.threadIdx.x == 0:
        join_edges(first_ends, second_ends, weights, parent, size, limit, scale, smallest)
    cuda.syncthreads()
    for start in range(0, parent.size, THREADS):
        i = start + cuda.threadIdx.x
        root = parent[i] if i < parent.size else 0
        while parent[root] != root:
            root = parent[root]
        cuda.syncthreads()  # nobody walks while ways are shortened
        if i < parent.size:
            parent[i] = root
        cuda.syncthreads()
