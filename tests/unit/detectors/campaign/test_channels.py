"""Evidence: each channel tells of what it is about, and of groups drawn at random no more often than chance has it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from detectors.campaign import cells, channels
from detectors.campaign.contract import Evidence
from detectors.campaign.fleet import Columns
from detectors.campaign.trace import Kind, Trace
from detectors.sketch.decay import DAY_US, HOUR_US

MakeTrace = Callable[..., Trace]
Make = Callable[[Sequence[Trace]], Columns]
NOW_US = 1_790_000_000_000_000
MINUTE_US = 60_000_000
DRAWS = 39


@pytest.fixture
def varied(make_trace: MakeTrace) -> list[Trace]:
    """A hundred and fifty customers of all ages, loads and hours."""
    dice = np.random.default_rng(11)
    found = []
    for n in range(150):
        bits = int.from_bytes(dice.bytes(21), "little") & int.from_bytes(dice.bytes(21), "little")
        first_us = NOW_US - int(dice.integers(3 * 24 * 60, 90 * 24 * 60)) * MINUTE_US
        found.append(
            make_trace(
                f"v-{n}",
                topic=100 + n % 60,
                first_us=first_us,
                created_us=first_us,
                exchanges=int(dice.lognormal(4.0, 1.2)) + 3,
                at_us=NOW_US - int(dice.integers(0, 4 * 24 * 60)) * MINUTE_US,
                hours=(bits | 1).to_bytes(21, "little") + (NOW_US // HOUR_US).to_bytes(4, "little"),
                pivot=float(dice.random() ** 3),
            )
        )
    return found


def _of(fleet: Columns, prefix: str) -> np.ndarray:
    return np.array([at for at, one in enumerate(fleet.traces) if one.key_id.startswith(prefix)])


def _by_name(found: Sequence[Evidence]) -> dict[str, Evidence]:
    return {one.channel: one for one in found}


def test_random_groups_have_evidence_no_more_often_than_chance(
    monkeypatch: pytest.MonkeyPatch, varied: list[Trace], columns: Make
) -> None:
    """Over three hundred groups p-values are uniform where they are told, and e-values have a mean of one at most."""
    monkeypatch.setattr(channels, "DRAWS", DRAWS)
    fleet = columns(varied)
    dice = np.random.default_rng(2)
    told: dict[str, list[Evidence]] = {channel.name: [] for channel in channels.MEASURED}
    for number in range(300):
        members = np.sort(dice.choice(len(varied), 8, replace=False))
        for one in channels.measured(fleet, members, number):
            told[one.channel].append(one)
    # Evidence is told where p < KAPPA², and an e-value has there the integral of κ·p^(κ−1), which is a half; what is not
    # told is at most one for the other three quarters, and at least a half.
    for name, found in told.items():
        p_values = np.array([one.honest for one in found])
        assert np.count_nonzero(p_values <= 0.05) <= 30, name
        assert len(found) <= 100, name
        assert float(np.exp([one.nats for one in found]).sum()) / 300 <= 0.6, name
    together = [one for found in told.values() for one in found]
    assert len(together) > 150, "they are told at all"
    assert float(np.exp([one.nats for one in together]).sum()) / (300 * len(told)) <= 0.5


@pytest.mark.parametrize(
    ("channel", "fields"),
    [
        ("signup", lambda n: {"created_us": NOW_US - 5 * DAY_US + n * MINUTE_US}),
        ("load", lambda n: {"exchanges": 400 + n, "first_us": NOW_US - 4 * DAY_US, "at_us": NOW_US}),
        (
            "synchrony",
            lambda n: {"hours": (0xFFFF << 40).to_bytes(21, "little") + (NOW_US // HOUR_US).to_bytes(4, "little")},
        ),
        ("centre", lambda n: {"topic": 7}),
        (
            "succession",
            lambda n: (
                {"at_us": NOW_US - 3 * DAY_US + n, "first_us": NOW_US - 9 * DAY_US}
                if n < 6
                else {"at_us": NOW_US, "first_us": NOW_US - 3 * DAY_US + n * MINUTE_US}
            ),
        ),
        ("pivot", lambda n: {"pivot": 0.9}),
    ],
    ids=["signup", "load", "synchrony", "centre", "succession", "pivot"],
)
def test_each_measured_channel_tells_of_a_group_that_shows_it(
    varied: list[Trace],
    columns: Make,
    make_trace: MakeTrace,
    channel: str,
    fields: Callable[[int], dict[str, int]],
) -> None:
    """As much as a statistic can weigh that no drawn group reaches; and not of a group of customers."""
    mine = [make_trace(f"m-{n}", **{"topic": 300 + n, "pivot": 0.0, **fields(n)}) for n in range(12)]
    fleet = columns([*varied, *mine])
    found = _by_name(channels.measured(fleet, _of(fleet, "m-"), 1))
    assert found[channel].nats >= 1.9
    assert found[channel].kind == channels.KINDS[channel]
    assert found[channel].honest == pytest.approx(1 / (1 + channels.DRAWS))
    assert channel not in _by_name(channels.measured(fleet, _of(fleet, "v-1")[:12], 1))


def test_a_fleet_too_small_to_compare_with_tells_nothing(varied: list[Trace], columns: Make) -> None:
    """Less than three times the group."""
    fleet = columns(varied[:40])
    assert channels.measured(fleet, np.arange(12), 1) == []


def test_evidence_is_the_same_each_time(varied: list[Trace], columns: Make) -> None:
    """Draws come from the name of the campaign."""
    fleet = columns(varied)
    members = np.arange(0, 60, 5)
    assert channels.measured(fleet, members, 5) == channels.measured(fleet, members, 5)


def test_a_shared_mark_weighs_what_its_rarity_says(crowd: list[Trace], columns: Make, make_trace: MakeTrace) -> None:
    """A network that a customer has too weighs less than a payment that none has; who shares nothing is tied by nothing."""
    wide, rare = (Kind.NETWORK, 1), (Kind.PAYMENT, 2)
    mine = [
        make_trace(f"m-{n}", [wide, rare] if n < 5 else [wide] if n < 9 else [], hot=True, age_d=0.5) for n in range(10)
    ]
    fleet = columns([*crowd, make_trace("customer", [wide]), *mine])
    members = _of(fleet, "m-")
    evidence, ties = channels.shared(cells.cells(fleet), members)
    found = _by_name(evidence)
    assert found.keys() == {"network", "payment"}
    assert (found["network"].share, found["payment"].share) == (0.9, 0.5)
    assert 4.0 <= found["network"].nats < found["payment"].nats <= channels.CAP_NATS
    assert found["network"].honest == pytest.approx(1.5 / 202)
    assert found["payment"].honest == pytest.approx(0.5 / 202)
    # The strongest first.
    assert {fleet.traces[at].key_id: names for at, names in ties.items()} == {
        f"m-{n}": ["payment", "network"] if n < 5 else ["network"] if n < 9 else [] for n in range(10)
    }


def test_what_few_of_them_share_is_told_without_weight(crowd: list[Trace], columns: Make, make_trace: MakeTrace) -> None:
    """Three of twenty."""
    mine = [make_trace(f"m-{n}", [(Kind.NETWORK, 3)] if n < 3 else [], hot=True, age_d=0.5) for n in range(20)]
    fleet = columns([*crowd, *mine])
    (found,) = channels.shared(cells.cells(fleet), _of(fleet, "m-"))[0]
    assert (found.channel, found.nats, found.share) == ("network", 0.0, 0.15)


def test_a_dealt_out_pool_is_told_from_a_crowd(make_trace: MakeTrace) -> None:
    """Under one wording nobody asks what another asked; users of an app do now and then."""
    numbers = np.arange(1, 2**24, 65_537)
    dealt = [
        make_trace(f"d-{n}", contents=b"".join(int(at).to_bytes(3, "little") for at in numbers[n * 16 : n * 16 + 16]))
        for n in range(12)
    ]
    (found,) = channels.contents(dealt, True)
    assert (found.channel, found.kind) == ("partition", "contents")
    assert found.nats == channels.CAP_NATS
    assert channels.contents(dealt, False) == []
    popular = numbers[:40]
    dice = np.random.default_rng(1)
    crowd = [
        make_trace(
            f"c-{n}", contents=b"".join(int(at).to_bytes(3, "little") for at in dice.choice(popular, 16, replace=False))
        )
        for n in range(12)
    ]
    assert channels.contents(crowd, True) == []
    assert channels.contents(dealt[:1], True) == []


def test_items_that_are_asked_just_so_often_are_told(make_trace: MakeTrace) -> None:
    """Rejection sampling over keys: each item by exactly four of them."""
    items = [n.to_bytes(3, "little") for n in range(1, 49)]
    held = [make_trace(f"k-{n}", contents=b"".join(items[12 * (n // 4) : 12 * (n // 4) + 12])) for n in range(16)]
    (found,) = channels.contents(held, True)
    assert (found.channel, found.share) == ("repeats", 1.0)
    assert "exactly 4" in found.text
