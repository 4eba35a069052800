"""Which mark the answer to a request gets: the client's own wishes about marks are taken out, the caller's mark is put in.

What a client says about marks never reaches the model server, whether this answer is marked or not. The profile in force
changes at midnight UTC by the days that the profiles themselves name, so a rotation needs no restart.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.gateway.dialects.shape import JsonObject
from app.settings import WatermarkSettings
from app.watermark.engines.request import MarkRequest
from app.watermark.sources import Sources, named, read_sources
from detectors.watermark.keys import MasterSecret, issued
from detectors.watermark.prf import Prf
from detectors.watermark.registry import MarkProfile

TENANTS_REMEMBERED = 20_000
"""Whose mark is kept in memory; one is about 500 bytes, and made in tens of microseconds."""

HOLDERS = frozenset(("vllm_xargs", "extra_args", "custom_params", "sampling_params", "extra_body", "parameters"))
"""Members whose own members are parameters too: vLLM's, SGLang's, and those of gateways that pass them on."""

_DAY_SEC = 86_400


def stripped(body: JsonObject) -> JsonObject | None:
    """The body without what a client may say about marks; None where it says nothing.

    Args:
        body: of a request; not changed.
    """
    made: JsonObject | None = None
    for name, value in body.items():
        if about_marks(name):
            made = dict(body) if made is None else made
            del made[name]
        elif name in HOLDERS and type(value) is dict:
            inner = stripped(value)
            if inner is not None:
                made = dict(body) if made is None else made
                made[name] = inner
    return made


def about_marks(name: str) -> bool:
    """Whether a parameter of this name is about marks.

    `watermark` is SGLang's and TGI's, `watermarking` vLLM's, `watermarking_config` that of transformers; `wm_…` are ours. A
    processor that the client brings itself could take any mark out again.
    """
    plain = name.lower()
    return plain.startswith("wm_") or "watermark" in plain or plain == "custom_logit_processor"


class Marking:
    """The marks of one gateway. Made once from the settings; it shows no secret and no codeword in any form of itself.

    Attributes:
        settings: as configured.
        chosen: profiles of the scheme choice, for an upstream that makes no marks itself.
    """

    def __init__(
        self,
        settings: WatermarkSettings,
        sources: Sources,
        group_of: Callable[[str], str] = lambda tenant: "",
        now: Callable[[], float] = time.time,
    ) -> None:
        """Check what is named.

        Args:
            settings: a profile is named in them.
            sources: the profiles and secrets.
            group_of: tenant → its group, "" for none.
            now: unix seconds.

        Raises:
            ConfigError: a profile is not there, is of another scheme, or has no secret.
        """
        self.settings = settings
        self._ring = sources.ring
        self._group_of = group_of
        self._now = now
        marked, self.chosen = named(settings, sources)
        self._profiles = marked or self.chosen
        self._profile: MarkProfile | None = None
        self._until = 0.0
        self._fields = lru_cache(TENANTS_REMEMBERED)(self._make_fields)
        self._word = lru_cache(TENANTS_REMEMBERED)(self._make_word)
        self._prf = lru_cache(len(self._profiles))(lambda profile: Prf(self._ring.of(profile.epoch), profile))

    @classmethod
    def configured(cls, settings: WatermarkSettings, group_of: Callable[[str], str] = lambda tenant: "") -> Marking:
        """With the files that the settings name.

        Raises:
            ConfigError: one cannot be read, or what is in them does not fit.
        """
        return cls(settings, read_sources(settings), group_of)

    def profile(self) -> MarkProfile | None:
        """The profile in force now; None where none is valid today."""
        now = self._now()
        if now >= self._until:
            self._until = (now // _DAY_SEC + 1) * _DAY_SEC
            self._profile = in_force(self._profiles, datetime.fromtimestamp(now, UTC).date().isoformat())
        return self._profile

    def tenant(self, key_id: str, org_id: str) -> str:
        """Who a request's mark stands for: the key, or the organisation where those are tenants and it has one."""
        return org_id or key_id if self.settings.tenant == "organisation" else key_id

    def fields(self, profile: MarkProfile, tenant: str) -> JsonObject:
        """Members of a request by which the engine learns the mark of its answer. Not to be changed."""
        return self._fields(profile, tenant, self._group_of(tenant))

    def word(self, profile: MarkProfile, tenant: str) -> NDArray[np.uint8]:
        """A tenant's codeword, the second half of it its group's where it has one: uint8 of shape (positions,)."""
        return self._word(profile, tenant, self._group_of(tenant))

    def prf(self, profile: MarkProfile) -> Prf:
        """The pseudo-random function of a profile, which takes a while to make."""
        made: Prf = self._prf(profile)
        return made

    def _make_word(self, profile: MarkProfile, tenant: str, group: str) -> NDArray[np.uint8]:
        return issued(self._ring.of(profile.epoch), tenant, profile.positions, profile.symbols, group)

    def _make_fields(self, profile: MarkProfile, tenant: str, group: str) -> JsonObject:
        if self.settings.engine == "sglang":
            key = sglang_key(self._ring.of(profile.epoch), tenant)
            return {"watermark": {"enabled": True, "key": key, "context_window": profile.context_width}}
        return dict(MarkRequest.of(profile, self._make_word(profile, tenant, group)).for_vllm())

    @property
    def names(self) -> str:
        """Ids of the profiles that may be in force."""
        return ", ".join(profile.id for profile in self._profiles)

    def __repr__(self) -> str:
        return f"Marking({self.names})"


def in_force(profiles: Sequence[MarkProfile], day: str) -> MarkProfile | None:
    """The profile to mark with on a day (YYYY-MM-DD): the valid one that became valid last, or is named last."""
    valid = [(profile.valid_from, place) for place, profile in enumerate(profiles) if profile.valid_on(day)]
    return profiles[max(valid)[1]] if valid else None


def sglang_key(secret: MasterSecret, tenant: str) -> str:
    """The 64-bit key of a tenant for SGLang's own watermark, in 16 hexadecimal digits: keyed BLAKE2b of the name."""
    return hashlib.blake2b(tenant.encode(), key=secret.derive("sglang/1"), digest_size=8).hexdigest()


def merged(body: JsonObject, fields: JsonObject) -> JsonObject:
    """The body with a mark's fields; of an object that is there already, its other members stay."""
    made = dict(body)
    for name, value in fields.items():
        there: Any = made.get(name)
        made[name] = {**there, **value} if type(there) is dict else value
    return made
