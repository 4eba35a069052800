"""What a provider's own settled customers show tells nobody apart, whoever reports it.

A member that lies, or was careless, may name the wording of a popular app. Nobody at the provider has to find that out by
complaints: the provider counts. An indicator that more than one in a hundred of its settled organisations show is *common*
there and is not looked for; it is the same bound that decides what may be shared at all (`detectors.sharing.distil`).

An organisation is settled if a key of it has been active over SETTLED_US and none of its keys is suspect to us. Only what
such a key itself shows is counted, so a new key of an old customer makes nothing common. Organisations are counted and not
keys: an operation can make as many keys as it likes.

An operation that has kept quiet accounts for a week is counted as well, and that is what the bounds are for: to have its
own indicator called common it needs LEAST_SHOWING organisations of that age, and more than one in a hundred of all that
are settled, none of them flagged.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable

import numpy as np

from detectors.campaign.trace import Trace
from detectors.sharing.distil import LEAST_HONEST, LEAST_KEYS, MOST_HONEST
from detectors.sharing.indicator import DAY_US

SETTLED_US = 7 * DAY_US

LEAST_SHOWING = LEAST_KEYS
"""Organisations. Among a few hundred one in a hundred would be three, and three accounts wait for a week at no cost."""

LEAST_SETTLED = LEAST_HONEST
"""Settled organisations below which nothing is called common."""

MOST_PAIRS = 1 << 24
"""Of one `Tally`, 128 MiB. What comes behind it is not counted: less is common then, and more is looked for."""

_LOW32 = 0xFFFFFFFF


class Tally:
    """Takes the traces of one partition; all keys of an organisation are in one."""

    def __init__(self) -> None:
        self._orgs: dict[str, int] = {}
        self._settled = bytearray()
        self._flagged = bytearray()
        self._names: dict[str, int] = {}
        self._pairs = array("q")

    def add(self, trace: Trace, shown: Iterable[str], flagged: bool = False) -> None:
        """One key; the same one again changes nothing, unless it is flagged now.

        Args:
            trace: of the key.
            shown: names of the indicators that it shows.
            flagged: it belongs to a campaign of our own; its own level is in its trace.
        """
        org = self._orgs.setdefault(trace.org, len(self._orgs))
        if org == len(self._settled):
            self._settled.append(0)
            self._flagged.append(0)
        if flagged or trace.level:
            self._flagged[org] = 1
        if trace.at_us - trace.first_us < SETTLED_US or not trace.first_us:
            return
        self._settled[org] = 1
        for name in shown:
            if len(self._pairs) < MOST_PAIRS:
                self._pairs.append(self._names.setdefault(name, len(self._names)) << 32 | org)

    def counted(self) -> tuple[int, dict[str, int]]:
        """(settled organisations, name → how many of them show it)."""
        settled = np.frombuffer(self._settled, np.uint8).astype(bool) & ~np.frombuffer(self._flagged, np.uint8).astype(bool)
        pairs = np.unique(np.frombuffer(self._pairs, np.int64))
        shown = (pairs >> 32)[settled[pairs & _LOW32]] if len(pairs) else pairs
        numbers = np.bincount(shown, minlength=len(self._names)).tolist()
        return int(settled.sum()), {name: numbers[at] for name, at in self._names.items() if numbers[at]}


class Fleet:
    """Adds up partitions.

    Attributes:
        settled: organisations.
    """

    def __init__(self) -> None:
        self.settled = 0
        self._shown: Counter[str] = Counter()

    def add(self, settled: int, shown: dict[str, int]) -> None:
        """What `Tally.counted` says of one more."""
        self.settled += settled
        self._shown.update(shown)

    @property
    def enough(self) -> bool:
        """So many organisations are settled that one can say what is common among them."""
        return self.settled >= LEAST_SETTLED

    def common(self) -> frozenset[str]:
        """Names of the indicators that are common here; none while too few organisations are settled."""
        if not self.enough:
            return frozenset()
        least = max(LEAST_SHOWING, int(MOST_HONEST * self.settled) + 1)
        return frozenset(name for name, count in self._shown.items() if count >= least)
