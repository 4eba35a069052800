"""Private matching as two people do it: each at a program of their own, with files in between, and everything on record."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app import cli
from app.state.intel_runs import MOST_OF_GROUP, MOST_OF_PEER, WINDOW_MS, Run, Runs

Say = Callable[..., Awaitable[tuple[int, str, str]]]

CANARY = "canary-account-7f3a@example.org"
MINE = [CANARY, *(f"person{number}@example.org" for number in range(119))]
THEIRS = [*(f"Person{number}@Example.org" for number in range(50, 199)), CANARY.upper()]
SECRET = "ab" * 32


@pytest.fixture
def say(site: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Say:
    """Runs a command in a thread of this process, beside a running admin: (status, output, errors)."""
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / "labs.json").write_text(json.dumps({"q4": SECRET}))
    (keys / "labs.json").chmod(0o600)
    monkeypatch.setenv("STILLWATCH_ADMIN__TOKEN", site.token)
    monkeypatch.setenv("STILLWATCH_ADMIN_URL", site.server.url)
    monkeypatch.setenv("STILLWATCH_INTEL__KEYS_DIR", str(keys))
    monkeypatch.setenv("STILLWATCH_STATE__DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").write_text("\n".join(MINE))
    (tmp_path / "theirs").write_text("\n".join(THEIRS))

    async def say(*arguments: str, above: tuple[str, ...] = ("intel", "intersect")) -> tuple[int, str, str]:
        capfd.readouterr()
        status = await asyncio.to_thread(cli.main, [*above, *arguments])
        said = capfd.readouterr()
        return status, said.out, said.err

    return say


OFFER = ("offer", "--accounts", "mine", "--with", "acme", "--group", "labs", "--out")
ANSWER = ("answer", "--accounts", "theirs", "--with", "birch", "--group", "labs")


async def test_size_then_members_with_both_sides_agreeing(
    say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The size comes first; members need a flag and a yes on either side, and a run about the size on record."""
    status, said, count = await say(*OFFER, "a1")
    assert (status, f"run 1 of {MOST_OF_PEER}" in count) == (0, True), (said, count)
    run = said.split()[1].rstrip(":")
    assert (await say("offer-members", run, "--accounts", "mine", "--out", "early", "--yes"))[0] == 1
    assert (await say(*ANSWER, "--offer", "a1", "--out", "b1", "--reveal"))[0] == 2
    assert (await say(*ANSWER, "--offer", "a1", "--out", "b1"))[0] == 0
    assert (await say("reveal", "--accounts", "mine", "--answer", "b1"))[0] == 1
    assert json.loads((await say("cardinality", "--answer", "b1", "--json"))[1]) == {
        "run": run, "peer": "acme", "own": 120, "theirs": 150, "common": 70
    }  # fmt: skip

    monkeypatch.setattr("typer.confirm", _no)
    assert (await say("offer-members", run, "--accounts", "mine", "--out", "a2"))[0] == 130
    assert (await say("offer-members", run, "--accounts", "mine", "--out", "a2", "--yes"))[0] == 0
    status, _, refused = await say(*ANSWER, "--offer", "a2", "--out", "b2")
    assert (status, "--reveal" in refused) == (2, True)
    assert (await say(*ANSWER, "--offer", "a2", "--out", "b2", "--reveal"))[0] == 130
    assert not (tmp_path / "b2").exists()
    assert (await say(*ANSWER, "--offer", "a2", "--out", "b2", "--reveal", "--yes"))[0] == 0
    assert (await say("reveal", "--accounts", "mine", "--answer", "b2"))[1].split() == sorted(
        set(MINE[1:]) & set(_low()) | {CANARY}
    )
    assert (await say("reveal", "--accounts", "mine", "--answer", "b2"))[0] == 1  # the run is over
    rows = [line.split("\t") for line in (await say("runs"))[1].splitlines()]
    assert [row[1:5] for row in rows] == [
        ["birch", "labs", "answerer", "members"], ["acme", "labs", "asker", "members"],
        ["birch", "labs", "answerer", "size"], ["acme", "labs", "asker", "size"],
    ]  # fmt: skip

    assert (await say("export", "audit.jsonl", above=("audit",)))[0] == 0
    audit = [json.loads(line).get("record", {}) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    results = [one["after"] for one in audit if one.get("action") == "intel.intersection_result"]
    assert [(one["reveals"], one["size"], one["theirs"]) for one in results] == [(False, 70, 150), (True, 70, 150)]
    _without_secrets(tmp_path)


async def test_members_only_of_a_set_whose_size_was_told(say: Say, tmp_path: Path) -> None:
    """An answerer that never answered about the size of this very set to this very peer does not tell members of it."""
    run = (await say(*OFFER, "a1"))[1].split()[1].rstrip(":")
    (await say(*ANSWER, "--offer", "a1", "--out", "b1"))
    (await say("cardinality", "--answer", "b1"))
    assert (await say("offer-members", run, "--accounts", "mine", "--out", "a2", "--yes"))[0] == 0
    stranger = ("answer", "--accounts", "theirs", "--with", "cedar", "--group", "labs")
    status, _, refused = await say(*stranger, "--offer", "a2", "--out", "b2", "--reveal", "--yes")
    assert (status, "no run about the size" in refused) == (1, True), refused
    assert not (tmp_path / "b2").exists()


async def test_only_so_many_runs(say: Say, site: Any, tmp_path: Path) -> None:
    """The eleventh question to a peer within 30 days is not asked, and the peer's eleventh is not answered."""
    assert (await say(*OFFER, "a0"))[0] == 0
    for number in range(MOST_OF_PEER):
        for role, peer in (("asker", "acme"), ("answerer", "birch")):
            await _recorded(site, role, peer, number)
    status, _, refused = await say(*OFFER, "more")
    assert (status, "the next one may be at" in refused) == (1, True), refused
    assert (await say(*ANSWER, "--offer", "a0", "--out", "more"))[0] == 1
    assert not (tmp_path / "more").exists()
    assert len((await say("runs"))[1].splitlines()) == 2 * MOST_OF_PEER


async def test_limits_of_peers_and_groups(site: Any) -> None:
    """Runs count for 30 days, by peer, role and kind; other names for a peer end at the limit of the group."""
    runs, now = Runs(site.state), 1_800_000_000_000

    def run(number: int, **fields: Any) -> Run:
        made = Run(f"{number:032x}", "labs", "acme", "asker", False, 200, 0, "0" * 64, now + number, "person")
        return msgspec.structs.replace(made, **fields)

    for number in range(MOST_OF_PEER):
        assert await runs.take(run(number)) == (True, number + 1, 0)
    assert await runs.take(run(100)) == (False, MOST_OF_PEER, now + WINDOW_MS)
    for other in ({"role": "answerer"}, {"reveals": True}, {"group": "old"}, {"peer": "acm"}, {"peer": "acme2"}):
        assert (await runs.take(run(101, **other))).runs == 1, other
    for number in range(MOST_OF_GROUP - MOST_OF_PEER - 2):
        assert (await runs.take(run(102, peer=f"name{number}"))).ok
    assert not (await runs.take(run(103, peer="another"))).ok
    assert (await runs.take(run(104, at_ms=now + WINDOW_MS))).ok  # the first one has left the window
    assert not (await runs.take(run(105, at_ms=now + WINDOW_MS))).ok
    found = await runs.newest(1000)
    assert (len(found), found[0].run) == (MOST_OF_GROUP + 4, f"{104:032x}")
    assert await runs.since(now + WINDOW_MS) == found[:1]


async def _recorded(site: Any, role: str, peer: str, number: int) -> None:
    body = {"run": f"{number:032x}", "group": "labs", "peer": peer, "role": role, "reveals": False, "own": 200}
    asked = {**body, "commitment": "0" * 64}
    await site.http.post("/v1/intel/intersections", json=asked, headers={"authorization": f"Bearer {site.token}"})


async def test_mistakes_end_in_one_sentence(say: Say, tmp_path: Path) -> None:
    """A wrong group, epoch, peer's name or file is told before anything is on record."""
    (tmp_path / "there").touch()
    (tmp_path / "junk").write_bytes(bytes(1 << 16))
    (tmp_path / "large").write_bytes(bytes(1 << 23))
    for arguments, status, part in (
        ((*OFFER, "there"), 2, "exists already"),
        ((*OFFER, "nowhere/file"), 2, "does not exist"),
        ((*OFFER, "x", "--epoch", "q9"), 2, "--epoch"),
        (("offer", "--accounts", "mine", "--with", "acme", "--group", "lobs", "--out", "x"), 2, "intel.keys_dir"),
        (("offer", "--accounts", "mine", "--with", "A b", "--group", "labs", "--out", "x"), 2, "--with"),
        (("offer", "--accounts", "there", "--with", "acme", "--group", "labs", "--out", "x"), 1, "at least 100"),
        ((*ANSWER, "--offer", "junk", "--out", "x"), 1, "no file of"),
        ((*ANSWER, "--offer", "large", "--out", "x"), 1, "at most"),
        (("cardinality", "--answer", "junk"), 1, "no file of"),
    ):
        found = await say(*arguments)
        assert found[0] == status, (arguments, found)
        assert part in found[2], (arguments, found)
        assert len(found[2].splitlines()) == 1
    assert (await say("runs"))[1].strip() == "There was no run yet."
    assert not (tmp_path / "x").exists()


def _without_secrets(folder: Path) -> None:
    """Neither an account nor the group's key is in any file but those that hold them."""
    for path in folder.rglob("*"):
        if path.is_file() and path.name not in ("mine", "theirs"):
            data = path.read_bytes()
            assert b"canary" not in data.lower(), path
            assert SECRET.encode() not in data or path.name == "labs.json", path


def _low() -> list[str]:
    return [one.lower() for one in THEIRS]


def _no(*_: Any, **__: Any) -> None:
    import typer

    raise typer.Abort
