"""What the demonstration says of the campaign that was planted in its past."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

from app.demo import grouped
from app.demo.history import Past
from app.offline.linking import Reported
from app.offline.replay import Outcome
from detectors.campaign.contract import Campaign, Evidence, Member
from detectors.contract import Level

PLANTED = frozenset(f"bad{number}" for number in range(10))
CROWD = frozenset(f"user{number}" for number in range(5))


def _past(*groups: list[str]) -> Past:
    found = []
    for number, keys in enumerate(groups):
        members = tuple(Member(key, key, 1, 1.0) for key in keys)
        evidence = (Evidence("system_prompt", "client", 5.0, 0.9, 0.01, "9 of 10 keys share a system prompt"),)
        made = Campaign(
            f"c-{number:012x}", Level.SUSPECT, 0.9, 1, 1, 1, members=members, evidence=evidence, organisations=len(keys)
        )
        found.append(Reported(made, Level.SUSPECT, 0.9, 1))
    picture = Path("/kept/history/campaigns.png") if found else None
    outcome = cast(Outcome, SimpleNamespace(campaigns=found))
    return Past(Path("log"), Path("accounts"), Path("model"), outcome, PLANTED, CROWD, picture)


def test_it_names_the_campaign_its_size_its_evidence_and_the_picture() -> None:
    """All that is needed to go on is on the screen."""
    past = _past(sorted(PLANTED)[:9])
    lines = "\n".join(grouped.told(past, keep=True))
    assert "c-000000000000: suspect, 9 keys of 9 organisations, 9 of the 10 planted ones, 0 of the app's users" in lines
    assert "system prompt: 9 of 10 keys share a system prompt (90% of members, 1.0% of honest keys)" in lines
    assert "/kept/history/campaigns.png" in lines
    assert grouped.shortfall(past) == ""


def test_a_picture_that_goes_with_its_folder_is_not_pointed_at() -> None:
    """Without --keep the folder is removed at the end."""
    lines = "\n".join(grouped.told(_past(["bad1"]), keep=False))
    assert "/kept" not in lines
    assert "--keep" in lines


def test_a_missed_operation_and_honest_members_are_told() -> None:
    """Less than half of the planted keys is a miss; a key of the viral app in a campaign is an error."""
    assert "of the operation's 10 keys 0 are in a campaign" in grouped.shortfall(_past())
    assert "honest keys in a campaign: 1" in grouped.shortfall(_past([*PLANTED, "user1"]))
