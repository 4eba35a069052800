"""An address plan from a file: every line is right or named."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

from app.errors import BadInput
from app.gateway.networks import Networks


def _load(tmp_path: Path, *lines: str) -> Networks:
    path = tmp_path / "networks.jsonl"
    path.write_text("\n".join(lines))
    return Networks.load(path)


def test_the_longest_prefix_says_class_and_country(tmp_path: Path) -> None:
    """Every field of the format is accepted; an operator's number may be a number, a name or missing."""
    networks = _load(
        tmp_path,
        '{"prefix": "198.51.0.0/16", "asn": 64500, "class": "business", "country": "no"}',
        "",
        '{"prefix": "198.51.100.0/24", "asn": "AS64501", "class": "cloud", "country": "SE"}',
        '{"prefix": "203.0.113.0/24"}',
    )
    found = [networks.lookup(ipaddress.ip_address(ip)) for ip in ("198.51.7.7", "198.51.100.7", "203.0.113.7", "10.0.0.1")]
    assert found == [("business", "NO"), ("cloud", "SE"), ("", ""), ("", "")]


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("{", "not a complete JSON value"),
        ("[]", "Expected `object`"),
        ('{"class": "cloud"}', "Object missing required field `prefix`"),
        ('{"prefix": "canary"}', "prefix must be in CIDR form"),
        ('{"prefix": "10.0.0.0/8", "clas": "cloud"}', "unknown field clas; known are prefix, asn, class, country"),
        ('{"prefix": "10.0.0.0/8", "asn_class": "cloud"}', "unknown field asn_class; known are prefix, asn, class"),
        ('{"prefix": "10.0.0.0/8", "class": "canary"}', "class must be one of cloud, business"),
        ('{"prefix": "10.0.0.0/8", "country": "canary"}', "country must be an ISO 3166 code"),
    ],
)
def test_a_bad_line_is_named_without_its_values(tmp_path: Path, line: str, rule: str) -> None:
    """What is mistyped would silently count as nothing, so it is refused with the line and the rule."""
    with pytest.raises(BadInput, match=rf"^networks file .*networks\.jsonl, line 3: {rule}") as caught:
        _load(tmp_path, '{"prefix": "10.0.0.0/8"}', "", line)
    assert "canary" not in str(caught.value)
