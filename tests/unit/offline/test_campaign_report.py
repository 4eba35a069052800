"""Campaigns in the files, the report and the pictures of a replay."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import msgspec
import numpy as np
import pytest

from app.offline import campaign_layout, campaign_page, campaign_plot, campaign_texts, report, verdicts
from app.offline.linking import Reported
from app.offline.records import BadLines
from app.offline.replay import Run
from app.offline.tracks import HOUR_US, Track
from detectors.campaign.contract import Campaign, Evidence, Link, Member, Turn
from detectors.contract import Level
from detectors.event import Event

START_US = 1_790_000_000_000_000
END_US = START_US + 60 * HOUR_US
WORDS = [a + b + c for a in "bdfgklmn" for b in ("a", "e", "io", "ou") for c in ("n", "rt", "lle", "st", "m")]


def _reported(size: int, number: int = 1, level: Level = Level.CONFIRMED) -> tuple[Reported, dict[str, Track]]:
    """A campaign of so many keys that share a wording, most of them a setup and few a payment, and their tracks."""
    dice = random.Random(f"{size}/{number}")
    keys = [f"{number:02x}{dice.getrandbits(56):014x}" for _ in range(size)]
    tracks: dict[str, Track] = {}
    members = []
    for at, key in enumerate(keys):
        channels = ("wording",) + (("setup",) if at % 5 else ()) + (("payment",) if at % 7 < 2 else ())
        joined_us = START_US + (20 + dice.randrange(15)) * HOUR_US
        track = tracks[key] = Track(key, org_id=f"org-{key[-9:]}", plan="payg")
        for hour in range(dice.randrange(2, 20), 60):
            for _ in range(dice.randrange(9)):
                track.saw(
                    Event(event_id="", at_us=START_US + hour * HOUR_US, key_id=key, org_id=track.org_id, plan="payg"), True
                )
        track.level = Level.SUSPECT if at % 6 == 0 else Level.CLEAR
        members.append(
            Member(key, f"org-{key[-9:]}", joined_us, 1 - at / (2 * size), channels, track.requests, track.requests)
        )
    links = []
    for a in range(size):
        for b in range(a + 1, size):
            if dice.random() < min(0.4, 6 / size):
                common = tuple(name for name in members[a].channels if name in members[b].channels)
                links.append(Link(keys[a], keys[b], 1 + 5 * dice.random(), common))
    evidence = (
        Evidence("wording", "wording", 6.0, 1.0, 0.0004, f"the same words stand in the requests of {size} of {size} keys"),
        Evidence("setup", "client", 4.1, 0.8, 0.021, f"{size * 4 // 5} of {size} keys share client and settings"),
        Evidence("load", "timing", 3.2, 1.0, 0.005, "they are loaded evenly, as by one dispatcher"),
        Evidence("payment", "identity", 3.0, 0.29, 0.0, f"{size * 2 // 7} of {size} keys share an instrument"),
    )  # fmt: skip
    flagged_us = START_US + 24 * HOUR_US
    campaign = Campaign(
        id=f"c-{number:012x}", level=level,
        score=0.9973, first_us=START_US + 22 * HOUR_US, since_us=flagged_us, at_us=END_US,
        flagged_us=flagged_us, members=tuple(members), evidence=evidence, organisations=size, links=tuple(links[:600]),
        requests=sum(member.requests for member in members), leaked=sum(member.leaked for member in members),
        history=(
            Turn(START_US + 22 * HOUR_US, "formed", 5), Turn(flagged_us, "level", 8, level="suspect"),
            Turn(START_US + 30 * HOUR_US, "joined", size - 8), Turn(START_US + 31 * HOUR_US, "merged", 4, "c-00000000000f"),
        ),
    )  # fmt: skip
    return Reported(campaign, level, 0.9973, flagged_us), tracks


def _several(*sizes: int) -> tuple[list[Reported], dict[str, Track]]:
    found, tracks = [], dict[str, Track]()
    for number, size in enumerate(sizes, 1):
        one, its = _reported(size, number)
        found.append(one)
        tracks |= its
    return found, tracks


def _size(path: Path) -> tuple[int, int]:
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG")
    return int.from_bytes(data[16:20]), int.from_bytes(data[20:24])


def test_a_campaign_is_a_line_that_the_scorer_reads(tmp_path: Path) -> None:
    """campaign, keys, score and first_ts, with the evidence, the members and the history beside them."""
    one, tracks = _reported(10)
    key = one.keys[3]
    told = json.loads(verdicts.write_campaigns(tmp_path, [one]).read_text())
    assert (told["campaign"], told["keys"], told["score"]) == ("c-000000000001", list(one.keys), 0.9973)
    assert told["first_ts"] == one.flagged_us / 1e6
    assert (told["level"], told["size"], told["organisations"]) == ("confirmed", 10, 10)
    assert told["evidence"][0]["channel"] == "wording"
    assert set(told["evidence"][0]) == {"channel", "kind", "nats", "share", "honest_share", "text"}
    assert told["members"][3]["key"] == key
    assert told["members"][3]["channels"] == list(one.campaign.members[3].channels)
    assert [turn["what"] for turn in told["history"]] == ["formed", "level", "joined", "merged"]
    lines = (
        verdicts.write_verdicts(tmp_path, [tracks[key], Track("another")], {key: one.campaign.id}).read_text().splitlines()
    )
    assert [json.loads(line)["campaign"] for line in lines] == [one.campaign.id, None]


def test_the_section_says_whom_an_action_would_affect() -> None:
    """Keys, organisations and the share of all requests; every evidence with its share among honest keys beside it."""
    found, tracks = _several(12, 5)
    tracks["other"] = other = Track("other")
    mine = sum(tracks[key].requests for key in found[0].keys)
    for _ in range(3 * mine):
        other.saw(Event(event_id="", at_us=START_US, key_id="other"), True)
    whole = sum(track.requests for track in tracks.values())
    text = campaign_page.section(found, tracks, None)
    assert f"would affect 12 keys, 12 organisations, {mine / whole:.2%} of traffic" in text
    assert "| wording | wording | the same words stand in the requests of 12 of 12 keys | 100% | 0.04% | 6.0 |" in text
    assert "2026-09-22 14:13: suspect, with 8 keys" in text
    assert "`c-00000000000f` with 4 keys was taken in" in text
    assert text.count("### Campaign") == 2
    assert "the input holds no texts to read again" in text
    for row in (line for line in text.splitlines() if line.startswith("| `c-")):
        assert len(re.findall(r"(?<!\\)\|", row)) == 12


def test_many_campaigns_and_members_are_cut() -> None:
    """The report stays a report: rows, pages and members are bounded, and where the rest is stands there."""
    one, tracks = _reported(40)
    text = campaign_page.section([one] * 70, tracks, None)
    assert "20 more are in `campaigns.jsonl`" in text
    assert text.count("### Campaign") == campaign_page.MAX_PAGES
    assert "25 more members are in `campaigns.jsonl`" in text


def _page(found: list[Reported], tracks: dict[str, Track]) -> report.Page:
    run = Run("log.jsonl", START_US, END_US, START_US, "abc123", True, 5000, 100)
    return report.Page(run, list(tracks.values()), BadLines(0.01), (), campaigns=found, alike=[[] for _ in found])


def test_a_report_has_its_campaigns_and_the_same_ones_give_the_same_bytes(tmp_path: Path) -> None:
    """Section and both pictures are there; two reports do not differ in a byte, nor do campaigns.jsonl."""
    found, tracks = _several(30, 4)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        text = report.write(tmp_path / name, _page(found, tracks)).read_text()
        verdicts.write_campaigns(tmp_path / name, found)
    assert "| Campaigns | **2** with 34 keys" in text
    assert {"campaigns.png", "campaign-hours.png"} <= set(re.findall(r"!\[[^]]+\]\((\S+)\)", text))
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_a_report_without_a_campaign_has_no_picture_of_an_earlier_one(tmp_path: Path) -> None:
    """Old pictures go, and the page says that there was none."""
    found, tracks = _several(4)
    report.write(tmp_path, _page(found, tracks))
    text = report.write(tmp_path, _page([], tracks)).read_text()
    assert "| Campaigns | **0**" in text
    assert "## Campaigns" not in text
    assert not (tmp_path / "campaigns.png").exists()


@pytest.mark.parametrize("size", [1, 2, 10, 300, 420])
def test_members_lie_apart_and_within_the_circle(size: int) -> None:
    """Dots of any number of members are inside, no two at one place, and the same each time."""
    one, _ = _reported(size)
    shown = one.campaign.members[: campaign_plot.MOST_MEMBERS]
    around = campaign_layout.hubs(3)
    places = campaign_layout.members(shown, one.campaign.links, ("wording", "setup", "payment"), around)
    assert np.array_equal(
        places, campaign_layout.members(shown, one.campaign.links, ("wording", "setup", "payment"), around)
    )
    assert np.all(np.hypot(places[:, 0], places[:, 1]) < 1 + 1e-9)
    apart = np.hypot(*(places[:, None] - places[None]).transpose(2, 0, 1)) + np.eye(len(shown))
    assert apart.min() > 0.005


@pytest.mark.parametrize("sizes", [(1,), (2, 300), (3, 4, 420, 9, 9)])
def test_sheets_are_drawn_for_any_number_of_campaigns_and_members(sizes: tuple[int, ...], tmp_path: Path) -> None:
    """One campaign or more than fit, one member or more than are shown: a sheet of a readable size."""
    found, tracks = _several(*sizes)
    campaign_plot.graphs(found, tracks, tmp_path / "graph.png")
    campaign_plot.hours(found, tracks, tmp_path / "hours.png", START_US, END_US)
    for name in ("graph.png", "hours.png"):
        width, height = _size(tmp_path / name)
        assert 900 <= width <= 2000
        assert 300 <= height <= 1500


def test_a_campaign_without_a_link_or_evidence_is_drawn_and_told(tmp_path: Path) -> None:
    """A group that was judged as one entity alone has neither; its keys may have no track."""
    one, _ = _reported(3)
    bare = msgspec.structs.replace(one.campaign, evidence=(), links=(), closed=True)
    found = [Reported(bare, Level.SUSPECT, 1.0, one.flagged_us)]
    campaign_plot.graphs(found, {}, tmp_path / "graph.png")
    campaign_plot.hours(found, {}, tmp_path / "hours.png", START_US, END_US)
    text = campaign_page.section(found, {}, [[]])
    assert "judged as one entity" in text
    assert "nobody belongs to it any more" in text


def _texts(keys: int, each: int, fixed: str, seed: int = 1) -> dict[str, list[str]]:
    dice = random.Random(seed)
    return {
        f"k{key}": [f"{fixed} {' '.join(dice.choices(WORDS, k=12))} name{key}" for _ in range(each)] for key in range(keys)
    }


def test_words_are_shown_where_several_keys_write_them() -> None:
    """The constant words are shown in a run, and nothing of what varied."""
    found = campaign_texts.alike(_texts(4, 6, "Write your whole reasoning inside tags before the answer"))
    assert [view.text for view in found] == ["write your whole reasoning inside tags before the answer"]


def test_a_word_of_two_keys_alone_is_not_shown() -> None:
    """However often two keys write it: fewer than three keys do."""
    assert campaign_texts.alike(_texts(2, 30, "Write your whole reasoning inside tags before the answer")) == []


def test_texts_of_a_campaign_are_read_evenly_and_no_more_than_needed() -> None:
    """One busy member does not fill the sample; reading ends when there is enough; other keys are passed over."""
    one, _ = _reported(10)
    fixed = "Write your whole reasoning inside tags before the answer"
    texts = _texts(1, 5_000, fixed)["k0"]
    read = 0

    def events() -> object:
        nonlocal read
        for number, text in enumerate(texts):
            read += 1
            busy = number < 300 or number % 2
            key = one.keys[0] if busy else one.keys[number // 2 % 10]
            yield Event(event_id="", at_us=1, key_id=key, user_head=text, user_chars=len(text))
            yield Event(event_id="", at_us=1, key_id="stranger", user_head="SECRET", user_chars=6)

    found = campaign_texts.seen_again(events(), [one])  # type: ignore[arg-type]
    assert found[0][0].text.startswith("write your whole reasoning")
    assert found[0][0].texts <= campaign_texts.MOST_TEXTS
    assert read < 2_000
