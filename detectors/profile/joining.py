"""Two profiles in one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detectors.sketch.decay import HOUR, HOUR_US, WEEK

if TYPE_CHECKING:
    from detectors.profile.state import Profile


def join(out: Profile, a: Profile, b: Profile) -> None:
    """Fill an empty profile with what two of them hold, both at the same landmarks and neither empty."""
    newest = max(a.last_at_us, b.last_at_us)
    # Ties are broken by what is taken over, so that the result does not depend on which of the two was asked.
    a_first = (a.last_at_us, a.plan, a.authorised, a.last_grams) >= (b.last_at_us, b.plan, b.authorised, b.last_grams)
    later, earlier = (a, b) if a_first else (b, a)
    out.plan = later.plan or earlier.plan
    out.created_us = max(a.created_us, b.created_us)
    out.authorised = later.authorised
    out.first_at_us, out.last_at_us = min(a.first_at_us, b.first_at_us), newest
    out.landmarks = a.landmarks
    out.hour = a.hour + b.hour
    out.peak_hour = max(a.peak_hour, b.peak_hour, out.hour * HOUR.fade(newest, out.landmarks[0]))
    close = abs(a.first_at_us - b.first_at_us) < HOUR_US
    out.first_hour = a.first_hour + b.first_hour if close else min((a, b), key=lambda p: p.first_at_us).first_hour
    out.day = a.day + b.day
    out.week = a.week + b.week
    out.languages = [x + y for x, y in zip(a.languages, b.languages, strict=True)]
    out.tops = {name: top.merged(b.tops[name]) for name, top in a.tops.items()}
    out.distincts = {name: count.merged(b.distincts[name]) for name, count in a.distincts.items()}
    out.windows = {name: window.merged(b.windows[name]) for name, window in a.windows.items()}
    out.repeats = a.repeats.merged(b.repeats, WEEK.weight(newest, out.landmarks[2]))
    out.similar = a.similar.merged(b.similar)
    out.hours = a.hours.merged(b.hours)
    out.cells = a.cells.merged(b.cells)
    out.topics = a.topics.merged(b.topics)
    out.models = a.models.merged(b.models)
    out.chains = a.chains.merged(b.chains)
    out.beat = a.beat.merged(b.beat)
    out.blocks = a.blocks.merged(b.blocks)
    out.last_grams = later.last_grams
    out.pool = a.pool.merged(b.pool)
    out.account = a.account.merged(b.account)
    out.templates = a.templates.merged(b.templates)
