"""What stays constant from request to request: templates, contracts, settings, repeats."""

from __future__ import annotations

from collections.abc import Sequence
from math import log2

from detectors.features.parts import MIN_EXCHANGES, Counts, Found, part
from detectors.profile import Profile
from detectors.sketch.decay import WEEK

MIN_REPEATS = 10.0
"""Exchanges that were asked again: five pairs."""


def templates(profile: Profile, week: Counts, now_us: int) -> Found:
    """Templates, contracts, settings, repeats."""
    fade = WEEK.fade(now_us, profile.landmarks[2])
    generated, worded = week["generated"], week["worded"]
    tops = {name: top.top()[1] * fade for name, top in profile.tops.items()}
    user = max(tops["head"], tops["tail"], tops["grams"])
    entropies = [
        _entropy([value * fade for value in profile.tops[name].floors()], profile.tops[name].total * fade)
        for name in ("head", "tail")
    ]
    repeated = profile.repeats.histogram(fade)
    counted, again = sum(repeated), sum(repeated[1:])
    peak = max(repeated[1:]) / counted if counted > 0 else 0.0
    many = week["multi_sample"] / generated if generated > 0 else 0.0
    bits = _entropy(
        [value * fade for value in profile.tops["parameters"].floors()], profile.tops["parameters"].total * fade
    )
    enough = generated >= MIN_EXCHANGES
    induced = sum(template.weight for template in profile.templates.induced())
    return {
        "skeleton_entropy": _relative(min(entropies), worded) if worded >= MIN_EXCHANGES else None,
        "skeleton_top_share": part(max(user, tops["system"]), generated),
        "user_top_share": part(user, generated),
        "slot_novelty": part(week["templated_novel"], week["templated"]),
        "near_duplicate_rate": part(week["near_duplicate"], worded),
        "items_repeated": sum(count / (2 + at) for at, count in enumerate(repeated[1:])),
        "repeat_exactness": max(repeated[1:]) / again if again >= MIN_REPEATS else None,
        "multiplicity_peak": max(peak, many) if enough else None,
        "contract_top_share": part(tops["contract"], generated),
        "parameter_entropy": bits if enough else None,
        "parameter_novelty": part(week["new_parameters"], generated),
        "elicitation_constancy": part(tops["elicited"], week["elicit"]),
        "template_share": part(induced * fade, profile.templates.total * fade),
    }


def _entropy(parts: Sequence[float], total: float) -> float:
    """Entropy in bits of a top-k sketch; what it does not hold counts as items that came once."""
    if total <= 0:
        return 0.0
    shares = [part / total for part in parts if part > 0]
    rest = max(0.0, 1.0 - sum(shares))
    singles = rest * log2(max(2.0, total)) if rest > 1e-9 else 0.0
    return max(0.0, singles - sum(share * log2(share) for share in shares))


def _relative(bits: float, count: float) -> float:
    return min(1.0, bits / log2(max(2.0, count)))
