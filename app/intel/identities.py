"""Accounts that were shared as keyed hashes → which of our own they are, by a list of addresses that somebody else keeps.

No state holds an address, so nothing of this runs by itself: whoever has the addresses hashes them where they are, under
the group's key, and only key ids come out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from app.intel.local_view import Known
from app.intel.watch import Watch
from app.state.intel_hits import Seen
from app.state.intel_indicators import Held, place
from detectors.sharing.tokens import SCHEME, GroupKey

_NATS = 20.0
"""The most that an indicator can weigh: no honest account has another's address."""


def sought(held: Iterable[Held], group: str, keys: Mapping[str, GroupKey], now_us: int) -> list[Held]:
    """The indicators of accounts of a group that can be compared now.

    Args:
        held: indicators, of whatever group and kind.
        group: trust group.
        keys: epoch → its key.
        now_us: the present moment.
    """
    return [
        one
        for one in held
        if one.group == group
        and one.indicator.kind == "identity"
        and one.indicator.scheme == SCHEME
        and one.indicator.epoch in keys
        and one.counts(now_us)
        and one.indicator.valid_from_us <= now_us
    ]


def compared(
    accounts: Iterable[tuple[str, str]], looked_for: Iterable[Held], keys: Mapping[str, GroupKey], now_us: int
) -> dict[str, tuple[Seen, ...]]:
    """Key id → what was shared that its account is, for those keys that are any.

    Args:
        accounts: key id and address of each.
        looked_for: by `sought`.
        keys: epoch → its key.
        now_us: the present moment.
    """
    named: defaultdict[str, defaultdict[str, list[Held]]] = defaultdict(lambda: defaultdict(list))
    for held in looked_for:
        for token in held.indicator.tokens:
            named[held.indicator.epoch][token].append(held)
    found: defaultdict[str, dict[str, Seen]] = defaultdict(dict)
    for key_id, address in accounts:
        for epoch, tokens in named.items():
            for held in tokens.get(keys[epoch].identity(address), ()):
                one = held.indicator
                found[key_id][held.name] = Seen(
                    one.id, held.group, one.campaign, one.kind, 1.0, _NATS, now_us, now_us, held.content_us
                )
    return {key_id: tuple(some.values()) for key_id, some in found.items()}


def weighed(
    found: Mapping[str, tuple[Seen, ...]], watch: Watch, known: Mapping[str, Known], now_us: int
) -> list[dict[str, Any]]:
    """What an analyst needs of each key, the highest score first.

    Args:
        found: by `compared`.
        watch: of what is held.
        known: what is known here of the keys.
        now_us: the present moment.
    """
    made = []
    for key_id, seen in found.items():
        ours = known.get(key_id, Known())
        hits = watch.judged(key_id, 0, seen, ours.local, ours.excuse, now_us)
        if hits is None:
            continue
        made.append(
            {
                "key_id": key_id,
                "score": hits.score,
                "voices": hits.voices,
                "local": hits.local,
                "excuse": hits.excuse,
                "seen": [
                    {
                        "indicator": one.indicator,
                        "group": one.group,
                        "campaign": one.campaign,
                        "reporters": sorted(
                            word.member for word in watch.held[place(one.group, one.indicator)].words if word.agrees
                        ),
                    }
                    for one in hits.seen
                ],
            }
        )
    return sorted(made, key=lambda row: (-row["score"], row["key_id"]))
