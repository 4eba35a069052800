"""What routes about watermarks do: profiles and tags of the configured files, marks of campaigns, who is asked about."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fastapi import HTTPException

from app.admin import views_watermark
from app.admin.acting import Acting
from app.admin.models import NAME, RULES
from app.admin.models_watermark import Engine, GroupOut, ProfileList, TagOut
from app.errors import BadInput, ConfigError
from app.gateway.marking import in_force, sglang_key
from app.settings import Settings, WatermarkSettings
from app.state.mark_groups import MarkGroups
from app.state.reading import MAX_PAGE
from app.watermark.engines.request import MarkRequest
from app.watermark.jobs import tokenizer_of
from app.watermark.sources import Sources, named, read_registry, read_ring, read_sources
from detectors.campaign.contract import Campaign
from detectors.contract import Level
from detectors.watermark.keys import KeyRing, MasterSecret, issued
from detectors.watermark.registry import MarkProfile

_NAME = re.compile(NAME.encode())

TENANTS_PER_SEC = 5_000
"""Reading who there is, or giving so many a mark, takes a second, about."""


@dataclass(frozen=True, slots=True)
class Everybody:
    """Who may have been given a mark: tenants, and of those in a campaign with a mark of its own, which one."""

    tenants: list[str]
    groups: dict[str, str]


async def configured(settings: Settings) -> Sources:
    """The profiles and secrets; 409 where they are not configured or do not fit."""
    try:
        return await asyncio.to_thread(read_sources, settings.watermark)
    except ConfigError as error:
        raise HTTPException(409, f"{error}.") from None


def profiles(settings: WatermarkSettings) -> ProfileList:
    """All profiles, which of them answers are marked with, and the fingerprints of their secrets.

    Raises:
        ConfigError: there is no file of profiles, or a file does not fit.
    """
    registry = read_registry(settings)
    ring: KeyRing | None = None
    if settings.secrets_file is not None or settings.secrets.get_secret_value():
        ring = read_ring(settings)
    today = _today()
    lists = named(settings, Sources(registry, ring)) if ring is not None else ([], [])
    now = [one.id for group in lists if (one := in_force(group, today)) is not None]
    names = {*settings.profile, *settings.choice_profile}
    return ProfileList(
        profiles=[views_watermark.profile(one, ring, names, now) for one in registry],
        engine=settings.engine,
        tenant=settings.tenant,
    )


def profile_of(settings: WatermarkSettings, sources: Sources, name: str | None) -> MarkProfile:
    """The profile of a name, or the one in force.

    Raises:
        BadInput: there is none of the name, no secret for it, or none is in force.
    """
    if name is None:
        marked, chosen = named(settings, sources)
        found = in_force(marked or chosen, _today())
        if found is None:
            raise BadInput("body.profile: must be given, for no profile is in force today")
        return found
    try:
        found = sources.registry.of(name)
        sources.ring.of(found.epoch)
    except ValueError as error:
        raise BadInput(f"body.profile: {str(error).removeprefix('profile: ').removeprefix('epoch: ')}") from None
    return found


def searchable(settings: WatermarkSettings, sources: Sources, name: str) -> MarkProfile:
    """The profile of a name, whose tokenizer is there where a folder of them is configured. Reads those files.

    Raises:
        BadInput: as `profile_of`; or the tokenizer is not there.
    """
    found = profile_of(settings, sources, name)
    try:
        tokenizer_of(found, settings.tokenizers_dir)
    except ConfigError as error:
        raise BadInput(f"body.profile: {error}") from None
    return found


def tag(secret: MasterSecret, profile: MarkProfile, tenant: str, group: str, engine: Engine) -> TagOut:
    """What a gateway puts into a request of this tenant, as `app.gateway.marking.Marking.fields` does."""
    fields: dict[str, Any]
    if engine == "sglang":
        key = sglang_key(secret, tenant)
        fields = {"watermark": {"enabled": True, "key": key, "context_window": profile.context_width}}
    else:
        word = issued(secret, tenant, profile.positions, profile.symbols, group)
        fields = dict(MarkRequest.of(profile, word).for_vllm())
    return TagOut(tenant=tenant, group=group, profile=profile.id, engine=engine, fields=fields)


async def sharing(acting: Acting, campaign: Campaign) -> list[str]:
    """The tenants that a campaign's members are: keys, or their organisations where those have the marks.

    Raises:
        HTTPException: 409: the campaign is not confirmed.
    """
    if campaign.level < Level.CONFIRMED:
        level = campaign.level.name.lower()
        raise HTTPException(409, f"This campaign is {level}; only members of a confirmed one get a mark in common.")
    keys = [member.key_id for member in campaign.members]
    if acting.settings.watermark.tenant == "key":
        return keys
    accounts = await acting.accounts.get_many(keys)
    return list(dict.fromkeys(_tenant(key, accounts.get(key)) for key in keys))


def changes(group: str, tenants: Iterable[str], present: Mapping[str, str]) -> tuple[list[str], list[str], GroupOut]:
    """What makes exactly these tenants those of a group: (who is given it, who loses it, what that comes to)."""
    wanted = list(dict.fromkeys(tenants))
    give = [tenant for tenant in wanted if present.get(tenant) != group]
    take = [tenant for tenant, of in present.items() if of == group and tenant not in set(wanted)]
    moved = sum(1 for tenant in give if tenant in present)
    return give, take, GroupOut(group=group, tenants=len(wanted), added=len(give), removed=len(take), moved=moved)


def tenants_in(data: bytes) -> list[str]:
    """The tenants of a list, one a line; empty lines are passed over, and who comes twice counts once.

    Raises:
        BadInput: a line is none; it is named, and not repeated.
    """
    found: dict[str, None] = {}
    for number, line in enumerate(data.split(b"\n"), 1):
        name = line.strip()
        if not name:
            continue
        if not _NAME.fullmatch(name):
            raise BadInput(f"body line {number}: {RULES[NAME]}")
        found[name.decode()] = None
    return list(found)


async def everybody(acting: Acting, groups: MarkGroups, named: Iterable[str]) -> Everybody:
    """All tenants that are known: accounts, keys that were seen, members of campaigns with a mark; and those named."""
    organisations = acting.settings.watermark.tenant == "organisation"
    found: dict[str, None] = {}
    cursor = 0
    of: dict[str, str] = {}
    while True:
        cursor, accounts = await acting.accounts.scan(cursor)
        for key_id, account in accounts.items():
            of[key_id] = _tenant(key_id, account) if organisations else key_id
            found[of[key_id]] = None
        if not cursor:
            break
    page = await acting.reader.list_keys(limit=MAX_PAGE)
    while True:
        for row in page.rows:
            found[of.get(row.key_id, row.key_id)] = None
        if not page.cursor:
            break
        page = await acting.reader.list_keys(limit=MAX_PAGE, cursor=page.cursor)
    shared = await groups.all()
    for tenant in (*shared, *named):
        found[tenant] = None
    return Everybody(list(found), shared)


def _tenant(key_id: str, account: Any) -> str:
    return (account.org_id if account is not None else "") or key_id


def _today() -> str:
    return datetime.now(UTC).date().isoformat()
