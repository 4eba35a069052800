"""Starts and kills worker processes quickly: everything is imported once, each worker is a fork of this process.

Reads one order per line, `start` or a signal name, and answers `ok`. A worker reads its settings from the environment.
"""

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


print("ok", flush=True)
_serve()
