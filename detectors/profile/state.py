"""What is remembered, and how one exchange changes it."""

from __future__ import annotations

import numpy as np

from detectors.event import Event
from detectors.fingerprint import Fingerprint
from detectors.fingerprint.hashing import digest
from detectors.fingerprint.script import CLASSES
from detectors.leak import Accountant
from detectors.pooled.rows import WIDTH
from detectors.profile import codec, joining
from detectors.profile.codec import Stored
from detectors.profile.layout import DISTINCTS, REPEATS, SIGNATURES, TOPS, WINDOWS
from detectors.profile.reading import read
from detectors.sketch.beat import Beat
from detectors.sketch.blocks import Blocks
from detectors.sketch.cells import CellMap
from detectors.sketch.chains import Chains
from detectors.sketch.clockface import HourRing
from detectors.sketch.decay import DAY, HOUR, HOUR_US, WEEK
from detectors.sketch.distinct import Distinct
from detectors.sketch.models import ModelTable
from detectors.sketch.pool import Pool
from detectors.sketch.recent import RecentSet, SimilarWindow
from detectors.sketch.repeats import Repeats
from detectors.sketch.templates import Templates
from detectors.sketch.topics import Topics
from detectors.sketch.topk import SpaceSaving
from detectors.tally import COUNTERS, INDEX, Seen, is_generated, tally


class Profile:
    """Accumulator of one entity. Not thread-safe; `update` is the only thing that changes it.

    Attributes:
        entity_id: keyed hash of the key or organisation.
        kind: "key" or "org".
        plan: plan of the newest exchange that named one.
        created_us: when the account was made; 0 when unknown. For an organisation: its youngest key seen.
        authorised: uses its contract allows.
        first_at_us: time of the earliest exchange; 0 before any.
        last_at_us: time of the latest exchange.
    """

    def __init__(self, entity_id: str, kind: str) -> None:
        self.entity_id = entity_id
        self.kind = kind
        self.plan = ""
        self.created_us = 0
        self.authorised: tuple[str, ...] = ()
        self.first_at_us = 0
        self.last_at_us = 0
        self.landmarks = (0, 0, 0)  # of HOUR, DAY, WEEK
        self.hour = 0.0  # decayed requests
        self.peak_hour = 0.0  # highest decayed hourly count seen at any exchange
        self.first_hour = 0  # exchanges within an hour of the first
        self.day = np.zeros(len(COUNTERS))
        self.week = np.zeros(len(COUNTERS))
        self.languages = [0.0] * len(CLASSES)
        self.tops = {name: SpaceSaving(size) for name, size in TOPS.items()}
        self.distincts = {name: Distinct(size) for name, size in DISTINCTS.items()}
        self.windows = {name: RecentSet(size) for name, size in WINDOWS.items()}
        self.repeats = Repeats(REPEATS)
        self.similar = SimilarWindow(SIGNATURES)
        self.hours = HourRing()
        self.cells = CellMap()
        self.topics = Topics()
        self.models = ModelTable()
        self.chains = Chains()
        self.beat = Beat()
        self.blocks = Blocks()
        self.last_grams: list[bytes] = []
        self.pool = Pool(WIDTH)
        self.account = Accountant()
        self.templates = Templates()

    @classmethod
    def new(cls, entity_id: str, kind: str) -> Profile:
        """An empty profile."""
        return cls(entity_id, kind)

    @property
    def valuable_total(self) -> int:
        """Estimated number of different valuable responses ever taken; never falls; standard error 7.4 % above 16."""
        return round(self.distincts["valuable"].estimate)

    @property
    def exchanges_7d(self) -> float:
        """Decayed 7-day count of answered exchanges, at the time of the last one."""
        return self.decayed("answered", self.last_at_us)

    def decayed(self, counter: str, now_us: int) -> float:
        """7-day value of a counter at a time."""
        return float(self.week[INDEX[counter]]) * WEEK.fade(now_us, self.landmarks[2])

    def week_weight(self, at_us: int) -> float:
        """What one exchange at a time adds to the sums of the week."""
        return WEEK.weight(at_us, self.landmarks[2])

    # ------------------------------------------------------------------ update

    def update(self, event: Event, fp: Fingerprint) -> None:
        """Count one exchange."""
        at = event.at_us
        self._describe(event)
        late = at < self.last_at_us
        # A retry of the SDK is the same request again; its gap is the SDK's back-off, not the customer's rhythm.
        seen = Seen(gap_us=at - self.last_at_us if self.first_at_us and not late and not event.retry_count else None)
        self.first_at_us = min(self.first_at_us or at, at)
        self.last_at_us = max(self.last_at_us, at)
        self._advance(at)
        weight = WEEK.weight(at, self.landmarks[2])

        self.hours.mark(at // HOUR_US)
        if at - self.first_at_us < HOUR_US:
            self.first_hour += 1
        self.hour += HOUR.weight(at, self.landmarks[0])
        self.peak_hour = max(self.peak_hour, self.hour * HOUR.fade(self.last_at_us, self.landmarks[0]))

        self._keep_time(event, seen)
        if is_generated(event):
            read(self, event, fp, seen, weight)
        if event.ip_prefix_id:
            self.distincts["networks"].add(digest(event.ip_prefix_id))
        if event.client_digest:
            self.distincts["clients"].add(event.client_digest)

        increments = np.array(tally(event, fp, seen), np.float64)
        self.day += increments * DAY.weight(at, self.landmarks[1])
        self.week += increments * weight

    def _keep_time(self, event: Event, seen: Seen) -> None:
        seen.bins = self.beat.close_bin(event.at_us)
        seen.waited_ln = self.beat.wait(event.at_us, event.status == 429 or event.decision == "limited")
        if event.latency_us and event.status == 200:
            seen.overlap, seen.same_overlap = self.beat.overlapping(event.at_us, event.latency_us)

    def _describe(self, event: Event) -> None:
        if event.plan:
            self.plan = event.plan
        if event.key_created_us is not None:
            self.created_us = event.key_created_us if self.kind == "key" else max(self.created_us, event.key_created_us)
        if event.authorised != self.authorised:
            self.authorised = event.authorised

    def _advance(self, at_us: int) -> None:
        """Move every sum to the landmarks of a time; nothing to do in all but one of many thousand exchanges."""
        hour, day, week = HOUR.landmark(at_us), DAY.landmark(at_us), WEEK.landmark(at_us)
        if hour <= self.landmarks[0] and day <= self.landmarks[1] and week <= self.landmarks[2]:
            return
        old = self.landmarks
        new = (max(hour, old[0]), max(day, old[1]), max(week, old[2]))
        self.landmarks = new
        self.hour *= HOUR.shift(old[0], new[0])
        self.day *= DAY.shift(old[1], new[1])
        factor = WEEK.shift(old[2], new[2])
        if factor != 1.0:
            self.week *= factor
            self.languages = [value * factor for value in self.languages]
            for top in self.tops.values():
                top.scale(factor)
            self.repeats.scale(factor)
            self.templates.scale(factor)
            self.topics.scale(factor)
        self.models.scale(DAY.shift(old[1], new[1]))

    # --------------------------------------------------------- merge and codec

    def merge(self, other: Profile) -> Profile:
        """The profile of both entities' exchanges, under this one's name. Neither input changes."""
        if not other.first_at_us or not self.first_at_us:
            kept = Profile.from_bytes((self if self.first_at_us else other).to_bytes())
            kept.entity_id, kept.kind = self.entity_id, self.kind
            return kept
        a, b = Profile.from_bytes(self.to_bytes()), Profile.from_bytes(other.to_bytes())
        out = Profile(self.entity_id, self.kind)
        newest = max(a.last_at_us, b.last_at_us)
        a._advance(newest)
        b._advance(newest)
        joining.join(out, a, b)
        return out

    def to_bytes(self) -> bytes:
        """Versioned msgpack. `from_bytes(p.to_bytes()).to_bytes() == p.to_bytes()`, and both go on alike."""
        return codec.encode(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> Profile:
        """Inverse of `to_bytes`.

        Raises:
            BadProfile: the bytes are no profile, or one of another version.
        """
        stored: Stored = codec.decode(data)
        out = cls(stored.entity_id, stored.kind)
        codec.fill(out, stored)
        return out
