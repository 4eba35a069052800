"""What policy does about a campaign, and whom an action about one leaves out. Pure."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, TypeAlias

from app.enforcement.policy import LINKER, RUNGS
from app.settings import CampaignRule, EnforcementSettings
from app.state.accounts import Account
from app.state.campaign_acts import Act, ActMode
from detectors.campaign.contract import Campaign
from detectors.contract import Level

Excuse: TypeAlias = Literal["", "allow_list", "contract"]


def excuse(key_id: str, account: Account | None, allowed: Collection[str]) -> Excuse:
    """Why an action about a campaign leaves a key out; "" when it does not.

    Args:
        key_id: the key.
        account: of the key; None for a stranger.
        allowed: subjects of the allow-list that count now, as "key:…" and "org:…".
    """
    org = "" if account is None else account.org_id
    if f"key:{key_id}" in allowed or (org and f"org:{org}" in allowed):
        return "allow_list"
    return "contract" if account is not None and account.authorised else ""


def rule_of(level: Level, policy: EnforcementSettings) -> CampaignRule:
    """The policy's rule about a campaign of a level."""
    rules = policy.campaigns
    named = {Level.WATCH: rules.watch, Level.SUSPECT: rules.suspect, Level.CONFIRMED: rules.confirmed}
    return named.get(level, CampaignRule())


def mode_of(rule: CampaignRule, policy: EnforcementSettings) -> ActMode:
    """Real where both the policy and its rule say so, and policy may go so far without a person."""
    may = RUNGS[rule.action] <= RUNGS[policy.automatic_up_to]
    return "real" if may and rule.mode == policy.mode == "enforce" else "shadow"


def alive(campaign: Campaign) -> bool:
    """It is a group of keys of its own now."""
    return not campaign.closed and not campaign.merged_into


def wanted_by(campaign: Campaign | None, act: Act, policy: EnforcementSettings) -> bool:
    """An action that no person took is still the one that policy wants; one of a person always is."""
    if act.by != LINKER or campaign is None:
        return True
    rule = rule_of(campaign.level, policy)
    return (act.action, act.factor, act.requests_per_min, act.mode) == (
        rule.action,
        rule.factor,
        rule.requests_per_min,
        mode_of(rule, policy),
    )


def begins(campaign: Campaign, newest: Act | None, policy: EnforcementSettings) -> bool:
    """Policy is to take an action about a campaign.

    Not while one stands; nor, once a person took one back, before the campaign has a higher level than it had then.
    """
    if not alive(campaign) or rule_of(campaign.level, policy).action == "observe":
        return False
    if newest is None:
        return True
    if not newest.ended_us:
        return False
    by_person = newest.ended_by not in ("", LINKER)
    return not by_person or campaign.level > Level[newest.level.upper()]
