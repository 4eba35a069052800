"""The report's section on campaigns: a table of them, and a short page for each of the first few."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from app.offline.linking import Reported
from app.offline.tracks import Track
from detectors.campaign.contract import Evidence, Turn
from detectors.templates_view import View

GRAPH, HOURS = PICTURES = ("campaigns.png", "campaign-hours.png")

MAX_ROWS = 50
MAX_PAGES = 8
MAX_TURNS = 12
MAX_MEMBERS = 15

_HAPPENED = {
    "formed": "formed with {keys}",
    "joined": "{keys} joined",
    "left": "{keys} left",
    "merged": "`{other}` with {keys} was taken in",
    "split": "{keys} parted from `{other}`",
    "level": "{level}, with {keys}",
}


def section(
    campaigns: Sequence[Reported],
    tracks: Mapping[str, Track],
    alike: Sequence[Sequence[View]] | None,
    pictures: bool = True,
) -> str:
    """Markdown.

    Args:
        campaigns: that were reported, the most suspicious first.
        tracks: of every key, by id.
        alike: what the members of the first few write alike; None: no texts could be read again.
        pictures: the pictures lie beside the report.
    """
    whole = sum(track.requests for track in tracks.values())
    parts = [
        "## Campaigns\n\nKeys that act as one, found by what they share and judged together. Each of them may be within "
        "every limit. *Share* is that of all requests of the judged part; *leaked* counts the valuable answers that the "
        "members have taken.\n"
    ]
    head = (
        "| Campaign | Level | Score | Keys | Flagged alone | Organisations | Requests | Share | Leaked | First seen (UTC) "
        "| Kinds of evidence |\n| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- | --- |\n"
    )
    rows = []
    for one in campaigns[:MAX_ROWS]:
        campaign, requests = one.campaign, _requests(one, tracks)
        rows.append(
            f"| `{campaign.id}` | {one.level.name.lower()} | {one.score:.3f} | {len(campaign.members):,} | "
            f"{_alone(one, tracks):,} | {campaign.organisations:,} | {requests:,} | {requests / max(1, whole):.2%} | "
            f"{campaign.leaked:,} | {_time(one.flagged_us)} | {', '.join(campaign.kinds) or 'judged together'} |"
        )
    more = f"\n{len(campaigns) - MAX_ROWS:,} more are in `campaigns.jsonl`.\n" if len(campaigns) > MAX_ROWS else ""
    parts.append(head + "\n".join(rows) + "\n" + more)
    if pictures:
        parts.append(
            f"![Members of the first campaigns, and what ties them]({GRAPH})\n\n"
            f"![Requests per hour of their members]({HOURS})\n"
        )
    for number, one in enumerate(campaigns[:MAX_PAGES]):
        parts.append(_page(one, tracks, whole, None if alike is None else alike[number]))
    return "\n".join(parts)


def _page(one: Reported, tracks: Mapping[str, Track], whole: int, alike: Sequence[View] | None) -> str:
    campaign, requests = one.campaign, _requests(one, tracks)
    ended = "; nobody belongs to it any more" if campaign.closed else ""
    parts = [
        f"### Campaign `{campaign.id}` — {one.level.name.lower()}, score {one.score:.3f}{ended}\n",
        f"An action on it **would affect {_keys(len(campaign.members))}, {campaign.organisations:,} organisations, "
        f"{requests / max(1, whole):.2%} of traffic**. {_alone(one, tracks):,} of its keys were flagged by themselves.\n",
        _evidence(campaign.evidence),
        _written(alike, bool(campaign.template)),
        _members(one, tracks),
        _history(campaign.history),
    ]
    return "\n".join(parts)


def _evidence(evidence: Sequence[Evidence]) -> str:
    if not evidence:
        return "No channel ties them by itself: the group was judged as one entity.\n"
    rows = [
        f"| {said.channel.replace('_', ' ')} | {said.kind} | {said.text} | {said.share:.0%} | {_prevalence(said.honest)} | "
        f"{said.nats:.1f} |"
        for said in evidence
    ]
    return (
        "| Channel | Kind | What was seen | Members | Honest keys | Weight (nats) |\n"
        "| --- | --- | --- | ---: | ---: | ---: |\n" + "\n".join(rows) + "\n"
    )


def _written(alike: Sequence[View] | None, induced: bool) -> str:
    if not alike:
        told = "the members have one, and its words are not kept" if induced else "none was found"
        why = "the input holds no texts to read again" if alike is None else "no word stands in enough texts of enough keys"
        return f"Template: {told}; {why}.\n"
    lines = [f"- `{_code(view.text)}` ({view.texts} of the texts read again)" for view in alike]
    return "What they write alike; ⟨…⟩ is where it varies:\n\n" + "\n".join(lines) + "\n"


def _members(one: Reported, tracks: Mapping[str, Track]) -> str:
    rows = []
    for member in one.campaign.members[:MAX_MEMBERS]:
        track = tracks.get(member.key_id)
        level = "–" if track is None else track.level.name.lower()
        rows.append(
            f"| `{_code(member.key_id)}` | `{_code(member.org)}` | {level} | {member.requests:,} | {member.leaked:,} | "
            f"{_time(member.joined_us)} | {member.strength:.2f} | {', '.join(member.channels)} |"
        )
    left = len(one.campaign.members) - MAX_MEMBERS
    more = f"\n{left:,} more members are in `campaigns.jsonl`.\n" if left > 0 else ""
    return (
        "| Key | Organisation | Level of its own | Requests | Leaked | Joined (UTC) | Strength | Tied by |\n"
        "| --- | --- | --- | ---: | ---: | --- | ---: | --- |\n" + "\n".join(rows) + "\n" + more
    )


def _history(history: Sequence[Turn]) -> str:
    lines = [
        f"- {_time(turn.at_us)}: "
        + _HAPPENED[turn.what].format(keys=_keys(turn.keys), other=_code(turn.other), level=turn.level)
        for turn in history
    ]
    if len(lines) > MAX_TURNS:
        half = MAX_TURNS // 2
        lines = [*lines[:half], f"- … {len(lines) - MAX_TURNS:,} more happenings …", *lines[-half:]]
    return "\n".join(lines) + "\n"


def _requests(one: Reported, tracks: Mapping[str, Track]) -> int:
    return sum(tracks[key].requests for key in one.keys if key in tracks)


def _alone(one: Reported, tracks: Mapping[str, Track]) -> int:
    return sum(tracks[key].flagged for key in one.keys if key in tracks)


def _prevalence(share: float) -> str:
    return "under 0.01%" if share < 0.0001 else f"{share:.2%}"


def _keys(number: int) -> str:
    return f"{number:,} key{'' if number == 1 else 's'}"


def _time(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / 1e6, tz=UTC).strftime("%Y-%m-%d %H:%M")


def _code(text: str) -> str:
    """Text inside back-ticks, where nothing can be escaped."""
    return " ".join(text.replace("`", "'").replace("|", "¦").split())
