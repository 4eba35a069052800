"""The linker: traces in, campaigns out. One of it for the whole fleet; it never sees a text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from detectors.campaign.contract import Campaign
from detectors.campaign.trace import Trace
from detectors.model import Model


@dataclass(frozen=True, slots=True)
class Pass:
    """What one pass changed.

    Attributes:
        at_us: event time of its end.
        changed: campaigns that are not as the pass before left them.
        joined: (campaign id, key id) of keys that belong since this pass.
        left: (campaign id, key id) of keys that do so no more.
    """

    at_us: int
    changed: tuple[Campaign, ...] = ()
    joined: tuple[tuple[str, str], ...] = ()
    left: tuple[tuple[str, str], ...] = ()


class Linker:
    """Keeps the newest trace of every key, and the campaigns.

    The same traces before every pass give the same campaigns, in whatever order they came between two passes.

    Args:
        model: that judges groups as one entity.
        campaigns: as they were stored after the pass `last_us`.
        last_us: event time of that pass; 0 before the first.
    """

    def __init__(self, model: Model, campaigns: Iterable[Campaign] = (), last_us: int = 0) -> None:
        self.campaigns: dict[str, Campaign] = {one.id: one for one in campaigns}
        self.last_us = last_us

    @property
    def known(self) -> int:
        """Keys with a trace."""
        raise NotImplementedError

    @property
    def fresh(self) -> int:
        """Keys whose trace changed since the last pass."""
        raise NotImplementedError

    def load(self, traces: Iterable[Trace]) -> None:
        """Traces that were there at the last pass already: they are not fresh."""
        raise NotImplementedError

    def take(self, traces: Iterable[Trace]) -> None:
        """Newer traces of their keys."""
        raise NotImplementedError

    def forget(self, key_ids: Sequence[str]) -> None:
        """Keys that were erased."""
        raise NotImplementedError

    def step(self, at_us: int) -> Pass:
        """One pass, over everything taken so far; the caller sees to it that this is what was cast before `at_us`."""
        raise NotImplementedError
