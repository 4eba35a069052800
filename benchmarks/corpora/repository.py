"""Files of a public repository, read from a git directory without checking anything out."""

from __future__ import annotations

import io
import json
import subprocess
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any


class NoCorpus(Exception):
    """A repository or a file of it is not here; the message is one sentence."""


class Repository:
    """One snapshot: `<folder>/<owner>+<name>/repo` or `<folder>/<owner>/<name>`, bare or not."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        owner, _, short = name.partition("/")
        found = [folder / f"{owner}+{short}" / "repo", folder / owner / short, folder / short]
        at = next((path for path in found if path.is_dir()), None)
        if at is None:
            raise NoCorpus(
                f"no snapshot of {name} in {folder}: git clone https://github.com/{name} {folder / owner / short}"
            )
        self._at = at

    def read(self, path: str) -> bytes:
        """A file at the newest commit.

        Raises:
            NoCorpus: there is none.
        """
        done = subprocess.run(["git", "-C", str(self._at), "show", f"HEAD:{path}"], capture_output=True, check=False)
        if done.returncode:
            raise NoCorpus(f"{self.name} has no file {path}, or its snapshot lacks it")
        return done.stdout

    @cache  # noqa: B019 - a run reads each repository once and ends
    def paths(self, prefix: str, suffix: str) -> tuple[str, ...]:
        """Paths under a prefix with a suffix that the snapshot holds, sorted."""
        done = subprocess.run(
            ["git", "-C", str(self._at), "ls-tree", "-r", "-l", "-z", "HEAD"], capture_output=True, check=False
        )
        lines = [line.split("\t", 1) for line in done.stdout.decode("utf-8", "replace").split("\0") if "\t" in line]
        held = [path for facts, path in lines if facts.split()[-1].isdigit()]
        return tuple(sorted(path for path in held if path.startswith(prefix) and path.endswith(suffix)))

    def json(self, path: str) -> Any:
        """A JSON file."""
        return json.loads(self.read(path))

    def lines(self, path: str) -> Iterator[Any]:
        """A file of JSON lines."""
        return (json.loads(line) for line in self.read(path).decode("utf-8").splitlines() if line.strip())

    def archive(self, path: str) -> dict[str, str]:
        """Texts of a zip file by name, sorted; bytes that are no UTF-8 are replaced."""
        with zipfile.ZipFile(io.BytesIO(self.read(path))) as file:
            names = sorted(name for name in file.namelist() if not name.endswith("/"))
            return {name: file.read(name).decode("utf-8", "replace") for name in names}
