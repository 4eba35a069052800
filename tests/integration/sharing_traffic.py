"""Traffic of operations and honest keys for tests of what is shared, and what a provider would tell of it."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from app.state.intel_hits import Hits, KeyHits
from app.state.orders import Orders
from detectors.analysis import Analysis
from detectors.campaign.trace import Trace
from detectors.event import Event, encode
from detectors.fingerprint import fingerprint
from detectors.model import rules_only
from detectors.sharing.distil import distilled
from detectors.sharing.indicator import DAY_US, Indicator
from detectors.sharing.tokens import SCHEME, GroupKey
from detectors.watermark.keys import MasterSecret

SECRET = "5a" * 32
EPOCH = "2026q4"
_WORDS = [a + b + c for a in "bdfgklmnprst" for b in ("a", "e", "io", "ou") for c in ("n", "rt", "lle", "st", "m")]


class Style(NamedTuple):
    """What all keys of an operation, or of an app, have in common."""

    template: str
    temperature: float
    max_tokens: int
    client: int


RING = Style("Solve the numbered olympiad task and show all of your reasoning step by step inside tags:", 0.31, 1777, 77)
"""An operation."""

APP = Style(
    "You help guests of the harbour hotel; answer kindly, in one paragraph, in the guest's language:", 0.55, 333, 88
)
"""A popular honest app: its users have one template and one set of settings, as an operation's keys have."""


def event(key: int, number: int, style: Style | None, **more: Any) -> Event:
    """An operation's key, or an app's, sends one template with one set of settings; others write as they like."""
    dice = random.Random(f"{key} {number}")
    words = " ".join(dice.choice(_WORDS) for _ in range(30))
    fields: dict[str, Any] = {
        "event_id": f"{key:08x}{number:08x}",
        "at_us": time.time_ns() // 1000,
        "key_id": f"{key:032x}",
        "org_id": f"{key:032x}",
        "plan": "payg",
        "dialect": "openai",
        "route": "chat",
        "model": "large",
        "temperature": style.temperature if style else dice.choice((0.0, 0.7, 1.0)),
        "max_tokens": style.max_tokens if style else dice.choice((256, 512, 1024)),
        "client_digest": style.client if style else 1 + key % 5,
        "roles": "u",
        "message_count": 1,
        "user_turns": 1,
        "chain_digest": dice.getrandbits(60),
        "user_digest": dice.getrandbits(60),
        "finish_reason": "stop",
        "input_tokens": 40,
        "output_tokens": 600,
        "answer_chars": 2400,
        "answer_digest": dice.getrandbits(60),
        "ip_prefix_id": f"{key:032x}",
        "user_head": f"{style.template} {words}" if style else words,
        "user_tail": words,
        "answer_head": words,
    }
    return Event(**{**fields, **more})


def traces(keys: Sequence[int], style: Style | None) -> list[Trace]:
    """The newest trace of each key after three exchanges."""
    analysis, states, made = Analysis(rules_only()), {}, {}  # type: ignore[var-annotated]
    for key in keys:
        for number in range(3):
            found: list[Trace] = []
            one = event(key, number, style)
            analysis.observe(states, [(one, fingerprint(one))], None, found)
            made |= {trace.key_id: trace for trace in found}
    return list(made.values())


@cache
def indicators(style: Style = RING) -> list[Indicator]:
    """What another provider distilled from its own keys: a template and settings."""
    now_us, key = time.time_ns() // 1000, GroupKey(MasterSecret.parse(SECRET))
    found = distilled(traces(range(9000, 9012), style), traces(range(1000, 1200), None))
    made = [
        Indicator(
            f"indicator--{uuid.uuid5(uuid.NAMESPACE_OID, one.kind)}",
            one.kind,
            tuple(map(key.token, one.marks)),
            now_us - 3_600_000_000,
            now_us + 30 * DAY_US,
            SCHEME,
            EPOCH,
            one.weights,
            90,
            f"campaign--{uuid.uuid5(uuid.NAMESPACE_OID, 'campaign')}",
        )
        for one in found
    ]
    assert {one.kind for one in made} >= {"template", "settings"}
    return made


def keys_folder(folder: Path) -> str:
    """A folder with the group's key, for `intel.keys_dir`."""
    folder.mkdir()
    file = folder / "labs.json"
    file.touch(0o600)
    file.write_text(f'{{"{EPOCH}": "{SECRET}"}}', encoding="utf-8")
    return str(folder)


def acting(keys_dir: str) -> dict[str, str]:
    """Settings under which policy acts about what was shared."""
    return {
        "STILLWATCH_INTEL__KEYS_DIR": keys_dir,
        "STILLWATCH_INTEL__AUTOMATIC": "real",
        "STILLWATCH_ENFORCEMENT__MODE": "enforce",
    }


async def send(lab: Any, key: int, style: Style | None, *, first: int = 0, count: int = 1, **more: Any) -> None:
    """Exchanges of a key; returns when workers have applied them."""
    pipe = lab.client.pipeline(transaction=False)
    for number in range(first, first + count):
        one = event(key, number, style, **more)
        pipe.xadd(lab.stream_of(one), {"e": encode(one)})
    await pipe.execute()
    await lab.until_applied()


async def hits(lab: Any, key: int) -> KeyHits | None:
    """What a key shows."""
    return (await Hits(lab.client).of([f"{key:032x}"])).get(f"{key:032x}")


async def until(lab: Any, key: int, field: str, wanted: object, *, given: bool = True) -> KeyHits:
    """What a key shows, when a field of it has become what is wanted; with what was ordered, unless `given` is false."""

    async def measure() -> object:
        found = getattr(await hits(lab, key), field, None)
        # It is written down first, and then ordered.
        return None if given and found == "real" and await order(lab, key) is None else found

    await lab.until(measure, wanted, 10.0)
    found = await hits(lab, key)
    assert found is not None
    return found


async def order(lab: Any, key: int) -> Any:
    """What was ordered about a key."""
    return await Orders(lab.client).get(f"{key:032x}")
