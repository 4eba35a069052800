"""The verdict on the demonstration itself: who was missed, and who was harmed."""

from __future__ import annotations

import pytest

from app.demo import cast
from app.demo.findings import Finding, shortfall
from app.simulate.traffic.player import Tally

CAST = cast.live(1)
ATTACKER = next(client for client in CAST if client.kind.attack)
CUSTOMER = next(client for client in CAST if not client.kind.attack)


def _finding(*, attack: bool, level: str, action: str = "observe") -> Finding:
    client = ATTACKER if attack else CUSTOMER
    return Finding(client, "0123456789abcdef", level, 0.5, 3, action, (), Tally(sent=10, answered=9, limited=1))


@pytest.mark.parametrize(
    ("finding", "words"),
    [
        (_finding(attack=True, level="suspect", action="throttle"), ""),
        (_finding(attack=True, level="watch"), f"not flagged: {ATTACKER.name}"),
        (_finding(attack=True, level="warming up"), f"not flagged: {ATTACKER.name}"),
        (_finding(attack=False, level="clear"), ""),
        (_finding(attack=False, level="watch"), ""),
        (_finding(attack=False, level="suspect"), f"honest and acted on: {CUSTOMER.name}"),
        (_finding(attack=False, level="watch", action="throttle"), f"honest and acted on: {CUSTOMER.name}"),
    ],
)
def test_it_fails_exactly_when_an_attacker_is_missed_or_a_customer_harmed(finding: Finding, words: str) -> None:
    """The sentence names who; watching an honest key is no harm."""
    assert shortfall([finding]) == words


def test_live_and_past_customers_are_different() -> None:
    """The model never judges a key that it was fitted on, and the campaign has several unrelated keys."""
    past = {client.credential for client in cast.past(1)}
    assert past.isdisjoint(client.credential for client in CAST)
    campaign = [client for client in CAST if client.kind.name == "forced reasoning"]
    assert len(campaign) == len({client.org_id for client in campaign}) == 4
    assert len({client.kind.name for client in CAST if not client.kind.attack}) >= 5
    assert len({client.kind.name for client in CAST if client.kind.attack}) >= 3
