"""Runs commands of the program quickly: everything is imported once, each command is a fork of this process.

Reads one order per line of JSON, and answers with one: {"arguments": […], "cwd": …, "environ": {…}, "out": …, "err": …}
starts a process and gives its id; {"wait": id, "sec": …} gives its exit status, null while it still runs.
`python -m app.cli` is all that is left out; test_services.py starts that.
"""

import gc
import importlib
import json
import os
import select
import sys
from typing import Any

MODULES = (
    "app.cli.program",
    "app.cli.words",
    "app.admin.models_keys",
    "app.admin.searching",
    "app.admin.views",
    "app.gateway.services",
    "app.state.audit_file",
    "app.state.reading",
    "detectors.verdict",
    "fastapi.openapi.utils",
    "uvicorn.protocols.http.httptools_impl",
)
"""Nothing that starts threads when it is imported, as polars does: a fork would lack them."""


def _begin(order: dict[str, Any]) -> None:
    """This process becomes what an operator's shell would have started."""
    null = os.open(os.devnull, os.O_RDONLY)
    out = os.open(order["out"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    err = out if order["err"] == order["out"] else os.open(order["err"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for number, handle in enumerate((null, out, err)):
        os.dup2(handle, number)
    for handle in {null, out, err}:
        os.close(handle)
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["environ"])
    sys.argv = ["stillwatch", *order["arguments"]]


def _ended(child: int, sec: float) -> int | None:
    """Exit status; None while it runs."""
    handle = os.pidfd_open(child)
    try:
        if not select.select([handle], [], [], sec)[0]:
            return None
    finally:
        os.close(handle)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _serve() -> bool:
    """Whether this is the child of an order; False at the end of them."""
    threads = len(os.listdir("/proc/self/task"))
    assert threads == 1, threads
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            print(json.dumps(_ended(order["wait"], order["sec"])), flush=True)
        elif child := os.fork():
            print(json.dumps(child), flush=True)
        else:
            _begin(order)
            return True
    return False


for module in MODULES:
    importlib.import_module(module)
gc.freeze()
if _serve():
    from app.cli import main

    sys.exit(main())
