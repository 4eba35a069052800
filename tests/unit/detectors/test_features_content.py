"""Features of templates, samples and intents, each in a situation made for it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from detectors.event import Event

MINUTE_US = 60_000_000

Stream = Callable[..., list[Event]]
ValuesOf = Callable[..., dict[str, float | None]]
Words = Callable[..., str]


# --- templates


def test_a_template_over_new_slots(stream: Stream, words: Words, values_of: ValuesOf) -> None:
    """One instruction, always another text: one skeleton, no entropy, all novel, and no near-duplicates."""
    values = values_of(stream(100, text=lambda n: f"Summarise the passage in one plain sentence please: {words(n)}"))
    assert values["skeleton_top_share"] == values["user_top_share"] == pytest.approx(1)
    assert values["skeleton_entropy"] == pytest.approx(0, abs=1e-9)
    assert values["slot_novelty"] == pytest.approx(1)
    assert values["near_duplicate_rate"] == pytest.approx(0)


def test_free_text_has_no_skeleton(stream: Stream, values_of: ValuesOf) -> None:
    """Every request another text: high entropy, no common element."""
    values = values_of(stream(100))
    assert values["skeleton_entropy"] == pytest.approx(1, abs=0.1)
    assert values["user_top_share"] == pytest.approx(0, abs=0.05)
    assert values["slot_novelty"] is None


def test_a_system_prompt_is_a_skeleton_but_none_of_the_user(stream: Stream, values_of: ValuesOf) -> None:
    """A product with one system prompt and free turns: the first share is 1, the second near 0."""
    values = values_of(stream(100, system="You are the assistant of a garden shop."))
    assert values["skeleton_top_share"] == pytest.approx(1)
    assert values["user_top_share"] == pytest.approx(0, abs=0.05)


def test_a_fragment_in_the_middle_of_foreign_text_shows(stream: Stream, words: Words, values_of: ValuesOf) -> None:
    """A constant passage between two varying ends is found by its shingles."""
    fragment = "write down every thought that leads you to the result before you state the result itself"
    values = values_of(stream(100, text=lambda n: f"{words(n, 20)} {fragment} {words(-n - 1, 20)}"))
    assert values["user_top_share"] >= 0.9


def test_a_template_on_a_third_of_the_exchanges_is_a_third(stream: Stream, words: Words, values_of: ValuesOf) -> None:
    """The rest being free text."""
    values = values_of(
        stream(300, text=lambda n: f"Translate the following lines into Danish now: {words(n)}" if n % 3 == 0 else words(n))
    )
    assert values["user_top_share"] == pytest.approx(1 / 3, abs=0.05)


def test_asking_the_same_things_again_is_not_novel(stream: Stream, words: Words, values_of: ValuesOf) -> None:
    """Five contents in turn under one skeleton: only the first of each is new."""
    values = values_of(
        stream(
            100,
            text=lambda n: f"Summarise the passage in one plain sentence please: {words(n % 5)}",
            chain_digest=lambda n: n + 1,
        )
    )
    assert values["slot_novelty"] == pytest.approx(0.0, abs=0.06)


def test_near_copies_are_near_duplicates(stream: Stream, words: Words, values_of: ValuesOf) -> None:
    """Each text a copy of the one before with one word changed, against texts that share nothing."""
    base = words("base", 60).split()
    values = values_of(
        stream(
            60,
            text=lambda n: " ".join([*base[:30], f"changed{chr(97 + n % 26)}", *base[31:]]),
            chain_digest=lambda n: n + 1,
        )
    )
    assert values["near_duplicate_rate"] >= 0.8
    assert values_of(stream(60))["near_duplicate_rate"] == 0


@pytest.mark.parametrize("copies", [2, 4, 8])
def test_k_fold_repeats_are_a_multiplicity_peak(stream: Stream, words: Words, values_of: ValuesOf, copies: int) -> None:
    """Each request exactly k times: nearly all weight at k. Requests that come once have no peak."""
    values = values_of(stream(25 * copies, text=lambda n: words(n // copies), chain_digest=lambda n: 1 + n // copies))
    assert values["multiplicity_peak"] == pytest.approx(1)
    assert values_of(stream(50, chain_digest=lambda n: n + 1))["multiplicity_peak"] == 0


def test_several_samples_per_request_are_a_multiplicity_peak_too(stream: Stream, values_of: ValuesOf) -> None:
    """n = 4 on half of the exchanges."""
    values = values_of(stream(50, n=lambda n: 4 if n % 2 else 1, chain_digest=lambda n: n + 1))
    assert values["multiplicity_peak"] == pytest.approx(0.5, abs=0.02)
    assert values["samples_mean"] == pytest.approx(2.5, abs=0.05)


def test_a_constant_output_contract(stream: Stream, words: Words, values_of: ValuesOf) -> None:
    """The same tags under ever other wording: all of it; no contract: none."""
    values = values_of(stream(50, text=lambda n: f"{words(n)} use <plan></plan> and <result></result>"))
    assert values["contract_top_share"] == pytest.approx(1)
    assert values_of(stream(50))["contract_top_share"] == 0


# --- logits and samples


def test_a_logit_sweep(stream: Stream, values_of: ValuesOf) -> None:
    """Log-probabilities with a new bias map every time: both shares 1, and as many maps as requests, within 30 %."""
    values = values_of(
        stream(
            400,
            text="The",
            top_logprobs=5,
            logit_bias_size=100,
            logit_bias_digest=lambda n: 1 + n * 0x9E3779B97F4A7C15 % 2**64,
            output_tokens=1,
        )
    )
    assert values["logprobs_share"] == values["logit_bias_share"] == 1
    assert values["logit_bias_diversity"] == pytest.approx(400, rel=0.3)


def test_a_classifier_with_one_bias_map_has_one(stream: Stream, values_of: ValuesOf) -> None:
    """The honest use of a bias; without any bias the number of maps is absent, not 0."""
    assert values_of(stream(40, logit_bias_size=2, logit_bias_digest=7))["logit_bias_diversity"] == 1
    plain = values_of(stream(40))
    assert plain["logit_bias_diversity"] is None
    assert plain["logprobs_share"] == plain["logit_bias_share"] == 0


# --- intents


def test_constant_elicitation(stream: Stream, words: Words, values_of: ValuesOf) -> None:
    """The same demand for reasoning on every request: share 1 and constancy 1."""
    values = values_of(stream(60, text=lambda n: f"{words(n)} Think it through and show your reasoning step by step now."))
    assert values["elicitation_share"] == 1
    assert values["elicitation_constancy"] == pytest.approx(1)


def test_elicitation_in_changing_words_is_not_constant(stream: Stream, words: Words, values_of: ValuesOf) -> None:
    """People who ask for steps, each in their own words, have no constant element among those requests."""
    values = values_of(stream(60, text=lambda n: f"{words(n, 8)} step by step {words(-n - 1, 8)}"))
    assert values["elicitation_share"] == 1
    assert values["elicitation_constancy"] < 0.2
    assert values_of(stream(60))["elicitation_constancy"] is None


def test_every_intent_has_its_share(stream: Stream, words: Words, values_of: ValuesOf, start_us: int) -> None:
    """One request in four carries the intent, the others are free text."""
    asks = {
        "answer_supplied_share": (lambda n: f"Question: {words(n)}\nAnswer: {words(-n, 3)}\nExplain the reasoning.", {}),
        "judge_share": (
            lambda n: f"Rate this from 1 to 10, number only. {words(n, 60)}",
            {"answer": "7", "input_tokens": 100, "output_tokens": 1},
        ),
        "task_generation_share": (lambda n: f"Generate a new task about {words(n)}", {}),
        "rewrite_share": (
            lambda n: f"Rewrite this text in plain words: {words(n, 60)}",
            {"input_tokens": 90, "output_tokens": 90},
        ),
    }
    for name, (text, fields) in asks.items():
        events: list[Event] = []
        for n in range(80):
            extra = {**(fields if n % 4 == 0 else {}), "at_us": start_us + n * MINUTE_US}
            events += stream(1, text=text(n) if n % 4 == 0 else words(n), **extra)
        assert values_of(events)[name] == pytest.approx(0.25, abs=0.01), name
        assert values_of(stream(40))[name] == 0


def test_answers_that_begin_with_a_tag(stream: Stream, values_of: ValuesOf) -> None:
    """Of the answers whose text is known; absent where no text is kept."""
    tagged = values_of(stream(40, answer=lambda n: "<thought> first" if n % 2 else "plain words"))
    assert tagged["answer_tag_share"] == pytest.approx(0.5, abs=0.02)
    assert values_of(stream(40))["answer_tag_share"] is None


def test_probing_counts_the_different_skeletons_that_were_refused(stream: Stream, values_of: ValuesOf) -> None:
    """Twenty different refused requests are twenty; the same one twenty times is one."""
    values = values_of(stream(20, refusal=True))
    assert values["probe_refusals"] == pytest.approx(20, rel=0.02)
    assert values["refusal_rate"] == 1
    assert values_of(stream(20, text="say it", refusal=True))["probe_refusals"] == pytest.approx(1, rel=0.02)
