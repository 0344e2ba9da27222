"""Show or delete the compiled kernels on disk."""

import argparse

from fastcnn.backend import machine


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("action", choices=["info", "clear"], help="show the cache, or delete it")


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked; returns the exit status."""
    if arguments.action == "clear":
        print(f"freed {megabytes(machine.clear_cache())}; kernels are compiled again at their next use")
    else:
        _print_info(machine.cache_state())
    return 0


def _print_info(state: machine.CacheState) -> None:
    print(f"folder        {state.folder}")
    print(f"kernels       {state.kernels}, {megabytes(state.nbytes)}")
    print(f"old versions  {megabytes(state.stale_nbytes)}")
    print(f"private       {'yes' if state.private else 'no: not used, see python -m fastcnn doctor'}")


def megabytes(nbytes: int) -> str:
    """`nbytes` for people to read."""
    return f"{nbytes / 1e6:.1f} MB"
