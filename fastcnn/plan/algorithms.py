"""Which algorithm computes an op, where there are several."""

from fastcnn import config
from fastcnn.plan.rewrite import Rewrite


def choose_convolutions(rewrite: Rewrite) -> None:
    """Convolutions gather their columns on the fly, unless `config` asks for explicit ones.

    The first needs less memory and time on every shape measured so far; there is nothing to decide per shape yet.
    """
    if config.convolution_algorithm() != "implicit":
        for node in rewrite.nodes.values():
            node.operation = node.operation.using(config.convolution_algorithm())
