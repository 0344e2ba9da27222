"""Classic image data sets, each a module with `load_data()`.

`digits` ships with the package. The others are looked for in the folder named by the environment variable
`FASTCNN_DATA`, then in the cache (`FASTCNN_HOME` or `~/.cache/fastcnn`), and otherwise downloaded once.
"""

from fastcnn.datasets import cifar10, cifar100, digits, fashion_mnist, mnist

__all__ = ["cifar10", "cifar100", "digits", "fashion_mnist", "mnist"]
