"""python -m bench.detect [DETECTOR] [--images FOLDER]: images a second, from photographs to boxes, by threads.

DETECTOR: a file that `Detector.save` wrote; by default the network of examples/detect_blood_cells.py with weights as
they begin. FOLDER: of image files, read before anything is timed; by default noise of 480 x 640 pixels. One thread and
all of them take turns; what is printed is the median of the rounds, the least and the most. Resizing, the network,
decoding and suppression are included, and each by itself.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from fastcnn_kernels import team

from bench.measure import alternating
from bench.report import cpu_model
from fastcnn import detection

SIZE, COUNT, BATCH = (288, 384, 3), 32, 16
SCORE, IOU = 0.25, 0.45  # as `Detector.predict` has them


def untrained() -> detection.Detector:
    """The network of examples/detect_blood_cells.py."""
    backbone = detection.tiny_backbone(SIZE, width=16, blocks=(0, 1, 1, 2))
    return detection.Detector(backbone, ["red", "white", "platelet"], anchors=[[60, 60], [50, 50], [25, 25]])


def photographs(folder: Path | None) -> list[np.ndarray]:
    if folder is None:
        return list(np.random.default_rng(0).integers(0, 256, (COUNT, 480, 640, 3), dtype=np.uint8))
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    return [detection.read_image(path) for path in files[:COUNT]]


def on(threads: int, run: Callable[[], Any]) -> Callable[[], None]:
    def timed() -> None:
        team.set_num_threads(threads)
        run()

    return timed


def stages(detector: detection.Detector, images: list[np.ndarray]) -> dict[str, Callable[[], Any]]:
    """All of it, and its parts."""
    small = np.stack([detector._picture(image)[0] for image in images])
    batches = [small[start : start + BATCH] for start in range(0, len(small), BATCH)]
    found = [each for batch in batches for each in detector._candidates(batch, SCORE)]
    return {
        "photographs to boxes": lambda: detector.predict(images, SCORE, IOU, batch_size=BATCH),
        "resizing": lambda: [detector._picture(image) for image in images],
        "network and decoding": lambda: [detector._candidates(batch, SCORE) for batch in batches],
        "suppression": lambda: [detection.nms(*each, IOU) for each in found],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("detector", nargs="?", type=Path)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each in a round")
    arguments = parser.parse_args()
    detector = detection.Detector.load(arguments.detector) if arguments.detector else untrained()
    images, most = photographs(arguments.images), team.num_threads()
    counts = sorted({1, most})
    print(
        f"{cpu_model()}; {len(images)} images of {images[0].shape}, network {detector.size}; images a second"
    )
    print(
        "| | "
        + " | ".join(f"{count} threads" for count in counts)
        + " |\n"
        + "|---" * (1 + len(counts))
        + "|"
    )
    for name, run in stages(detector, images).items():
        runs = {str(count): on(count, run) for count in counts}
        found = [alternating(runs, arguments.seconds) for _ in range(arguments.rounds)]
        cells = []
        for count in counts:
            rates = sorted(len(images) / times[str(count)] for times in found)
            cells.append(f"{np.median(rates):,.0f} ({rates[0]:,.0f}..{rates[-1]:,.0f})")
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    team.set_num_threads(most)


if __name__ == "__main__":
    main()
