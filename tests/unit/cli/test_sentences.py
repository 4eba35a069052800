"""Whatever is wrong, a person reads one sentence that names the field and the rule, and a script reads the status."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.cli import main

WRONG = [
    (["frobnicate"], 2, "No such command 'frobnicate'"),
    (["serve", "--prot", "3"], 2, "--prot"),
    (["serve", "--port", "many"], 2, "--port"),
    (["serve", "--port", "99999"], 2, "gateway.port"),
    (["serve"], 2, "gateway.upstream must be set"),
    (["serve", "--upstream", "ftp://x"], 2, "gateway.upstream must be http:// or https://"),
    (["serve", "--upstream", "http://127.0.0.1:1"], 2, "identity.pepper must be set"),
    (["serve", "--set", "identity.pepper=short"], 2, "identity.pepper must have at least 16 characters"),
    (["admin"], 2, "admin.token must be set"),
    (
        ["all", "--upstream", "http://127.0.0.1:1", "--set", "identity.pepper=0123456789abcdef"],
        2,
        "admin.token must be set",
    ),
    (["worker", "--set", "state.redis_url=http://here"], 2, "state.redis_url must be redis://"),
    (["worker", "--set", "worker.model_dir=no/model"], 2, "worker.model_dir"),
    (["worker", "--config", "no-file.toml"], 2, "config file no-file.toml: No such file or directory"),
    (["config", "check", "--set", "gateway.port"], 2, "--set takes section.field=value"),
    (["config", "check", "--set", "gateway.allowed_hosts=[1"], 2, "--set gateway.allowed_hosts"),
    (["config", "check", "--set", "limits.plans.default.key=1"], 2, "a table such as [limits.plans] is set in the file"),
    (["config", "check", "--for", "everything"], 2, "--for"),
    (["config", "check", "--set", "gateway.no_such=1"], 2, "gateway.no_such: no such setting"),
    (["config", "check", "--set", "enforcement.mode=strict"], 2, "enforcement.mode"),
    (
        ["config", "check", "--set", "identity.accounts_file=nowhere.jsonl"],
        2,
        "identity.accounts_file: accounts file ",
    ),
    (["replay"], 2, "Missing argument 'LOG'"),
    (["replay", "no-log", "--out", "x"], 2, "'no-log' does not exist"),
    (["replay", ".", "--out", "x", "--warmup-until", "noon"], 2, "--warmup-until"),
    (["replay", ".", "--out", "file"], 2, "--out"),
    (["replay", ".", "--out", "x", "--model", "."], 2, "--model: "),
    (["replay", ".", "--out", "x", "--save-model", "file"], 2, "--save-model"),
    (["id"], 2, "identity.pepper must be set"),
    (["id", "sk-a-key"], 2, "unexpected extra argument"),
    (["keys", "list", "--level", "worst"], 2, "--level"),
    (["keys", "list"], 1, "/var holds no state"),
    (["keys", "show", "0a"], 1, "/var holds no state"),
    (["keys", "list", "--set", "state.redis_url=redis://127.0.0.1:1"], 1, "did not answer"),
    (["archive", "list"], 1, "/var/archive: no such folder (worker.archive_dir)"),
    (["archive", "check", "nowhere"], 1, "/nowhere: no such folder"),
    (["demo", "--seconds", "1"], 2, "--seconds"),
    (["demo", "--keep", "/proc/no"], 2, "--keep /proc/no"),
]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    for name in [name for name in os.environ if name.startswith("STILLWATCH_")]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize(("arguments", "status", "words"), WRONG, ids=[" ".join(case[0])[:60] for case in WRONG])
def test_what_is_wrong_is_one_sentence(
    arguments: list[str], status: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The sentence stands alone on standard error, names the field, and the status tells who has to act."""
    assert main(arguments) == status
    found = capsys.readouterr()
    assert found.out == ""
    (line,) = found.err.splitlines()
    assert line.startswith("stillwatch: ")
    assert words in line


def test_a_bad_file_is_named_with_its_rule(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A configuration file that is no TOML, or sets what there is not, is refused with its name or the field's."""
    path = tmp_path / "stillwatch.toml"
    path.write_text("[gateway\n")
    assert main(["config", "check", "--config", str(path)]) == 2
    assert str(path) in capsys.readouterr().err
    path.write_text("[gateway]\nupstreem = 'x'\n")
    assert main(["config", "check", "--config", str(path)]) == 2
    assert "gateway.upstreem" in capsys.readouterr().err


def test_a_fault_of_ours_is_a_sentence_without_its_message(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unexpected error shows its class and place; its message may quote a client and is left out."""

    def broken(*_: object, **__: object) -> None:
        raise ValueError("the client said: secret words")

    monkeypatch.setattr("app.settings.load", broken)
    assert main(["config", "show"]) == 1
    line = capsys.readouterr().err
    assert "ValueError at test_sentences.py" in line
    assert "secret words" not in line
    assert "Traceback" not in line
    monkeypatch.setenv("STILLWATCH_DEBUG", "1")
    with pytest.raises(ValueError, match="secret words"):
        main(["config", "show"])


def test_a_secret_on_the_way_is_not_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    """A refused value is never quoted: it may be a secret in the wrong place."""
    assert main(["config", "check", "--set", "admin.token=too-short-token"]) == 2
    assert main(["config", "check", "--set", "state.redis_url=redis://:hunter2@h:1/0?colour=blue"]) == 2
    assert main(["worker", "--set", "state.redis_url=redis://:hunter2@h:1/0?colour=blue"]) == 2
    found = capsys.readouterr()
    assert "too-short-token" not in found.out + found.err
    assert "hunter2" not in found.out + found.err
