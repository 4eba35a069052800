"""The output contract: tags, JSON keys, headings, formats and schemas that a caller demands."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from detectors.event import Event
from detectors.fingerprint import fingerprint
from detectors.fingerprint.normalise import fold
from detectors.fingerprint.output_contract import Contract, output_contract, tags_asked

MakeEvent = Callable[..., Event]


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("Answer in <reasoning></reasoning> and <answer></answer>.", {"reasoning", "answer"}),
        ("Put the result between <out> and </out>.", {"out"}),
        ("Use <Think>...</Think>", {"think"}),
        ("Begin with <plan>", {"plan"}),
        ("End with </done>", {"done"}),
        ("[THOUGHT][/THOUGHT] first", {"thought"}),
        ("<doc>" + "a long document that the caller sends along with it " * 3 + "</doc> Summarise it.", set()),
        ("see [note] and [1]", set()),
        ("<p>html</p> <div class='x'>y</div> <b>bold</b>", set()),
        ("if a < b and c > d", set()),
        ("vector<int> x; map<string> y", set()),
        ("no marks at all", set()),
    ],
)
def test_tags_are_asked_for_when_named_or_left_empty(text: str, tags: set[str]) -> None:
    """A tag named alone or around a placeholder is a form; one around a document, HTML or code is not."""
    assert tags_asked(fold(text)) == tags


def _contract(make_event: MakeEvent, text: str, system: str = "", answer: str = "", **fields: object) -> Contract:
    event = make_event(text, system, answer, **fields)
    return output_contract(event, fold(system), fold(text), fold(answer))


def test_json_keys_of_the_wanted_answer_are_found(make_event: MakeEvent) -> None:
    """At the end of the instruction or in the system prompt."""
    wanted = 'Reply with {"Label": "...", "confidence": 0.0}'
    assert _contract(make_event, f"Classify this ticket. {wanted}").keys == ("confidence", "label")
    assert _contract(make_event, "My parcel is late.", system=wanted).keys == ("confidence", "label")


def test_json_that_the_caller_sends_is_no_contract(make_event: MakeEvent) -> None:
    """Keys are read at the end of the turn alone: data that comes before the instruction is what the caller has."""
    record = '{"name": "x", "city": "y", "age": 3} ' * 20
    assert _contract(make_event, record + "Who in these records is the oldest? " * 12).keys == ()


def test_headings_of_the_wanted_answer_are_found(make_event: MakeEvent) -> None:
    """Markdown headings, bold lines and labels that stand alone in their line."""
    text = "Fill in this form:\n## Summary\n**Risks**\nNext steps:\n"
    assert _contract(make_event, text).headings == ("## summary", "**risks**", "fill in this form:", "next steps:")


def test_response_format_schema_and_tools_are_contracts_without_any_text(make_event: MakeEvent) -> None:
    """Each alone makes a contract, and two of them differ; plain text is none."""
    hashes = {
        fingerprint(make_event("hi", **fields)).contract
        for fields in (
            {"response_format": "json_object"},
            {"response_format": "json_schema", "response_schema_digest": 1},
            {"response_format": "json_schema", "response_schema_digest": 2},
            {"tools_digest": 3},
            {"tools_digest": 4},
        )
    }
    assert len(hashes) == 5
    assert 0 not in hashes
    assert fingerprint(make_event("hi", response_format="text")).contract == 0


def test_the_contract_is_the_same_under_any_wording(make_event: MakeEvent) -> None:
    """Paraphrases, order and case of the same form give one hash; another form gives another."""
    asks = [
        "Explain, putting thoughts in <think></think> and the end in <final></final>: why is ice slippery?",
        "Why do cats purr? Use <FINAL></FINAL> for the result after your <THINK></THINK>.",
        "请在<think></think>里思考,在<final></final>里回答:天为什么是蓝的?",
    ]
    assert len({fingerprint(make_event(ask)).contract for ask in asks}) == 1
    other = fingerprint(make_event("Why? Use <notes></notes> and <final></final>."))
    assert other.contract != fingerprint(make_event(asks[0])).contract
    assert (other.tags_asked, fingerprint(make_event("Why?")).contract) == (2, 0)


@pytest.mark.parametrize(
    ("answer", "tag"),
    [
        ("<reasoning>First,", "reasoning"),
        ("\n  <Think>", "think"),
        ("[RESULT] 5", "result"),
        ("<p>html</p>", ""),
        ("plain <x>", ""),
        ("", ""),
    ],
)
def test_the_tag_an_answer_begins_with_is_known(make_event: MakeEvent, answer: str, tag: str) -> None:
    """The first thing of the answer, HTML left out."""
    assert _contract(make_event, "q", answer=answer).answer_tag == tag


def test_a_contract_is_bounded(make_event: MakeEvent) -> None:
    """However many tags, keys and headings a text holds, few are kept."""
    tags = " ".join(f"<t{n}></t{n}>" for n in range(200))
    keys = " ".join(f'"k{n}": 1' for n in range(100))
    headings = "\n".join(f"## h{n}" for n in range(100))
    contract = _contract(make_event, f"{tags}\n{headings}\n{keys}", system=f"{tags}\n{headings}\n{keys}")
    assert len(contract.tags) <= 8
    assert len(contract.keys) <= 12
    assert len(contract.headings) <= 12
