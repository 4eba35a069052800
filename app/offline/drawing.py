"""Imports matplotlib without leaving anything in the user's home.

At its first import it makes folders in ~/.config and ~/.cache and writes a list of the machine's fonts there. A folder that
is gone again afterwards costs the search for fonts each time, about 0.3 s. MPLCONFIGDIR in the environment is respected.
"""

from __future__ import annotations

import importlib
import os
import tempfile

_HOME = "MPLCONFIGDIR"


def load() -> None:
    """Import matplotlib and its fonts, unless that was done."""
    if _HOME in os.environ:
        return
    with tempfile.TemporaryDirectory(prefix="stillwatch-plots-") as folder:
        os.environ[_HOME] = folder
        try:
            importlib.import_module("matplotlib.font_manager")
        finally:
            del os.environ[_HOME]


load()
