"""The kernels on older processors of this family, which Numba can compile for and this one can run."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
from fastcnn_kernels import machine

HERE = Path(__file__).parent
TESTS = {
    "test_gemm.py": "test_multiply_tile or test_gemm",
    "test_conv.py": "test_conv_forward",
    "test_winograd.py": "test_winograd",
    "test_lanes.py": "test_lanes",
    "test_pool.py": "test_max",
    "test_elementary.py": "test_error",
}

# Name, features, bits of a vector register. With "generic" Numba leaves all extensions out.
PROCESSORS = [
    pytest.param("generic", "", 128, id="generic"),
    pytest.param("haswell", "+avx,+avx2,+fma,+bmi,+bmi2,+f16c,+lzcnt,+movbe,+popcnt", 256, id="haswell"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "features", "bits"), PROCESSORS)
def test_products_and_convolutions(name: str, features: str, bits: int) -> None:
    if bits > machine.processor().vector_bits or (features and platform.machine() not in ("x86_64", "AMD64")):
        pytest.skip(f"this processor cannot run what is compiled for {name}")
    environment = {
        **os.environ,
        "NUMBA_CPU_NAME": name,
        "NUMBA_CPU_FEATURES": features,
        "FASTCNN_TEST_CACHE": os.environ["FASTCNN_CACHE_DIR"],
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    confirm = f"from fastcnn_kernels.machine import processor as p; assert p()[:2] == {(name, bits)}, p()"
    subprocess.run([sys.executable, "-c", confirm], env=environment, check=True, timeout=60)
    for file, wanted in TESTS.items():
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", HERE / file, "-k", wanted]
        done = subprocess.run(command, env=environment, cwd=HERE, capture_output=True, text=True, timeout=500)
        assert done.returncode == 0, done.stdout + done.stderr
