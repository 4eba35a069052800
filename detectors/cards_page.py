"""The cards as a page for people: `python -m detectors.cards_page > docs/detections.md`."""

from __future__ import annotations

from detectors.cards import Card, cards, lock

_INTRO = """\
# Detections

What looks at a key, one section each. Generated from `detectors/scorers/cards/*.toml`; do not edit this page. What their
scores lead to is in [levels](levels.md), what they read in [features](features.md).

A detector's version is raised whenever the same input may give another score; `detectors/scorers/cards/lock.toml` holds
each version with a digest of its code and card, and a test compares. Techniques are those of [MITRE
ATLAS](https://atlas.mitre.org). *Cost of evasion* is that of the cheapest way around a detector which keeps the harvest
useful: free, cheap, costly or prohibitive.
"""


def page() -> str:
    """The whole page, as Markdown."""
    found = cards()
    rows = ["| Detection | Kind | Version | Finds | Cost of evasion |", "| --- | --- | --- | --- | --- |"]
    rows += [
        f"| [`{one.name}`](#{one.name}) | {one.kind} | {one.version} | {one.finds} | {one.evasion_cost} |" for one in found
    ]
    return "\n".join([_INTRO, *rows, "", *map(_section, found)])


def _section(one: Card) -> str:
    techniques = ", ".join(f"[{item.id}](https://atlas.mitre.org/techniques/{item.id}) {item.name}" for item in one.atlas)
    return f"""\
## {one.name}

{one.finds}

- How: {one.how}
- Says nothing: {one.abstains}
- False positives: {"; ".join(one.false_positives)}.
- Blind spots: {"; ".join(one.blind_spots)}.
- Evasion ({one.evasion_cost}): {"; ".join(one.evasion)}.
- What to do: {one.response}
- Sources: {"; ".join(one.sources)}.
- Where it differs from them: {one.differs}
- ATLAS: {techniques}.
- Identity: `{one.uuid}`, version {one.version} (code `{lock()[one.name].code}`), {one.status}.
"""


if __name__ == "__main__":
    print(page(), end="")
