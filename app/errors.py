"""The error tree. Each message is one sentence for a person, names the field and the rule, and holds no secret."""

from __future__ import annotations


class StillwatchError(Exception):
    """Base of every error that the command line prints as one sentence instead of a traceback."""


class ConfigError(StillwatchError):
    """A setting is missing or breaks its rule. The message starts with the setting's full name."""


class StateUnavailable(StillwatchError):
    """Redis could not be reached, timed out, or refused the command; the caller's failure policy decides."""


class UpstreamUnavailable(StillwatchError):
    """The model API could not be reached or broke the protocol."""


class BadInput(StillwatchError):
    """A file or request body from outside is malformed; the message names the place and the rule."""


class PeerFault(StillwatchError):
    """Another provider's server could not be reached, refused, or broke the protocol; the message quotes nothing of it."""


class LeaseLost(StillwatchError):
    """Another worker owns the partition now; nothing was written."""


class Conflict(StillwatchError):
    """What was to be changed has changed since it was read; nothing was written."""


class Refused(ConfigError):
    """The admin API refused a request because fields break their rules; each of them is in `faults`, field and rule."""

    def __init__(self, message: str, faults: list[dict[str, str]]) -> None:
        super().__init__(message)
        self.faults = faults
