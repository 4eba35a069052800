"""The values that providers share. None holds text, an address, a name or anything that was not meant to leave.

An *indicator* is a set of tokens of one kind. Behaviour kinds are sketches: tokens made of hashes of what an operation does
constantly. Plain kinds hold values that are no secret: autonomous systems, names of clients, networks of proxies. Identity
tokens stand for accounts that a person has confirmed.
"""

from __future__ import annotations

import re
from typing import Literal, get_args

import msgspec

Kind = Literal["template", "contract", "settings", "asn", "client", "network", "identity"]

BEHAVIOUR: frozenset[str] = frozenset({"template", "contract", "settings"})
PLAIN: frozenset[str] = frozenset({"asn", "client", "network"})
KINDS: tuple[str, ...] = get_args(Kind)

MOST_TOKENS = 64
"""Of a behaviour indicator: a key has 44 marks at most, and what tells an operation apart is far fewer."""

MOST_IDENTITIES = 10_000

DAY_US = 86_400_000_000

VALID_DAYS: dict[str, int] = {
    "network": 7,
    "asn": 30,
    "client": 30,
    "template": 60,
    "contract": 60,
    "settings": 60,
    "identity": 30,
}
"""How long an indicator of a kind is worth looking for: addresses change hands within days, a wording stays for months."""

_TOKEN = re.compile(r"[0-9a-f]{24}")
_ASN = re.compile(r"AS[1-9][0-9]{0,9}")
_CLIENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._/+-]{1,79}")
_NETWORK = re.compile(r"[0-9a-f.:]{2,39}/[0-9]{1,3}")


class Indicator(msgspec.Struct, frozen=True):
    """What to look for.

    Attributes:
        id: STIX id of the indicator, `indicator--` and a UUID.
        kind: what the tokens are of.
        tokens: 24 hexadecimal digits each (behaviour and identity); plain kinds: the values themselves.
        scheme: how the tokens were made, `detectors.sharing.tokens.SCHEME`; empty for plain kinds.
        epoch: of the group's key that they were made with; empty for plain kinds.
        weights: of the tokens of a behaviour kind, in nats: how much rarer they are among honest keys; else empty.
        valid_from_us: unix µs.
        valid_until_us: from then on it is not looked for.
        confidence: the reporter's own, 0 … 100.
        campaign: STIX id of the campaign that it indicates; empty where none is told.
    """

    id: str
    kind: Kind
    tokens: tuple[str, ...]
    valid_from_us: int
    valid_until_us: int
    scheme: str = ""
    epoch: str = ""
    weights: tuple[float, ...] = ()
    confidence: int = 50
    campaign: str = ""

    def same_content(self, other: Indicator) -> bool:
        """Whether the other one looks for the same, in whatever order it names it."""
        return (self.kind, self.scheme, self.epoch) == (other.kind, other.scheme, other.epoch) and _weighed(
            self
        ) == _weighed(other)


def _weighed(one: Indicator) -> dict[str, float]:
    return dict(zip(one.tokens, one.weights or (0.0,) * len(one.tokens), strict=True))


def checked(indicator: Indicator) -> Indicator:
    """The indicator itself.

    Raises:
        ValueError: a field is not as above; it is named.
    """
    kind, tokens = indicator.kind, indicator.tokens
    if kind not in KINDS:
        raise ValueError(f"kind: must be one of {', '.join(KINDS)}")
    most = MOST_IDENTITIES if kind == "identity" else MOST_TOKENS
    if not 1 <= len(tokens) <= most or len(set(tokens)) != len(tokens):
        raise ValueError(f"tokens: must be 1 to {most:,} different ones")
    pattern = {"asn": _ASN, "client": _CLIENT, "network": _NETWORK}.get(kind, _TOKEN)
    if not all(pattern.fullmatch(token) for token in tokens):
        raise ValueError(f"tokens: must be {_SAID[kind] if kind in PLAIN else '24 hexadecimal digits each'}")
    if kind in PLAIN and (indicator.scheme or indicator.epoch or indicator.weights):
        raise ValueError(f"scheme: {kind} indicators have no scheme, epoch or weights")
    if kind not in PLAIN and not (indicator.scheme and indicator.epoch):
        raise ValueError(f"scheme: {kind} indicators need a scheme and an epoch")
    if kind in BEHAVIOUR and len(indicator.weights) != len(tokens):
        raise ValueError("weights: must be as many as tokens")
    if not all(0.0 <= weight <= 20.0 for weight in indicator.weights):
        raise ValueError("weights: must be from 0 to 20 nats")
    if not 0 <= indicator.confidence <= 100:
        raise ValueError("confidence: must be from 0 to 100")
    if not 0 < indicator.valid_from_us < indicator.valid_until_us:
        raise ValueError("valid_until: must be after valid_from")
    if indicator.valid_until_us - indicator.valid_from_us > 400 * DAY_US:
        raise ValueError("valid_until: must be at most 400 days after valid_from")
    return indicator


_SAID = {
    "asn": "numbers of autonomous systems like AS64500",
    "client": "names of clients in 2 to 80 plain letters",
    "network": "networks like 192.0.2.0/24",
}
