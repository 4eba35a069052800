"""What the routes over publications do: who of a campaign may be spoken of, what is known of them, and what it comes to."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from fastapi import HTTPException

from app.admin.acting import Acting
from app.admin.caller import Caller
from app.admin.campaigning import living
from app.admin.models_intel_publications import IdentityIn, ProposeIn, PublicationIn
from app.admin.ordering import now_us
from app.admin.subjects import Subject
from app.enforcement.campaigns import excuse
from app.errors import BadInput, ConfigError
from app.intel import group_keys, tlp
from app.intel.bundle import Provider, provider_id
from app.intel.publishing import FIELDS, Asked, Known, Series, plain_values, shared_of, written
from app.intel.readable import counts
from app.intel.signing import read_private
from app.intel.warning_list import WarningList
from app.settings import IntelSettings
from app.state.intel_groups import IntelGroups
from app.state.intel_published import WAIT_SEC, Publication, Publications, Terms
from app.state.labels import Labels
from app.worker.inherit import allowed_subjects
from detectors.campaign.contract import Campaign
from detectors.campaign.trace import Trace, decode
from detectors.contract import Level
from detectors.sharing.distil import LEAST_KEYS
from detectors.sharing.indicator import Kind
from detectors.sharing.tokens import GroupKey

MOST_MEMBERS = 5_000
"""Traces of members that are read: of a larger campaign a fair part."""

MOST_HONEST = 10_000
"""Traces of other keys that are drawn: what one in a hundred of them has is told apart from what none has."""

_SURE, _REVIEWED = 80, 60


@dataclass(frozen=True, slots=True)
class Voice:
    """What it takes to speak to a group.

    Attributes:
        provider: we.
        epoch, key: the group's newest.
        warned: what may not be listed.
    """

    provider: Provider
    epoch: str
    key: GroupKey
    warned: WarningList


@dataclass(frozen=True, slots=True)
class Members:
    """Of a campaign.

    Attributes:
        left: may be spoken of, in order of their ids.
        abusive: those of them that a person has found to be abusive.
        out: how many are left out.
    """

    left: tuple[str, ...]
    abusive: frozenset[str]
    out: int


class Desk:
    """Makes publications of what is known.

    Args:
        acting: campaigns, traces, accounts, orders.
        labels: what people found out about keys.
        groups: trust groups.
        publications: what was proposed and published.
    """

    def __init__(self, acting: Acting, labels: Labels, groups: IntelGroups, publications: Publications) -> None:
        self._acting = acting
        self._labels = labels
        self._groups = groups
        self._publications = publications

    async def made(self, asked: PublicationIn, caller: Caller) -> Publication:
        """What would be proposed now; nothing is stored.

        Raises:
            BadInput: a field breaks a rule that the request alone does not show.
            HTTPException: 404 and 409, the campaign or the group is not one that can be published.
        """
        if asked.tlp == "red":
            raise BadInput("body.tlp: must not be red: it is for the ears of those present, and never leaves")
        voice = await self._voice(asked.group)
        plain = _plain(asked, voice.warned)
        campaign = await living(self._acting, asked.campaign_id)
        _check_confirmed(campaign, asked)
        members = await self.members(campaign)
        tokens = _tokens(asked.identities, members, voice.key)
        known = await self._known(campaign, members)
        follows = await self._publications.standing(asked.group, asked.campaign_id)
        before = await self._publications.get(follows) if follows else None
        at_us = now_us()
        confidence = asked.confidence
        if confidence is None:
            confidence = _SURE if campaign.level >= Level.CONFIRMED else _REVIEWED
        series = Series(secrets.token_hex(16), campaign.first_us)
        if before is not None:
            series = Series(before.terms.ref, before.terms.first_us, before.bundle)
        said = Asked(asked.tlp, confidence, plain, tokens)
        data = await asyncio.to_thread(_bundle, voice, known, said, series, at_us)
        terms = Terms(
            id=f"pub-{secrets.token_hex(6)}",
            campaign=campaign.id,
            group=asked.group,
            tlp=asked.tlp,
            ref=series.ref,
            first_us=series.first_us,
            follows=follows,
            version=1 if before is None else before.terms.version + 1,
            keys=len(members.left),
            left_out=members.out,
            counts=counts(data),
            size=len(data),
            identities=len(tokens),
            reviewed=asked.confirmed_by_review and campaign.level < Level.CONFIRMED,
            reason=asked.reason if isinstance(asked, ProposeIn) else "",
            token_id=caller.token_id,
            by=caller.name,
            sha256=hashlib.sha256(data).hexdigest(),
            since_us=at_us,
            until_us=at_us + WAIT_SEC * 1_000_000,
        )
        return Publication(terms, "proposed", data)

    async def check_still(self, found: Publication) -> None:
        """What was proposed may still leave: the campaign is there, with enough members that may be spoken of.

        Raises:
            HTTPException: 404 or 409, it may not.
        """
        if await self._groups.get(found.terms.group) is None:
            raise HTTPException(409, "The trust group is gone since this was proposed.")
        left = len((await self.members(await living(self._acting, found.terms.campaign))).left)
        if left < LEAST_KEYS:
            raise HTTPException(
                409, f"Since it was proposed members were excused; {left} are left, and nothing is shared of so few."
            )

    async def members(self, campaign: Campaign) -> Members:
        """Who of a campaign may be spoken of now."""
        key_ids = sorted(member.key_id for member in campaign.members)
        subjects = await self._acting.finder.look(key_ids)
        allowed = await allowed_subjects(self._acting.store)
        found = {key_id: labels[-1].label for key_id, labels in (await self._labels.of_keys(key_ids)).items()}
        left = [
            one.key_id
            for one in subjects
            if not excuse(one.key_id, one.account, allowed) and not _let_go(one) and found.get(one.key_id) != "benign"
        ]
        abusive = frozenset(key_id for key_id in left if found.get(key_id) == "abusive")
        return Members(tuple(left), abusive, len(key_ids) - len(left))

    async def _known(self, campaign: Campaign, members: Members) -> Known:
        left = frozenset(members.left)
        roots = {one.key_id: one.org for one in campaign.members if one.key_id in left}
        # Key ids are hashes: every so-manieth of them in order is a fair part.
        step = max(1, -(-len(members.left) // MOST_MEMBERS))
        own = await self._acting.traces.of_keys({key_id: roots[key_id] for key_id in members.left[::step]})
        drawn = await self._acting.traces.sample(MOST_HONEST)
        grouped = await self._acting.campaigns.of_keys(list(drawn))
        others = [data for key_id, data in drawn.items() if key_id not in left and key_id not in grouped]
        ours, honest = await asyncio.to_thread(_decoded, list(own.values()), others)
        return Known(
            campaign=campaign,
            keys=len(members.left),
            exchanges=sum(one.requests for one in campaign.members if one.key_id in left),
            members=[trace for trace in ours if not trace.authorised],
            honest=[trace for trace in honest if trace.level == Level.CLEAR],
        )

    async def _voice(self, group: str) -> Voice:
        if await self._groups.get(group) is None:
            raise BadInput("body.group: must be a trust group, as 'GET /v1/intel/groups' shows them")
        try:
            return await asyncio.to_thread(_voice, self._acting.settings.intel, group)
        except ConfigError as error:
            raise HTTPException(409, f"Nothing can be published: {error}.") from None


def _voice(settings: IntelSettings, group: str) -> Voice:
    if not settings.provider:
        raise ConfigError("intel.provider must be set to the name that other providers know")
    ring = group_keys.load(settings.keys_dir).get(group)
    if ring is None:
        raise ConfigError(f"intel.keys_dir must hold a file {group}.json with a key of the group")
    epoch = ring.epochs[-1]
    file = settings.signing_key_file
    signs = read_private(file).public.fingerprint if file is not None else ""
    provider = Provider(provider_id(settings.provider), settings.provider, signs)
    return Voice(provider, epoch, GroupKey(ring.of(epoch)), WarningList.load(settings.warning_list_file))


def _plain(asked: PublicationIn, warned: WarningList) -> dict[Kind, Sequence[str]]:
    found: dict[Kind, Sequence[str]] = {}
    for kind, field in FIELDS.items():
        try:
            found[kind] = plain_values(kind, cast(list[str], getattr(asked, field)), warned)
        except ValueError as error:
            raise BadInput(f"body.{field}: {error}") from None
    return found


def _check_confirmed(campaign: Campaign, asked: PublicationIn) -> None:
    if campaign.level >= Level.CONFIRMED or (campaign.level >= Level.SUSPECT and asked.confirmed_by_review):
        return
    more = "; a person who has looked at it can say so with confirmed_by_review" if campaign.level >= Level.SUSPECT else ""
    raise HTTPException(409, f"The campaign is {campaign.level.name.lower()}, and only confirmed ones are published{more}.")


def _tokens(identities: Sequence[IdentityIn], members: Members, key: GroupKey) -> list[str]:
    """Keyed hashes of accounts that a person has confirmed. Entries are named by their number: never by what they hold."""
    left, found = frozenset(members.left), []
    for number, one in enumerate(identities):
        if one.key_id not in left:
            raise BadInput(f"body.identities.{number}.key_id: must be a member of the campaign that may be spoken of")
        if one.key_id not in members.abusive:
            raise BadInput(f"body.identities.{number}.key_id: must be labelled abusive ('stillwatch labels add')")
        found.append(key.identity(one.address.get_secret_value()))
    return sorted(set(found))


def _let_go(subject: Subject) -> bool:
    """A person has ordered that nothing is done about the key."""
    return subject.order is not None and subject.order.action == "observe" and subject.order.until_us > now_us()


def _decoded(members: Sequence[bytes], others: Sequence[bytes]) -> tuple[list[Trace], list[Trace]]:
    """Traces of this release among them."""
    ours, honest = ([one for data in part if (one := decode(data)) is not None] for part in (members, others))
    return ours, honest


def _bundle(voice: Voice, known: Known, asked: Asked, series: Series, at_us: int) -> bytes:
    try:
        tlp.may_leave(asked.tlp)
        shared = shared_of(voice.provider, known, asked, series, voice.epoch, voice.key, at_us)
        return written(voice.provider, shared, series, at_us)
    except ConfigError as error:
        raise HTTPException(409, f"Nothing can be published: {error}.") from None
    except ValueError as error:
        sentence = str(error).removeprefix("members: ")
        raise HTTPException(409, f"{sentence[:1].upper()}{sentence[1:]}.") from None
