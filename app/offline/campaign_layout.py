"""Where the members and the hubs of a campaign's picture lie: forces in a plane, the same for the same campaign.

Members that are linked or share a hub draw together, all push each other away; after Fruchterman and Reingold (1991).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detectors.campaign.contract import Link, Member

Floats = NDArray[np.float64]

STEPS = 120
HUB_RADIUS = 1.42
"""Members lie within 1."""

_GOLDEN = np.pi * (3.0 - 5.0**0.5)

RIM = 0.94
"""Share of the members that lie where the forces put them."""


def hubs(count: int) -> Floats:
    """Places around the members, shape (count, 2): the first on the left above, then clockwise, none above or below."""
    right = count // 2
    angles = [*np.linspace(130, 230, count - right + 2)[1:-1], *np.linspace(50, -50, right + 2)[1:-1]]
    turned = np.deg2rad(np.array(angles))
    return np.column_stack((np.cos(turned), np.sin(turned))) * HUB_RADIUS


def members(shown: Sequence[Member], links: Sequence[Link], names: Sequence[str], around: Floats) -> Floats:
    """Places of members within the unit disc, shape (n, 2).

    Args:
        shown: the n members.
        links: among them; others are left out.
        names: channels that have a hub.
        around: places of the hubs.
    """
    count = len(shown)
    if count == 1:
        return np.zeros((1, 2))
    # Sunflower seeds, neighbours being those that the same channels tie.
    order = sorted(range(count), key=lambda at: ([name in shown[at].channels for name in names], at))
    rank = np.argsort(np.array(order))
    radius, angle = np.sqrt((rank + 0.5) / count), rank * _GOLDEN
    places = np.column_stack((radius * np.cos(angle), radius * np.sin(angle)))
    pull = _pulls(shown, links)
    tied = np.array([[name in member.channels for name in names] for member in shown], np.float64).reshape(
        count, len(names)
    )
    uneven = tied - tied.mean(axis=0, keepdims=True)  # a hub of everybody draws nobody anywhere
    spread = 0.9 / np.sqrt(count)
    for step in range(STEPS):
        apart = places[:, None, :] - places[None, :, :]
        distance = np.sqrt((apart**2).sum(axis=2)) + 1e-9
        push = (spread**2 / distance**2)[:, :, None] * apart
        near = pull * distance / spread
        force = push.sum(axis=1) - (near[:, :, None] * apart / distance[:, :, None]).sum(axis=1) * spread
        force += 0.05 * (uneven @ around) - 0.12 * places
        length = np.sqrt((force**2).sum(axis=1, keepdims=True)) + 1e-9
        most = 0.12 * (1.0 - step / STEPS) + 0.002
        places = places + force / length * np.minimum(length, most)
    places -= places.mean(axis=0)
    radius = np.sqrt((places**2).sum(axis=1, keepdims=True)) + 1e-9
    # A few that nothing holds would leave the others little room: they are put on the rim.
    whole = max(1e-9, float(np.quantile(radius, RIM)))
    inside: Floats = places / radius * np.minimum(1.0, radius / whole)
    return inside


def _pulls(shown: Sequence[Member], links: Sequence[Link]) -> Floats:
    """How strongly each two draw together, shape (n, n); a member of many links has weaker ones."""
    place = {member.key_id: at for at, member in enumerate(shown)}
    weight = np.zeros((len(shown), len(shown)))
    for link in links:
        if link.a in place and link.b in place:
            weight[place[link.a], place[link.b]] = weight[place[link.b], place[link.a]] = link.nats
    degree = np.maximum(1e-9, weight.sum(axis=1))
    return weight / np.sqrt(np.outer(degree, degree))
