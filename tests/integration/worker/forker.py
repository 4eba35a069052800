"""Starts and kills worker processes quickly: everything is imported once, each worker is a fork of this process.

Reads one order per line, `start` or a signal name, and answers `ok`. A worker reads its settings from the environment.
FORKER_SETS is a JSON object of constants that are other than they are: "module.name" → value.
"""

import importlib
import json
import os
import signal
import sys

import app.worker.__main__ as worker


def _start() -> int:
    child = os.fork()
    if child:
        return child
    null = os.open(os.devnull, os.O_RDWR)
    for handle in (0, 1, 2):
        os.dup2(null, handle)
    try:
        worker.main()
    finally:
        os._exit(0)


def _serve() -> None:
    child = 0
    for line in sys.stdin:
        order = line.strip()
        if order == "start":
            child = _start()
        else:
            os.kill(child, signal.Signals[order])
            if order in ("SIGKILL", "SIGTERM"):
                os.waitpid(child, 0)
                child = 0
        print("ok", flush=True)
    if child:
        os.kill(child, signal.SIGKILL)


for place, value in json.loads(os.environ.get("FORKER_SETS", "{}")).items():
    module, _, name = place.rpartition(".")
    setattr(importlib.import_module(module), name, value)
print("ok", flush=True)
_serve()
