"""What every test starts from: no kernel compiled before this run, and fixed seeds."""

import os
import random
import sys
import tempfile

import numpy as np
import pytest

assert "fastcnn_kernels" not in sys.modules, "the kernel cache is chosen when fastcnn_kernels is imported"

# A kernel compiled from an older text must not pass a test, so compiled kernels live for one run only. Give
# FASTCNN_TEST_CACHE a folder to keep them between runs while you work.
_kept = os.environ.get("FASTCNN_TEST_CACHE")
_fresh = (
    None if _kept else tempfile.TemporaryDirectory(prefix="fastcnn-test-kernels-", ignore_cleanup_errors=True)
)
os.environ["FASTCNN_CACHE_DIR"] = _kept or _fresh.name


@pytest.fixture(autouse=True)
def seeds() -> None:
    """Every test sees the same random numbers and names, alone or among others."""
    random.seed(0)
    np.random.seed(0)
    if config := sys.modules.get("fastcnn.config"):  # tests of kernels do without the framework
        config.set_random_seed(0)
    if registry := sys.modules.get("fastcnn.registry"):
        registry.reset_names()
