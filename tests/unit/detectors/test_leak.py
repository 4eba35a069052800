"""The leak accountant."""

from __future__ import annotations

import math

import numpy as np
import pytest

from detectors.leak import BETS, NULL_MEAN, Accountant, suspicion


def test_suspicion_is_the_share_of_harvesters() -> None:
    """A ratio of 0 says nothing, and three times as often means three in four."""
    assert suspicion(0) == 0.5
    assert suspicion(round(8 * math.log(3))) == pytest.approx(0.75, abs=0.01)
    assert suspicion(-16) == pytest.approx(1.0 - suspicion(16))


def test_wealth_is_the_mean_of_the_bets() -> None:
    """After two responses the wealth is what the bets won, by hand."""
    account = Accountant()
    for x in (0.9, 0.7):
        account.add(x)
    by_hand = np.mean([(1 + bet * (0.9 - NULL_MEAN)) * (1 + bet * (0.7 - NULL_MEAN)) for bet in BETS])
    assert account.wealth() == pytest.approx(math.log(by_hand))
    both = [(1 + bet * (0.9 - NULL_MEAN)) * (1 + bet * (0.7 - NULL_MEAN)) + 1 + bet * (0.7 - NULL_MEAN) for bet in BETS]
    assert account.evidence() == pytest.approx(math.log(np.mean(both)))
    assert account.taken == pytest.approx(1.6)


def test_wealth_holds_at_every_look() -> None:
    """Of a thousand honest entities, looked at after each of 2,000 responses, at most the stated share is ever accused."""
    rng = np.random.default_rng(5)
    # Honest of every kind, up to the border: a response is suspicious or not at all, by a share of the entity's own.
    level = rng.uniform(0.0, NULL_MEAN, (1000, 1))
    x = np.where(rng.random((1000, 2000)) < level / 0.9, 0.9, 0.0)
    highest = np.zeros(1000)
    worth = np.zeros((len(BETS), 1000))
    for step in range(x.shape[1]):
        worth += np.log1p(np.array(BETS)[:, None] * (x[:, step] - NULL_MEAN))
        highest = np.maximum(highest, np.log(np.exp(worth).mean(axis=0)))
    for alpha in (0.1, 0.01):
        assert (highest >= math.log(1 / alpha)).mean() <= alpha


def test_a_harvest_is_told_within_sixty_responses() -> None:
    """What harvesters send nine times as often as others is beyond a thousand to one within thirty responses."""
    account = Accountant()
    rng = np.random.default_rng(1)
    for _ in range(30):
        account.add(float(rng.beta(9, 1)))
    assert account.evidence() > math.log(1000)


def test_a_customer_that_turns_is_told_as_fast() -> None:
    """Five hundred honest responses before a harvest do not hide it: the detector begins again with every response."""
    account = Accountant()
    for _ in range(500):
        account.add(0.1)
    before = account.evidence()
    for _ in range(30):
        account.add(0.9)
    assert before < 2.0
    assert account.evidence() > math.log(1000)
    assert account.wealth() < 0.0


def test_an_account_comes_back_from_its_bytes() -> None:
    """A restored account goes on exactly like the one it was made from."""
    account = Accountant()
    for x in (0.2, 0.8, 0.99):
        account.add(x)
    again = Accountant.from_bytes(account.to_bytes())
    account.add(0.4)
    again.add(0.4)
    assert again.to_bytes() == account.to_bytes()
    assert Accountant.from_bytes(b"").to_bytes() == b""


def test_bad_bytes_are_no_account() -> None:
    """Bytes of another length, or numbers that cannot be, are refused."""
    account = Accountant()
    account.add(0.5)
    data = account.to_bytes()
    for bad in (data[:-1], data + b"\0", b"\xff" * len(data)):
        with pytest.raises(ValueError, match="account"):
            Accountant.from_bytes(bad)


def test_accounts_add_up() -> None:
    """Two accounts together took what both took, in either order, and an empty one changes nothing."""
    one, other = Accountant(), Accountant()
    for x in (0.9, 0.8):
        one.add(x)
    for x in (0.3, 0.2, 0.6):
        other.add(x)
    both = one.merged(other)
    assert both.taken == pytest.approx(2.8)
    assert both.responses == 5.0
    assert both.wealth() <= one.wealth() + other.wealth() + math.log(len(BETS))
    assert both.to_bytes() == other.merged(one).to_bytes()
    assert one.merged(Accountant()).to_bytes() == one.to_bytes()


def test_wealth_has_an_end() -> None:
    """A hundred thousand certain responses do not overflow."""
    account = Accountant()
    for _ in range(3000):
        account.add(1.0)
    assert math.isfinite(account.evidence())
