"""What `config show` prints is what is in force, and can be used as a file."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path

import pytest

from app.cli import main
from app.settings import load

PEPPER = "a pepper that nobody may see"


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("STILLWATCH_")]:
        monkeypatch.delenv(name)


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


@pytest.mark.parametrize(
    ("service", "given", "words"),
    [
        ("serve", {}, ("gateway.upstream must be set", "identity.pepper must be set")),
        ("serve", {"STILLWATCH_PEPPER": PEPPER}, ("gateway.upstream must be set",)),
        ("admin", {}, ("admin.token must be set",)),
        ("all", {"STILLWATCH_GATEWAY__UPSTREAM": "http://a.example"}, ("identity.pepper must", "admin.token must")),
        ("worker", {}, ()),
        ("all", {"STILLWATCH_GATEWAY__UPSTREAM": "http://a.example", "STILLWATCH_PEPPER": PEPPER,
                 "STILLWATCH_ADMIN_TOKEN": PEPPER}, ()),
    ],
)  # fmt: skip
def test_what_a_command_needs_must_be_set_when_it_is_named(
    service: str,
    given: dict[str, str],
    words: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A remark becomes an error, all of them at once; what another command needs is not asked for."""
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert main(["config", "check", "--for", service]) == (2 if words else 0)
    found = capsys.readouterr()
    assert (found.out == "The configuration is valid.\n") is not bool(words)
    assert found.err.count("must be set") == len(words)
    assert all(word in found.err for word in words)


def test_check_refuses_what_a_service_would_refuse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each value that only a starting service looks at is named, with its rule and without the value."""
    accounts, networks = tmp_path / "a.jsonl", tmp_path / "n.jsonl"
    accounts.write_text('{"key": "sk-one"}\n{"org": "no key"}\n')
    networks.write_text('{"prefix": "10.0.0.0/8"}\n{"prefix": "everywhere"}\n')
    values = (
        ("state.redis_url=http://:hunter2@a.example", "state.redis_url must be redis://"),
        ('identity.trusted_proxies=["10.0.0.1/8"]', "identity.trusted_proxies must be networks in CIDR form"),
        (f"identity.accounts_file={accounts}", f"identity.accounts_file: accounts file {accounts}, line 2: "),
        (f"identity.networks_file={networks}", f"identity.networks_file: networks file {networks}, line 2: "),
        (f"worker.model_dir={tmp_path}", "worker.model_dir: "),
    )
    for value, words in values:
        assert main(["config", "check", "--set", value]) == 2
        found = capsys.readouterr()
        assert found.out == ""
        assert found.err.startswith(f"stillwatch: {words}")
    assert main(["config", "check", *(part for value, _ in values for part in ("--set", value))]) == 2
    told = capsys.readouterr().err
    assert all(words in told for _, words in values)
    assert "hunter2" not in told
    assert "sk-one" not in told


def test_a_variable_that_nobody_reads_is_warned_of(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may belong to another program, so the status stays 0."""
    monkeypatch.setenv("STILLWATCH_UPSTREAM", "http://a.example")
    assert main(["config", "check"]) == 0
    assert capsys.readouterr().err.startswith("warning: STILLWATCH_UPSTREAM in the environment: no such setting")
