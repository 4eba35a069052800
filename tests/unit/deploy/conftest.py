"""The deployment files, parsed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.settings import FROM_FILES, OTHER_NAMES, SHORT_NAMES, Settings

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def compose() -> Any:
    """docker-compose.yml."""
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


@pytest.fixture(scope="session")
def manifests() -> list[Any]:
    """Every Kubernetes object of the kustomization, in its order."""
    folder = ROOT / "deploy/kubernetes"
    named = yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]
    assert sorted(named) == sorted(path.name for path in folder.glob("*.yaml") if path.name != "kustomization.yaml")
    return [found for name in named for found in yaml.safe_load_all((folder / name).read_text())]


@pytest.fixture(scope="session")
def setting_names() -> set[str]:
    """Every variable that a process reads."""
    long = {
        f"STILLWATCH_{section}__{field}".upper()
        for section, info in Settings.model_fields.items()
        for field in info.annotation.model_fields  # type: ignore[union-attr]
    }
    return long | set(SHORT_NAMES) | {f"{name}_FILE" for name in FROM_FILES} | OTHER_NAMES


@pytest.fixture(scope="session")
def made_secrets() -> set[str]:
    """Names of the files that deploy/secrets.sh makes."""
    script = (ROOT / "deploy/secrets.sh").read_text()
    (loop,) = re.findall(r"for name in (.*); do", script)
    found: set[str] = set()
    for name in re.findall(r'^ *once "?([\w$]+)"? ', script, re.MULTILINE):
        found |= {name.replace("$name", each) for each in loop.split()} if "$name" in name else {name}
    return found
