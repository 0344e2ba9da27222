"""Fashion-MNIST: articles of clothing, 60,000 + 10,000 grey images of 28x28 in ten classes.

H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine learning
algorithms", arXiv:1708.07747, 2017. MIT licence, Zalando SE.
"""

from fastcnn.datasets import _idx

CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
MIRRORS = (
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
)
ARCHIVE = _idx.archive(
    "fashion_mnist",
    MIRRORS,
    (
        ("3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84", 26_421_880),
        ("a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845", 29_515),
        ("346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073", 4_422_102),
        ("67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5", 5_148),
    ),
)


def load_data() -> tuple[_idx.Split, _idx.Split]:
    """((x_train, y_train), (x_test, y_test)): x (60000 or 10000, 28, 28) uint8 in 0..255, y (n,) uint8 in 0..9.

    Files are looked for in `fashion_mnist/` of the folder `FASTCNN_DATA`, then in the cache, and otherwise
    downloaded. They bear the same names as MNIST's: keep the two in folders of their own.
    """
    return ARCHIVE.load()
