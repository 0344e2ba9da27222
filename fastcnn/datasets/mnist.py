"""MNIST: handwritten digits, 60,000 + 10,000 grey images of 28x28 in ten classes.

Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied to document recognition",
Proceedings of the IEEE 86(11), 1998.
"""

from fastcnn.datasets import _idx

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
ARCHIVE = _idx.archive(
    "mnist",
    MIRRORS,
    (
        ("440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609", 9_912_422),
        ("3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c", 28_881),
        ("8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6", 1_648_877),
        ("f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6", 4_542),
    ),
)


def load_data() -> tuple[_idx.Split, _idx.Split]:
    """((x_train, y_train), (x_test, y_test)): x (60000 or 10000, 28, 28) uint8 in 0..255, y (n,) uint8 in 0..9.

    Files are looked for in the folder `FASTCNN_DATA` (in `mnist/` or directly), then in the cache, and
    otherwise downloaded.
    """
    return ARCHIVE.load()
