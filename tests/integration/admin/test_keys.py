"""What operators see of keys and organisations, over state that the worker's own commits wrote."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from app.state.keys import PartitionKeys, partition_of
from detectors.analysis import EntityState
from detectors.contract import Level, Status
from detectors.features import CATALOGUE, features

KEY = "0123456789abcdef" * 2
OTHER = "fedcba9876543210" * 2
ORG = "org-of-some-keys"


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


async def test_a_worked_key_shows_what_its_profile_says(desk: Any) -> None:
    """After a real worker applied a key's events, every feature has the value that the stored profile gives."""
    await desk.work([desk.event(number, KEY, ORG) for number in range(40)])
    found = await desk.get(f"/v1/keys/{KEY}")
    partition = partition_of(ORG, desk.settings.state.partitions)
    state = EntityState.from_bytes(await desk.state.get(PartitionKeys(partition).profile("k", KEY)))
    row = features(state.profile, state.profile.last_at_us)
    assert found["partition"] == partition
    assert found["profile"]["exchanges_7d"] > 30
    assert found["profile"]["peer_groups"] == list(row.groups)
    assert _time(found["last_seen"]) == datetime.fromtimestamp(state.profile.last_at_us // 1000 / 1000, tz=UTC)
    assert [feature["name"] for feature in found["features"]] == [entry.name for entry in CATALOGUE]
    for feature, value, present in zip(found["features"], row.values, row.present, strict=True):
        assert feature["value"] == (float(value) if present else None)
    assert found["verdict"]["evidence"] == state.verdict.evidence
    assert found["verdict"]["model_id"] == state.verdict.model_id


async def test_an_organisation_shows_what_its_keys_do_together(desk: Any) -> None:
    """An organisation's page counts the exchanges of all its keys; an unknown one is a 404."""
    await desk.work([desk.event(number, (KEY, OTHER)[number % 2], ORG) for number in range(40)])
    org = await desk.get(f"/v1/orgs/{ORG}")
    key = await desk.get(f"/v1/keys/{KEY}")
    assert org["org_id"] == ORG
    assert org["profile"]["exchanges_7d"] > 1.9 * key["profile"]["exchanges_7d"]
    await desk.get("/v1/orgs/nobody", status=404)


async def test_a_verdict_is_told_with_reasons_and_scorers(desk: Any) -> None:
    """Level, score, times, leak, reasons as sentence and data, and scorers without a score are as they were stored."""
    await desk.judged(KEY, Level.SUSPECT, 0.75)
    verdict = (await desk.get(f"/v1/keys/{KEY}"))["verdict"]
    assert verdict["status"] == "judged"
    assert verdict["level"] == "suspect"
    assert verdict["score"] == 0.75
    assert verdict["leaked"] == 321
    assert verdict["evidence"] == 1200
    assert _time(verdict["at"]) - _time(verdict["since"]) == _time("2026-01-01T00:01:00Z") - _time("2026-01-01T00:00:00Z")
    assert verdict["flagged_at"] == verdict["at"]
    assert verdict["reasons"] == [
        {
            "text": "asks for the same skeleton in 97 % of 1,200 exchanges",
            "feature": "skeleton_top_share",
            "value": 0.97,
            "peer_percentile": 99.5,
            "direction": "high",
            "weight": 0.6,
        }
    ]
    assert verdict["scorers"] == [
        {"scorer": "rules", "version": "1", "status": "scored", "score": 0.75},
        {"scorer": "anomaly", "version": "1", "status": "not_applicable", "score": None},
    ]


async def test_keys_are_listed_by_level(desk: Any) -> None:
    """Each level lists its own keys, the worst first; a perfect score stays at its level; clear lists the rest."""
    wanted = {
        "watch": [("a1" * 16, 1.0), ("a2" * 16, 0.4)],
        "suspect": [("b1" * 16, 1.0), ("b2" * 16, 0.9), ("b3" * 16, 0.0)],
        "confirmed": [("c1" * 16, 0.95)],
    }
    for name, keys in wanted.items():
        for key_id, score in reversed(keys):
            await desk.judged(key_id, Level[name.upper()], score)
    await desk.judged("d1" * 16, Level.CLEAR)
    for name, keys in wanted.items():
        listed = (await desk.get("/v1/keys", params={"level": name}))["keys"]
        assert [item["key_id"] for item in listed] == [key_id for key_id, _ in keys]
        assert [item["level"] for item in listed] == [name] * len(keys)
        assert [item["score"] for item in listed] == [score for _, score in keys]
    clear = (await desk.get("/v1/keys", params={"level": "clear"}))["keys"]
    assert [(item["key_id"], item["level"], item["score"]) for item in clear] == [("d1" * 16, "clear", 0.5)]
    flagged = [item["key_id"] for page in await desk.pages(level="flagged", limit=2) for item in page]
    assert flagged == [key_id for name in ("confirmed", "suspect") for key_id, _ in wanted[name]]
    started = await desk.get("/v1/keys", params={"level": "flagged", "q": "b"})
    assert [item["key_id"] for item in started["keys"]] == [key_id for key_id, _ in wanted["suspect"]]
    levels = (await desk.get("/v1/health"))["levels"]
    assert levels == {"clear": 1, "watch": 2, "suspect": 3, "confirmed": 1}


async def test_a_key_that_calms_down_leaves_its_level(desk: Any) -> None:
    """Back at clear, a key is at no other level's list, nothing is asked for, and the timeline tells both changes."""
    await desk.judged(KEY, Level.CONFIRMED, 0.9)
    await desk.judged(KEY, Level.CLEAR, 0.1, was=Level.CONFIRMED, at_us=1_790_000_600_000_000)
    assert (await desk.get("/v1/keys", params={"level": "confirmed"}))["keys"] == []
    found = await desk.get(f"/v1/keys/{KEY}")
    assert found["action"]["would"] == "observe"
    changes = (await desk.get(f"/v1/keys/{KEY}/timeline"))["changes"]
    assert [(change["was"], change["level"], change["action"]) for change in changes] == [
        ("confirmed", "clear", ""),
        ("clear", "confirmed", "throttle"),
    ]
    assert _time(changes[0]["at"]) > _time(changes[1]["at"])


async def test_a_key_without_an_opinion_is_unjudged_everywhere(desk: Any) -> None:
    """In the list and on its page, before its first verdict and while it warms up; from then on it is clear in both."""
    for exchanges, level in ((2, "unjudged"), (5, "clear")):
        await desk.work([desk.event(number, KEY) for number in range(exchanges)])
        listed = (await desk.get("/v1/keys"))["keys"]
        page = await desk.get(f"/v1/keys/{KEY}")
        assert [item["level"] for item in listed] == [level]
        assert page["level"] == level
        assert (listed[0]["score"] is None) is (level == "unjudged")
    await desk.judged(OTHER, Level.CLEAR, 0.1, status=Status.WARMING_UP)
    page = await desk.get(f"/v1/keys/{OTHER}")
    assert (page["level"], page["verdict"]["level"], page["verdict"]["status"]) == ("unjudged", "unjudged", "warming_up")
    assert {item["key_id"]: item["level"] for item in (await desk.get("/v1/keys"))["keys"]}[OTHER] == "unjudged"


async def test_scores_have_four_digits(desk: Any) -> None:
    """More would pretend to be known: in the list, on the page and in the timeline."""
    await desk.judged(KEY, Level.SUSPECT, 0.123456789)
    page = await desk.get(f"/v1/keys/{KEY}")
    changes = (await desk.get(f"/v1/keys/{KEY}/timeline"))["changes"]
    scores = [page["verdict"]["score"], page["verdict"]["scorers"][0]["score"], changes[0]["score"]]
    scores.append((await desk.get("/v1/keys"))["keys"][0]["score"])
    assert scores == [0.1235] * 4


async def test_the_action_says_what_is_and_what_would_be(new_desk: Any, gateway: Any) -> None:
    """What the gateways do counts, not the reader's setting; after its time, or without a gateway, nothing is in force."""
    now_us = time.time_ns() // 1000
    async with new_desk(STILLWATCH_ENFORCEMENT__MODE="enforce") as desk, gateway("shadow"):
        await desk.judged(KEY, Level.CONFIRMED, at_us=now_us)
        await desk.judged(OTHER, Level.CONFIRMED, at_us=now_us - 7_200_000_000)
        shadow = (await desk.get(f"/v1/keys/{KEY}"))["action"]
        expired = (await desk.get(f"/v1/keys/{OTHER}"))["action"]
    assert (shadow["mode"], shadow["action"], shadow["would"], shadow["factor"]) == ("shadow", "observe", "throttle", 0.1)
    assert abs(_time(shadow["until"]).timestamp() - now_us / 1e6 - 3600) < 0.001
    assert {name: value for name, value in expired.items() if value is not None} == {
        "mode": "shadow", "action": "observe", "would": "observe"
    }  # fmt: skip
    assert (shadow["held_back"], shadow["by"]) == ("shadow", "policy")
    async with new_desk() as desk:
        alone = (await desk.get(f"/v1/keys/{KEY}"))["action"]
        async with gateway("enforce"):
            enforced = (await desk.get(f"/v1/keys/{KEY}"))["action"]
            async with gateway("shadow"):
                mixed = (await desk.get(f"/v1/keys/{KEY}"))["action"]
                health = await desk.get("/v1/health")
    assert (alone["mode"], alone["action"], alone["would"]) == ("unknown", "observe", "throttle")
    assert (enforced["mode"], enforced["action"], enforced["would"]) == ("enforce", "throttle", "throttle")
    assert (mixed["mode"], mixed["action"], mixed["would"]) == ("mixed", "throttle", "throttle")
    assert (health["gateways"], health["mode"]) == (2, "mixed")


async def test_authorised_use_is_only_observed(desk: Any) -> None:
    """A key whose contract allows its use has a level and reasons, and no action."""
    await desk.judged(KEY, Level.CONFIRMED, authorised=True, at_us=time.time_ns() // 1000)
    found = await desk.get(f"/v1/keys/{KEY}")
    assert found["verdict"]["authorised"]
    assert found["action"]["would"] == "observe"


async def test_the_account_stands_beside_the_key(desk: Any) -> None:
    """A key's page has its account as it is now."""
    await desk.judged(KEY, Level.CLEAR)
    assert (await desk.get(f"/v1/keys/{KEY}"))["account"] is None
    await desk.call("PUT", f"/v1/accounts/{KEY}", json={"plan": "payg", "country": "DE"})
    account = (await desk.get(f"/v1/keys/{KEY}"))["account"]
    assert (account["plan"], account["country"]) == ("payg", "DE")


async def test_an_unknown_key_is_not_found(desk: Any) -> None:
    """A key that was never seen has neither a page nor a timeline; a malformed id is an error of its own."""
    for path in (f"/v1/keys/{KEY}", f"/v1/keys/{KEY}/timeline"):
        problem = await desk.get(path, status=404)
        assert problem["detail"].startswith("This key was never seen")
    problem = await desk.get("/v1/keys/not-hex", status=422)
    assert problem["errors"][0]["field"] == "path.key_id"


async def test_a_state_that_does_not_decode_is_no_fault(desk: Any) -> None:
    """A key whose state another release wrote is shown with what is known without it."""
    await desk.judged(KEY, Level.SUSPECT)
    await desk.state.set(PartitionKeys(partition_of(KEY, desk.settings.state.partitions)).profile("k", KEY), b"\xc1junk")
    found = await desk.get(f"/v1/keys/{KEY}")
    assert found["verdict"] is None
    assert found["profile"] is None
    assert found["features"] == []
    assert len((await desk.get(f"/v1/keys/{KEY}/timeline"))["changes"]) == 1


async def test_a_wrong_parameter_is_named_with_its_rule(desk: Any) -> None:
    """Each bad query parameter, a misspelt one too, gives one entry with its name and its rule, never its value."""
    value = "sk-live-0123"
    for params, field in (
        ({"level": value}, "query.level"),
        ({"limit": value}, "query.limit"),
        ({"limit": "0"}, "query.limit"),
        ({"limit": "501"}, "query.limit"),
        ({"q": value}, "query.q"),
        ({"q": "ABC"}, "query.q"),
        ({"cursor": value}, "cursor"),
        ({"cursor": f"nan:{KEY}"}, "cursor"),
        ({"cursor": f"inf:{KEY}"}, "cursor"),
        ({"cursor": f"1.5:{value} {KEY}"}, "cursor"),
        ({"cursor": "x" * 300}, "query.cursor"),
        ({"levle": value}, "query.levle"),
        ({value: value}, "query.?"),
    ):
        problem = await desk.get("/v1/keys", status=422, params=params)
        assert [error["field"] for error in problem["errors"]] == [field], params
        assert value not in str(problem)


async def test_health_names_what_is_wrong(desk: Any) -> None:
    """Without a worker, with entries waiting and with dead letters, health is degraded and says so in sentences."""
    stream = PartitionKeys(1)
    await desk.state.xadd(stream.stream, {"e": b"x"}, id="1000-1")
    await desk.state.xadd(stream.dead, {"e": b"x", "why": "rule"})
    health = await desk.get("/v1/health")
    assert health["status"] == "degraded"
    assert health["waiting"] == 1
    assert health["oldest_sec"] > 60
    assert health["dead_letters"] == 1
    assert health["partitions"][1]["waiting"] == 1
    said = " ".join(health["problems"])
    for word in ("No worker", "No gateway", "has waited", "did not decode"):
        assert word in said
