"""A statement of reasons for one action, in the form of Article 17 of the Digital Services Act (Regulation (EU) 2022/2065).

What was found, what is done and until when, on which ground, what a machine did and what a person, and how to object. It is
a function of what was stored with the action, so its text for a reference stays the same whatever is judged later.

There are two views. The customer's says what a customer needs to answer it and nothing that would teach how not to be
noticed: no scores, thresholds, features or names of people. The internal one has all of it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

import msgspec

from app.enforcement.policy import MACHINES
from app.state.flags import FlagRecord
from app.state.orders import Order

Audience = Literal["customer", "internal"]


class Fact(msgspec.Struct, frozen=True):
    """One line of the internal view."""

    name: str
    text: str


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """A statement of reasons, in sentences.

    Attributes:
        ref: reference of the action.
        decided_us: when it was decided, unix µs.
        measure: what is done.
        facts: what it rests on.
        scope: for which services and where.
        period: from when until when.
        ground: the clause of the contract, and why the facts fall under it.
        automated_detection: a machine found it; automated_decision: a machine decided what is done.
        automation: both in a sentence.
        redress: how to object, and what happens then.
        internal: what only the provider sees; empty in the customer's view.
    """

    ref: str
    audience: Audience
    decided_us: int
    measure: str
    facts: tuple[str, ...]
    scope: str
    period: str
    ground: str
    automated_detection: bool
    automated_decision: bool
    automation: str
    redress: tuple[str, ...]
    internal: tuple[Fact, ...] = ()


class Redress(msgspec.Struct, frozen=True):
    """How a customer may object. `ground` and `appeal_url` are those of an order; a flag has kept its own."""

    sla_hours: float
    ground: str
    appeal_url: str


_VOLUME, _ALIKE, _SHAPE, _KIND, _SPREAD = (
    "how much and how regularly it is used",
    "how much its requests resemble one another",
    "the shape of its requests and answers",
    "the kind of answers that are asked for",
    "how its use spreads and changes over time",
)
_FAMILIES: dict[str, tuple[str, ...]] = {
    _VOLUME: (
        *("requests_1h", "requests_24h", "ramp_ratio", "interarrival_cv", "interarrival_regularity"),
        *("circadian_flatness", "longest_idle_h", "retry_rate", "limited_rate", "tokens_24h", "weekend_share"),
        *("fano_factor", "in_flight_mean", "in_flight_steadiness", "backoff_s", "spend_velocity"),
    ),
    _ALIKE: (
        *("skeleton_entropy", "skeleton_top_share", "user_top_share", "slot_novelty", "near_duplicate_rate"),
        *("multiplicity_peak", "contract_top_share", "elicitation_constancy", "constant_elicitations"),
        *("constant_elicitation_share", "constant_forced_answers", "items_repeated", "repeat_exactness"),
        *("judged_near_share", "parameter_novelty", "output_echo_share", "output_echoes", "template_share"),
    ),
    _SHAPE: (
        *("single_turn_ratio", "mean_turn_depth", "output_input_ratio", "output_tokens_mean", "input_tokens_mean"),
        *("max_tokens_hugging", "parameter_entropy", "tool_share", "chain_continuation", "depth_spread"),
        *("input_spread", "output_spread", "system_prompt_share", "end_user_share", "client_mismatch_share"),
        *("thinking_share", "thinking_hugging", "open_chains"),
    ),
    _KIND: (
        *("logprobs_share", "logit_bias_share", "logit_bias_diversity", "samples_mean", "elicitation_share"),
        *("answer_supplied_share", "judge_share", "task_generation_share", "rewrite_share", "probe_refusals"),
        *("answer_tag_share", "refusal_rate", "valuable_share", "valuable_total", "reasoning_share"),
        *("code_share", "maths_share", "ability_concentration", "forced_answer_share", "harvest_mean"),
        *("harvest_high_share", "harvest_peak_share", "harvest_spread", "harvest_low_share", "harvest_top_share"),
        *("harvest_recent_mean", "leak_evidence", "leak_taken", "leak_mean", "elicitation_floor"),
        *("answer_supplied_floor", "judge_floor", "task_generation_floor", "rewrite_floor", "answers_supplied"),
        *("foreign_reasoning", "foreign_reasoning_share", "moved_reasoning_share"),
    ),
    _SPREAD: (
        *("coverage_growth", "baseline_shift", "model_pivot_share", "network_diversity", "client_diversity"),
        *("language_diversity", "account_age_d", "topic_spread", "topic_shift", "topic_evenness", "topic_top_share"),
        "end_user_diversity",
    ),
}
FAMILY = {feature: words for words, features in _FAMILIES.items() for feature in features}
"""Feature → what a customer is told that it is about: broad on purpose."""

_GRADES = {"watch": "first", "suspect": "second", "confirmed": "third"}

_CODES = {
    "extraction": "The use of the key looks like answers being collected in order to train another model.",
    "leaked_key": "The key seems to be in the hands of somebody it was not given to.",
    "fraud": "There are signs of fraud around the account.",
    "terms": "The use of the key breaks the terms of use.",
    "investigation": "The use of the key is being looked into.",
    "load": "The key's load endangers the service for others.",
    "agreement": "This was agreed with the customer.",
    "false_alarm": "An earlier finding about the key was wrong.",
    "appeal": "An appeal was granted.",
    "legal": "The provider has a legal duty to do so.",
}
_OTHER_CODE = "The provider decided so in this single case."

_SCOPE = "It covers every request with this key, to every service of the provider behind it, wherever it comes from."


def of_flag(record: FlagRecord, audience: Audience, redress: Redress) -> Statement:
    """The statement of what policy asked for by itself."""
    measure = record.measure
    return Statement(
        ref=record.ref,
        audience=audience,
        decided_us=record.at_us,
        measure=_measure(measure.action, measure.factor, measure.requests_per_min),
        facts=_found(record),
        scope=_SCOPE,
        period=f"Since {_time(record.at_us)}. It ends {_span(measure.ttl_sec)} after the last use that led to the same "
        f"finding; as first set, at {_time(record.at_us + measure.ttl_sec * 1_000_000)}.",
        ground=_ground(measure.ground),
        automated_detection=True,
        automated_decision=True,
        automation="The finding was made by automated means, and so was the decision; no person took part.",
        redress=_redress(record.ref, measure.appeal_url or redress.appeal_url, redress.sla_hours),
        internal=_flag_facts(record) if audience == "internal" else (),
    )


def of_order(order: Order, flag: FlagRecord | None, audience: Audience, redress: Redress) -> Statement:
    """The statement of what a person ordered, or policy about a group of keys or an operation that others have reported.

    Args:
        order: what was ordered.
        flag: the newest finding that the person could have seen, if there was one.
        audience: whose view.
        redress: how to object.
    """
    machine = order.by in MACHINES
    detected = machine or (flag is not None and order.reason_code in ("extraction", "terms", "investigation"))
    facts = (_CODES.get(order.reason_code, _OTHER_CODE), *(_found(flag) if detected and flag is not None else ()))
    return Statement(
        ref=order.ref,
        audience=audience,
        decided_us=order.since_us,
        measure=_measure(order.action, order.factor, order.requests_per_min),
        facts=facts,
        scope=_SCOPE,
        period=f"From {_time(order.since_us)} until {_time(order.until_us)}, unless it is ended or replaced before.",
        ground=_ground(redress.ground),
        automated_detection=detected,
        automated_decision=machine,
        automation=(
            "The finding was made by automated means, and so was the decision; no person took part."
            if machine
            else "What it rests on was found by automated means; a person decided."
            if detected
            else "A person decided; no automated finding was relied on."
        ),
        redress=_redress(order.ref, redress.appeal_url, redress.sla_hours),
        internal=_order_facts(order, flag) if audience == "internal" else (),
    )


def markdown(statement: Statement) -> str:
    """The statement as a page. Names and notes of people are escaped."""
    lines = [f"# Statement of reasons {statement.ref}", "", f"Decided {_time(statement.decided_us)}.", ""]
    for head, text in (
        ("What is done", [statement.measure]),
        ("Facts and circumstances", statement.facts),
        ("Scope and duration", [statement.scope, statement.period]),
        ("Ground", [statement.ground]),
        ("Automated means", [statement.automation]),
        ("How to object", statement.redress),
    ):
        lines += [f"## {head}", "", *(f"- {one}" for one in text), ""]
    if statement.internal:
        lines += ["## Internal: not for the customer", "", "| | |", "| --- | --- |"]
        lines += [f"| {_cell(fact.name)} | {_cell(fact.text)} |" for fact in statement.internal] + [""]
    return "\n".join(lines)


def _measure(action: str, factor: float, requests_per_min: float | None) -> str:
    if action == "observe":
        return "Nothing is restricted."
    if action == "suspend":
        return "Requests with this key are refused."
    if action == "step_up":
        return "Requests with this key are refused until the account has been verified."
    ceiling = (
        "" if requests_per_min is None else f", and to {requests_per_min:g} requests per minute where it has no such limit"
    )
    less = f"The limits of this key are reduced to {factor:.0%} of its plan's{ceiling}."
    return less if action == "throttle" else f"{less} Some optional features of requests and answers are not available."


def _found(record: FlagRecord) -> tuple[str, ...]:
    """What a finding rests on, for somebody who must be able to answer it."""
    families = tuple(dict.fromkeys(FAMILY[reason.feature] for reason in record.reasons if reason.feature in FAMILY))
    facts = [
        f"The use of the key was looked at as a whole: {record.evidence:,} answered requests of the seven days before "
        f"{_time(record.at_us)}, older ones counted with less weight.",
    ]
    if families:
        facts.append(f"What stood out: {'; '.join(families)}.")
    grade = _GRADES.get(record.level)
    if grade:
        facts.append(f"The finding is of the {grade} of three grades.")
    facts.append("Counts and proportions were compared; what was asked and answered is not stored.")
    return tuple(facts)


def _ground(clause: str) -> str:
    return f"This rests on {clause.rstrip('.')}." if clause else "This rests on the terms of use."


def _redress(ref: str, url: str, sla_hours: float) -> tuple[str, ...]:
    where = f"at {url}" if url else "with the provider's support"
    return (
        f"You can object {where}, free of charge; quote the reference {ref}.",
        f"A person who did not take this decision looks at it, as a rule within {sla_hours:g} hours, and tells you the "
        "result with reasons. What you tell helps: what the key is used for, and for whom.",
        "Your rights before a court are not affected.",
    )


def _flag_facts(record: FlagRecord) -> tuple[Fact, ...]:
    measure = record.measure
    facts = [
        Fact("key", record.key_id),
        Fact("level", f"{record.was} → {record.level}, score {record.score:.4f}"),
        Fact("evidence", f"{record.evidence:,} answered exchanges; {record.leaked:,} valuable answers leaked"),
        Fact("measure", f"{measure.action} for {measure.ttl_sec} s, in {measure.mode} mode, policy {measure.policy_id}"),
        Fact("model", f"{record.model_id}, catalogue {record.catalogue}, compared with {record.peer_group or 'no peers'}"),
    ]
    if record.authorised:
        facts.append(Fact("authorised", "the contract allows this use"))
    facts += [Fact(f"reason: {reason.feature}", f"{reason.text} (weight {reason.weight:.2f})") for reason in record.reasons]
    for score in record.scores:
        if score.status == "scored":
            bars = ", ".join(f"{name} from {value:g}" for name, value in score.thresholds.items())
            facts.append(
                Fact(f"scorer: {score.scorer} {score.version}", f"{score.value:.4f}" + (f" ({bars})" if bars else ""))
            )
    return tuple(facts)


def _order_facts(order: Order, flag: FlagRecord | None) -> tuple[Fact, ...]:
    facts = (
        Fact("ordered by", order.by),
        Fact("reason", f"{order.reason_code}: {order.reason}"),
        Fact("level then", order.level),
    )
    return (*facts, *(_flag_facts(flag) if flag is not None else ()))


def _time(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / 1_000_000, tz=UTC).strftime("%Y-%m-%d %H:%M UTC")


def _span(seconds: int) -> str:
    for size, name in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size and seconds % size == 0:
            count = seconds // size
            return f"{count} {name}{'s' if count != 1 else ''}"
    return f"{seconds} seconds"


def _cell(text: str) -> str:
    """Text for a Markdown table: nothing in it may break a cell or start a tag."""
    plain = " ".join(text.split())
    for mark in "\\|<>[]*_`":
        plain = plain.replace(mark, "\\" + mark)
    return plain
