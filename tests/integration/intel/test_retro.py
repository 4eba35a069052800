"""Looking back: a real archive, a real state server, and the command that an analyst runs."""

from __future__ import annotations

import json
import os
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest

from app.cli import local_state, main
from app.intel import bundle as made
from app.intel import retro
from app.intel.networks import Places
from app.intel.watch import Watch
from app.settings import load
from app.state.accounts import Account, AccountStore
from app.state.control import AllowEntry, ControlStore
from app.state.erasures import Erasures
from app.state.intel_common import CommonHere
from app.state.intel_indicators import Held, Indicators, Standing, Word
from app.state.keys import PartitionKeys, partition_of
from app.state.row_store import RowPlan
from app.worker import rows
from app.worker.archive import list_files, path_of
from detectors.campaign.trace import Kind, wordings
from detectors.contract import Level
from detectors.event import Event, without_text
from detectors.fingerprint import Fingerprint, fingerprint
from detectors.sharing.indicator import DAY_US, Indicator
from detectors.sharing.tokens import SCHEME, GroupKey
from detectors.watermark.keys import MasterSecret

SECRET = bytes(range(32))
KEY = GroupKey(MasterSecret(SECRET))
NOW_US = time.time_ns() // 1000
NEWEST_US = NOW_US - 3_600_000_000
KEYS, RING, EVENTS, PARTITIONS = 20, 4, 20, 3
WORDS = [a + b + c for a in "bdfgklmnprst" for b in ("a", "e", "io", "ou") for c in ("n", "rt", "lle", "st", "m")]
ASKED = "Solve the numbered olympiad task and show all of your reasoning step by step inside tags: "


def _key(number: int) -> str:
    return f"{number:032x}"


def _event(key: int, number: int) -> Event:
    """Of the last twenty days, one a day; keys below RING write under one wording from the tenth day on."""
    dice = random.Random(key * 1000 + number)
    words = " ".join(dice.choices(WORDS, k=30))
    return Event(
        event_id=f"{key:08x}{number:08x}",
        at_us=NEWEST_US - (EVENTS - 1 - number) * DAY_US + key * 1000,
        key_id=_key(key),
        plan="payg",
        dialect="openai",
        route="chat",
        model="large",
        roles="u",
        message_count=1,
        user_turns=1,
        chain_digest=dice.getrandbits(63),
        output_tokens=600,
        answer_chars=2400,
        client_digest=key + 1,
        user_head=ASKED + words if key < RING and number >= 10 else words,
        user_tail=words,
    )


def _wording() -> int:
    """The mark that the ring's requests begin with."""
    fp: Fingerprint = fingerprint(_event(0, 15))
    return next(kind << 32 | item for kind, item in wordings(fp) if kind is Kind.HEAD)


def _indicator(kind: Any = "template", **fields: Any) -> Indicator:
    given = {
        "id": made.indicator_stix_id(PROVIDER, "r", str(kind), "0"),
        "kind": kind,
        "tokens": (KEY.token(_wording()),),
        "valid_from_us": NOW_US - DAY_US,
        "valid_until_us": NOW_US + 20 * DAY_US,
        "scheme": SCHEME,
        "epoch": "q4",
        "weights": (5.0,),
        "confidence": 90,
    }
    return Indicator(**{**given, **fields})


PROVIDER = made.Provider(made.provider_id("A"), "A")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three partitions with two files of each: twenty keys, four of which harvest in the second half."""
    folder = tmp_path_factory.mktemp("archive")
    for partition in range(PARTITIONS):
        mine = [_event(key, number) for number in range(EVENTS) for key in range(KEYS) if key % PARTITIONS == partition]
        found = [rows.Row(f"{event.at_us // 1000}-0", without_text(event), fingerprint(event)) for event in mine]
        half = len(found) // 2
        for part in (found[:half], found[half:]):
            path = path_of(folder, partition, RowPlan(part[0].entry_id, part[-1].entry_id))
            path.parent.mkdir(parents=True, exist_ok=True)
            rows.to_frame(part).write_parquet(path)
    return folder


@dataclass
class Desk:
    """An analyst's settings, and what the command said."""

    folder: Path
    capsys: pytest.CaptureFixture[str]
    sets: list[str]

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """`stillwatch intel match …`: status, output, remarks."""
        sets = [part for one in self.sets for part in ("--set", one)]
        status = main(["intel", "match", *sets, *arguments])
        said = self.capsys.readouterr()
        return status, said.out, said.err

    def bundle(self, *indicators: Indicator) -> Path:
        """A file as a member would send it."""
        shared = made.Shared("r", NOW_US - 9 * DAY_US, NOW_US - DAY_US, 20, 1000, indicators)
        path = self.folder / "bundle.json"
        path.write_bytes(orjson.dumps(made.bundle(made.objects(PROVIDER, shared, NOW_US))))
        return path


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A machine without a service, with the keys of one group."""
    for name in [name for name in os.environ if name.startswith("STILLWATCH_")]:
        monkeypatch.delenv(name)
    keys = tmp_path / "keys"
    keys.mkdir(mode=0o700)
    (keys / "labs.json").touch(mode=0o600)
    (keys / "labs.json").write_text(json.dumps({"q4": SECRET.hex()}))
    return Desk(tmp_path, capsys, [f"intel.keys_dir={keys}", f"state.data_dir={tmp_path / 'data'}"])


@pytest.fixture
def served(desk: Desk, redis_db: str) -> Desk:
    """The same beside a state server that holds one reported indicator, of a member that was right before."""
    desk.sets += [f"state.redis_url={redis_db}", "state.partitions=4"]

    async def put(client: Any) -> None:
        word = Word("acme", NOW_US - DAY_US, NOW_US - DAY_US, 90)
        await Indicators(client).put([Held(_indicator(), "labs", "acme", NOW_US - DAY_US, "amber", (word,))])
        await Indicators(client).put_standing(Standing("labs", "acme", "Acme", NOW_US - 90 * DAY_US, 5))

    local_state.ask(_settings(redis_db), put)
    return desk


def _settings(redis_db: str) -> Any:
    return load(environ={"STILLWATCH_STATE__REDIS_URL": redis_db, "STILLWATCH_STATE__PARTITIONS": "4"})


def test_received_against_archive(served: Desk, archive: Path) -> None:
    """The keys that did it are listed with who reported it, since when, and what they took since; nobody else is."""
    out = served.folder / "hits.jsonl"
    status, said, remarks = served.run("--days", "30", "--archive", str(archive), "--json", "--out", str(out))
    assert status == 0, remarks
    found = json.loads(said)
    assert [json.loads(line) for line in out.read_text().splitlines()] == found
    assert sorted(one["key_id"] for one in found) == [_key(number) for number in range(RING)]
    for one in found:
        assert (one["taken"], one["exchanges"], one["effect"]) == (10, 10, "priority")
        assert 40.0 < one["score"] < 60.0
        (seen,) = one["seen"]
        assert (seen["reporters"], seen["group"], seen["kind"], seen["carried"]) == (["acme"], "labs", "template", 1.0)
        assert one["first"] == seen["first"] < seen["last"]
    assert "4 keys among 6 of 6 files, 400 exchanges of 20 keys; looked for 1 indicator." in remarks
    assert "Looking back 30 days in 6 files" in remarks
    table = served.run("--days", "30", "--archive", str(archive), "-q")[1]
    assert table.count("labs/acme") == RING
    assert table.count("\t10\t") == RING


def test_own_view_beside(served: Desk, archive: Path, redis_db: str) -> None:
    """What is known here counts as for a worker: nothing follows for a key that is allowed or whose contract covers it."""

    async def put(client: Any) -> None:
        until_us = NOW_US + DAY_US
        entry = AllowEntry(
            subject=f"key:{_key(0)}", owner="ann", reason="a partner", expires_us=until_us, by="ann", created_us=NOW_US
        )
        await ControlStore(client).allow_put(entry)
        await AccountStore(client).put(_key(1), Account(authorised=("synthetic_data",)))
        partition = partition_of(_key(2), 4)
        await client.zadd(PartitionKeys(partition).flagged, {_key(2): 2 * Level.SUSPECT + 0.97})
        await client.zadd(PartitionKeys(partition).seen, {_key(2): NOW_US // 1000})

    local_state.ask(_settings(redis_db), put)
    found = json.loads(served.run("--days", "30", "--archive", str(archive), "--json")[1])
    told = {one["key_id"]: (one["effect"], one["excuse"], one["local"]) for one in found}
    assert told == {
        _key(0): ("nothing", "allow_list", ""),
        _key(1): ("nothing", "contract", ""),
        _key(2): ("priority", "", "our own verdict is suspect"),
        _key(3): ("priority", "", ""),
    }
    assert [one["effect"] for one in found] == ["priority", "priority", "nothing", "nothing"]


def test_common_left_out(served: Desk, archive: Path, redis_db: str) -> None:
    """What settled customers show is not looked for in the archive either, and that is said."""
    second = _indicator("contract", tokens=("0b" * 12,))

    async def put(client: Any) -> None:
        await CommonHere(client).put([f"labs {_indicator().id}"], NOW_US)

    async def more(client: Any) -> None:
        await Indicators(client).put([Held(second, "labs", "acme", NOW_US, "amber")])

    local_state.ask(_settings(redis_db), put)
    code, _, said = served.run("--days", "30", "--archive", str(archive))
    assert (code, "settled customers show 1 indicator, and no other one counts now" in said) == (1, True), said
    local_state.ask(_settings(redis_db), more)
    code, found, said = served.run("--days", "30", "--archive", str(archive), "--json")
    assert (code, json.loads(found)) == (0, [])
    assert "looked for 1 indicator, without 1 that settled customers show." in said


def test_days_bound(served: Desk, archive: Path) -> None:
    """Only the last days count, back from the newest exchange."""
    found = json.loads(served.run("--days", "5", "--archive", str(archive), "--json")[1])
    assert {one["exchanges"] for one in found} == {5}
    assert len(found) == RING


def test_erased_left_out(served: Desk, archive: Path, redis_db: str) -> None:
    """A key whose erasure was asked for does not appear, though its rows are in the archive yet."""

    async def erase(client: Any) -> bool:
        return await Erasures(client, 4).ask(_key(1), NOW_US)

    assert local_state.ask(_settings(redis_db), erase)
    found = json.loads(served.run("--days", "30", "--archive", str(archive), "--json")[1])
    assert sorted(one["key_id"] for one in found) == [_key(0), _key(2), _key(3)]


def test_bundle_without_a_service(desk: Desk, archive: Path) -> None:
    """A bundle is looked for where no service runs; its sender is a stranger. The archive stays as it was."""
    before = {file.path: file.path.read_bytes() for file in list_files(archive)}
    status, said, _ = desk.run(
        "--days", "30", "--archive", str(archive), "--json", "--bundle", str(desk.bundle(_indicator()))
    )
    found = json.loads(said)
    assert (status, len(found)) == (0, RING)
    assert {one["score"] for one in found} == {22.5}
    assert before == {file.path: file.path.read_bytes() for file in list_files(archive)}
    assert not (desk.folder / "data").exists()


def test_no_text_in_the_output(desk: Desk, archive: Path) -> None:
    """No word of a request is in what is written, nor the group's secret."""
    said = "".join(
        map(str, desk.run("--days", "30", "--archive", str(archive), "--json", "--bundle", str(desk.bundle(_indicator()))))
    )
    assert "olympiad" not in said
    assert SECRET.hex() not in said


@pytest.mark.parametrize(
    ("given", "status", "sentence"),
    [
        (["--archive", "{archive}"], 2, "--archive: is for the archive: say with --days how far back to look"),
        (["--days", "3", "--archive", "{tmp}/none"], 1, "archive folder {tmp}/none: no such folder"),
        (["--days", "3", "--archive", "{tmp}/keys"], 1, "archive folder {tmp}/keys: it holds no archive files"),
        (["--days", "3", "--group", "other"], 2, "intel.keys_dir has no keys of 'other'; it has those of labs"),
        (["--days", "3", "--set", "intel.keys_dir={tmp}/none"], 2, "intel.keys_dir: {tmp}/none is no folder"),
        (["--days", "3", "--out", "{tmp}/no/file"], 1, "--out {tmp}/no/file: No such file or directory"),
    ],
)
def test_one_sentence(desk: Desk, archive: Path, given: list[str], status: int, sentence: str) -> None:
    """What cannot be is refused in one sentence that names the option or the setting."""
    names = {"archive": str(archive), "tmp": str(desk.folder)}
    arguments = [one.format(**names) for one in given]
    if "--days" in given:
        arguments += ["--bundle", str(desk.bundle(_indicator()))]
        if "--archive" not in given:
            arguments += ["--archive", str(archive)]
    code, _, said = desk.run(*arguments)
    assert (code, sentence.format(**names) in said) == (status, True), said
    assert said.strip().splitlines()[-1].startswith("stillwatch: ")


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"{", "bundle: must be JSON"),
        (b"[]", "bundle: must be an object with type bundle and a list of objects"),
        (b'{"type": "bundle", "objects": 7}', "bundle: must be an object with type bundle and a list of objects"),
        (b'{"type": "bundle", "objects": [7, {"type": "indicator"}]}', "holds no indicator that counts now; 1 object"),
        (b"[" * 200_000, "bundle: must be JSON"),
    ],
)
def test_bad_bundle(desk: Desk, archive: Path, data: bytes, sentence: str) -> None:
    """What is no bundle of ours is refused, and the rule named."""
    path = desk.folder / "bad.json"
    path.write_bytes(data)
    code, said, remarks = desk.run("--days", "3", "--archive", str(archive), "--bundle", str(path))
    assert (code, said, sentence in remarks) == (1, "", True), remarks


def test_other_epoch(desk: Desk, archive: Path) -> None:
    """A bundle of an epoch whose secret is not there is refused; one that can be compared in part says what is left out."""
    other = _indicator(epoch="q9", id=made.indicator_stix_id(PROVIDER, "r", "template", "1"))
    arguments = ["--days", "30", "--archive", str(archive), "--json", "--bundle"]
    code, _, said = desk.run(*arguments, str(desk.bundle(other)))
    assert code == 1
    assert (
        "nothing can be compared: 1 of 1 behaviour indicators are of key epoch q9, of which intel.keys_dir has no" in said
    )
    code, found, said = desk.run(*arguments, str(desk.bundle(other, _indicator())))
    assert (code, len(json.loads(found))) == (0, RING)
    assert "note: 1 of 2 behaviour indicators are of key epoch q9" in said


def test_no_keys_dir(served: Desk, archive: Path) -> None:
    """Without keys of groups nothing received can be compared, and that is said instead of "nothing found"."""
    served.sets = [one for one in served.sets if not one.startswith("intel.keys_dir")]
    code, _, said = served.run("--days", "3", "--archive", str(archive))
    assert (code, "intel.keys_dir: is not set, so none of 1 indicator can be compared" in said) == (1, True), said
    code, _, said = served.run("--days", "3", "--archive", str(archive), "--bundle", str(served.bundle(_indicator())))
    assert (code, "intel.keys_dir: must hold the keys of the trust group" in said) == (2, True), said


def test_damaged_file(desk: Desk, archive: Path, tmp_path: Path) -> None:
    """A damaged file ends the look, and is named: what lies behind it would silently be missing."""
    first = list_files(archive)[0]
    copy = tmp_path / "copy" / first.path.parent.name / first.path.name
    copy.parent.mkdir(parents=True)
    copy.write_bytes(first.path.read_bytes()[:1000])
    code, _, said = desk.run(
        "--days", "60", "--archive", str(tmp_path / "copy"), "--bundle", str(desk.bundle(_indicator()))
    )
    assert (code, f"archive file {copy}: cannot be read" in said) == (1, True), said


def test_interrupt_keeps_what_was_found(desk: Desk, archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle: what the files until then show is printed, with how many those were, and the status tells."""
    reads = 0
    read = retro._read

    def interrupted(*given: Any) -> None:
        nonlocal reads
        reads += 1
        if reads == 4:
            raise KeyboardInterrupt
        read(*given)

    monkeypatch.setattr(retro, "_read", interrupted)
    code, said, remarks = desk.run(
        "--days", "30", "--archive", str(archive), "--json", "--bundle", str(desk.bundle(_indicator()))
    )
    assert code == 130
    assert sorted(one["key_id"] for one in json.loads(said)) == [_key(0), _key(3)]
    assert "Interrupted: this is what was found in 3 of 6 files" in remarks


def test_moved_key_counts_once(archive: Path, tmp_path: Path) -> None:
    """A key that was archived in two partitions, since its account moved, is one key with the sum of what it took."""
    for file in list_files(archive):
        if file.partition == 0:
            for partition in (0, 7):
                part = [
                    row
                    for row in rows.from_frame(_frame(file.path))
                    if (row.event.at_us // DAY_US % 2 == 0) == (partition == 0)
                ]
                if part:
                    path = path_of(tmp_path, partition, RowPlan(part[0].entry_id, part[-1].entry_id))
                    path.parent.mkdir(parents=True, exist_ok=True)
                    rows.to_frame(part).write_parquet(path)
    held = Held(_indicator(), "labs", "acme", NOW_US, "amber")
    watch = Watch([held], {}, {"labs": {"q4": KEY}}, Places(), lambda one: one, NOW_US)
    looked = retro.look_back(tmp_path, 30, watch, {}, NOW_US)
    assert sorted((one.key_id, one.taken) for one in looked.found) == [(_key(0), 10), (_key(3), 10)]
    last = max(seen.last_us for one in looked.found for seen in one.seen)
    assert last == NEWEST_US + 3000


def _frame(path: Path) -> Any:
    import polars as pl

    return pl.read_parquet(path)


def test_live_asks_the_admin_api(desk: Desk) -> None:
    """Without --days the admin API is asked; without a login the setting is named, and where it is away that is said."""
    code, _, said = desk.run("--admin-url", "http://127.0.0.1:9")
    assert (code, "admin.token" in said) == (2, True)
    code, _, said = desk.run("--admin-url", "http://127.0.0.1:9", "--set", "admin.token=a-token-of-the-tests-0123456789")
    assert (code, "cannot be reached" in said) == (1, True)
