"""A campaign as STIX, and what a receiver reads in it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import structs

from app.intel import bundle as made
from app.intel import tlp
from app.intel.parse import Opinion, Revoked, Seen, Told, meaning
from detectors.sharing.indicator import DAY_US, Indicator
from detectors.sharing.tokens import SCHEME, GroupKey
from detectors.watermark.keys import MasterSecret

NOW = 1_800_000_000_000_000
PROVIDER = made.Provider(made.provider_id("Provider A"), "Provider A", "0f" * 16)


def _indicators(days: int = 6) -> list[Indicator]:
    key = GroupKey(MasterSecret(bytes(32)))
    until = NOW + days * DAY_US

    def _id(kind: str) -> str:
        return made.indicator_stix_id(PROVIDER, "ref", kind, "0")

    return [
        Indicator(
            _id("template"), "template", (key.token(1 << 32), key.token(5)), NOW, until, SCHEME, "q4", (5.0, 2.0), 90
        ),
        Indicator(_id("asn"), "asn", ("AS64500", "AS64501"), NOW, until),
        Indicator(_id("client"), "client", ("openai-python/1.2",), NOW, until),
        Indicator(_id("network"), "network", ("192.0.2.0/24", "2001:db8::/32"), NOW, until),
        Indicator(_id("identity"), "identity", (key.identity("a@example.org"),), NOW, until, SCHEME, "q4"),
    ]


def _shared(**fields: Any) -> made.Shared:
    given: dict[str, Any] = {
        "ref": "ref",
        "first_us": NOW - 3 * DAY_US,
        "last_us": NOW,
        "keys": 24_000,
        "exchanges": 1_200_000,
        "indicators": _indicators(),
        "kinds": {"template": 0.001},
        "hours": [1 / 24] * 24,
    }
    return made.Shared(**(given | fields))


@pytest.mark.parametrize("revoked", [False, True])
def test_bundle_valid_stix(revoked: bool) -> None:
    """What leaves is valid STIX 2.1 by the library of its makers, every object marked but those that are not ours."""
    found = made.objects(PROVIDER, _shared(), NOW, revoked)
    made.validated(made.bundle(found))
    ours = [one for one in found if "created_by_ref" in one and one["type"] != "extension-definition"]
    assert {tuple(one["object_marking_refs"]) for one in ours} == {(tlp.LEVELS["amber+strict"],)}
    indicators = [one for one in found if one["type"] == "indicator"]
    assert len(indicators) == 5
    assert all("valid_until" in one for one in indicators)
    assert all(one.get("revoked", False) is revoked for one in indicators)


def test_bundle_read_back() -> None:
    """A receiver reads the very indicators that were shared, their marking, and of which campaign the tokens are."""
    told = [one for found in made.objects(PROVIDER, _shared(), NOW) if isinstance(one := meaning(found, NOW), Told)]
    campaign = made.campaign_stix_id(PROVIDER, "ref")
    expected = [structs.replace(one, campaign=campaign) if one.scheme else one for one in _indicators()]
    assert [one.indicator for one in told] == expected
    assert {one.tlp for one in told} == {"amber+strict"}


def test_bundle_same_ids() -> None:
    """A second publication is a new version of the same objects; another campaign shares none of its own."""
    first, second = (made.objects(PROVIDER, _shared(), at) for at in (NOW, NOW + DAY_US))
    assert [one["id"] for one in first] == [one["id"] for one in second]
    other = {
        one["id"] for one in made.objects(PROVIDER, _shared(ref="other", indicators=[]), NOW) if one["type"] == "campaign"
    }
    assert other.isdisjoint(one["id"] for one in first)


@pytest.mark.parametrize("level", ["red", "purple"])
def test_red_never_leaves(level: str) -> None:
    """Red is refused, and so is what is no level."""
    with pytest.raises(ValueError, match=r"^tlp: "):
        made.objects(PROVIDER, _shared(tlp=level), NOW)


def test_bad_indicator_leaves_not() -> None:
    """An indicator that is not as it must be is refused before anything is made of it."""
    bad = msgspec.structs.replace(_indicators()[1], tokens=("AS1'] OR [x:y = '",))
    with pytest.raises(ValueError, match=r"^tokens: "):
        made.objects(PROVIDER, _shared(indicators=[bad]), NOW)


@pytest.mark.parametrize(("count", "said"), [(7, 7), (24_975, 25_000), (129, 130), (0, 0)])
def test_counts_rounded(count: int, said: int) -> None:
    """Counts are told to two digits."""
    assert made.rounded(count) == said


def _sketch(**change: Any) -> dict[str, Any]:
    found = next(one for one in made.objects(PROVIDER, _shared(), NOW) if one["type"] == "indicator")
    return {**found, **change}


def test_unknown_left_alone() -> None:
    """Types, patterns, schemes and versions that are unknown say nothing, and are no error."""
    unknown = "indicator--6c0a5c1e-3f0f-5a59-9d0c-2d5b7a1c9e10"
    assert meaning({"type": "x-new", "id": "x-new--6c0a5c1e-3f0f-5a59-9d0c-2d5b7a1c9e10"}, NOW) is None
    assert meaning({"type": "indicator", "id": unknown, "pattern_type": "yara", "pattern": "rule x {}"}, NOW) is None
    assert meaning({"type": "indicator", "id": unknown, "pattern": "[file:size = 1]"}, NOW) is None
    assert meaning(_sketch(pattern_version="2.0.0"), NOW) is None
    assert meaning(_sketch(extensions={}), NOW) is None
    told = meaning(_sketch(kill_chain_phases=7, object_marking_refs="none"), NOW)
    assert isinstance(told, Told)
    assert told.tlp == "amber+strict"


def test_times_bounded() -> None:
    """A future date counts as now, nothing is looked for longer than its kind is worth, and what ended says nothing."""
    late = meaning(_sketch(modified="2099-01-01T00:00:00Z", valid_from="2099-01-01T00:00:00Z", valid_until=None), NOW)
    assert isinstance(late, Told)
    assert (late.version_us, late.indicator.valid_from_us) == (NOW, NOW)
    assert late.indicator.valid_until_us == NOW + 60 * DAY_US
    assert meaning(_sketch(valid_from="2020-01-01T00:00:00Z", valid_until="2019-01-01T00:00:00Z"), NOW) is None


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"id": "indicator--1"}, "id"),
        ({"id": 7}, "id"),
        ({"object_marking_refs": [tlp.LEVELS["red"]]}, "object_marking_refs"),
        ({"confidence": 101}, "confidence"),
        ({"confidence": "high"}, "confidence"),
        ({"modified": "yesterday"}, "modified"),
        ({"valid_from": 7}, "valid_from"),
        ({"extensions": {made.EXTENSION: {"kind": "template", "tokens": "abc"}}}, "tokens"),
        ({"extensions": {made.EXTENSION: {"kind": "asn", "tokens": [], "scheme": "s", "key_epoch": "e"}}}, "kind"),
    ],
)
def test_broken_refused(change: dict[str, Any], field: str) -> None:
    """What says that it is for us and breaks a rule is refused, and the field named."""
    with pytest.raises(ValueError, match=f"^{field}: "):
        meaning(_sketch(**change), NOW)


def test_words_of_members() -> None:
    """A retraction, an opinion and a sighting are read; an opinion in no word of STIX is refused."""
    about = _indicators()[0].id
    opinion = {
        "type": "opinion",
        "id": "opinion--6c0a5c1e-3f0f-5a59-9d0c-2d5b7a1c9e10",
        "opinion": "strongly-disagree",
        "object_refs": [about, "nonsense"],
    }
    assert meaning(opinion, NOW) == Opinion((about,), "strongly-disagree", NOW)
    assert isinstance(meaning(_sketch(revoked=True), NOW), Revoked)
    sighting = {
        "type": "sighting",
        "id": "sighting--6c0a5c1e-3f0f-5a59-9d0c-2d5b7a1c9e10",
        "sighting_of_ref": about,
        "count": 3,
    }
    assert meaning(sighting, NOW) == Seen(about, 3, NOW)
    with pytest.raises(ValueError, match=r"^opinion: "):
        meaning({**opinion, "opinion": "meh"}, NOW)


@pytest.mark.parametrize(
    ("references", "level"),
    [
        ([tlp.LEVELS["clear"], tlp.LEVELS["red"]], "red"),
        (["marking-definition--34098fce-860f-48ae-8e50-ebd3cc5e41da"], "green"),
        ([], "amber+strict"),
        (None, "amber+strict"),
        ([{"a": 1}], "amber+strict"),
    ],
)
def test_strictest_level_counts(references: object, level: str) -> None:
    """Of several markings the strictest counts, of none the default; markings of TLP 1 are known."""
    assert tlp.level_of(references) == level
