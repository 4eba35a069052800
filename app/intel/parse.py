"""What a received STIX object means to us; tolerant of everything that it does not know, and of nothing that it does.

Objects of others' tools come with extensions, types and references that are unknown here: they are left alone. What says
that it is an indicator of ours and breaks its rules is refused, and the rule named. A time that is still to come, an object
within itself, a reference to nothing: none of it matters, since only an object's own fields are read, and who sent it is
known from the credential.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, get_args

from app.intel import tlp
from app.intel.bundle import EXTENSION, IDENTITY, SKETCH
from app.intel.taxii import times
from detectors.sharing.indicator import PLAIN, VALID_DAYS, Indicator, Kind, checked

DAY_US = 86_400_000_000

Word = Literal["strongly-disagree", "disagree", "neutral", "agree", "strongly-agree"]


_PLAIN_PATTERNS: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    ("asn", re.compile(r"\[autonomous-system:number = ([1-9][0-9]{0,9})\]")),
    ("network", re.compile(r"\[ipv[46]-addr:value (?:ISSUBSET|=) '([0-9a-f.:/]{2,43})'\]")),
    (
        "client",
        re.compile(
            r"\[network-traffic:extensions\.'http-request-ext'\.request_header\.'User-Agent' = '([^'\\\[\]]{1,80})'\]"
        ),
    ),
)
_WORDS: dict[str, Word] = {word: word for word in get_args(Word)}
_ID = re.compile(r"[a-z0-9-]{1,60}--[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


class Told(NamedTuple):
    """An indicator, and under which markings it came."""

    indicator: Indicator
    tlp: str
    version_us: int


class Revoked(NamedTuple):
    """An object is taken back by who sent it."""

    object_id: str
    version_us: int


class Opinion(NamedTuple):
    """A member says what it thinks of objects."""

    object_ids: tuple[str, ...]
    word: Word
    version_us: int


class Seen(NamedTuple):
    """A member saw it, too."""

    object_id: str
    times: int
    version_us: int


Meaning = Told | Revoked | Opinion | Seen


def meaning(found: Mapping[str, Any], now_us: int) -> Meaning | None:
    """What one object says; None where it says nothing to us.

    Args:
        found: the object, as JSON gave it.
        now_us: the present moment: what is dated later counts from now on.

    Raises:
        ValueError: it says something to us and breaks a rule; field and rule are named.
    """
    kind, identifier = found.get("type"), found.get("id")
    if not isinstance(identifier, str) or not _ID.fullmatch(identifier):
        raise ValueError("id: must be a STIX identifier")
    version_us = min(now_us, _time(found, "modified", default=_time(found, "created", default=now_us)))
    if found.get("revoked") is True:
        return Revoked(identifier, version_us)
    if kind == "indicator":
        return _indicator(found, identifier, version_us, now_us)
    if kind == "opinion":
        word, about = _WORDS.get(str(found.get("opinion"))), found.get("object_refs")
        if word is None:
            raise ValueError("opinion: must be a word of STIX's opinion vocabulary")
        if not isinstance(about, list) or not 1 <= len(about) <= 100 or not all(isinstance(one, str) for one in about):
            raise ValueError("object_refs: must be 1 to 100 identifiers")
        return Opinion(tuple(one for one in about if _ID.fullmatch(one)), word, version_us)
    if kind == "sighting":
        about, count = found.get("sighting_of_ref"), found.get("count", 1)
        if not isinstance(about, str) or not _ID.fullmatch(about):
            raise ValueError("sighting_of_ref: must be a STIX identifier")
        if type(count) is not int or not 0 <= count <= 999_999_999:
            raise ValueError("count: must be a whole number from 0 to 999,999,999")
        return Seen(about, count, version_us)
    return None


def _indicator(found: Mapping[str, Any], identifier: str, version_us: int, now_us: int) -> Told | None:
    if not identifier.startswith("indicator--"):
        raise ValueError("id: must begin with indicator--")
    level = tlp.level_of(found.get("object_marking_refs"))
    if level == "red":
        raise ValueError("object_marking_refs: TLP:RED is not taken; it is for the ears of those present")
    confidence = found.get("confidence", 50)
    if type(confidence) is not int:
        raise ValueError("confidence: must be a whole number from 0 to 100")
    ours = found.get("pattern_type") in (SKETCH, IDENTITY)
    fields = _sketch(found) if ours else _plain(found.get("pattern"))
    if fields is None:
        return None
    valid_from = min(now_us, _time(found, "valid_from", default=version_us))
    longest = valid_from + VALID_DAYS[fields["kind"]] * DAY_US
    # What nobody ends is looked for as long as its kind is worth it, and no longer, whatever the sender says.
    until = min(longest, _time(found, "valid_until", default=longest))
    if until <= valid_from:
        return None  # it ended before it began to count: a stale bundle
    made = Indicator(id=identifier, valid_from_us=valid_from, valid_until_us=until, confidence=confidence, **fields)
    return Told(checked(made), level, version_us)


def _sketch(found: Mapping[str, Any]) -> dict[str, Any] | None:
    extensions = found.get("extensions")
    sketch = extensions.get(EXTENSION) if isinstance(extensions, dict) else None
    if not isinstance(sketch, dict):
        return None  # a version of the sketch that is made otherwise
    version = found.get("pattern_version")
    if not isinstance(version, str) or version.partition(".")[0] != "1":
        return None
    tokens, weights = sketch.get("tokens"), sketch.get("weights", [])
    if not isinstance(tokens, list) or not all(isinstance(one, str) for one in tokens):
        raise ValueError("tokens: must be a list of strings")
    if not isinstance(weights, list) or not all(type(one) in (int, float) for one in weights):
        raise ValueError("weights: must be a list of numbers")
    kind, scheme, epoch = sketch.get("kind"), sketch.get("scheme"), sketch.get("key_epoch")
    if not isinstance(scheme, str) or not isinstance(epoch, str) or len(scheme) > 64 or len(epoch) > 32:
        raise ValueError("scheme: scheme and key_epoch must be short strings")
    if not isinstance(kind, str) or kind not in VALID_DAYS or kind in PLAIN:
        raise ValueError("kind: must be a kind of behaviour or identity")
    campaign = sketch.get("campaign_ref", "")
    if not isinstance(campaign, str) or (campaign and not (campaign.startswith("campaign--") and _ID.fullmatch(campaign))):
        raise ValueError("campaign_ref: must be the STIX identifier of a campaign")
    return {
        "kind": kind,
        "tokens": tuple(tokens),
        "weights": tuple(map(float, weights)),
        "scheme": scheme,
        "epoch": epoch,
        "campaign": campaign,
    }


def _plain(pattern: object) -> dict[str, Any] | None:
    """Of a STIX pattern, if it is one that we look for: the same comparison, joined by OR."""
    if not isinstance(pattern, str) or len(pattern) > 8192:
        return None
    values: list[str] = []
    kinds = set()
    for part in pattern.split(" OR "):
        for kind, form in _PLAIN_PATTERNS:
            if match := form.fullmatch(part.strip()):
                kinds.add(kind)
                values.append(_value(kind, match[1]))
                break
        else:
            return None
    if len(kinds) != 1:
        return None
    return {"kind": kinds.pop(), "tokens": tuple(dict.fromkeys(values))}


def _value(kind: Kind, text: str) -> str:
    if kind == "asn":
        return f"AS{text}"
    if kind == "network" and "/" not in text:
        return f"{text}/{128 if ':' in text else 32}"
    return text


def _time(found: Mapping[str, Any], name: str, default: int) -> int:
    text = found.get(name)
    if text is None:
        return default
    if not isinstance(text, str):
        raise ValueError(f"{name}: must be a time such as 2026-01-31T12:00:00.000Z")
    try:
        return times.parse(text)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
