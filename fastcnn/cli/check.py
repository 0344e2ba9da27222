"""Look through the data of a data.yaml: every bad label by file and line."""

import argparse

from fastcnn.detection import check_yolo


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("data", help="a data.yaml, as YOLO's tools read it")


def run(arguments: argparse.Namespace) -> int:
    """Print what is wrong, then what there is; returns 0 when nothing is wrong."""
    problems, summary = check_yolo(arguments.data)
    for problem in problems:
        print(problem)
    print("\n".join(summary))
    print("all well" if not problems else f"{len(problems)} to mend")
    return 1 if problems else 0
