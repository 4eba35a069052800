"""A policy and plans as text, from a file or from state: checked as settings are, with one sentence about what is wrong."""

from __future__ import annotations

import hashlib
import json
import tomllib

from pydantic import TypeAdapter, ValidationError

from app.errors import ConfigError
from app.settings import EnforcementSettings, LimitSettings, PlanLimits, sentence

_PLANS = TypeAdapter(dict[str, PlanLimits])


def parse_policy(text: str, where: str) -> EnforcementSettings:
    """What `[enforcement]` may hold, at the top level of a TOML document.

    Args:
        text: the document.
        where: what the sentence begins with, such as the file's name.

    Raises:
        ConfigError: it is no TOML, a field is unknown or breaks its rule.
    """
    try:
        return EnforcementSettings.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where} is no valid TOML: {error}") from None
    except ValidationError as error:
        raise ConfigError(f"{where}: {own_names(sentence(error))}") from None


def own_names(rule: str) -> str:
    """A rule of the section `enforcement`, for a document in which its fields are at the top."""
    return rule.replace("enforcement.", "")


def parse_plans(text: str, where: str) -> dict[str, PlanLimits]:
    """A JSON object, plan name → what a plan is under `limits.plans`; "" is none.

    Raises:
        ConfigError: as `parse_policy`.
    """
    try:
        return _PLANS.validate_python(json.loads(text)) if text else {}
    except ValueError as error:
        if isinstance(error, ValidationError):
            raise ConfigError(f"{where}: {sentence(error)}") from None
        raise ConfigError(f"{where} is no valid JSON: {error}") from None


def with_plans(limits: LimitSettings, plans: dict[str, PlanLimits]) -> LimitSettings:
    """The limits of the settings with some plans instead of those of the same name."""
    return limits.model_copy(update={"plans": {**limits.plans, **plans}}) if plans else limits


def digest(policy: EnforcementSettings) -> str:
    """12 hex digits that two policies share when they say the same, however they are written."""
    return hashlib.blake2b(policy.model_dump_json().encode(), digest_size=6).hexdigest()
