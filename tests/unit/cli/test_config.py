"""What `config show` prints is what is in force, and can be used as a file."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path

import pytest

from app.cli import main
from app.intel.signing import SigningKey
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


_PEER = '[[peer]]\nname = "acme"\ngroup = "labs"\nurl = "https://acme.example/taxii2/"\nsecret_file = "acme.secret"\n'
_SECRET = "5e" * 32


def _sharing(folder: Path) -> dict[str, Path]:
    """Files of `[intel]` that fit, by setting; nobody but their owner may read the secret ones."""
    (folder / "keys").mkdir()
    (folder / "keys/labs.json").write_text(json.dumps({"2026-11": _SECRET}))
    (folder / "peers.toml").write_text(_PEER)
    (folder / "acme.secret").write_text(_SECRET)
    (folder / "warning.txt").write_text("192.0.2.0/24\nAS64500  # ours\n")
    SigningKey.made().write(folder / "signing.pem")
    (folder / "keys/labs.json").chmod(0o600)
    names = {"keys_dir": "keys", "signing_key_file": "signing.pem", "warning_list_file": "warning.txt"}
    return {name: folder / file for name, file in {**names, "peers_file": "peers.toml"}.items()}


def _checked(files: dict[str, Path]) -> int:
    return main(["config", "check", *(part for name, path in files.items() for part in ("--set", f"intel.{name}={path}"))])


def test_check_reads_sharing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Files of shared intelligence that fit are no reason to complain, nor is their absence."""
    assert _checked(_sharing(tmp_path)) == 0
    assert capsys.readouterr().out.startswith("The configuration is valid.\n")


@pytest.mark.parametrize(
    ("file", "text", "mode", "words"),
    [
        (
            "keys/labs.json",
            json.dumps({"2026-11": _SECRET}),
            0o640,
            "intel.keys_dir: {}: others than its owner may read it",
        ),
        ("keys/labs.json", json.dumps({"2026-11": _SECRET[:40]}), 0o600, "intel.keys_dir: {}: secrets: entry 1: "),
        ("keys/labs.json", _SECRET, 0o600, "intel.keys_dir: {}: secrets: "),
        ("signing.pem", None, 0o644, "intel.signing_key_file: others than its owner may read it"),
        ("signing.pem", _SECRET, 0o600, "intel.signing_key_file: must be a private key in PEM"),
        ("warning.txt", "AS64500\n10.0.0.0/99\n", 0o644, "intel.warning_list_file: {}, line 2: "),
        ("peers.toml", _PEER.replace("https", "http"), 0o644, "intel.peers_file: peer 1: url "),
        ("peers.toml", _PEER + "secret = 1\n", 0o644, "intel.peers_file: peer 1: has a field that is none of "),
        ("acme.secret", "", 0o600, "intel.peers_file: peer acme: secret_file must hold one line"),
    ],
)
def test_check_refuses_sharing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str, text: str | None, mode: int, words: str
) -> None:
    """One sentence names the setting and the rule, before anything starts; what the file holds is never in it."""
    files = _sharing(tmp_path)
    path = tmp_path / file
    if text is not None:
        path.write_text(text)
    path.chmod(mode)
    assert _checked(files) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith(f"stillwatch: {words.format(path)}"), told.err
    assert told.err.count("intel.") == 1
    assert _SECRET[:40] not in told.err


def test_check_misses_sharing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file or folder that is named and not there is told, each in one sentence."""
    _sharing(tmp_path)
    (tmp_path / "acme.secret").unlink()
    names = ("keys_dir", "signing_key_file", "warning_list_file")
    assert _checked({**dict.fromkeys(names, tmp_path / "nowhere"), "peers_file": tmp_path / "peers.toml"}) == 2
    told = capsys.readouterr().err
    assert all(f"intel.{name}: " in told for name in (*names, "peers_file"))
    assert "peer acme: secret_file cannot be read" in told


def test_a_variable_that_nobody_reads_is_warned_of(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may belong to another program, so the status stays 0."""
    monkeypatch.setenv("STILLWATCH_UPSTREAM", "http://a.example")
    assert main(["config", "check"]) == 0
    assert capsys.readouterr().err.startswith("warning: STILLWATCH_UPSTREAM in the environment: no such setting")
