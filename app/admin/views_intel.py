"""Received indicators and reporters → the JSON of the API. Pure: no clock, no network."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

from app.admin.models_intel_indicators import IndicatorItem, IndicatorOut, Now, ReporterOut, SaidOut, VoiceOut
from app.admin.views import moment
from app.intel.digesting import reporter_of, reports
from app.intel.warning_list import WarningList
from app.state.intel_indicators import Held, Standing, Word
from app.state.intel_words import Said
from detectors.sharing.indicator import PLAIN
from detectors.sharing.trust import Report, independent, score

Standings = Mapping[tuple[str, str], Standing]


def now(held: Held, warned: WarningList, common: Container[str], at_us: int) -> Now:
    """Whether it is looked for, or the first reason why not.

    Args:
        held: the indicator.
        warned: values that nobody may list.
        common: places of the indicators that settled customers show.
        at_us: the present moment.
    """
    if held.revoked:
        return "taken back"
    if held.aside:
        return "set aside"
    if at_us >= held.indicator.valid_until_us:
        return "ended"
    if warned.covers(held.indicator):
        return "warned"
    return "common here" if held.name in common else "looked for"


def item(held: Held, standings: Standings, warned: WarningList, common: Container[str], at_us: int) -> IndicatorItem:
    """One in a list."""
    return IndicatorItem(**_item(held, standings, warned, common, at_us))


def indicator(
    held: Held,
    standings: Standings,
    warned: WarningList,
    common: Container[str],
    said: Said | None,
    keys: int,
    at_us: int,
) -> IndicatorOut:
    """One with everything."""
    one = held.indicator
    return IndicatorOut(
        **_item(held, standings, warned, common, at_us),
        values=list(one.tokens) if one.kind in PLAIN else [],
        listed=list(warned.listed(one)),
        confidence=one.confidence,
        scheme=one.scheme,
        epoch=one.epoch,
        words=[_voice(held, word, standings, at_us) for word in sorted(held.words, key=lambda word: word.received_us)],
        # Where its owner has put other tokens into it, an agreement is no word about it any more.
        said=None if said is None or (said.word == "agree" and not held.agreed) else SaidOut(**word_said(said)),
        keys=keys,
    )


def word_said(said: Said) -> dict[str, Any]:
    """The fields of a SaidOut."""
    return {
        "word": said.word,
        "at": moment(said.at_us),
        "by": said.by,
        "keys_told": said.keys,
        "confirmed": [member for member, count in said.counted if count == "confirmed"],
        "disputed": [member for member, count in said.counted if count == "disputed"],
    }


def reporter(standing: Standing, held: int, at_us: int) -> ReporterOut:
    """One member."""
    who = reporter_of(standing)
    return ReporterOut(
        group=standing.group,
        member=standing.member,
        organisation=standing.organisation,
        since=moment(standing.since_us),
        confirmed=standing.confirmed,
        disputed=standing.disputed,
        trust=round(who.trust, 3),
        independent=independent([Report(who, "template", 50, at_us)], at_us) == 1,
        held=held,
    )


def _item(held: Held, standings: Standings, warned: WarningList, common: Container[str], at_us: int) -> dict[str, Any]:
    one = held.indicator
    told = reports(held, dict(standings))
    agree = sum(word.agrees for word in held.words)
    return {
        "group": held.group,
        "id": one.id,
        "kind": one.kind,
        "tokens": len(one.tokens),
        "reporter": held.owner,
        "tlp": held.tlp,
        "campaign": one.campaign,
        "version": moment(held.version_us),
        "valid_from": moment(one.valid_from_us),
        "valid_until": moment(one.valid_until_us),
        "now": now(held, warned, common, at_us),
        "agree": agree,
        "disagree": len(held.words) - agree,
        "score": score(told, at_us),
        "voices": independent(told, at_us),
        "ours": "disagree" if held.aside else "agree" if held.agreed else None,
    }


def _voice(held: Held, word: Word, standings: Standings, at_us: int) -> VoiceOut:
    standing = standings.get((held.group, word.member)) or Standing(held.group, word.member, word.member, word.received_us)
    who = reporter_of(standing)
    alone = score([Report(who, held.indicator.kind, word.confidence, min(word.at_us, word.received_us))], at_us)
    return VoiceOut(
        member=word.member,
        organisation=standing.organisation,
        trust=round(who.trust, 3),
        agrees=word.agrees,
        confidence=word.confidence,
        at=moment(word.at_us),
        received=moment(word.received_us),
        weight=alone if word.agrees else 0.0,
    )
