"""The catalogue as a page for people: `python -m detectors.catalogue_page > docs/features.md`."""

from __future__ import annotations

from math import inf

from detectors.catalogue import CATALOGUE, CATALOGUE_VERSION, Feature

_INTRO = """\
# Features

What is measured about a key or an organisation, one column of the feature matrix each. Generated from
`detectors/catalogue` (catalogue version {version}, {count} features); do not edit this page.

A feature that is undefined is *absent*, never 0: a new account must look neither perfectly normal nor perfectly odd.
"Decayed" means that an exchange counts less the longer ago it was, so that a steady stream reads as its count in the
window. The *suspicious side* is where harvesting is expected. Alone, no feature means anything: *honest customers there*
names those who are on that side for good reasons, and *to move it back* what it costs an attacker to leave it.
*Source* names a paper, the joint advisory AA26-251A of CISA, NSA and FBI (2026), or the campaigns that model providers
disclosed in 2026.
"""


def page() -> str:
    """The whole page, as Markdown."""
    parts = [_INTRO.format(version=CATALOGUE_VERSION, count=len(CATALOGUE)), _overview()]
    parts += [_section(feature) for feature in CATALOGUE]
    return "\n".join(parts)


def _overview() -> str:
    rows = ["| Feature | Unit | Range | Window | Suspicious side |", "| --- | --- | --- | --- | --- |"]
    for feature in CATALOGUE:
        cells = (f"[`{feature.name}`](#{feature.name})", feature.unit, _range(feature), feature.window, feature.suspicious)
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"


def _section(feature: Feature) -> str:
    scale = "by ratio" if feature.scale == "log" else "by difference"
    return f"""\
## {feature.name}

{_sentence(feature.meaning)}

- Unit, range, window: {feature.unit}, {_range(feature)}, {feature.window}; compared {scale}.
- Suspicious side: {feature.suspicious}.
- Absent when: {feature.absent}.
- Honest customers there: {feature.raises}.
- To move it back: {feature.fakes}.
- Source: {feature.source}.
"""


def _range(feature: Feature) -> str:
    return f"{feature.low:g} – {'unbounded' if feature.high == inf else format(feature.high, 'g')}"


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


if __name__ == "__main__":
    print(page(), end="")
