"""The leak accountant: how much an entity has taken that harvesters take, and how sure that is, valid at every look.

A harvest is a loss before anybody is certain: a thousand good answers train a student. So what is counted is each
*different valuable* response, weighed by the suspicion of its exchange, and the question is asked after every one of them,
not once a window.

The suspicion of an exchange is the share of harvesters among those who send such exchanges when both kinds are equally
many: x = 1 / (1 + e^−r) of the log density ratio r. The null hypothesis is that an entity's valuable exchanges have a mean
suspicion of at most ½ whatever came before. Betting against it (Waudby-Smith and Ramdas, JRSS B 2024), wealth that begins
with 1 grows by the factor 1 + λ(x − ½) with each response; under the null it is a supermartingale, so by Ville's inequality
it ever reaches 1/α with probability at most α, at whatever moment and however often it is looked at. A mixture of bets is
one too. A customer may turn harvester later: what was lost before is forgiven by beginning again at 1 with every response,
and the sum of all beginnings is an e-detector (Shin, Ramdas, Rinaldo 2024) whose mean time to a false alarm at level a is
at least a responses.

Honest customers are not all below ½: some evaluate, some make data under contract. So a level is not read off the wealth
alone: the highest wealth an entity ever had is compared with the highest that its peers ever had (see `scorers.leak`).
"""

from __future__ import annotations

import math
import struct

STEPS = 8.0
"""Units of a harvest ratio per unit of log ratio."""

NULL_MEAN = 0.5
BETS = (0.25, 0.75, 1.5)
"""λ: small ones win on weak signs over hundreds of responses, large ones on strong signs within ten. Below 2, so that no
response can take all wealth."""

MAX_LOG = 700.0
"""Natural logarithm at which wealth stops to count: nothing is surer than that, and a double holds it."""

_STORED = struct.Struct(f"<{2 * len(BETS) + 3}d")


def suspicion(harvest: int) -> float:
    """Harvest ratio of one exchange (`fingerprint.harvest`) → x in (0, 1); ½ for a ratio of 0."""
    return 1.0 / (1.0 + math.exp(-harvest / STEPS))


class Accountant:
    """Account of one entity.

    Attributes:
        taken: sum of the suspicions of all different valuable responses: the responses that harvesting explains.
        responses: how many different valuable responses there were.
        log_wealth: natural logarithm of the mixture's wealth since the first response, by bet.
        log_detector: the same of the e-detector, by bet; −inf before the first response.
        highest: highest log of the detector's mixture ever.
    """

    __slots__ = ("highest", "log_detector", "log_wealth", "responses", "taken")

    def __init__(self) -> None:
        self.taken = 0.0
        self.responses = 0.0
        self.log_wealth = [0.0] * len(BETS)
        self.log_detector = [-math.inf] * len(BETS)
        self.highest = 0.0

    def add(self, x: float) -> None:
        """One more different valuable response, whose exchange has suspicion x in [0, 1]."""
        self.taken += x
        self.responses += 1.0
        for at, bet in enumerate(BETS):
            gain = math.log1p(bet * (x - NULL_MEAN))
            self.log_wealth[at] = min(MAX_LOG, self.log_wealth[at] + gain)
            # The sum over all beginnings: those before, and one more that begins with this response.
            self.log_detector[at] = min(MAX_LOG, _log_add(self.log_detector[at], 0.0) + gain)
        self.highest = max(self.highest, self.evidence())

    def evidence(self) -> float:
        """Natural logarithm of the detector's mixture now; 0 before the first response."""
        return _log_mean(self.log_detector) if self.responses else 0.0

    def wealth(self) -> float:
        """Natural logarithm of the wealth since the first response: ever above log(1/α) with probability ≤ α under the
        null."""
        return _log_mean(self.log_wealth)

    def merged(self, other: Accountant) -> Accountant:
        """The account of both: wealth multiplies where responses are independent, and what both took adds up."""
        out = Accountant()
        out.taken = self.taken + other.taken
        out.responses = self.responses + other.responses
        for at in range(len(BETS)):
            out.log_wealth[at] = min(MAX_LOG, self.log_wealth[at] + other.log_wealth[at])
            # A mean of e-detectors is one, whatever depends on what.
            both = [part.log_detector[at] for part in (self, other) if part.responses]
            out.log_detector[at] = _log_mean(both) if both else -math.inf
        out.highest = max(self.highest, other.highest, out.evidence())
        return out

    def to_bytes(self) -> bytes:
        """Numbers, little-endian; empty for an empty account."""
        if not self.responses:
            return b""
        return _STORED.pack(self.taken, self.responses, self.highest, *self.log_wealth, *self.log_detector)

    @classmethod
    def from_bytes(cls, data: bytes) -> Accountant:
        """Inverse of `to_bytes`.

        Raises:
            ValueError: the bytes are no account.
        """
        out = cls()
        if not data:
            return out
        if len(data) != _STORED.size:
            raise ValueError("an account has the wrong length")
        out.taken, out.responses, out.highest, *rest = _STORED.unpack(data)
        if not all(map(math.isfinite, (out.taken, out.responses, out.highest, *rest))) or out.responses <= 0.0:
            raise ValueError("an account holds impossible numbers")
        out.log_wealth, out.log_detector = rest[: len(BETS)], rest[len(BETS) :]
        return out


def _log_add(one: float, other: float) -> float:
    high, low = max(one, other), min(one, other)
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))


def _log_mean(parts: list[float]) -> float:
    high = max(parts)
    return high + math.log(math.fsum(math.exp(part - high) for part in parts) / len(parts))
