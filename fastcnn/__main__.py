"""`python -m fastcnn`: a demo, a check of the installation, the kernel cache, and object detection."""

import argparse
import sys
from collections.abc import Sequence

from fastcnn.cli import cache, check, demo, detect, doctor, warmup
from fastcnn.errors import Error
from fastcnn.version import __version__

COMMANDS = {
    "demo": demo,
    "doctor": doctor,
    "warmup": warmup,
    "cache": cache,
    "check": check,
    "detect": detect,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    arguments = _parser().parse_args(argv)
    try:
        return arguments.run(arguments)
    except Error as error:
        print(f"fastcnn: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        print(f"fastcnn: {place}cannot be read or written ({error.strerror or error})", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130  # what a shell reports for Ctrl-C


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fastcnn", description="Convolutional networks with the Keras API.")
    parser.add_argument("--version", action="version", version=f"fastcnn {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    for name, module in COMMANDS.items():
        summary = (module.__doc__ or "").splitlines()[0]
        command = commands.add_parser(name, help=summary, description=summary)
        module.configure(command)
        command.set_defaults(run=module.run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
