"""python -m bench.versus.table FILE: what `bench.versus --json FILE` has found, as the table of docs/performance.md."""

import json
import sys
from pathlib import Path
from statistics import median
from typing import Any

COLUMNS = [
    "network", "", "batch", "fastcnn, images/s", "against PyTorch", "against onnxruntime", "`mixed_bfloat16`, images/s",
    "against PyTorch's bfloat16", "MB, fastcnn / PyTorch",
]  # fmt: skip
FLOAT32 = ("nchw", "channels_last", "compile")


def ratios(results: dict[str, Any], own: str, peer: str) -> list[float]:
    """How many times faster our mode `own` is, in each round."""
    pairs = zip(results[own]["step_s"], results[peer]["step_s"], strict=True)
    return [theirs / ours for ours, theirs in pairs]


def against(results: dict[str, Any], own: str, peers: list[str]) -> str:
    """The ratio to the best of the peers that are there, with the least and the most; or nothing."""
    there = [ratios(results, own, peer) for peer in peers if peer in results and own in results]
    if not there:
        return ""
    best = min(there, key=median)
    return f"{median(best):.2f} ({min(best):.2f}..{max(best):.2f})"


def rate(case: dict[str, Any], mode: str) -> str:
    """Images a second."""
    found = case["results"].get(mode)
    return f"{case['batch'] / median(found['step_s']):,.0f}" if found else ""


def row(case: dict[str, Any]) -> str:
    """The line of a case."""
    results = case["results"]
    memory = [results[peer]["mbytes"] for peer in FLOAT32 if peer in results]
    cells = [
        case["network"], "training" if case["training"] else "inference", str(case["batch"]),
        rate(case, "fastcnn"), against(results, "fastcnn", list(FLOAT32)), against(results, "fastcnn", ["onnxruntime"]),
        rate(case, "mixed_bfloat16"), against(results, "mixed_bfloat16", ["bfloat16"]),
        f"{results['fastcnn']['mbytes']:.0f} / {min(memory):.0f}" if memory else f"{results['fastcnn']['mbytes']:.0f}",
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Print the table."""
    cases = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["cases"]
    ordered = sorted(cases, key=lambda case: (not case["training"], case["batch"]))
    header = ["| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
    print("\n".join([*header, *map(row, ordered)]))


if __name__ == "__main__":
    main()
