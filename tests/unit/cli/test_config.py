"""What `config show` prints is what is in force, and can be used as a file."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from app.cli import main
from app.settings import load

PEPPER = "a pepper that nobody may see"


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STILLWATCH_CONFIG", "STILLWATCH_PEPPER", "STILLWATCH_REDIS_URL"):
        monkeypatch.delenv(name, raising=False)


def test_show_is_toml_that_loads_to_the_same_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without secrets in it, the printed configuration gives the same settings again."""
    assert main(["config", "show", "--set", "gateway.port=9000", "--set", 'gateway.allowed_hosts=["a.example"]']) == 0
    text = capsys.readouterr().out
    tree = tomllib.loads(text)
    for section, field in (("identity", "pepper"), ("admin", "token")):
        assert tree[section].pop(field) == "(not set)"
    path = tmp_path / "again.toml"
    path.write_text(text.replace('"(not set)"', '""'))
    again = load(path, environ={})
    assert again.gateway.port == 9000
    assert again.gateway.allowed_hosts == ("a.example",)
    expected = {"gateway.port": 9000, "gateway.allowed_hosts": ("a.example",)}
    assert again == load(environ={}, overrides=expected)


def test_show_hides_secrets(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A pepper is only said to be set, and a password in an address is left out."""
    monkeypatch.setenv("STILLWATCH_PEPPER", PEPPER)
    monkeypatch.setenv("STILLWATCH_REDIS_URL", "redis://admin:hunter2@state.example:6379/0")
    for form in ([], ["--json"]):
        assert main(["config", "show", *form]) == 0
        text = capsys.readouterr().out
        assert PEPPER not in text
        assert "hunter2" not in text
        assert "state.example" in text
    tree = json.loads(text)
    assert tree["identity"]["pepper"] == "(set)"


def test_set_wins_over_environment_and_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """File, then environment, then --set."""
    path = tmp_path / "stillwatch.toml"
    path.write_text("[gateway]\nport = 1\nmetrics_port = 1\nmax_json_depth = 11\n")
    monkeypatch.setenv("STILLWATCH_GATEWAY__PORT", "2")
    monkeypatch.setenv("STILLWATCH_GATEWAY__METRICS_PORT", "2")
    monkeypatch.setenv("STILLWATCH_CONFIG", str(path))
    assert main(["config", "show", "--json", "--set", "gateway.port=3"]) == 0
    gateway = json.loads(capsys.readouterr().out)["gateway"]
    assert (gateway["port"], gateway["metrics_port"], gateway["max_json_depth"]) == (3, 2, 11)


def test_check_says_what_is_missing_for_which_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Defaults are valid, and the operator is told what each command still needs."""
    assert main(["config", "check"]) == 0
    text = capsys.readouterr().out
    for words in (
        "The configuration is valid.",
        "'serve': gateway.upstream",
        "'serve': identity.pepper",
        "'admin': admin.token",
    ):
        assert words in text
