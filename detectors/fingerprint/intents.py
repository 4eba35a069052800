"""What a request is for, as far as its shape tells: structure first, cue words of a dozen languages second.

Words are read only where instructions stand (the system prompt, the first and the last few hundred characters of the turn),
so that a text about reasoning is not taken for a request for it. A structural sign decides alone where it is unambiguous,
and otherwise needs a cue of any language; a cue alone never decides for judging, generating and rewriting.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from detectors.event import Event
from detectors.fingerprint import cues
from detectors.fingerprint.output_contract import Contract
from detectors.fingerprint.record import (
    ELICIT,
    FORCED_ANSWER,
    GENERATE,
    JUDGE,
    PROBE,
    REWRITE,
    SUPPLIED,
    TAGGED_ANSWER,
)

ZONE_CHARS = 320
SHORT_ANSWER_TOKENS = 32
"""A verdict fits in this; an explanation does not."""

# "1-10", "0 to 5", "/10", "1 bis 5", "от 1 до 10", "1から10": a scale, in any language
_SCALE = re.compile(
    r"[01](?<!\d[01])\s?(?:-|–|—|~|to|bis|à|a|до|到|至|から|에서|إلى|से|\.\.)\s?(?:5|7|10|100)(?!\d)|/\s?(?:5|10|100)(?!\d)"
)
# "score": 7 · 7/10 · [[A]] · [result] 7 · <score>7</score> · a bare number or single word: what a judge answers
_VERDICT = re.compile(
    r'[\s"{\[(<*]*(?:[^\W\d][\w -]{0,24}(?:["\]>*]*\s*[:=]|["\]>*]+)\s*)?["\[(*]*'
    r'(?:\d{1,3}(?:\.\d+)?\w?|[^\W\d]\w{0,11})(?:\s*/\s*\d+)?(?:</?\w{1,24}>|[\s"}\])>*.])*$'
)
# {"score": 7, "why": … · 7 out of 10 · 7/10: a verdict with a word or two around it
_MARK = re.compile(
    r'\{\s*"[\w -]{1,24}"\s*:\s*\d{1,3}(?:\.\d+)?\s*[,}]'
    r"|\d\s?(?:/|out of|von|sur|de|di|из)\s?(?:5|10|100)(?!\d)"
)
_NUMBERED = re.compile(r"^\s{0,4}(?:[^\W\d]\w{0,15}\s)?(\d{1,3})\s?[.):]", re.MULTILINE)
_SPEAKER = re.compile(r"^\s{0,4}[\[(*]{0,2}([^\W\d][\w ]{0,19})[\])*]{0,2}\s?[::]", re.MULTILINE)
_COUNT = re.compile(r"(?<![\w.])(?:[2-9]|[1-9]\d{1,2})(?![\w.,:/-]\d)")
_LABEL = re.compile(r"^[\s#*<\[]{0,6}([^\W\d][\w ]{0,24})[\]>*]{0,3}\s?[::>\]]", re.MULTILINE)

SHORT_LABELS = frozenset({"a", "ans"})


def intents(event: Event, system: str, user: str, rest: str, answer: str, contract: Contract) -> int:
    """Intent bits of an event.

    Args:
        event: for lengths, tokens and roles.
        system: folded system prompt, as far as known.
        user: folded last user turn, or its head when `rest` is not empty.
        rest: folded tail of a long user turn.
        answer: folded head of the answer, "" when it is not kept.
        contract: of the same event.
    """
    opening, closing = user[:ZONE_CHARS], (rest or user)[-ZONE_CHARS:]
    ends = f"{opening}\n{closing}" if len(rest or user) > ZONE_CHARS or rest else opening
    zone = cues.Searched(f"{system}\n{ends}")
    written = max(0, event.output_tokens - event.reasoning_tokens)
    bits = _answer_bits(answer, contract)
    bits |= _elicitation(zone, user, rest, contract, bits)
    if event.status == 200 and written:
        bits |= _judging(event, zone, answer, written)
        bits |= _making(event, zone, user, answer, written)
    if (bits & ELICIT or event.refusal) and zone.holds(cues.HIDDEN):  # cues of reasoning alone are ELICIT already
        bits |= PROBE
    return bits


def _answer_bits(answer: str, contract: Contract) -> int:
    if not contract.answer_tag:
        return 0
    tag = contract.answer_tag
    return TAGGED_ANSWER | FORCED_ANSWER if tag in contract.tags else TAGGED_ANSWER


def _elicitation(zone: cues.Searched, user: str, rest: str, contract: Contract, answer_bits: int) -> int:
    thoughtful = any(cues.any_in(name, cues.THOUGHT_NAMES) for name in (*contract.tags, *contract.keys))
    worded = zone.holds(cues.REASONING)
    # Form: the answer obeys a tag that was asked for and holds a thought, or is asked for in two or more tagged parts.
    formed = bool(answer_bits & FORCED_ANSWER) and (thoughtful or worded or len(contract.tags) >= 2)
    if formed or (contract.tags and thoughtful) or (contract.tags and worded):
        return ELICIT
    # A finished answer comes along under a label of its own, and the reasons for it are asked for.
    if worded or zone.holds(cues.WHY):
        labels = {label.strip() for label in _at_line_starts(_LABEL, f"{user}\n{rest}")}
        if len(labels) >= 2 and any(label in SHORT_LABELS or cues.any_in(label, cues.ANSWER_LABEL) for label in labels):
            return ELICIT | SUPPLIED
    return ELICIT if worded else 0


def _judging(event: Event, zone: cues.Searched, answer: str, written: int) -> int:
    short = written <= SHORT_ANSWER_TOKENS and event.input_tokens >= 4 * written
    if not short or (answer and not (_VERDICT.match(answer[:80]) or _MARK.search(answer[:160]))):
        return 0
    return JUDGE if _SCALE.search(zone.text) or zone.holds(cues.GRADING) else 0


def _making(event: Event, zone: cues.Searched, user: str, answer: str, written: int) -> int:
    bits = 0
    worded = event.user_turns <= 1 and written >= 16 and zone.holds(cues.MAKING) and zone.holds(cues.TASKS)
    if worded or _dialogue(answer) or _continued(user, answer):
        bits |= GENERATE
    # Length of the answer follows the length of what came along.
    payload = event.input_tokens
    if 0.2 * payload <= written <= 4 * payload and event.user_chars >= 80 and zone.holds(cues.REWRITING):
        bits |= REWRITE
    return bits


def _dialogue(answer: str) -> bool:
    speakers = list(_at_line_starts(_SPEAKER, answer))
    return len(speakers) >= 4 and len(set(speakers)) == 2


def _continued(user: str, answer: str) -> bool:
    """Seeds are numbered and the model goes on counting: the list in the answer starts above the last one given."""
    first = int(next(_at_line_starts(_NUMBERED, answer), 0))
    if first <= 1:
        return False
    given = [int(number) for number in _at_line_starts(_NUMBERED, user)]
    return len(given) >= 3 and first >= max(given[-3:])


def _at_line_starts(pattern: re.Pattern[str], text: str) -> Iterator[str]:
    """What `findall` of a pattern that begins with "^" finds, without trying it at every character between."""
    at = 0
    while True:
        match = pattern.match(text, at)
        if match is not None:
            yield match[1]
            at = match.end() - 1  # a match that ends with a line break is followed by the start of a line
        at = text.find("\n", at) + 1
        if not at:
            return
