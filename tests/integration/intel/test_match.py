"""intel match against a running admin process, and by addresses that only whoever runs it has."""

from __future__ import annotations

import asyncio
import json
import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from app.cli import main
from app.intel import identities
from app.state.control import AllowEntry, ControlStore
from app.state.erasures import Erasures
from app.state.intel_hits import Hits, KeyHits, Seen
from app.state.intel_indicators import Held, Indicators, Standing, Word
from detectors.sharing.indicator import DAY_US, Indicator
from detectors.sharing.tokens import SCHEME, GroupKey
from detectors.watermark.keys import MasterSecret

SECRETS = {"2026q3": "3c" * 32, "2026q4": "4d" * 32}
NOW_US = time.time_ns() // 1000
CAMPAIGN = f"campaign--{uuid.UUID(int=7, version=4)}"
CANARY = "canary.account@example.org"


def _name(number: int) -> str:
    return f"indicator--{uuid.UUID(int=number, version=4)}"


def _key(number: int) -> str:
    return f"{number:032x}"


def _account(number: int, *addresses: str, epoch: str = "2026q4", owner: str = "acme", **fields: Any) -> Held:
    key = GroupKey(MasterSecret.parse(SECRETS[epoch]))
    one = Indicator(
        _name(number), "identity", tuple(map(key.identity, addresses)), NOW_US - DAY_US, NOW_US + DAY_US, SCHEME, epoch,
        confidence=90, campaign=CAMPAIGN,
    )  # fmt: skip
    given = {"group": "labs", "owner": owner, "version_us": NOW_US, "tlp": "amber+strict"}
    return Held(one, words=(Word(owner, NOW_US, NOW_US, 90),), **{**given, **fields})


Run = Callable[..., Any]


@pytest.fixture
def run(
    site: Any, redis_db: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Run:
    """`stillwatch intel match …` on a machine with the group's keys and a login: status, output, remarks."""
    for name in [name for name in os.environ if name.startswith("STILLWATCH_")]:
        monkeypatch.delenv(name)
    keys = tmp_path / "keys"
    keys.mkdir(mode=0o700)
    (keys / "labs.json").touch(mode=0o600)
    (keys / "labs.json").write_text(json.dumps(SECRETS))
    sets = [f"intel.keys_dir={keys}", f"state.redis_url={redis_db}", "state.partitions=4", f"admin.token={site.token}"]

    async def ran(*arguments: str) -> tuple[int, str, str]:
        capfd.readouterr()
        given = ["intel", "match", *arguments, *(part for one in sets for part in ("--set", one))]
        status = await asyncio.to_thread(main, given)
        said = capfd.readouterr()
        return status, said.out, said.err

    return ran


@pytest.fixture
async def held(site: Any) -> Indicators:
    """What two members of long standing have told of accounts."""
    indicators = Indicators(site.state)
    for member in ("acme", "birch"):
        await indicators.put_standing(Standing("labs", member, member, NOW_US - 90 * DAY_US, 3, 0))
    await indicators.put(
        [
            _account(1, CANARY, "nobody@example.org"),
            _account(2, CANARY, epoch="2026q3", owner="birch"),
            _account(3, "second@example.org"),
            _account(4, "third@example.org", revoked=True),
            _account(5, "third@example.org", group="other"),
        ]
    )
    return indicators


async def test_now_from_admin(site: Any, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --days every key that shows anything is listed, over all pages, those first that a person should look at."""
    monkeypatch.setattr("app.cli.intel_match.PAGE", 3)
    url = ("--admin-url", site.server.url)
    assert await run(*url) == (0, "No key shows anything of what is looked for.\n", "")
    await Indicators(site.state).put_standing(Standing("labs", "acme", "acme", NOW_US - 90 * DAY_US, 3, 0))
    await Indicators(site.state).put([_account(1, CANARY)])
    seen = Seen(_name(1), "labs", CAMPAIGN, "template", 1.0, 5.0, NOW_US - DAY_US, NOW_US)
    effects = ["priority", "automatic", "nothing", "priority", "nothing", "priority", "priority"]
    await Hits(site.state).put(
        KeyHits(
            _key(at), 0, (seen,), effect, 10.0 + at, 1, at_us=NOW_US, excuse="contract" if effect == "nothing" else "",
            local="belongs to our own campaign" if at == 1 else "", acted="real" if at == 1 else "",
        )
        for at, effect in enumerate(effects)
    )  # fmt: skip
    status, said, _ = await run(*url, "--json")
    assert status == 0
    assert [one["key_id"] for one in json.loads(said)] == [_key(at) for at in (1, 6, 5, 3, 0, 4, 2)]
    status, said, remarks = await run(*url, "--limit", "5", "--out", str(tmp_path / "hits.jsonl"))
    lines = said.splitlines()
    assert (status, len(lines), "2 more keys: --limit or --out" in remarks) == (0, 5, True), said
    assert lines[0].split("\t")[:3] == [_key(1), "automatic (real)", "11.0"]
    assert lines[0].split("\t")[4:] == ["template", "labs/acme", "belongs to our own campaign"]
    assert len((tmp_path / "hits.jsonl").read_text().splitlines()) == len(effects)


async def test_accounts_by_address(site: Any, run: Run, held: Indicators, tmp_path: Path) -> None:
    """Keys of shared accounts are named with reporters and score, however the address is written; it is never printed."""
    assert held
    await Erasures(site.state, 4).ask(_key(9), NOW_US)
    entry = AllowEntry(
        subject=f"key:{_key(2)}", owner="o", reason="r", expires_us=NOW_US + DAY_US, by="p", created_us=NOW_US
    )
    await ControlStore(site.state).allow_put(entry)
    file = tmp_path / "accounts.txt"
    lines = (
        f"# key, address\n{_key(1)} {CANARY.upper()}\n\n{_key(2)}  second@example.org\n{_key(3)} third@example.org\n"
        f"{_key(4)} stranger@example.org\n{_key(9)} {CANARY}\n"
    )
    file.write_text(lines)
    status, said, remarks = await run("--identities", str(file), "--group", "labs", "--json")
    assert status == 0
    assert "2 keys among 4 accounts; compared with 4 shared accounts." in remarks
    found = {one["key_id"]: one for one in json.loads(said)}
    assert list(found) == [_key(1), _key(2)]
    assert (found[_key(1)]["score"], found[_key(1)]["voices"]) == (76.4, 2)
    assert sorted(name for seen in found[_key(1)]["seen"] for name in seen["reporters"]) == ["acme", "birch"]
    assert (found[_key(2)]["score"], found[_key(2)]["excuse"]) == (51.4, "allow_list")
    status, table, _ = await run("--identities", str(file), "--quiet")
    assert (status, "labs/acme, labs/birch" in table, CAMPAIGN in table) == (0, True, True)
    assert "example.org" not in (said + remarks + table).casefold()
    assert await Hits(site.state).count() == 0


@pytest.mark.parametrize(
    ("content", "given", "status", "sentence"),
    [
        (f"{_key(1)} {CANARY}\n{CANARY} {_key(1)}\n", (), 1, "--identities: line 2 must be a key id of 32 hex digits"),
        (f"{_key(1)} {CANARY} more\n", (), 1, "--identities: line 1 must be"),
        ("\ud800", (), 1, "--identities: must be text in UTF-8"),
        (f"{_key(1)} {CANARY}\n", ("--group", "other"), 2, "--group: intel.keys_dir has no keys of 'other'"),
        (f"{_key(1)} {CANARY}\n", ("--days", "3"), 2, "--days: is for the archive, which knows no address"),
        (f"{_key(1)} {CANARY}\n", (), 1, "indicators: none of labs names accounts now"),
    ],
)
async def test_faults_name_line_and_rule(
    run: Run, tmp_path: Path, content: str, given: tuple[str, ...], status: int, sentence: str
) -> None:
    """What is wrong is one sentence with the line and the rule, without what stands there."""
    file = tmp_path / "accounts.txt"
    file.write_bytes(content.encode(errors="surrogatepass"))
    code, said, remarks = await run("--identities", str(file), *given)
    assert (code, sentence in remarks, said) == (status, True, ""), remarks
    assert "canary" not in remarks


def test_only_what_can_be_compared() -> None:
    """Accounts of another scheme, or of an epoch whose key is not there, or of later on, are not looked for."""
    keys = {"2026q4": GroupKey(MasterSecret.parse(SECRETS["2026q4"]))}
    good, other = _account(1, CANARY), _account(2, CANARY, epoch="2026q3")
    foreign = structs.replace(good, indicator=structs.replace(good.indicator, scheme="marks-9"))
    later = structs.replace(good, indicator=structs.replace(good.indicator, valid_from_us=NOW_US + 1))
    assert identities.sought([good, other, foreign, later], "labs", keys, NOW_US) == [good]
    assert identities.sought([good], "elsewhere", keys, NOW_US) == []
    assert identities.compared([(_key(1), CANARY), (_key(2), "x@example.org")], [good], keys, NOW_US).keys() == {_key(1)}
