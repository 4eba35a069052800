"""What we say about what others reported: it counts, it holds, it is told to the group, and nothing else is."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest

from app.admin import server as admin_server
from app.cli import main
from app.intel.digesting import Digester, reports
from app.intel.parse import Opinion, Seen, meaning
from app.intel.taxii import times
from app.intel.taxii.peers import load as load_peers
from app.intel.taxii.sender import MAX_REFUSED, SENT, Sender
from app.state.factory import background_client
from app.state.intel_groups import IntelGroups
from app.state.intel_hits import Hits, KeyHits
from app.state.intel_hits import Seen as Shown
from app.state.intel_indicators import Indicators, Standing
from app.state.intel_outgoing import Outgoing
from app.state.intel_polls import Polls
from app.state.intel_received import ReceivedQueue
from app.state.intel_words import OurWords
from detectors.sharing.indicator import DAY_US
from detectors.sharing.trust import LEAST_TRUST
from tests.integration.intel.conftest import TOKEN, settings_for
from tests.integration.intel.conftest import indicator as _indicator

WHY = "CANARY-REASON ann looked at it"
BOTH = ["agree", "disagree"]


class Provider:
    """An admin process with a trust group `labs`, and what it holds."""

    def __init__(self, server: Any, client: Any, http: httpx2.AsyncClient) -> None:
        self.server = server
        self.url = server.url
        self.state = client
        self.http = http
        self.queue = ReceivedQueue(client)
        self.indicators = Indicators(client)
        self.words = OurWords(client)
        self.outgoing = Outgoing(client)
        self.polls = Polls(client)
        self.digester = Digester(self.queue, self.indicators)

    async def call(self, method: str, path: str, status: int = 200, token: str = TOKEN, **more: Any) -> Any:
        """One request of a person."""
        answer = await self.http.request(method, path, headers={"authorization": f"Bearer {token}"}, **more)
        assert answer.status_code == status, (method, path, answer.text)
        return answer.json() if answer.content else None

    async def send(self, member: str, *objects: dict[str, Any]) -> None:
        """Lets a member report, and gives it a meaning."""
        await self.queue.received("labs", member, [orjson.dumps(one) for one in objects])
        await self.digester.step(_now_us())

    async def held(self, number: int = 1) -> Any:
        """An indicator as it is held."""
        name = name_of(number)
        return (await self.indicators.get("labs", [name]))[name]

    async def say(self, word: str, number: int = 1, status: int = 200, **more: Any) -> Any:
        """A word of a person."""
        path = f"/v1/intel/indicators/labs/{name_of(number)}:{word}"
        return await self.call("POST", path, status, json={"reason": WHY}, **more)

    async def counts(self, member: str = "birch") -> tuple[int, int]:
        """(confirmed, disputed) of a reporter."""
        one = (await self.indicators.standings())["labs", member]
        return one.confirmed, one.disputed

    async def voices(self, number: int = 1) -> list[str]:
        """Who stands behind an indicator."""
        found = reports(await self.held(number), await self.indicators.standings())
        return sorted(one.reporter.name for one in found)

    async def shown_by(self, keys: int, number: int = 1) -> None:
        """Lets so many keys show an indicator."""
        shown = Shown(name_of(number), "labs", "", "asn", 1.0, 2.0, 1, 2)
        await Hits(self.state).put(KeyHits(f"{key:032x}", 0, (shown,), at_us=NOW_US) for key in range(keys))

    async def fed(self) -> list[dict[str, Any]]:
        """What is in the feed, as a member reads it."""
        answer = await self.http.get(
            "/taxii2/labs/collections/feed/objects/",
            headers={"authorization": f"Bearer {TOKEN}", "accept": "application/taxii+json;version=2.1"},
        )
        return list(answer.json().get("objects", []))


def _now_us() -> int:
    return time.time_ns() // 1000


NOW_US = _now_us()


def _at(days: float) -> str:
    """A time so many days from the beginning of these tests, as STIX writes it: the server lives by the clock."""
    return times.version((NOW_US + round(days * DAY_US)) // 1000 * 1000)


def indicator(number: int, days: float = -2, **more: Any) -> dict[str, Any]:
    """An indicator whose version is so many days old, and that counts for a month."""
    return _indicator(number, modified=_at(days), created=_at(-2), valid_from=_at(-2), valid_until=_at(28), **more)


def name_of(number: int) -> str:
    """The STIX id of a numbered indicator."""
    return str(indicator(number)["id"])


async def _provider(url: str, folder: Path, stack: list[Any], **more: str) -> Provider:
    settings = settings_for(folder, **more)
    client = background_client(url, settings)
    stack.append(client.aclose)
    await IntelGroups(client).put("labs", "Labs")
    server = await admin_server.start(settings, state_url=url)
    await server.app.state.taking.stop()  # the tests give objects their meaning themselves
    stack.append(server.stop)
    http = httpx2.AsyncClient(base_url=server.url, trust_env=False, timeout=30.0)
    stack.append(http.aclose)
    return Provider(server, client, http)


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Any]:
    """Makes providers: `await make(url, name, STILLWATCH_…="…")`."""
    stack: list[Any] = []

    async def made(url: str, name: str, **more: str) -> Provider:
        folder = tmp_path / name
        folder.mkdir()
        return await _provider(url, folder, stack, **{"STILLWATCH_INTEL__PROVIDER": f"Lab {name}", **more})

    yield made
    for end in reversed(stack):
        await end()


@pytest.fixture
async def lab(redis_db: str, make: Any) -> Provider:
    """A provider that holds an indicator of `birch`."""
    made: Provider = await make(redis_db, "B")
    await made.send("birch", indicator(1))
    return made


async def test_words_move_the_count(lab: Provider) -> None:
    """However often a word is said it counts once; another word takes back what the first one counted."""
    for _ in range(3):
        await lab.say("agree")
    assert await lab.counts() == (1, 0)
    for _ in range(2):
        await lab.say("disagree")
    assert await lab.counts() == (0, 1)
    assert (await lab.say("agree"))["confirmed"] == ["birch"]
    assert await lab.counts() == (1, 0)
    await lab.send("birch", indicator(2))
    await lab.say("agree", 2)
    assert await lab.counts() == (2, 0)


async def test_words_at_once_count_once(lab: Provider) -> None:
    """Ten people who say the same at the same time, and ten who do not agree, leave the count of one word."""
    await asyncio.gather(*(lab.say(word) for word in BOTH * 5), return_exceptions=True)
    last = (await lab.call("GET", f"/v1/intel/indicators/labs/{name_of(1)}"))["ours"]
    assert await lab.counts() == ((1, 0) if last == "agree" else (0, 1))


async def test_nobody_vouches_for_an_own_import(lab: Provider) -> None:
    """Who took a document in by hand cannot agree with what is in it; to disagree is free, and so is another person."""
    await lab.send("@bootstrap", indicator(3))
    await lab.say("agree", 3, 403)
    assert await lab.counts("@bootstrap") == (0, 0)
    other = await lab.call("POST", "/v1/tokens", 201, json={"name": "Ann", "role": "admin", "days": 1})
    await lab.say("agree", 3, token=other["token"])
    assert await lab.counts("@bootstrap") == (1, 0)
    await lab.say("disagree", 3)
    found = await lab.call("GET", "/v1/intel/indicators?reporter=@bootstrap")
    assert [one["id"] for one in found["indicators"]] == [name_of(3)]


async def test_only_the_first_gains(lab: Provider) -> None:
    """Who only agreed gains nothing, who spoke against what is right loses; a wrong one costs all who stood behind it."""
    for member, word in (("cedar", "agree"), ("dogwood", "disagree")):
        await lab.send(member, _opinion(word))
    await lab.say("agree")
    assert [await lab.counts(name) for name in ("birch", "cedar", "dogwood")] == [(1, 0), (0, 0), (0, 1)]
    await lab.say("disagree")
    assert [await lab.counts(name) for name in ("birch", "cedar", "dogwood")] == [(0, 1), (0, 1), (0, 0)]


async def test_aside_stands(lab: Provider) -> None:
    """What we disagree with is looked for no more: not after a new version, a replay, or its end; until we agree."""
    await lab.say("disagree")
    assert not (await lab.held()).counts(_now_us())
    assert await lab.voices() == []
    newer = indicator(1, -1)
    await lab.send("birch", newer, indicator(1))
    held = await lab.held()
    assert (held.aside, held.counts(_now_us())) == (True, False)
    assert all(one.aside for one in await lab.indicators.all())
    ended = held.indicator.valid_until_us
    assert await lab.digester.forget_ended(ended) == 1
    await lab.send("birch", indicator(1))
    assert (await lab.held()).aside
    await lab.say("agree")
    held = await lab.held()
    assert (held.aside, held.agreed, held.counts(_now_us())) == (False, True, True)
    assert await lab.voices() == ["labs/birch"]


async def test_liar_silences_nobody(lab: Provider) -> None:
    """Two members of one organisation take one voice away; who was wrong more often than right takes none."""
    await lab.send("cedar", _opinion("agree"))
    for member in ("liar", "liars-friend"):
        await lab.send(member, _opinion("disagree"))
        await lab.call("PUT", f"/v1/intel/reporters/labs/{member}", json={"organisation": "Liars"})
    assert len(await lab.voices()) == 1
    await lab.say("agree")
    assert len(await lab.voices()) == 2
    await lab.send("birch", indicator(2))
    await lab.send("liar", {**_opinion("disagree"), "object_refs": [name_of(2)]})
    assert await lab.voices(2) == ["labs/birch"]


async def test_what_leaves(lab: Provider) -> None:
    """An opinion leaves with the indicator's marking; no reason, no name, no token of a person, and no small number."""
    await lab.shown_by(9)
    made = await lab.say("agree")
    assert (made["shared"], made["keys_told"], made["note"]) == (True, 0, "")
    (opinion,) = await lab.fed()
    assert set(opinion) == {
        *("type", "spec_version", "id", "created_by_ref", "created", "modified", "opinion", "object_refs"),
        "object_marking_refs",
    }
    assert (opinion["opinion"], opinion["object_refs"]) == ("agree", [name_of(1)])
    assert opinion["object_marking_refs"] == ["marking-definition--939a9414-2ddd-4d32-a0cd-375ea402b003"]
    assert "CANARY" not in orjson.dumps(opinion).decode()
    assert meaning(opinion, _now_us())[:2] == ((name_of(1),), "agree")  # type: ignore[index]


async def test_sighting_comes_and_goes(lab: Provider) -> None:
    """From ten keys on a rounded number is told; where the word changes it is taken back, and the next one is a new one."""
    await lab.shown_by(37)
    assert (await lab.say("agree"))["keys_told"] == 30
    first = {one["type"]: one for one in await lab.fed()}
    assert first["sighting"]["count"] == 30
    assert isinstance(meaning(first["sighting"], _now_us()), Seen)
    assert isinstance(meaning(first["opinion"], _now_us()), Opinion)
    before = len(await lab.fed())
    await lab.say("agree")
    assert len(await lab.fed()) == before
    await lab.say("disagree")
    second = await lab.fed()
    assert [one["opinion"] for one in second if one["type"] == "opinion"] == ["disagree"]
    assert [one["revoked"] for one in second if one["type"] == "sighting"] == [True]
    await lab.say("agree")
    sightings = [one for one in await lab.fed() if one["type"] == "sighting"]
    assert sorted(one.get("revoked", False) for one in sightings) == [False, True]


async def test_told_to_a_peer(redis_db: str, make: Any, tmp_path: Path) -> None:
    """B disagrees with what both hold: A's `submit` has the opinion, and A takes a voice away; later it gives it back."""
    a = await make(redis_db, "A")
    await a.send("birch", indicator(1))
    assert await a.voices() == ["labs/birch"]
    made = await a.call("PUT", "/v1/intel/groups/labs/members/bee", 201, json={})
    (tmp_path / "secret").write_text(made["token"])
    peers = tmp_path / "peers.toml"
    peers.write_text(
        f'[[peer]]\nname = "aye"\ngroup = "labs"\nurl = "{a.url}/taxii2/"\nsecret_file = "secret"\ninterval_sec = 5\n'
    )
    b = await make(redis_db.replace("db=0", "db=1"), "B", STILLWATCH_INTEL__PEERS_FILE=str(peers))
    await b.server.app.state.polling.stop()
    await b.send("birch", indicator(1))
    assert (await b.say("disagree"))["peers"] == ["aye"]
    (peer,) = load_peers(peers)
    sender = Sender(b.outgoing, b.polls)
    assert await sender.send(peer) == ""
    assert await b.outgoing.count("aye") == 0
    await a.digester.step(_now_us())
    assert {one.member: one.agrees for one in (await a.held()).words} == {"birch": True, "bee": False}
    assert await a.voices() == []
    await b.say("agree")
    await b.say("agree")
    assert await sender.send(peer) == ""
    await a.digester.step(_now_us())
    assert await a.voices() == ["labs/bee", "labs/birch"]
    told = [one for one in (await b.call("GET", "/v1/intel/peers"))["peers"] if one["collection"] == SENT]
    assert [(one["objects"], one["waiting"], one["fault"]) for one in told] == [(3, 0, "")]
    a_http = await a.http.get(
        "/taxii2/labs/collections/submit/objects/",
        headers={"authorization": f"Bearer {TOKEN}", "accept": "application/taxii+json;version=2.1"},
    )
    assert [one["opinion"] for one in a_http.json()["objects"]] == ["agree"]
    assert "CANARY" not in a_http.text


async def test_peer_away(lab: Provider, tmp_path: Path, make: Any, redis_db: str) -> None:
    """While a peer cannot be asked, or takes nothing, what we say waits, and the fault is shown; then it is sent."""
    a = await make(redis_db.replace("db=0", "db=1"), "A")
    await a.send("birch", indicator(1))
    secret, peers = tmp_path / "secret", tmp_path / "peers.toml"
    peers.write_text(f'[[peer]]\nname = "aye"\ngroup = "labs"\nurl = "{a.url}/taxii2/"\nsecret_file = "secret"\n')
    (peer,) = load_peers(peers)
    sender = Sender(lab.outgoing, lab.polls)
    assert await lab.outgoing.put("aye", [orjson.dumps(_opinion("disagree"))])
    made = await a.call("PUT", "/v1/intel/groups/labs/members/bee", 201, json={"may_submit": False})
    secret.write_text(made["token"])
    assert await sender.send(peer) == "there is no collection that takes objects from us"
    secret.write_text("swt_wrong")
    assert "401" in await sender.send(peer)
    told = (await lab.call("GET", "/v1/intel/peers"))["peers"]
    assert [(one["collection"], one["waiting"]) for one in told] == [(SENT, 1)]
    assert "401" in told[0]["fault"]
    made = await a.call("PUT", "/v1/intel/groups/labs/members/bee", 201, json={})
    secret.write_text(made["token"])
    assert await sender.send(peer) == ""
    await a.digester.step(_now_us())
    assert await a.voices() == []


async def test_refused_objects_are_given_up(lab: Provider, tmp_path: Path, make: Any, redis_db: str) -> None:
    """What a peer refuses is tried some times more, behind the others, and then given up."""
    a = await make(redis_db.replace("db=0", "db=1"), "A")
    made = await a.call("PUT", "/v1/intel/groups/labs/members/bee", 201, json={})
    (tmp_path / "secret").write_text(made["token"])
    peers = tmp_path / "peers.toml"
    peers.write_text(f'[[peer]]\nname = "aye"\ngroup = "labs"\nurl = "{a.url}/taxii2/"\nsecret_file = "secret"\n')
    (peer,) = load_peers(peers)
    bad = {**_opinion("agree"), "id": f"opinion--{uuid.UUID(int=7, version=4)}", "modified": "no time"}
    await lab.outgoing.put("aye", [orjson.dumps(bad), orjson.dumps(_opinion("disagree"))])
    sender = Sender(lab.outgoing, lab.polls)
    for attempt in range(1, MAX_REFUSED + 1):
        assert (await sender.send(peer)).startswith("the peer refused 1 objects")
        assert await lab.outgoing.count("aye") == (0 if attempt == MAX_REFUSED else 1)
    assert await sender.send(peer) == ""


async def test_outgoing_is_bounded(lab: Provider) -> None:
    """A queue takes what has room in it, all or nothing."""
    small = Outgoing(lab.state, most=3)
    assert await small.put("aye", [b"{}", b"{}"])
    assert not await small.put("aye", [b"{}", b"{}"])
    assert await small.count("aye") == 2
    assert await lab.state.ttl("sw:{into}:aye") > 0


async def test_without_a_name_nobody_is_told(redis_db: str, make: Any) -> None:
    """Without intel.provider a word counts here, and the answer says that nobody is told."""
    lab = await make(redis_db, "B", STILLWATCH_INTEL__PROVIDER="")
    await lab.send("birch", indicator(1))
    made = await lab.say("disagree")
    assert (made["shared"], made["note"]) == (False, "nobody is told: intel.provider is not set")
    assert await lab.counts() == (0, 1)
    assert await lab.fed() == []


async def test_indicator_of_an_unknown_group(lab: Provider) -> None:
    """Of a group that is only in the file of peers there is no feed here: a word counts, and nobody is told."""
    await lab.queue.received("elsewhere", "birch", [orjson.dumps(indicator(1))])
    await lab.digester.step(_now_us())
    path = f"/v1/intel/indicators/elsewhere/{name_of(1)}:agree"
    made = await lab.call("POST", path, json={"reason": WHY})
    assert (made["shared"], made["note"][:15]) == (False, "nobody is told:")
    assert await lab.counts() == (0, 0)
    assert (await lab.indicators.standings())["elsewhere", "birch"].confirmed == 1


async def test_list_and_page(lab: Provider) -> None:
    """Indicators by group, reporter, kind and what becomes of them; pages hold everything once."""
    others = [indicator(number, pattern=f"[autonomous-system:number = {64500 + number}]") for number in range(2, 8)]
    await lab.send("cedar", *others)
    await lab.send("cedar", indicator(8, pattern="[autonomous-system:number = 16509]"))
    await lab.send("cedar", {**indicator(2, -1), "revoked": True})
    await lab.say("disagree", 3)
    seen: list[str] = []
    cursor = ""
    while True:
        page = await lab.call("GET", "/v1/intel/indicators", params={"limit": 3, "cursor": cursor})
        seen += [one["id"] for one in page["indicators"]]
        if not (cursor := page["next_cursor"] or ""):
            break
    assert sorted(seen) == sorted(name_of(number) for number in range(1, 9))

    async def asked(**query: Any) -> list[str]:
        found = await lab.call("GET", "/v1/intel/indicators", params=query)
        return [one["id"] for one in found["indicators"]]

    assert await asked(reporter="birch") == [name_of(1)]
    assert await asked(group="labs", reporter="birch") == [name_of(1)]
    assert await asked(group="lab") == []
    assert await asked(kind="template") == []
    assert await asked(now="taken back") == [name_of(2)]
    assert await asked(now="set aside") == [name_of(3)]
    assert await asked(now="warned") == [name_of(8)]
    assert len(await asked(now="looked for")) == 5
    reporters = (await lab.call("GET", "/v1/intel/reporters"))["reporters"]
    assert [(one["member"], one["held"], one["disputed"]) for one in reporters] == [("birch", 1, 0), ("cedar", 7, 1)]


async def test_one_page(lab: Provider) -> None:
    """An indicator's page has its values, who says what and with which weight, and how many keys show it."""
    await lab.shown_by(3)
    await lab.send("cedar", _opinion("disagree"))
    found = await lab.call("GET", f"/v1/intel/indicators/labs/{name_of(1)}")
    assert (found["kind"], found["values"], found["listed"], found["keys"]) == ("asn", ["AS64496"], [], 3)
    assert [(one["member"], one["agrees"], one["trust"]) for one in found["words"]] == [
        ("birch", True, 0.25),
        ("cedar", False, 0.25),
    ]
    assert found["said"] is None
    assert (found["score"], found["agree"], found["disagree"]) == (0.0, 1, 1)
    await lab.say("disagree")
    found = await lab.call("GET", f"/v1/intel/indicators/labs/{name_of(1)}")
    assert (found["now"], found["ours"], found["said"]["disputed"]) == ("set aside", "disagree", ["birch"])


async def test_organisation(lab: Provider) -> None:
    """A member gets an organisation, before its first report too; counts stay, and strangers are not made."""
    await lab.say("disagree")
    put = await lab.call("PUT", "/v1/intel/reporters/labs/birch", json={"organisation": "Trees & Sons"})
    assert (put["organisation"], put["disputed"], put["held"]) == ("Trees & Sons", 1, 1)
    assert LEAST_TRUST <= put["trust"] < 0.25
    await lab.call("PUT", "/v1/intel/groups/labs/members/elm", 201, json={})
    await lab.call("PUT", "/v1/intel/reporters/labs/elm", json={"organisation": "Trees & Sons"})
    await lab.send("elm", indicator(5))
    assert (await lab.indicators.standings())["labs", "elm"].organisation == "Trees & Sons"
    await lab.call("PUT", "/v1/intel/reporters/labs/stranger", 404, json={"organisation": "x"})


async def test_bad_requests(lab: Provider) -> None:
    """Unknown indicators, ids of another form and bodies without a reason are refused, and nothing is changed."""
    await lab.say("agree", 77, status=404)
    await lab.call("GET", f"/v1/intel/indicators/other/{name_of(1)}", 404)
    for name in ("indicator--x", "opinion--" + name_of(1)[11:], name_of(1).upper()):
        await lab.call("GET", f"/v1/intel/indicators/labs/{name}", 422)
        await lab.call("POST", f"/v1/intel/indicators/labs/{name}:agree", 422, json={"reason": WHY})
    path = f"/v1/intel/indicators/labs/{name_of(1)}:agree"
    for body in ({}, {"reason": "short"}, {"reason": WHY, "by": "me"}, {"reason": "two\nlines of a reason"}, []):
        await lab.call("POST", path, 422, json=body)
    for query in ({"cursor": "x"}, {"now": "gone"}, {"kind": "url"}, {"limit": 0}, {"group": "A b"}, {"more": "1"}):
        await lab.call("GET", "/v1/intel/indicators", 422, params=query)
    await lab.call("PUT", "/v1/intel/reporters/labs/birch", 422, json={"organisation": "-"})
    assert await lab.counts() == (0, 0)
    assert await lab.words.get("labs", name_of(1)) is None


async def test_permissions(lab: Provider) -> None:
    """Who only reads sees everything and says nothing."""
    made = await lab.call("POST", "/v1/tokens", 201, json={"name": "ann", "role": "analyst"})
    analyst = made["token"]
    for path in ("/v1/intel/indicators", f"/v1/intel/indicators/labs/{name_of(1)}", "/v1/intel/reporters"):
        await lab.call("GET", path, token=analyst)
    for word in BOTH:
        await lab.say(word, status=403, token=analyst)
    await lab.call("PUT", "/v1/intel/reporters/labs/birch", 403, token=analyst, json={"organisation": "x1"})
    assert await lab.counts() == (0, 0)


async def test_room_for_words(lab: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond their bound words about what is held no longer go first; of those about what is held none does."""
    monkeypatch.setattr("app.state.intel_words.MAX_SAID", 2)
    for number in (2, 3, 4):
        await lab.send("birch", indicator(number))
    await lab.say("disagree", 1)
    await lab.say("disagree", 2)
    await lab.say("disagree", 3, status=422)
    await lab.indicators.drop([await lab.held(1)])
    await lab.say("disagree", 3)
    assert await lab.words.get("labs", name_of(1)) is None
    assert (await lab.words.get("labs", name_of(2))) is not None


async def test_a_reporter_that_is_unknown(lab: Provider) -> None:
    """A word about an indicator whose reporter is not known any more counts for nobody, and is kept."""
    await lab.indicators.put_standing(Standing("labs", "cedar", "cedar", 1))
    await lab.state.hdel("sw:{ints}:r", "labs birch")
    await lab.say("disagree")
    assert (await lab.held()).aside
    assert set(await lab.indicators.standings()) == {("labs", "cedar")}


def _opinion(word: str) -> dict[str, Any]:
    return {
        "type": "opinion",
        "spec_version": "2.1",
        "id": "opinion--6c0a5c1e-3f0f-4a59-9d0c-2d5b7a1c9e10",
        "created": _at(-1),
        "modified": _at(-1),
        "opinion": word,
        "object_refs": [name_of(1)],
    }


async def test_commands(lab: Provider, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands list and show what is held, say words, and tell whom they count for; unknown ones are status 1."""
    monkeypatch.setenv("STILLWATCH_ADMIN__TOKEN", TOKEN)
    monkeypatch.setenv("STILLWATCH_ADMIN_URL", lab.url)
    name = name_of(1)

    async def run(*words: str, status: int = 0) -> str:
        assert await asyncio.to_thread(main, ["intel", *words]) == status, words
        shown = capsys.readouterr()
        return (shown.out if status == 0 else shown.err).replace("\n", " ")

    assert name in await run("indicators", "--now", "looked for", "--reporter", "birch")
    assert "Nothing of this" in await run("indicators", "--kind", "template")
    said = await run("disagree", "labs", name, "--reason", WHY, "--yes")
    assert "birch was wrong" in said
    assert "told to the group labs" in said
    page = await run("indicators", name)
    assert "names AS64496" in page
    assert "we disagree since" in page
    assert "set aside" in page
    assert "birch was right" in await run("agree", "labs", name, "--reason", WHY, "--yes")
    (birch,) = orjson.loads(await run("reporters", "--json"))
    assert (birch["member"], birch["confirmed"], birch["disputed"]) == ("birch", 1, 0)
    assert "no such indicator" in (await run("indicators", name_of(9), status=1)).lower()
    await run("agree", "labs", name, "--reason", "short", "--yes", status=2)
    await run("indicators", "--kind", "url", status=2)
