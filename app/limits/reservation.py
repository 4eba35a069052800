"""What was charged for a request before anybody knew what it costs, and what is left to true up afterwards."""

from __future__ import annotations

import msgspec

from app.state.schedule import BOTH, INPUT, OUTPUT, Schedule, refill_us
from app.state.spool import Settlement


class Reservation(msgspec.Struct):
    """Of one decision. Opaque to the gateway, which hands it back to `settle`.

    Attributes:
        partition: where the exchange is logged.
        request_id: its slots are freed under it.
        schedule: what was charged; None where nothing was.
        names: KEYS of the decision: verdict, balances of the key, of the organisation, sets of slots.
        input_tokens: charged before the answer.
        output_tokens: charged before the answer.
        at_us: server time of the charge; 0 where state did not answer, so that what it may have charged stays charged.
        factor: by which a verdict narrowed the budgets of the key.
        shadow: by which it would have, where the balances kept for that were charged too.
        local: charged in this process.
        settled: nothing is left to do.
    """

    partition: int
    request_id: str
    schedule: Schedule | None = None
    names: list[bytes] = []
    input_tokens: int = 0
    output_tokens: int = 0
    at_us: int = 0
    factor: float = 1.0
    shadow: float = 0.0
    local: bool = False
    settled: bool = False

    @property
    def slot_names(self) -> list[bytes]:
        """The sets of slots among the names."""
        return self.names[2 + self.schedule.org_hash :] if self.schedule is not None else []

    def used(self, counts: int, input_tokens: int, output_tokens: int) -> int:
        """What a budget that counts this is charged for a usage."""
        if counts == INPUT:
            return input_tokens
        if counts == OUTPUT:
            return output_tokens
        return input_tokens + output_tokens if counts == BOTH else 1

    def settlements(self, input_tokens: int, output_tokens: int) -> list[Settlement]:
        """The difference to the true usage, for settle.lua; empty where there is none and no slot to free.

        The request itself stays charged: it was made, whatever came of it.
        """
        schedule = self.schedule
        if schedule is None:
            return []
        found: list[Settlement] = []
        if self.at_us and (input_tokens != self.input_tokens or output_tokens != self.output_tokens):
            reserved = (0, 0, self.input_tokens, self.output_tokens, self.input_tokens + self.output_tokens)
            used = (0, 0, input_tokens, output_tokens, input_tokens + output_tokens)  # as decide.lua numbers them
            factor, shadow = self.factor, self.shadow
            key: list[str | int] = []
            org: list[str | int] = []
            for counts, field, interval_us, of_key in schedule.of_tokens:
                before, after = reserved[counts], used[counts]
                if before == after:
                    continue
                if not of_key:
                    org += (field, refill_us(after, interval_us) - refill_us(before, interval_us))
                    continue
                narrowed = interval_us / factor
                key += (field, refill_us(after, narrowed) - refill_us(before, narrowed))
                if shadow:
                    narrowed = interval_us / shadow
                    key += ("s" + field, refill_us(after, narrowed) - refill_us(before, narrowed))
            if key:
                found.append((self.names[1], self.at_us, key))
            if org:
                found.append((self.names[2], self.at_us, org))
        if schedule.slots:
            found.extend((name, 0, [self.request_id]) for name in self.slot_names)
        return found
