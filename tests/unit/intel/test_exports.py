"""Bundles as MISP events and CSV."""

from __future__ import annotations

import csv
import io
from typing import Any

import msgspec
import orjson
import pytest
from pymisp import MISPEvent

from app.errors import BadInput
from app.intel import bundle, content, documents, export_csv, export_misp, tlp
from app.intel.content import Content, Line
from detectors.sharing.indicator import DAY_US, Indicator
from detectors.sharing.tokens import SCHEME

NOW = 1_800_000_000_000_000
PROVIDER = bundle.Provider(bundle.provider_id("Provider A"), "Provider A")
TOKENS = ("a" * 24, "b" * 24)


def _indicators() -> list[Indicator]:
    until = NOW + 5 * DAY_US

    def named(kind: str) -> str:
        return bundle.indicator_stix_id(PROVIDER, "ref", kind, "0")

    return [
        Indicator(named("template"), "template", TOKENS, NOW, until, SCHEME, "q4", (5.0, 2.5), 90),
        Indicator(named("asn"), "asn", ("AS64500",), NOW, until),
        Indicator(named("client"), "client", ("openai-python/1.2",), NOW, until),
        Indicator(named("network"), "network", ("192.0.2.0/24", "2001:db8::/32"), NOW, until),
        Indicator(named("identity"), "identity", ("c" * 24,), NOW, until, SCHEME, "q4"),
    ]


def _content(revoked: bool = False, level: str = "amber+strict") -> Content:
    shared = bundle.Shared("ref", NOW - DAY_US, NOW, 240, 12_000, _indicators(), tlp=level)
    found = bundle.bundle(bundle.objects(PROVIDER, shared, NOW, revoked))
    return content.content(documents.read(orjson.dumps(found)), NOW)


def test_content_read() -> None:
    """What a document holds is counted: types, levels, indicators, who says so, techniques, campaigns."""
    found = _content()
    assert [msgspec.structs.replace(line.indicator, campaign="") for line in found.lines] == _indicators()
    assert {(line.tlp, line.revoked, line.said_by) for line in found.lines} == {("amber+strict", False, "Provider A")}
    assert (found.level, found.endless, found.others, found.faults) == ("amber+strict", 0, 0, [])
    assert len(found.campaigns) == 1
    assert ("AML.T0024.002", "Extract AI Model") in found.techniques


@pytest.mark.parametrize("revoked", [False, True])
def test_misp_loads(revoked: bool) -> None:
    """MISP's own library reads the event again: every value, its type and life, TLP and ATLAS; revoked is deleted."""
    text = export_misp.exported(_content(revoked), NOW)
    event: Any = MISPEvent()
    event.load(text)
    tags = {tag.name for tag in event.tags}
    assert {"tlp:amber+strict", 'misp-galaxy:mitre-atlas-attack-pattern="Extract AI Model"'} <= tags
    values = {(one.type, one.value): one for one in event.attributes}
    assert set(values) == {
        ("campaign-name", event.info), ("other", TOKENS[0]), ("other", TOKENS[1]), ("other", "c" * 24), ("AS", "AS64500"),
        ("user-agent", "openai-python/1.2"), ("ip-src", "192.0.2.0/24"), ("ip-src", "2001:db8::/32"),
    }  # fmt: skip
    network, token = values["ip-src", "192.0.2.0/24"], values["other", TOKENS[0]]
    assert (network.to_ids, token.to_ids) == (not revoked, False)
    assert "scheme stillwatch-marks-1, key epoch q4; weight 5;" in token.comment
    assert int(network.last_seen.timestamp()) == (NOW + 5 * DAY_US) // 10**6
    assert all(one.get("deleted", False) is revoked for key, one in values.items() if key[0] != "campaign-name")
    assert len({one.uuid for one in event.attributes} | {event.uuid}) == 9
    again = export_misp.exported(_content(revoked), NOW)
    assert orjson.loads(again) == orjson.loads(text)
    assert event.distribution == 0


def test_csv_rows() -> None:
    """A row for each value; what is read back is what was written."""
    rows = list(csv.DictReader(io.StringIO(export_csv.exported(_content(revoked=True)), newline="")))
    assert [row["value"] for row in rows] == [token for one in _indicators() for token in one.tokens]
    first = rows[0]
    assert (first["kind"], first["weight"], first["scheme"], first["key_epoch"]) == ("template", "5", SCHEME, "q4")
    assert (first["valid_until"], first["tlp"], first["revoked"]) == ("2027-01-20T08:00:00.000Z", "amber+strict", "yes")


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "|calc", '=HYPERLINK("https://x","y")'])
def test_csv_guarded(name: str) -> None:
    """A name that a spreadsheet would run as a formula is text there."""
    found = _content()
    found.lines = [Line(found.lines[0].indicator, "green", False, name)]
    rows = list(csv.DictReader(io.StringIO(export_csv.exported(found), newline="")))
    assert {row["reported_by"] for row in rows} == {f"'{name}"}


def test_red_never_exported() -> None:
    """A document in which anything is red, or that breaks a rule, is not exported."""
    objects = bundle.objects(PROVIDER, bundle.Shared("ref", NOW, NOW, 240, 12_000, _indicators()), NOW)
    objects[-1]["object_marking_refs"] = [tlp.LEVELS["red"]]
    found = content.content(documents.read(orjson.dumps(bundle.bundle(objects))), NOW)
    assert found.level == "red"
    with pytest.raises(BadInput, match="never leaves"):
        content.may_leave(found)
    broken = [{**one, "confidence": 101} if one["type"] == "indicator" else one for one in objects]
    with pytest.raises(BadInput, match="confidence"):
        content.may_leave(content.content(documents.read(orjson.dumps(bundle.bundle(broken))), NOW))
    content.may_leave(_content())


def test_names_of_others_printable() -> None:
    """Control characters in names that others chose do not reach a terminal."""
    objects = bundle.objects(PROVIDER, bundle.Shared("ref", NOW, NOW, 240, 12_000, _indicators()), NOW)
    named = [{**one, "name": "A\x1b[2J\n\u202eB"} if one["type"] == "identity" else one for one in objects]
    found = content.content(documents.read(orjson.dumps(bundle.bundle(named))), NOW)
    assert set(found.names.values()) == {"A[2JB"}
    assert msgspec.structs.asdict(found.lines[0].indicator)["kind"] == "template"
