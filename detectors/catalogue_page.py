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

_INDUCTION = """\
## How a template is induced

`template_share` asks no list what a slot looks like. Of each request the first 48 and the last 24 words are hashed as they
stand, in any language; scripts without spaces go by the character. A request that fits none of an entity's templates is
kept as a template of its own, of at most 40 words. The next one that has six of its words or more, in order and in runs of
at least three, leaves of it what both have; so does every later one that has half of what is left. What remains are the
runs that never changed, and a slot lies between two of them. Four templates are held, the lightest gives way; a request
asked again word for word does not count.

It does not see:

- a template of fewer than six constant words, or with a slot after every second word;
- wording that stands only in the middle of a long request;
- a fresh paraphrase for each request; of one word in ten replaced at random about a fifth of the requests is lost, of one
  in five about half;
- more than four wordings at once: of six in random order about half of the requests is seen, of five or more in strict
  turn none, since each is dropped before it returns.

It says the same of every honest product that wraps what its users write. That something is a template says nothing; it
matters beside what is asked for under it.
"""


def page() -> str:
    """The whole page, as Markdown."""
    parts = [_INTRO.format(version=CATALOGUE_VERSION, count=len(CATALOGUE)), _overview()]
    parts += [_section(feature) for feature in CATALOGUE]
    return "\n".join([*parts, _INDUCTION])


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
