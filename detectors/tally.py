"""What one exchange adds to the counters of a profile.

A counter is a decayed sum; features are ratios of them. `COUNTERS` is the layout of the sums, kept once for 24 hours and
once for 7 days.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log

from detectors.event import Event
from detectors.fingerprint import Fingerprint
from detectors.fingerprint import capability as able
from detectors.fingerprint.record import ELICIT, FORCED_ANSWER, GENERATE, JUDGE, PROBE, REWRITE, SUPPLIED, TAGGED_ANSWER
from detectors.sketch.decay import DAY_US
from detectors.sketch.gaps import increments

COUNTERS = (
    # Every exchange, whatever came of it.
    "requests", "limited", "retries", "gap_n", "gap_sum", "gap_sq", "gap_ln", "gap_ln_sq",
    "bins", "bin_sum", "bin_sq", "waits", "wait_ln", "timed", "overlap", "same_overlap", "known_client", "odd_client",
    # Answered with status 200, every route.
    "answered", "embeddings", "completions",
    # Answered on a route that writes text: what every share below is a share of.
    "generated", "input_tokens", "output_tokens", "written_tokens", "reasoning", "single_turn", "depth", "streamed",
    "tools", "short", "long", "valuable", "refused", "capped", "hugging", "logprobs", "biased", "samples", "multi_sample",
    # … of its text.
    "worded", "near_duplicate", "templated", "templated_novel", "fresh_cell", "contracted",
    "elicit", "supplied", "judge", "generate", "rewrite", "probe", "probe_refused", "answers_seen", "tagged_answer",
    "elicit_constant", "forced_answer",
    # … of its abilities and its place in a conversation.
    "code", "maths", "made", "graded", "text", "extract", "continued", "depth_sq", "weekend", "prompted",
    "input_ln", "input_ln_sq", "written_ln", "written_ln_sq", "reasoning_tokens",
    # … of its memory: what came before, what came back.
    "forced_constant", "new_parameters", "judge_near", "open_chains", "echoed", "budgeted", "budget_hugged", "end_user",
    "replayed", "foreign", "foreign_blocks", "moved", "emitting", "unread",
)  # fmt: skip
INDEX = {name: number for number, name in enumerate(COUNTERS)}

EPOCH_WEEKDAY = 3
"""1 January 1970 was a Thursday: day 3 of a week that begins on Monday."""

SATURDAY = 5

GENERATIVE = frozenset({"chat", "responses", "completions", "messages"})

LONG_TOKENS = 200
"""Output from which an answer is worth training on: the shortest traces of published reasoning sets are about this long."""

REASONING_TOKENS = 100
SHORT_TOKENS = 16
BUDGET_HUG = 0.9
"""Share of the thinking budget from which it counts as filled: a model stops thinking a little before its limit."""

SDK_AGENTS = frozenset({"openai", "anthropic"})
"""Products whose libraries always send the headers that name an SDK."""

SHOWING = frozenset({"messages", "responses"})
"""Routes whose answers show a block for any reasoning."""

HUG = 0.98
"""Share of max_tokens from which an answer counts as filling it."""


@dataclass(slots=True)
class Seen:
    """What the profile's own memory says about an exchange, before it is counted."""

    gap_us: int | None = None  # since the previous exchange; None for the first, a late one and an SDK retry
    near_duplicate: bool = False
    templated: bool = False
    novel: bool = False
    fresh_cell: bool = False
    new_refused_skeleton: bool = False
    continued: bool = False  # an earlier chain of this entity is its prefix
    constant_elicitation: bool = False  # asks for reasoning with an element that earlier ones carried too
    constant_forced: bool = False  # begins with a tag asked for, under a contract that earlier ones had too
    new_parameters: bool = False
    open_chains: int = 0
    echoed: bool = False  # an earlier answer stands in the request, outside its conversation
    bins: tuple[float, float, float] = (0.0, 0.0, 0.0)  # ten-minute bins this exchange closes, Σ counts, Σ squares
    waited_ln: float | None = None  # ln seconds since a refusal for a rate limit
    overlap: int = 0
    same_overlap: bool = False
    replayed: bool = False  # brings reasoning back, and it can be judged whose
    foreign: bool = False  # … some of which this entity was never given
    new_foreign: int = 0  # … blocks not counted before
    moved: bool = False  # … some of which it was given in another conversation


def is_generated(event: Event) -> bool:
    """Answered, and on a route that writes text."""
    return event.status == 200 and event.decision != "limited" and event.route in GENERATIVE


def is_valuable(event: Event) -> bool:
    """An answer that is worth something as training data: long, reasoned or a tool step, and no refusal."""
    if not is_generated(event) or event.refusal:
        return False
    return event.output_tokens >= LONG_TOKENS or event.reasoning_tokens >= REASONING_TOKENS or event.tool_calls > 0


def tally(event: Event, fp: Fingerprint, seen: Seen) -> Sequence[float]:
    """One exchange → an increment for every counter, in the order of COUNTERS."""
    gaps = increments(seen.gap_us) if seen.gap_us is not None else (0.0, 0.0, 0.0, 0.0, 0.0)
    limited = event.status == 429 or event.decision == "limited"
    answered = event.status == 200 and not limited
    named = bool(event.sdk or event.agent_class)
    vendor = event.agent_class in SDK_AGENTS
    volume = (
        1.0,
        limited,
        event.retry_count > 0,
        *gaps,
        *seen.bins,
        seen.waited_ln is not None,
        seen.waited_ln or 0.0,
        event.latency_us > 0 and event.status == 200,
        seen.overlap,
        seen.same_overlap,
        named,
        named and vendor != bool(event.sdk),
        answered,
    )
    if not is_generated(event):
        return (*volume, answered and event.route == "embeddings", 0.0, *_NO_TEXT)
    written = max(0, event.output_tokens - event.reasoning_tokens)
    bits = fp.intents
    worded = fp.tokens > 0
    return (
        *volume,
        0.0,
        event.route == "completions",
        1.0,
        event.input_tokens,
        event.output_tokens,
        written,
        event.reasoning_tokens > 0,
        "a" not in event.roles and event.user_turns <= 1,
        1.0 + event.roles.count("a"),
        event.stream,
        event.tools_digest != 0 or event.tool_calls > 0,
        written <= SHORT_TOKENS,
        event.output_tokens >= LONG_TOKENS,
        is_valuable(event),
        event.refusal,
        event.max_tokens is not None,
        _hugs(event),
        event.top_logprobs >= 0,
        event.logit_bias_size > 0,
        max(1, event.n),
        event.n > 1,
        worded,
        seen.near_duplicate,
        seen.templated,
        seen.templated and seen.novel,
        seen.fresh_cell,
        fp.contract != 0,
        bits & ELICIT != 0,
        bits & SUPPLIED != 0,
        bits & JUDGE != 0,
        bits & GENERATE != 0,
        bits & REWRITE != 0,
        bits & PROBE != 0,
        seen.new_refused_skeleton,
        bool(event.answer_head) or event.answer_digest != 0,
        bits & TAGGED_ANSWER != 0,
        seen.constant_elicitation,
        bits & FORCED_ANSWER != 0,
        fp.capability == able.CODE,
        fp.capability == able.MATHS,
        fp.capability == able.MAKE,
        fp.capability == able.GRADE,
        fp.capability == able.TEXT,
        fp.capability == able.EXTRACT,
        seen.continued,
        (1.0 + event.roles.count("a")) ** 2,
        (event.at_us // DAY_US + EPOCH_WEEKDAY) % 7 >= SATURDAY,
        event.system_chars > 0,
        log(1.0 + event.input_tokens),
        log(1.0 + event.input_tokens) ** 2,
        log(1.0 + written),
        log(1.0 + written) ** 2,
        event.reasoning_tokens,
        seen.constant_forced,
        seen.new_parameters,
        bits & JUDGE != 0 and seen.near_duplicate,
        seen.open_chains,
        seen.echoed,
        event.thinking_budget > 0,
        0 < BUDGET_HUG * event.thinking_budget <= event.reasoning_tokens,
        event.end_user_digest != 0,
        seen.replayed,
        seen.foreign,
        seen.new_foreign,
        seen.moved,
        event.emitted != b"",
        event.route in SHOWING and event.reasoning_tokens > 0 and not event.emitted,
    )


def _hugs(event: Event) -> bool:
    if event.max_tokens is None:
        return False
    return event.finish_reason in ("length", "max_tokens") or event.output_tokens >= HUG * event.max_tokens


_NO_TEXT = (0.0,) * (len(COUNTERS) - INDEX["generated"])
