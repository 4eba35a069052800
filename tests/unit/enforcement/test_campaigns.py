"""What policy does about a campaign, and whom an action about one leaves out."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from app.enforcement.campaigns import begins, excuse, mode_of, rule_of, wanted_by
from app.settings import CampaignRule, EnforcementSettings
from app.state.accounts import Account
from app.state.campaign_acts import Act
from detectors.campaign.contract import Campaign
from detectors.contract import Level

KEY = "ab" * 16
PLAIN = EnforcementSettings()


def campaign(level: Level, **more: object) -> Campaign:
    """A campaign at a level."""
    return Campaign("c-0123456789ab", level, 0.9, 1, 1, 1, **more)  # type: ignore[arg-type]


def taken(by: str, ended_by: str = "", level: str = "suspect") -> Act:
    """An action about it."""
    return Act(
        id="act-1",
        campaign="c-0123456789ab",
        action="throttle",
        factor=0.5,
        requests_per_min=40.0,
        ttl_sec=60,
        reason_code="extraction",
        reason="",
        by=by,
        mode="shadow",
        level=level,
        since_us=1,
        ended_us=2 if ended_by else 0,
        ended_by=ended_by,
    )


def test_the_allow_list_and_contracts_excuse() -> None:
    """By the key itself, by its organisation, or by any use that the account names; a stranger is not excused."""
    assert excuse(KEY, None, ()) == ""
    assert excuse(KEY, None, {f"key:{KEY}"}) == "allow_list"
    assert excuse(KEY, Account(org_id="acme"), {"org:acme"}) == "allow_list"
    assert excuse(KEY, Account(), {"org:"}) == ""
    assert excuse(KEY, Account(authorised=("evaluation",)), ()) == "contract"


def test_by_default_nothing_is_done_at_watch_and_nothing_is_real() -> None:
    """Suspect and confirmed are throttled in shadow, confirmed harder."""
    watch, suspect, confirmed = (rule_of(level, PLAIN) for level in (Level.WATCH, Level.SUSPECT, Level.CONFIRMED))
    assert (watch.action, suspect.action, confirmed.action) == ("observe", "throttle", "throttle")
    assert confirmed.factor < suspect.factor
    enforcing = EnforcementSettings(mode="enforce")
    assert {mode_of(rule, enforcing) for rule in (watch, suspect, confirmed)} == {"shadow"}
    assert not begins(campaign(Level.WATCH), None, PLAIN)
    assert begins(campaign(Level.SUSPECT), None, PLAIN)


def test_it_is_real_only_where_policy_its_rule_and_the_ladder_allow_it() -> None:
    """Each of the three alone keeps it in shadow; a block cannot even be written down."""
    rule = CampaignRule(action="throttle", mode="enforce")
    assert mode_of(rule, EnforcementSettings(mode="enforce")) == "real"
    assert mode_of(rule, PLAIN) == "shadow"
    observing = {"automatic_up_to": "observe", "suspect": {}, "confirmed": {}, "mode": "enforce"}
    assert mode_of(rule, EnforcementSettings.model_validate(observing)) == "shadow"
    with pytest.raises(ValidationError):
        EnforcementSettings.model_validate({"campaigns": {"confirmed": {"action": "suspend"}}})


def test_what_a_person_took_back_begins_again_only_at_a_higher_level() -> None:
    """What ended by itself begins again; nothing begins beside what stands, or about what has ended."""
    suspect, confirmed = campaign(Level.SUSPECT), campaign(Level.CONFIRMED)
    assert not begins(suspect, taken("linker", "ann"), PLAIN)
    assert begins(confirmed, taken("linker", "ann"), PLAIN)
    assert not begins(confirmed, taken("linker", "ann", "confirmed"), PLAIN)
    assert begins(suspect, taken("linker", "linker"), PLAIN)
    assert not begins(suspect, taken("ann"), PLAIN)
    assert not begins(campaign(Level.CONFIRMED, closed=True), None, PLAIN)


def test_policy_drops_what_it_wants_no_more_and_leaves_peoples_actions_alone() -> None:
    """After a change of level or policy; a person's action is never policy's to end."""
    assert wanted_by(campaign(Level.SUSPECT), taken("linker"), PLAIN)
    assert not wanted_by(campaign(Level.CONFIRMED), taken("linker"), PLAIN)
    assert not wanted_by(campaign(Level.WATCH), taken("linker"), PLAIN)
    assert wanted_by(campaign(Level.CONFIRMED), taken("ann"), PLAIN)
