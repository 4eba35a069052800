"""The image and the files that every deployment shares."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

from app.enforcement.policy_text import parse_policy
from app.preflight import problems
from app.settings import load


def test_the_image_is_locked_small_and_without_rights(root: Path) -> None:
    """Packages come by hash and as wheels, nothing that builds or installs is left, and the user is none with rights."""
    text = (root / "deploy/Dockerfile").read_text()
    build, last = re.split(r"\nFROM .*", text)[1:]
    assert "--require-hashes" in build
    assert "--only-binary :all:" in build
    assert "--no-build-isolation" in build
    assert re.search(r"uninstall .*hatchling.*pip", build)
    assert "pip install" not in last
    assert "apt-get" not in text
    instructions = re.findall(r"^([A-Z]+) (.*)$", last, re.MULTILINE)
    assert dict(instructions)["USER"] == "10001:10001"
    assert dict(instructions)["STOPSIGNAL"] == "SIGTERM"
    assert {"HEALTHCHECK", "LABEL", "ENTRYPOINT", "CMD"} <= {name for name, _ in instructions}
    assert last.index("COPY --from=build") < last.index("USER ")


def test_the_image_can_publish(root: Path) -> None:
    """What the build installs is locked with the extra `share`, each of its packages at a version that the extra allows."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    assert "-r requirements.lock" in (root / "deploy/Dockerfile").read_text()
    locked = dict(re.findall(r"^([\w.-]+)==(\S+)", (root / "requirements.lock").read_text(), re.MULTILINE))
    for wanted in map(Requirement, project["optional-dependencies"]["share"]):
        assert wanted.specifier.contains(locked[wanted.name])
    assert not {"pymisp", "openmined-psi", "tokenizers", "distributed"} & set(locked)


def test_what_the_image_copies_is_there_and_let_in(root: Path) -> None:
    """The ignore file lets in exactly what the build names, so that no secret or folder of the checkout slips in."""
    copied = {
        name
        for line in re.findall(r"^COPY (?!--from)(.*)$", (root / "deploy/Dockerfile").read_text(), re.MULTILINE)
        for name in line.split()[:-1]
    }
    ignore = (root / ".dockerignore").read_text().splitlines()
    assert "*" in ignore
    assert {line[1:] for line in ignore if line.startswith("!")} == copied
    assert all((root / name).exists() for name in copied)


def test_the_shipped_settings_and_policy_are_valid(root: Path) -> None:
    """Every process starts with them as they are, and the policy begins in shadow."""
    path = root / "deploy/config/stillwatch.toml"
    settings = load(path, {"STILLWATCH_GATEWAY__UPSTREAM": "http://model", "STILLWATCH_PEPPER": "p" * 16})
    assert problems(settings) == []
    assert parse_policy((root / "deploy/config/policy.toml").read_text(), "policy.toml").mode == "shadow"


def test_the_version_and_the_description_are_the_same_everywhere(root: Path) -> None:
    """The changelog's first heading is about the version of the package, and the image describes itself as it does."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    headings = re.findall(r"^## \[([^\]]+)\]", (root / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == project["version"]
    assert project["description"] in (root / "deploy/Dockerfile").read_text()
