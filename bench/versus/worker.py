"""One framework in a process of its own, driven by lines of JSON: see `serve`."""

import importlib
import json
import os
import resource
import sys
import time
from typing import Any

CLASSES = {
    "fastcnn": ("bench.versus.fastcnn_peer", "FastcnnPeer"),
    "torch": ("bench.versus.torch_peer", "TorchPeer"),
    "onnxruntime": ("bench.versus.onnx_peer", "OnnxPeer"),
    "keras": ("bench.versus.keras_peer", "KerasPeer"),
    "jax": ("bench.versus.jax_peer", "JaxPeer"),
}
CHECKED_STEPS, CHECKED_RATE = 10, 1e-5


def peak_mbytes() -> float:
    """The most memory that this process has had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def make(framework: str, mode: str, threads: int, device: str = "cpu") -> Any:
    """The framework's peer, and only now the framework, which takes the processors for as many as it may use."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    module, name = CLASSES[framework]
    return getattr(importlib.import_module(module), name)(mode, threads, device)


def data(network: str, batch: int) -> tuple[Any, Any, Any]:
    """(model, images, targets), the same in every process."""
    import numpy as np

    import fastcnn
    from bench.networks import NETWORKS

    fastcnn.utils.set_random_seed(1)
    chosen = NETWORKS[network]
    model = chosen.make()
    rng = np.random.default_rng(0)
    x = rng.normal(size=(batch, *chosen.image)).astype("float32")
    shape = model.output_shape[1:]
    y = rng.integers(0, 10, batch) if len(shape) == 1 else rng.normal(size=(batch, *shape)).astype("float32")
    return model, x, y


def serve() -> None:
    """Answer requests, one a line: build, check, time, memory."""
    peer: Any = None
    for line in sys.stdin:
        request = json.loads(line)
        answer: dict[str, Any] = {}
        match request["do"]:
            case "build":
                peer = make(request["framework"], request["mode"], request["threads"], request["device"])
                peer.build(*data(request["network"], request["batch"]), request["training"])
                answer["mbytes"] = peak_mbytes()
                start = time.perf_counter()
                peer.step()
                answer["first_step_s"] = time.perf_counter() - start
            case "check":
                from fastcnn import config

                checked = make(request["framework"], request["mode"], request["threads"], request["device"])
                checked.build(*data(request["network"], request["batch"]), request["training"])
                checked.made_comparable()
                if request["training"]:
                    answer["losses"] = [checked.step() for _ in range(CHECKED_STEPS)]
                else:
                    answer["output"] = checked.predict().ravel()[:1000].tolist()
                config.set_precision("fast")
            case "time":
                steps, start = 0, time.perf_counter()
                while time.perf_counter() - start < request["seconds"]:
                    peer.step()
                    steps += 1
                answer["step_s"] = (time.perf_counter() - start) / steps
            case "memory":
                answer["mbytes"] = peak_mbytes()
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve()
