"""The sub-commands: every module of this package that has `NAME`, `add` and `run`.

python -m benchmarks.watermark --help
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
from collections.abc import Sequence

import benchmarks.watermark as package


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one of them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.watermark", description="What the watermark shows.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="NAME")
    for found in sorted(pkgutil.iter_modules(package.__path__), key=lambda found: found.name):
        if found.name.startswith("_"):
            continue
        module = importlib.import_module(f"{package.__name__}.{found.name}")
        if not hasattr(module, "NAME"):
            continue  # what several of them share
        about = (module.__doc__ or "").strip().partition("\n")[0]
        command = commands.add_parser(module.NAME, help=about, description=about)
        module.add(command)
        command.set_defaults(run=module.run)
    args = parser.parse_args(arguments)
    return int(args.run(args))


if __name__ == "__main__":
    sys.exit(main())
