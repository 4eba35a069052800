"""The commands by which people act, against a running admin process: what they show, ask, do, and how they end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app import cli

KEYS = [f"{number:032x}" for number in range(1, 131)]
WHY = ("--reason", "one of the campaign of November")

Say = Callable[..., tuple[int, str, str]]


@pytest.fixture
def say(start: Any, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Say:
    """Runs a command in this process, beside a running admin: (status, output, errors); another token may be given."""
    url = start("admin").addresses()["admin"]
    for name, value in environ.items():
        if name.startswith("STILLWATCH_"):
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("STILLWATCH_ADMIN_URL", url)

    def say(*arguments: str, token: str = "") -> tuple[int, str, str]:
        with monkeypatch.context() as patch:
            if token:
                patch.setenv("STILLWATCH_ADMIN__TOKEN", token)
            capfd.readouterr()
            status = cli.main(list(arguments))
            said = capfd.readouterr()
        return status, said.out, said.err

    return say


def _json(answer: tuple[int, str, str]) -> Any:
    assert answer[0] == 0, answer
    return json.loads(answer[1])


def _imported(say: Say, tmp_path: Path, org: str = "acme") -> None:
    path = tmp_path / "accounts.jsonl"
    path.write_text("".join(json.dumps({"key_id": key_id, "org_id": org}) + "\n" for key_id in KEYS))
    assert say("accounts", "import", str(path))[0] == 0


def test_orders_are_previewed_given_listed_and_undone(say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --yes the effect is shown and nothing is done unless confirmed; exit statuses tell what went wrong."""
    _imported(say, tmp_path)
    give = ("orders", "give", "throttle", "-k", KEYS[0], "--for", "2h", "--code", "extraction", *WHY)
    monkeypatch.setattr("typer.confirm", _no)
    status, _, shown = say(*give)
    assert (status, "1 key, 1 organisation, 1 with an account" in shown) == (130, True), shown
    assert _json(say("orders", "list", "--json")) == []
    made = _json(say(*give, "--yes", "--json"))
    ref = made["orders"][0]["ref"]
    assert made["orders"][0]["action"] == "throttle"
    status, listed, _ = say("orders", "list")
    assert (status, listed.split("\t")[:2]) == (0, [KEYS[0], "throttle"])
    assert "stands" in say("orders", "show", ref)[1]
    assert _json(say("orders", "preview", "suspend", "--org", "acme", "--json"))["keys"] == 130
    assert say("orders", "undo", ref, "--yes")[0] == 0
    assert say("orders", "undo", ref, "--yes")[0] == 1
    assert say("orders", "show", "sw-nothing")[0] == 1
    for wrong in (("--for", "soon"), ("--reason", "short"), ("--code", "mood"), ("--org", "acme")):
        assert say(*give, "--yes", *wrong)[0] == 2, wrong
    assert say("orders", "give", "throttle", "--for", "2h", "--code", "terms", *WHY)[0] == 2


def test_orders_are_told_with_what_stands_again(say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The question says what an undo brings back; --all ends the whole stack; a beginning of an id must be one key's."""
    _imported(say, tmp_path)
    ann = say("tokens", "make", "ann", "--role", "approver")[1].strip()
    more = ("-k", KEYS[0], "--for", "2h", "--code", "extraction", *WHY, "--yes", "--json")
    first = _json(say("orders", "give", "suspend", *more, token=ann))["orders"][0]
    second = _json(say("orders", "give", "observe", *more))["orders"][0]
    monkeypatch.setattr("typer.confirm", _no)
    status, _, asked = say("orders", "undo", second["ref"])
    assert (status, f"suspend by ann until {first['until'][:10]}" in asked) == (130, True), asked
    assert f"stands again ({first['ref']})" in asked
    assert say("orders", "undo", "--all")[0] == 2
    assert say("orders", "undo", second["ref"], "-k", KEYS[0])[0] == 2
    erase = ("erase", KEYS[0], "--reason", "asked for by the customer", "--yes")
    status, _, refused = say(*erase)
    assert (status, f"{second['ref']}, which replaced {first['ref']}" in refused) == (1, True), refused
    ended = say("orders", "undo", "--all", "-k", KEYS[0], "--reason", "case closed", "--yes")[1]
    assert ended == f"{KEYS[0]}: ended {second['ref']}, {first['ref']}; what policy asks for is done again\n"
    assert _json(say("orders", "list", "--json")) == []
    assert say("orders", "undo", "--all", "-k", KEYS[0], "--yes")[0] == 1
    alone = say("orders", "give", "suspend", "-k", "00", *more[2:])  # nobody was ever seen
    assert (alone[0], "no key's id starts with '00'" in alone[2]) == (1, True), alone


def _no(*_: Any, **more: Any) -> None:
    import typer

    raise typer.Abort


def test_many_keys_take_another_person(say: Say, tmp_path: Path) -> None:
    """Proposed by one token, refused to the same one, approved by another, followed to the end and undone."""
    _imported(say, tmp_path)
    ann = say("tokens", "make", "ann", "--role", "approver")[1].strip()
    bob = say("tokens", "make", "bob", "--role", "approver")[1].strip()
    keys = tmp_path / "keys.txt"
    keys.write_text("\n".join(KEYS))
    give = ("orders", "give", "cap", "--keys-file", str(keys), "--for", "1d", "--code", "extraction", *WHY, "--yes")
    status, said, _ = say(*give, token=ann)
    assert (status, "130 keys wait for another person" in said) == (0, True), said
    bulk_id = said.split()[2].rstrip(":")
    assert say("proposals", "list")[1].split("\t")[:3] == [bulk_id, "proposed", "cap"]
    assert "another person has to approve it" in say("proposals", "show", bulk_id)[1]
    approve = ("proposals", "approve", bulk_id, *WHY, "--yes")
    assert say(*approve, token=ann)[0] == 1
    status, said, _ = say(*approve, token=bob)
    assert (status, said) == (0, f"{bulk_id}: done, 130 of 130 keys\n")
    assert len(_json(say("orders", "list", "--json"))) == 130
    assert _json(say("orders", "undo", bulk_id, "--yes", "--json"))["status"] == "undone"
    assert _json(say("orders", "list", "--json")) == []
    second = say(*give, token=ann)[1].split()[2].rstrip(":")
    assert say("proposals", "refuse", second, *WHY, token=bob)[1] == f"{second}: refused\n"


def test_a_policy_is_shown_tried_set_and_reset(say: Say, tmp_path: Path) -> None:
    """What is shown can be changed and set; a bad one is refused with its field; reset brings the settings back."""
    path = tmp_path / "policy.toml"
    path.write_text(say("policy", "show")[1].replace('mode = "shadow"', 'mode = "enforce"'))
    assert "nothing changes about any key" in say("policy", "preview", str(path))[1]
    assert say("policy", "set", str(path), "--yes", "--reason", "the pilot is over")[0] == 0
    shown = _json(say("policy", "show", "--json"))
    assert (shown["source"], shown["policy"]["mode"]) == ("state", "enforce")
    path.write_text('mode = "off"\n')
    status, _, error = say("policy", "set", str(path), "--yes")
    assert (status, "mode: must be 'shadow' or 'enforce'" in error) == (2, True)
    assert say("policy", "reset", "--yes", "--reason", "too early")[0] == 0
    assert [one["reason"] for one in _json(say("audit", "list", "--json"))[:2]] == ["too early", "the pilot is over"]
    assert _json(say("policy", "show", "--json"))["source"] == "settings"
    assert say("policy", "set", str(tmp_path / "none.toml"), "--yes")[0] == 1


def test_plans_allow_list_and_kill_switch(say: Say, tmp_path: Path) -> None:
    """Each is set, shown in a line and taken back; the status of the switch is also its exit status."""
    plan = tmp_path / "team.toml"
    plan.write_text("[key]\nrequests_per_min = 600\n")
    assert say("plans", "set", "team", str(plan), "--yes")[1] == "team: key: 600 requests per min\n"
    assert "team\tstate\tkey: 600 requests per min" in say("plans", "list")[1]
    assert "0 accounts of 0 organisations" in say("plans", "show", "team")[1]
    assert say("plans", "delete", "team", "--yes", "--reason", "a slip")[0] == 0
    assert _json(say("audit", "list", "--json"))[0]["reason"] == "a slip"
    assert say("plans", "show", "team")[0] == 1
    add = ("allow", "add", "org:acme", "--owner", "sales", "--reason", "agreed in contract 4711", "--yes")
    assert say(*add, "--for", "30d")[1].startswith("org:acme: policy does nothing about it until ")
    assert say("allow", "list")[1].startswith("org:acme\t")
    assert say(*add, "--for", "401d")[0] == 2
    assert say("allow", "remove", "org:acme", "--yes", "--reason", "contract ended")[0] == 0
    assert _json(say("audit", "list", "--json"))[0]["reason"] == "contract ended"
    assert say("allow", "list")[1] == "The allow-list is empty.\n"
    assert say("kill", "status")[:2] == (0, "Nothing is switched off.\n")
    assert say("kill", "on", *WHY, "--yes")[1].startswith("KILL SWITCH ON: actions, by state")
    assert say("kill", "status")[0] == 1
    assert say("kill", "off", "--yes")[:2] == (0, "Nothing is switched off.\n")


def test_the_switch_tells_what_the_gateways_do(
    say: Say, start: Any, model_api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On and off wait until a running gateway follows; one that does not is counted."""
    start("serve", "--upstream", model_api).addresses()
    said = say("kill", "on", *WHY, "--yes")
    assert (said[0], "  1 gateway: actions\n" in said[1], said[2]) == (0, True, ""), said
    said = say("kill", "off", "--yes")
    assert said[:2] == (0, "Nothing is switched off.\n  1 gateway: nothing is switched off\n"), said
    monkeypatch.setattr("app.cli.kill.FOLLOW_SEC", 0.0)
    monkeypatch.setattr("app.cli.kill._others", lambda found: 2)
    assert "! not yet followed by 2 gateways" in say("kill", "on", *WHY, "--yes")[2]


def test_accounts_are_imported_whole_or_not_at_all(say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every bad line of a file is named by its own number, also across the parts it is sent in; then nothing is stored."""
    monkeypatch.setattr("app.cli.accounts.SLICE_LINES", 3)
    path = tmp_path / "accounts.jsonl"
    lines = [json.dumps({"key_id": key_id, "plan": "team"}) for key_id in KEYS[:8]]
    path.write_text("\n".join([*lines[:4], "", '{"key_id":"x"}', *lines[4:], "{", lines[0]]))
    status, _, error = say("accounts", "import", str(path))
    assert status == 1
    told = error.splitlines()
    assert told[0].startswith("line 6, key_id: must be 32 hex digits")
    assert told[1] == "line 11: must be valid JSON"
    assert told[-1] == "stillwatch: 2 faults; nothing is stored"
    path.write_text("\n".join([*lines, lines[0]]))
    assert "line 9, key_id: must not be the key of line 1 again" in say("accounts", "import", str(path))[2]
    assert _json(say("accounts", "list", "--json")) == []
    path.write_text("\n".join(lines))
    assert say("accounts", "import", str(path), "--dry-run")[1] == "8 lines are good, nothing is stored.\n"
    assert _json(say("accounts", "list", "--json")) == []
    assert say("accounts", "import", str(path))[1] == "8 accounts are stored.\n"
    assert len(say("accounts", "list")[1].splitlines()) == 8
    assert say("accounts", "set", KEYS[20], "--org", "acme", "--allow", "evaluation")[0] == 0
    assert _json(say("accounts", "show", KEYS[20]))["authorised"] == ["evaluation"]
    assert say("accounts", "delete", KEYS[20], "--yes")[0] == 0
    assert say("accounts", "show", KEYS[20])[0] == 1


def test_the_report_is_markdown_or_json(say: Say) -> None:
    """Without an archive the report says so instead of showing zeros; a period that is none is status 2."""
    assert say("report", "would-have")[1].startswith("The admin process has no archive to read")
    assert _json(say("report", "would-have", "--format", "json", "--since", "7d"))["known"] is False
    assert say("report", "would-have", "--since", "soon")[0] == 2
    assert say("report", "looks")[1].startswith("No look was made yet")
    assert _json(say("report", "looks", "--format", "json"))["keys"] == []


def test_a_wrong_token_or_address_is_one_sentence(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that is not taken and an address where nothing listens are told apart, and neither repeats the token."""
    status, _, error = say("orders", "list", token="not-a-token-of-this-service")
    assert (status, error.count("\n")) == (2, 1)
    assert "admin.token" in error
    assert "not-a-token" not in error
    status, _, error = say("orders", "list", "--admin-url", "http://127.0.0.1:9")
    assert (status, "cannot be reached" in error) == (1, True)
    assert say("orders", "list", "--admin-url", "ftp://x")[0] == 2


def test_what_breaks_a_rule_is_told_by_the_option_and_in_words(say: Say, tmp_path: Path) -> None:
    """No pattern, no number of seconds and no field of the API: what a person typed, and what it must be."""
    give = ("orders", "give", "throttle", "-k", KEYS[0], "--yes")
    plan, policy = tmp_path / "plan.toml", tmp_path / "policy.toml"
    plan.write_text("requests_per_min = 60\n")
    policy.write_text('[suspect]\naction = "suspend"\n')
    for command, sentence in (
        (("tokens", "revoke", "nope"), "ID: must be 8 letters and digits, as 'stillwatch tokens list' shows it"),
        (("tokens", "make", "ann", "--role", "viewer", "--days", "400"), "--days: must be at most 366 days"),
        (("reasons", "sw-nope"), "REF: must be the reference of an action, such as sw-b3x7qk2m5aduc"),
        (("report", "would-have", "--since", "1x"), "--since: must be a time such as 2026-11-24T08:00Z, or so long"),
        (("allow", "add", "bogus", "--owner", "ann", "--for", "3d", "--yes", *WHY), "SUBJECT: must be key: and 32 hex"),
        ((*give, "--for", "90d", "--code", "other", *WHY), "--for: must be at most 30 days"),
        ((*give, "--for", "1d", "--code", "none", *WHY), "--code: must be 'extraction', "),
        ((*give, "--for", "1d", "--code", "other", "--reason", "x"), "--reason: must be one line of at least 10"),
        (
            ("plans", "set", "team", str(plan), "--yes"),
            "requests_per_min: is not a field here. A plan has the tables [key]",
        ),
        (("policy", "set", str(policy), "--yes"), "suspect.action must not be above automatic_up_to, which is throttle"),
    ):
        status, out, error = say(*command)
        assert (status, out) == (2, ""), (command, error)
        assert error.startswith(f"stillwatch: {sentence}"), (command, error)
