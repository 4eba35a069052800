"""Figures and tables of campaigns, and the worlds they are measured on."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from app.offline.progress import Silent
from benchmarks.campaigns import figures, frames, left_out, tables
from benchmarks.campaigns.__main__ import WORDINGS
from benchmarks.campaigns.feed import ItemsFeed
from benchmarks.campaigns.judged import Judged
from benchmarks.labelled import PACKS, NoBench, find_bench
from benchmarks.training.profiles import Kit
from detectors.event import Event
from detectors.fingerprint import fingerprint

FRAME = """
pack = "packs/own"
start = 1770163200
response_text_share = 0.9
[traces]
bulk = ["own"]
[roles]
document = ["own"]
[strata]
human_chat = { keys = 10, rate = 1.0 }
viral_app = { keys = 20, groups = 2, rate = 3.0, spread = 0.6 }
"""


def _key(label: str, requests: int = 30, **more: Any) -> dict[str, Any]:
    known = {"label": label, "org": "o", "first_ts": 100.0, "requests_eval": requests, **more}
    if label == "attack":
        known |= {"attack_requests_eval": more.get("attack_requests_eval", requests), "answered": []}
    return known


def _truth() -> dict[str, Any]:
    """Two campaigns: "big" of twelve keys, b0 …, and "small" of two, s0 and s1; twenty honest keys and a contracted one."""
    keys = {f"b{at}": _key("attack", campaign="c-big") for at in range(12)}
    keys |= {f"s{at}": _key("attack", 10, campaign="c-small") for at in range(2)}
    keys |= {f"h{at}": _key("benign", stratum="viral_app" if at < 6 else "human_chat") for at in range(20)}
    keys["paid"] = _key("benign", stratum="synthetic_data", authorised=["synthetic_data"])
    keys["cover"] = _key("attack", campaign="c-small", attack_requests_eval=0)
    keys["gone"] = _key("benign", 0, stratum="human_chat")
    shape = {"paraphrase": "none", "mix": 1.0, "infra": "shared", "timing": "bulk", "accounts": "new", "family": "relay"}
    campaigns = {
        "c-big": {"name": "big", "k": 12, "rate_per_key_day": 9.0, "keys": [f"b{at}" for at in range(12)], **shape},
        "c-small": {"name": "small", "k": 3, "rate_per_key_day": 3.0, "keys": ["s0", "s1", "cover"], **shape},
    }
    whole = {"profile": "hand", "seed": 0, "warmup_until": 100.0, "end": 100.0 + 3 * 86_400.0}
    return {**whole, "keys": keys, "campaigns": campaigns}


def _line(name: str, keys: Sequence[str], score: float = 0.9, **more: Any) -> dict[str, Any]:
    return {"campaign": name, "keys": list(keys), "score": score, "first_ts": 200.0, **more}


MIXED = (
    _line("c-1", [*(f"b{at}" for at in range(9)), "h0"]),
    _line("c-2", ["h1", "h2", "h7", "gone"], evidence=[{"channel": "system"}, {"channel": "network"}]),
    _line("c-3", ["b0", "b9", "s0"], 0.5),
)
"""A true group with one honest member; one of honest keys alone; and a weaker one that overlaps with the first."""


def _report(found: Sequence[bool], before: float) -> dict[str, Any]:
    return {
        "per_campaign": {
            name: {
                "found": hit, "keys_flagged": 0, "largest_group": 9, "answered": 50, "before_alarm_requests": before,
                "alarm_hours": 1.5 if before < 1.0 else None,
            }
            for name, hit in zip(("big", "small"), found, strict=True)
        }
    }  # fmt: skip


def _judged(campaigns: Sequence[dict[str, Any]] = MIXED) -> Judged:
    verdicts = [{"key": f"b{at}", "level": "suspect"} for at in range(3)] + [{"key": "h3", "level": "confirmed"}]
    return Judged("hand:1", _truth(), verdicts, campaigns, _report((True, False), 0.1), _report((False, False), 1.0))


def test_only_keys_that_could_be_told_apart_are_scored() -> None:
    """An attack key that only covered, and an honest one without a request, do not count; a contracted one is apart."""
    known = figures.scored(_truth())
    assert set(known.attack) == {*(f"b{at}" for at in range(12)), "s0", "s1"}
    assert len(known.honest) == 20
    assert known.authorised == {"paid"}
    assert known.days == pytest.approx(3.0)


def test_a_group_half_of_which_is_honest_is_false() -> None:
    """A group is false when at most half of its members attack, and stands under the stratum of most of its members."""
    found = {one.id: one for one in figures.groups(_truth(), [*MIXED, _line("c-4", ["b0", "h0"]), _line("c-5", ["gone"])])}
    assert {name for name, one in found.items() if one.false} == {"c-2", "c-4"}
    assert (found["c-2"].stratum, found["c-2"].honest, found["c-2"].channels) == ("viral_app", 3, ("system", "network"))
    assert "c-5" not in found  # nobody of it is scored


def test_a_key_in_two_groups_counts_in_the_one_with_the_higher_score() -> None:
    """b0 is in c-1 and c-3, and belongs to c-1."""
    home = figures.homes(figures.groups(_truth(), MIXED))
    assert (home["b0"], home["b9"]) == ("c-1", "c-3")


def test_bcubed_by_hand() -> None:
    """Precision over grouped keys, recall over attack keys; an honest key is a class, and an ungrouped one a group, of its
    own."""
    attack = figures.scored(_truth()).attack
    home = figures.homes(figures.groups(_truth(), MIXED))
    # c-1: nine of ten are of a kind and the honest one is of its own; c-2: three alone; c-3 without b0: two alone.
    assert sum(figures.precisions(attack, home)) == pytest.approx(9 * 0.9 + 0.1 + 3 / 3 + 2 / 2)
    big = 9 * 9 / 12 + 3 * 1 / 12
    assert sum(figures.recalls(attack, home, {"c-big"})) == pytest.approx(big)
    assert sum(figures.recalls(attack, home)) == pytest.approx(big + 2 * 1 / 2)
    assert figures.mean(figures.recalls(attack, {}, {"c-big"})) == pytest.approx(1 / 12)


def test_a_campaign_is_busy_by_its_keys_and_their_requests() -> None:
    """Ten keys, the median of which sent twenty requests after the warm-up: fewer of either is not busy."""
    truth = _truth()
    assert figures.busy(truth, figures.scored(truth)) == {"c-big"}
    for at in range(7):
        truth["keys"][f"b{at}"]["requests_eval"] = 19
    assert figures.busy(truth, figures.scored(truth)) == frozenset()


def test_our_figures_are_the_scorers(monkeypatch: pytest.MonkeyPatch) -> None:
    """B-cubed and false groups of a case with overlaps and honest members agree with the benchmark's own scorer."""
    try:
        bench = find_bench()
    except NoBench as error:
        pytest.skip(str(error))
    monkeypatch.syspath_prepend(str(bench))
    before = set(sys.modules)
    score = __import__("score")
    metrics = __import__("metrics")
    truth = _truth()
    case = score.build_case(truth, [], MIXED)
    precision, recall = metrics.bcubed({key: truth["keys"][key]["campaign"] for key in case.attack}, score.membership(case))
    for name in set(sys.modules) - before:
        if name in ("score", "metrics", "table"):
            del sys.modules[name]
    known, found = figures.scored(truth), figures.groups(truth, MIXED)
    home = figures.homes(found)
    assert figures.mean(figures.precisions(known.attack, home)) == pytest.approx(precision)
    assert figures.mean(figures.recalls(known.attack, home)) == pytest.approx(recall)
    assert sum(one.false for one in found) == sum(one.false for one in case.reported)


def test_quantiles_are_values_that_occurred() -> None:
    """The smallest value that the share does not exceed; nothing has none."""
    assert [figures.quantile([4.0, 1.0, 3.0, 2.0], share) for share in (0.0, 0.5, 0.9)] == [1.0, 2.0, 4.0]
    assert figures.quantile([], 0.5) is None


def test_members_count_flagged_or_grouped_and_false_groups_help_nobody() -> None:
    """Of twelve keys nine are in a true group and three more flagged or not; alone, only flagged ones count."""
    false = _line("c-9", ["b10", "h4", "h5"])
    big = tables.all_campaigns([_judged([MIXED[0], false])])[0]
    assert (big.members, big.grouped) == ((9 / 12, 3 / 12), 9 / 12)
    assert (big.found, big.hours) == ((True, False), (1.5, None))


def test_the_main_table_pools_worlds_and_names_its_goals() -> None:
    """Two worlds have twice the keys; one of the same key names does not run into the other."""
    one = _judged()
    other = Judged("hand:2", one.truth, one.verdicts, one.campaigns, one.linked, one.alone)
    rows = {line.split(" | ")[0]: line for line in tables.whole([one, other], tables.all_campaigns([one, other]))}
    assert "40, 28" in rows["| honest keys, attack keys"]
    assert rows["| campaigns found"] == "| campaigns found | ≥ 0.90 | 0.500 (2 of 4) | 0.000 (0 of 4) |"
    assert "| 1 in 20 |" in rows["| honest keys for one false group"]
    assert "| 150.00 |" in rows["| false groups per 3,000 honest keys and three days"]


def test_every_table_has_as_many_cells_as_its_head() -> None:
    """Each row of each Markdown table fits its head, for worlds with campaigns and for none."""
    one = _judged()
    found = tables.all_campaigns([one])
    printed = [
        list(tables.everything([one])),
        list(tables.early(found)),
        list(tables.confounders([one, _judged([])])),
        list(tables.left_out([("relay", [one], [one])])),
    ]
    for lines in printed:
        width = 0
        for before, line in zip(["", *lines], lines, strict=False):
            if not line.startswith("|"):
                continue
            if not before.startswith("|"):
                width = line.count("|")
            assert line.count("|") == width, line


def test_a_family_left_out_is_compared_by_its_own_keys_and_all_families_by_theirs_together() -> None:
    """Precision over the family's keys in groups, recall over its busy campaigns, and false groups of its worlds."""
    rows = [("relay", [_judged()], [_judged([])]), ("probe", [_judged()], [_judged()])]
    head, _, relay, probe, every = ([cell.strip() for cell in line.split("|")[1:-1]] for line in tables.left_out(rows))
    found = dict(zip(head, relay, strict=True))
    at = head.index("B-cubed precision: known")
    # Nine of ten in c-1 and the two of different campaigns in c-3; of the busy campaign nine, and three alone.
    assert relay[at : at + 6] == [f"{(9 * 0.9 + 2 * 0.5) / 11:.3f}", "–", "0.583", "0.083", "1", "0"]
    assert (found["Left out"], found["Campaigns"], found["Found, linked: known"]) == ("relay", "2", "1")
    assert probe[1:4] == ["0", "0", "0"]
    assert every[at : at + 6] == relay[at : at + 6]


def test_a_world_without_operation_counts_every_group_as_one_too_many() -> None:
    """Groups are counted by stratum and per 3,000 honest keys and three days; a contracted key is none of those."""
    truth = _truth()
    truth["keys"] = {key: one for key, one in truth["keys"].items() if one["label"] == "benign"}
    truth["campaigns"] = {}
    world = Judged("confounders-aa:1", truth, [], [MIXED[1]], None, None)
    lines = list(tables.confounders([world]))
    assert "| confounders-aa:1 | 20 | 0 | 1 | 3 | 150.00 |" in lines
    assert "| viral_app | 1 | 3 |" in lines
    assert tables.all_campaigns([world]) == []


@pytest.fixture
def frame(tmp_path: Path) -> Path:
    """A small profile."""
    path = tmp_path / "frame.toml"
    path.write_text(FRAME)
    return path


@pytest.mark.parametrize("variant", frames.VARIANTS)
def test_an_early_world_has_one_large_and_quiet_operation(frame: Path, variant: str) -> None:
    """300 keys at 25 requests a day from the end of the warm-up on, among the honest customers of the frame."""
    world = tomllib.loads(frames.early(frame, variant))
    (campaign,) = world["campaigns"]
    assert (campaign["keys"], campaign["rate"]) == (300, 25.0)
    assert (campaign["start_day"], campaign["end_day"]) == (world["warmup_days"], world["days"])
    assert world["strata"] == tomllib.loads(FRAME)["strata"]


def test_a_world_of_confounders_has_more_of_them_and_no_operation(frame: Path, tmp_path: Path) -> None:
    """Only enlarged strata differ from the frame, and keep what is not said of them."""
    world = tomllib.loads(frames.confounders(frame, Kit.of_frame(frame).with_pack(tmp_path / "wordings")))
    assert "campaigns" not in world
    assert world["contamination"] == 0.0
    assert world["pack"] == str((tmp_path / "wordings").resolve())
    assert world["strata"]["human_chat"] == {"keys": 10, "rate": 1.0}
    assert world["strata"]["viral_app"] == {"keys": 700, "groups": 5, "rate": 3.0, "spread": 0.6}


def test_every_pack_of_wordings_can_be_asked_for() -> None:
    """The command knows all packs that are here, and the benchmark's own."""
    assert {path.name for path in PACKS.iterdir() if path.is_dir()} | {"a"} == set(WORDINGS)


def test_a_feed_from_memory_hands_everything_out_once_and_in_order() -> None:
    """The first exchange at or after the border ends the history, and begins the rest; later ones keep the log's order."""
    events = [Event(event_id=str(at), key_id="k", at_us=at) for at in (1, 2, 5, 3, 9)]
    feed = ItemsFeed([(event, fingerprint(event)) for event in events])
    assert feed.span(Silent()) == (1, 9)
    assert [event.at_us for event, _ in feed.history(4)] == [1, 2]
    assert feed.share == pytest.approx(0.4)
    assert [event.at_us for event, _ in feed.rest()] == [5, 3, 9]
    assert (list(feed.rest()), feed.share) == ([], 1.0)


def test_a_family_that_no_world_has_cannot_be_left_out() -> None:
    """Leaving out nothing would look like a family that costs nothing: it is refused."""

    class Rows:
        facts = pl.DataFrame({"attack": [True, False], "kind": ["relay", "human_chat"]})

        def take(self, rows: Any) -> Any:
            return rows.tolist()

    rows: Any = Rows()
    kept: Any = left_out.without(rows, "relay")
    assert kept == [False, True]
    with pytest.raises(NoBench, match="self_chat"):
        left_out.without(rows, "self_chat")
