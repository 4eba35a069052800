"""The rules in force while a process runs, as the hot path reads them: attributes and dictionary look-ups, never a wait.

`Rules` is what the limiter and the gateway ask. `FixedRules` answers from the settings alone, for a process that follows
neither a policy file nor the state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

from app.enforcement.policy import Action
from app.settings import EnforcementSettings

Kill = Literal["", "actions", "all"]
"""The kill switch: nothing; nothing is done about verdicts and orders; nor about limits."""


class Rules(Protocol):
    """Policy, kill switch, orders and allow-list as they are now."""

    @property
    def policy(self) -> EnforcementSettings:
        """The policy in force; another object after each change."""
        ...

    @property
    def kill(self) -> Kill:
        """The kill switch."""
        ...

    def allowed(self, key_id: str, org_id: str) -> bool:
        """The key or its organisation is on the allow-list: policy does nothing about it."""
        ...

    def order(self, key_id: str) -> Action | None:
        """The person's order that stands for a key, also while state is away; it may be over by its time."""
        ...

    def subscribe(self, changed: Callable[[], None]) -> None:
        """Have `changed` called, in the loop's thread, after any of these has changed."""
        ...


class FixedRules:
    """The policy of the settings, no orders, nobody allowed."""

    def __init__(self, policy: EnforcementSettings, kill: Kill = "") -> None:
        self.policy = policy
        self.kill: Kill = kill

    def allowed(self, key_id: str, org_id: str) -> bool:
        """Nobody is."""
        return False

    def order(self, key_id: str) -> Action | None:
        """There is none."""
        return None

    def subscribe(self, changed: Callable[[], None]) -> None:
        """Nothing ever changes."""
