"""Profiles and master secrets as the settings name them: what fits, and the one sentence where something does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.errors import ConfigError
from app.preflight import problems
from app.settings import Settings, WatermarkSettings, load, strangers
from app.watermark.engines.keys import PROFILES_FILE, SECRETS, SECRETS_FILE
from app.watermark.sources import named, read_sources

SECRET = "5e" * 32
TOKENIZER = "ab" * 32
GUMBEL = {"id": "g1", "scheme": "gumbel", "tokenizer": TOKENIZER, "epoch": "e1"}
CHOICE = {"id": "c1", "scheme": "choice", "tokenizer": "words-1", "epoch": "e1"}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Any]:
    """Settings with two profiles and the secret of one epoch."""
    profiles, secrets = tmp_path / "profiles.json", tmp_path / "secrets.json"
    profiles.write_text(json.dumps({"profiles": [GUMBEL, CHOICE, {**GUMBEL, "id": "g2", "epoch": "e2"}]}))
    secrets.write_text(json.dumps({"e1": SECRET}))
    secrets.chmod(0o600)
    return {"profiles_file": str(profiles), "secrets_file": str(secrets)}


def read(tree: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Ids of the profiles in use."""
    settings = WatermarkSettings.model_validate(tree)
    marked, chosen = named(settings, read_sources(settings))
    return [profile.id for profile in marked], [profile.id for profile in chosen]


def test_profiles_are_read_with_their_secrets(files: dict[str, Any]) -> None:
    """Names come as a list, or with commas between them as the environment has them."""
    assert read({**files, "engine": "vllm", "profile": ["g1"]}) == (["g1"], [])
    assert read({**files, "engine": "sglang", "profile": "g1, g1"}) == (["g1", "g1"], [])
    assert read({**files, "choice_profile": "c1"}) == ([], ["c1"])


def test_secrets_may_come_as_text(files: dict[str, Any]) -> None:
    """As an orchestrator puts them into the environment."""
    environ = {
        "STILLWATCH_WATERMARK__PROFILES_FILE": files["profiles_file"],
        "STILLWATCH_WATERMARK__SECRETS": json.dumps({"e1": SECRET}),
        "STILLWATCH_WATERMARK__CHOICE_PROFILE": "c1",
    }
    settings = load(environ=environ)
    assert read_sources(settings.watermark).ring.epochs == ("e1",)
    assert SECRET not in repr(settings)
    assert settings.watermark.on
    assert problems(settings) == []


def test_a_gateway_reads_what_an_engine_beside_it_reads(files: dict[str, Any]) -> None:
    """The same variables, so that a middleware inside an engine needs nothing twice; none of them is a stranger."""
    environ = {
        PROFILES_FILE: files["profiles_file"],
        SECRETS_FILE: files["secrets_file"],
        "STILLWATCH_WATERMARK__PROFILE": "g1",
        "STILLWATCH_WATERMARK__ENGINE": "vllm",
    }
    settings = load(environ=environ)
    assert strangers(environ) == ""
    assert read_sources(settings.watermark).ring.epochs == ("e1",)
    del environ[SECRETS_FILE]
    settings = load(environ={**environ, SECRETS: json.dumps({"e1": SECRET})})
    assert problems(settings) == []


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"engine": "vllm", "profile": "g9"}, "watermark.profile: no profile is called 'g9'; there are: g1, c1, g2"),
        ({"engine": "vllm", "profile": "c1"}, "watermark.profile: c1: scheme must be gumbel or green, and is choice"),
        ({"engine": "vllm", "profile": "g2"}, "watermark.profile: epoch: no master secret for epoch 'e2'"),
        ({"choice_profile": "g1"}, "watermark.choice_profile: g1: scheme must be choice, and is gumbel"),
        ({"choice_profile": "c1", "profiles_file": "/none"}, "watermark.profiles_file: No such file or directory"),
        ({"choice_profile": "c1", "secrets_file": "/none"}, "watermark.secrets_file: No such file or directory"),
    ],
)
def test_what_does_not_fit_is_one_sentence(files: dict[str, Any], more: dict[str, Any], sentence: str) -> None:
    """It begins with the setting, and the check of a configuration says the same."""
    settings = Settings.model_validate({"watermark": {**files, **more}})
    with pytest.raises(ConfigError) as caught:
        read({**files, **more})
    assert str(caught.value) == sentence
    assert problems(settings) == [sentence]


@pytest.mark.parametrize(
    ("tree", "sentence"),
    [
        ({"profile": "g1"}, "watermark.engine must be vllm or sglang where watermark.profile is set"),
        (
            {"choice_profile": "c1", "engine": "vllm"},
            "watermark.choice_profile is for an upstream that makes no marks, and watermark.engine is vllm",
        ),
        ({"choice_profile": "c1"}, "watermark.profiles_file must be set, for a profile is named"),
        ({"choice_profile": "c1", "profiles_file": "a"}, "watermark.secrets_file must be set, for a profile is named"),
        (
            {"secrets_file": "a", "secrets": "b"},
            "watermark.secrets_file and watermark.secrets are both set; one of them must go",
        ),
    ],
)
def test_settings_that_cannot_be_together_are_refused(tree: dict[str, Any], sentence: str) -> None:
    """Before any file is read."""
    path = {f"watermark.{name}": value for name, value in tree.items()}
    with pytest.raises(ConfigError) as caught:
        load(environ={}, overrides=path)
    assert str(caught.value) == sentence


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_secrets_that_others_may_read_are_refused(files: dict[str, Any], mode: int) -> None:
    """The file is its owner's alone."""
    Path(files["secrets_file"]).chmod(mode)
    with pytest.raises(ConfigError, match="others than its owner may read it, mode 06"):
        read({**files, "choice_profile": "c1"})


@pytest.mark.parametrize("text", ["{}", "[1]", '{"e1": "zz"}', '{"e1": "5e5e"}', json.dumps({"E 1": SECRET}), '{"e1": 5'])
def test_no_error_repeats_a_secret(files: dict[str, Any], text: str) -> None:
    """Nor what was given in place of one."""
    Path(files["secrets_file"]).write_text(text)
    with pytest.raises(ConfigError, match=r"watermark\.secrets_file: ") as caught:
        read({**files, "choice_profile": "c1"})
    assert "5e5e" not in str(caught.value)
    assert "zz" not in str(caught.value)
    assert caught.value.__cause__ is None
