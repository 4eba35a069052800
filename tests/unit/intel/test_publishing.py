"""What leaves of a campaign: nothing below ten keys, nothing that names anybody, and the same ids in each version."""

from __future__ import annotations

import struct
from typing import Any

import msgspec
import numpy as np
import orjson
import pytest

from app.intel import publishing
from app.intel.bundle import CONTEXT, Provider, provider_id
from app.intel.parse import Revoked, Told, meaning
from app.intel.publishing import Asked, Known, Series
from app.intel.readable import counts, lines
from app.intel.taxii.envelope import MAX_OBJECT_BYTES
from app.intel.warning_list import WarningList
from detectors.campaign.contract import Campaign, Evidence, Member
from detectors.campaign.trace import Kind, Trace, packed
from detectors.contract import Level
from detectors.sharing.shape import active_hours, capability_target
from detectors.sharing.tokens import GroupKey
from detectors.tally import INDEX
from detectors.watermark.keys import MasterSecret

NOW = 1_800_000_000_000_000
HOUR_US = 3_600_000_000
SECRET = bytes(range(32))
KEY = GroupKey(MasterSecret(SECRET))
PROVIDER = Provider(provider_id("Provider A"), "Provider A")
ADDRESS = "canary.account@example.org"
TEXT = "canary words of a template"


def _trace(name: str, marks: dict[tuple[int, int], float], org: str = "", **more: Any) -> Trace:
    data = b"".join(struct.pack("<BIB", kind, item, round(255 * share)) for (kind, item), share in sorted(marks.items()))
    return Trace(key_id=name, org=org or name, at_us=NOW, marks=data, **more)


def _member(number: int) -> Trace:
    sums = np.zeros(len(INDEX), "<f4")
    sums[INDEX["generated"]], sums[INDEX["code"]], sums[INDEX["reasoning"]] = 100.0, 62.0, 100.0
    hours = (0b111).to_bytes(21, "little") + (10 + 24 * 5).to_bytes(4, "little")  # 8, 9 and 10 o'clock
    own = {(Kind.SYSTEM, 7): 1.0, (Kind.CONTRACT, 8): 1.0, (Kind.PAYMENT, 9): 1.0, (Kind.NETWORK, 10): 1.0}
    return _trace(f"{number:032x}", own, f"canary-org-{number}", sums=packed(sums), hours=hours)


def _known(keys: int = 24, honest: int = 400, **more: Any) -> Known:
    members = [_member(number) for number in range(keys)]
    campaign = Campaign(
        "c-0123456789ab",
        Level.CONFIRMED,
        0.99,
        NOW - 30 * HOUR_US,
        NOW,
        NOW - HOUR_US,
        members=tuple(Member(one.key_id, one.org, NOW, 0.9, requests=57) for one in members),
        evidence=(
            Evidence("template", "what", 9.0, 1.0, 0.0012, TEXT),
            Evidence("grams", "what", 5.0, 0.9, 0.4, TEXT),
            Evidence("hours", "when", -1.0, 0.5, 0.5, TEXT),
        ),
    )
    others = [_trace(f"h{number}", {(Kind.HEAD, 1): 1.0}) for number in range(honest)]
    return Known(
        **({"campaign": campaign, "keys": keys, "exchanges": keys * 57, "members": members, "honest": others} | more)
    )


def _made(
    known: Known | None = None, asked: Asked | None = None, before: bytes = b"", now_us: int = NOW, ref: str = "0f" * 16
) -> bytes:
    series = Series(ref, NOW - 30 * HOUR_US, before)
    found = known or _known()
    shared = publishing.shared_of(PROVIDER, found, asked or Asked("amber+strict", 80), series, "2026q4", KEY, now_us)
    return publishing.written(PROVIDER, shared, series, now_us)


def _objects(data: bytes, kind: str) -> list[dict[str, Any]]:
    return [one for one in orjson.loads(data)["objects"] if one["type"] == kind]


def test_what_receiver_reads() -> None:
    """A receiver reads the tokens of the marks that tell the campaign apart, and the plain values as they were given."""
    asked = Asked("green", 70, {"asn": ("AS64500",), "network": ("192.0.2.0/24",)}, [KEY.identity(ADDRESS)])
    data = _made(asked=asked)
    told = [found for one in _objects(data, "indicator") if isinstance(found := meaning(one, NOW), Told)]
    tokens = {one.indicator.kind: one.indicator.tokens for one in told}
    assert tokens == {
        "template": (KEY.token(Kind.SYSTEM << 32 | 7),),
        "contract": (KEY.token(Kind.CONTRACT << 32 | 8),),
        "asn": ("AS64500",),
        "network": ("192.0.2.0/24",),
        "identity": (KEY.identity(ADDRESS.upper()),),
    }
    assert {(one.tlp, one.indicator.confidence) for one in told} == {("green", 70)}
    assert all("valid_until" in one for one in _objects(data, "indicator"))


def test_context_told() -> None:
    """The campaign has rounded counts, active hours, what it is after, and each kind of evidence with its honest share."""
    (campaign,) = _objects(_made(), "campaign")
    context = campaign["extensions"][CONTEXT]
    assert (context["keys"], context["exchanges"]) == (24, 1400)
    assert context["evidence"] == [{"kind": "what", "honest_share": 0.0012}]
    assert [round(share, 2) for share in context["active_hours_utc"]] == [
        0.33 if 8 <= hour <= 10 else 0 for hour in range(24)
    ]
    assert context["capability_target"] == [
        {"capability": "code", "share": 0.6},
        {"capability": "reasoning", "share": 1.0},
    ]


def test_no_canary() -> None:
    """No key, organisation, address, sentence, secret, raw mark or id of ours is in the bytes that leave or take back."""
    known = _known()
    data = _made(known, Asked("amber", 80, {"client": ("harvest-sdk/0.9",)}, [KEY.identity(ADDRESS)]))
    raw = [TEXT, ADDRESS, "canary", known.campaign.id, SECRET.hex(), f"{Kind.SYSTEM << 32 | 7}"]
    raw += [name for one in known.members for name in (one.key_id, one.org)]
    for leaving in (data, publishing.revocation(data, NOW + 1)):
        text = leaving.decode().casefold()
        assert [value for value in raw if value.casefold() in text] == []


@pytest.mark.parametrize("keys", [0, 9])
def test_below_ten_refused(keys: int) -> None:
    """Of fewer than ten keys nothing is made, whatever else was named, and one sentence says so."""
    with pytest.raises(ValueError, match=f"nothing is shared of fewer than 10 keys.*there are {keys}$"):
        _made(_known(keys), Asked("amber", 80, {"asn": ("AS64500",)}))


def test_ten_with_nine_traces_refused() -> None:
    """Ten keys of which only nine are known by a trace are too few to say what they share."""
    with pytest.raises(ValueError, match="fewer than 10 keys; there are 9"):
        _made(_known(10, members=[_member(number) for number in range(9)]))


def test_nothing_to_tell() -> None:
    """Without other keys to compare with only what a person names is told; with nothing named there is no bundle."""
    data = _made(_known(honest=199), Asked("amber", 80, {"asn": ("AS64500",)}))
    assert [one["pattern"] for one in _objects(data, "indicator")] == ["[autonomous-system:number = 64500]"]
    with pytest.raises(ValueError, match="200 keys without a flag are needed, and 199 are known"):
        _made(_known(honest=199))


@pytest.mark.parametrize("level", ["red", "purple"])
def test_red_refused(level: str) -> None:
    """Nothing is written under TLP:RED, or under no level at all."""
    with pytest.raises(ValueError, match="tlp: "):
        _made(asked=Asked(level, 80))


def test_many_identities_split() -> None:
    """Thousands of accounts are several indicators in the order of their tokens, each small enough for a receiver."""
    tokens = [KEY.identity(f"{number}@example.org") for number in range(2500)]
    found = [one for one in _objects(_made(asked=Asked("amber", 80, {}, tokens)), "indicator") if "identity" in one["name"]]
    assert max(len(orjson.dumps(one)) for one in found) <= MAX_OBJECT_BYTES
    told = [meaning(one, NOW) for one in found]
    assert [token for one in told if isinstance(one, Told) for token in one.indicator.tokens] == sorted(tokens)


def test_second_version_same_ids() -> None:
    """A new version has the ids of the old one, later times and the first `created`; what it leaves out it takes back."""
    first = _made(asked=Asked("amber", 80, {"asn": ("AS64500",), "network": ("192.0.2.0/24",)}))
    # The clock of another machine stands still, and the campaign was formed anew.
    second = _made(asked=Asked("amber", 80, {"asn": ("AS64501",)}), before=first, now_us=NOW - 5)
    old = {one["id"]: one for one in orjson.loads(first)["objects"]}
    gone = {one["id"] for one in orjson.loads(second)["objects"] if one.get("revoked")}
    assert {old[name]["type"] for name in gone} == {"indicator", "relationship", "sighting"}
    assert [old[name]["name"].split()[0] for name in gone if name.startswith("indicator")] == ["network"]
    for one in orjson.loads(second)["objects"]:
        assert one["id"] in old
        if one["type"] in publishing.REVOCABLE:
            assert one["modified"] > old[one["id"]]["modified"]
            assert one["created"] == old[one["id"]]["created"]
    third = _made(before=second, now_us=NOW)
    assert not gone & {one["id"] for one in orjson.loads(third)["objects"]}


def test_another_ref_other_ids() -> None:
    """Two campaigns have no object of ours in common but who says it."""
    one, other = ({found["id"] for found in orjson.loads(_made(ref=ref))["objects"]} for ref in ("a" * 32, "b" * 32))
    assert {name.partition("--")[0] for name in one & other} == {
        "identity",
        "marking-definition",
        "attack-pattern",
        "extension-definition",
    }


def test_revocation_read() -> None:
    """What takes a bundle back is valid STIX; a receiver reads each indicator as taken back, behind the version it has."""
    data = _made()
    back = publishing.revocation(data, NOW - 10)
    publishing.validated(orjson.loads(back))
    for one in _objects(data, "indicator"):
        (revoked,) = [meaning(other, NOW) for other in _objects(back, "indicator") if other["id"] == one["id"]]
        told = meaning(one, NOW)
        assert isinstance(revoked, Revoked)
        assert isinstance(told, Told)
        assert revoked.version_us >= told.version_us
    assert len(_objects(back, "campaign")) == 1


def test_entries_are_the_bytes() -> None:
    """Each object goes into a feed as the very bytes that it has in the bundle."""
    data = _made()
    found = publishing.entries(data)
    assert len(found) == sum(counts(data).values())
    assert all(one in data for _, _, one in found)


@pytest.mark.parametrize(
    ("kind", "values", "rule"),
    [
        ("asn", ["AS64500", "64500"], "entry 2 must be numbers"),
        ("network", ["192.0.2.1/24"], "entry 1 must be a network like"),
        ("network", ["anything"], "entry 1 must be a network like"),
        ("network", ["10.0.0.0/8"], "entry 1 must not be listed"),
        ("client", ["it's"], "entry 1 must be names"),
        ("client", ["curl/8.1"], "entry 1 must not be listed"),
        ("asn", [f"AS{number}" for number in range(64500, 64541)], "at most 40"),
    ],
)
def test_plain_values_checked(kind: Any, values: list[str], rule: str) -> None:
    """A value that is none, or that nobody may list, is refused with its number and the rule."""
    with pytest.raises(ValueError, match=rule):
        publishing.plain_values(kind, values, WarningList())


def test_plain_values_spelt_one_way() -> None:
    """Each value once, in order, networks as they are written shortest."""
    assert publishing.plain_values("network", ["2001:0DB8::/32", "192.0.2.0/24", "192.0.2.0/24"], WarningList()) == (
        "192.0.2.0/24",
        "2001:db8::/32",
    )


def test_readable_from_bytes() -> None:
    """People read counts, hours, aims, indicators and techniques; of a revocation what is taken back."""
    told = "\n".join(lines(_made(asked=Asked("green", 80, {"asn": ("AS64500",)}))))
    for word in (
        "TLP:GREEN",
        "from Provider A",
        "about 24 keys",
        "08 09 10",
        "code 60%",
        "1 marks as keyed",
        "64500",
        "AML.",
    ):
        assert word in told, told
    back = "\n".join(lines(publishing.revocation(_made(), NOW + 1)))
    assert "taken back: template indicator" in back


def test_shape_of_nothing() -> None:
    """Of traces without hours and counters nothing is told."""
    bare = [_trace("a", {})]
    assert active_hours(bare) == ()
    assert capability_target(bare) == {}
    assert capability_target([msgspec.structs.replace(_member(1), sums=b"\0" * 3)]) == {}
