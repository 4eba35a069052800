"""One answer out of several, however the bytes of a stream are cut and whatever a server sends between them."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.enforcement.wire_errors import Refuse
from app.gateway import marking_choice
from app.gateway.concealing import TooLong
from app.gateway.dialects.shape import Answer
from app.gateway.marking import Marking
from app.gateway.marking_choice import Choice
from app.gateway.marking_request import RequestMark
from app.gateway.routes import classify
from app.settings import WatermarkSettings
from app.watermark.sources import Sources
from detectors.contract import Level
from detectors.watermark.choice import Chooser, best
from detectors.watermark.keys import KeyRing, MasterSecret, issued
from detectors.watermark.prf import Prf
from detectors.watermark.registry import WORDS, MarkProfile, Registry
from detectors.watermark.words import words

SECRET = MasterSecret(bytes(range(32)))
PROFILE = MarkProfile("c1", "choice", WORDS, "e1", candidates=3)
CHOOSER = Chooser(Prf(SECRET, PROFILE), issued(SECRET, "k1", 128, 16))
CHAT = classify("POST", "/v1/chat/completions")
TEXTS = (
    "The river carries fine sand down to the delta, where it settles and slowly builds new land for reeds and birds.",
    "Rivers bring sand to their mouths; there it sinks, and in a hundred years an island stands where ships once sailed.",
    "Sand moves with the water until the current is too weak to hold it, and what falls there becomes the delta.",
)
MOST = 12
FIRST = best([CHOOSER.score(words(text)[:MOST], 0.5) for text in TEXTS])
WHOLE = best([CHOOSER.score(words(text), 0.5) for text in TEXTS])


def choice(route: str = "chat", wanted: int = 3) -> Choice:
    """A new one."""
    return Choice(CHOOSER, route, wanted, MOST)


def event(index: int, text: str = "", finish: str | None = None, **more: Any) -> bytes:
    """A chunk of one choice."""
    delta = {"content": text} if text else {}
    chosen = {"index": index, "delta": delta, "finish_reason": finish}
    return b"data: " + orjson.dumps({"id": "c", "choices": [chosen], **more}) + b"\n\n"


def pieces(text: str) -> list[str]:
    """A text as servers stream it."""
    return [part + " " for part in text.split(" ")]


def stream(order: str = "turns") -> list[bytes]:
    """The events of all three, one after the other in turn, or each as a whole."""
    each = [[event(at, piece) for piece in pieces(text)] + [event(at, finish="stop")] for at, text in enumerate(TEXTS)]
    if order == "turns":
        most = max(map(len, each))
        return [events[at] for at in range(most) for events in each if at < len(events)]
    return [one for events in each for one in events]


def passed(stage: Choice, raw: bytes, size: int) -> bytes:
    """What comes out, fed in parts of so many bytes."""
    return b"".join(stage.pass_on(raw[at : at + size]) for at in range(0, len(raw), size)) + stage.flush()


def payloads(raw: bytes) -> list[Any]:
    """The JSON of the events."""
    lines = [line[5:].strip() for line in raw.split(b"\n") if line.startswith(b"data:")]
    return [orjson.loads(line) for line in lines if line != b"[DONE]"]


def said(raw: bytes) -> str:
    """The text of a stream that has choice 0 alone."""
    found = []
    for payload in payloads(raw):
        assert [one["index"] for one in payload["choices"]] in ([0], [])
        found += [one["delta"].get("content", "") for one in payload["choices"]]
    return "".join(found)


USAGE = {"prompt_tokens": 10, "completion_tokens": 90, "total_tokens": 100}


@pytest.mark.parametrize("order", ["turns", "one by one"])
@pytest.mark.parametrize("size", [1, 13, 200, 100_000])
def test_a_stream_is_that_of_the_best_candidate(order: str, size: int) -> None:
    """From its first event to its last, as choice 0, with its own part of the usage."""
    usage = b"data: " + orjson.dumps({"id": "c", "choices": [], "usage": USAGE}) + b"\n\n"
    raw = b"".join(stream(order)) + usage + b"data: [DONE]\n\n"
    stage = choice()
    out = passed(stage, raw, size)
    assert said(out) == TEXTS[FIRST] + " "
    assert out.endswith(b"data: [DONE]\n\n")
    told = payloads(out)[-1]["usage"]
    share = round(90 * len(TEXTS[FIRST]) / sum(map(len, TEXTS)))
    assert abs(told["completion_tokens"] - share) <= 1
    assert told["total_tokens"] == 10 + told["completion_tokens"]
    assert stage.dropped_tokens == 90 - told["completion_tokens"]
    assert stage.score == CHOOSER.score(words(TEXTS[FIRST])[:MOST], 0.5)


def test_the_choice_is_made_as_soon_as_every_candidate_has_its_words() -> None:
    """Before that nothing passes; after it each event does at once."""
    stage = choice()
    events = stream()
    outs = [stage.pass_on(one) for one in events]
    began = next(at for at, out in enumerate(outs) if out)
    assert 3 * MOST <= began <= 3 * (MOST + 2)
    for one, out in zip(events[began + 1 :], outs[began + 1 :], strict=True):
        index = orjson.loads(one[5:])["choices"][0]["index"]
        assert bool(out) is (index == FIRST)


def test_comments_and_what_is_said_of_the_prompt_pass_at_once() -> None:
    """They keep the connection alive, and belong to no candidate."""
    stage = choice()
    prompt = b'data: {"choices":[],"prompt_filter_results":[]}\n\n'
    assert stage.pass_on(b": ping\n\n") == b": ping\n\n"
    assert stage.pass_on(prompt) == prompt
    assert stage.pass_on(event(0, "one ")) == b""
    assert stage.pass_on(b": ping\n\n") == b": ping\n\n"


def test_several_choices_in_one_event_are_told_apart() -> None:
    """And the event has one of them alone."""
    chosen = [{"index": at, "delta": {"content": text}, "finish_reason": "stop"} for at, text in enumerate(TEXTS)]
    out = passed(choice(), b"data: " + orjson.dumps({"choices": chosen}) + b"\r\n\r\ndata: [DONE]\r\n\r\n", 11)
    assert said(out) == TEXTS[FIRST]
    assert out.count(b"\r\n\r\n") == 2


def test_short_candidates_are_compared_when_they_have_ended() -> None:
    """Nobody waits for words that do not come."""
    stage = choice()
    events = [
        event(at, text, "stop") for at, text in enumerate(("Yes, it does so.", "No, it never did.", "Who can say that?"))
    ]
    assert [stage.pass_on(one) for one in events[:2]] == [b"", b""]
    assert len(payloads(stage.pass_on(events[2]))) == 1


def test_a_server_that_makes_one_choice_changes_nothing() -> None:
    """The stream comes as it is, if late, and counts as not marked."""
    usage = b"data: " + orjson.dumps({"choices": [], "usage": USAGE}) + b"\n\n"
    raw = b"".join(event(0, piece) for piece in pieces(TEXTS[0])) + event(0, finish="stop") + usage + b"data: [DONE]\n\n"
    stage = choice()
    assert passed(stage, raw, 50) == raw
    assert stage.score is None
    body = orjson.dumps({"choices": [{"index": 0, "message": {"content": "a"}}], "usage": USAGE})
    assert stage.whole(body) == body


def test_an_error_ends_the_waiting() -> None:
    """What is there of the best candidate comes before it, as it would have without a choice."""
    stage = choice()
    error = b'data: {"error":{"type":"server_error","message":"x"}}\n\n'
    out = passed(stage, b"".join(stream()[:9]) + error, 30)
    assert out.endswith(error)
    assert len(payloads(out)) == 4


def test_a_stream_that_ends_early_is_chosen_from_what_is_there() -> None:
    """Without an end marker too."""
    assert said(passed(choice(), b"".join(stream()[:9]), 30))


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the most is held, the choice is made among what is there."""
    monkeypatch.setattr(marking_choice, "_HELD_MOST", 500)
    stage = choice()
    outs = [stage.pass_on(one) for one in stream("one by one")]
    assert next(at for at, out in enumerate(outs) if out) < MOST
    monkeypatch.setattr(marking_choice, "HELD_MAX_BYTES", 100)
    with pytest.raises(TooLong):
        choice().pass_on(b"x" * 101)


@pytest.mark.parametrize(
    "junk",
    [
        b"data: nonsense\n\n",
        b"data: [1, 2]\n\n",
        b'data: {"choices": 5}\n\n',
        b'data: {"choices": [5, {"index": "x", "delta": 7, "text": []}]}\n\n',
        b'data: {"choices": [{"index": 9, "delta": {"content": "z"}}]}\n\n',
        b'data: {"choices": [], "usage": {"completion_tokens": "x", "completion_tokens_details": 3}}\n\n',
        b"event: x\n\n",
    ],
)
def test_a_server_s_junk_breaks_nothing(junk: bytes) -> None:
    """Wherever it comes."""
    events = stream()
    for at in (0, 5, len(events)):
        raw = b"".join([*events[:at], junk, *events[at:], b"data: [DONE]\n\n"])
        assert passed(choice(), raw, 64).endswith(b"data: [DONE]\n\n")


# Whole


def whole(*, route: str = "chat", usage: Any = None, **more: Any) -> tuple[Choice, Any]:
    """A whole answer after the choice."""
    given = [
        {"index": at, **({"text": text} if route == "completions" else {"message": {"role": "assistant", "content": text}})}
        for at, text in enumerate(TEXTS)
    ]
    for name, values in more.items():
        for one, value in zip(given, values, strict=True):
            one[name] = value
    body = {"id": "c", "choices": given, **({"usage": usage} if usage is not None else {})}
    stage = choice(route)
    return stage, orjson.loads(stage.whole(orjson.dumps(body)))


@pytest.mark.parametrize("route", ["chat", "completions"])
def test_a_whole_answer_has_the_best_choice_alone(route: str) -> None:
    """As choice 0; scored as a whole."""
    stage, body = whole(route=route)
    (only,) = body["choices"]
    assert only["index"] == 0
    assert (only["text"] if route == "completions" else only["message"]["content"]) == TEXTS[WHOLE]
    assert stage.score == CHOOSER.score(words(TEXTS[WHOLE]), 0.5)


def test_the_client_is_billed_for_its_own_choice() -> None:
    """As the server counts each, else by the length of the texts."""
    _, body = whole(usage=USAGE, usage_of_choice=(0, 0, 0))
    share = round(90 * len(TEXTS[WHOLE]) / sum(map(len, TEXTS)))
    assert body["usage"] == {"prompt_tokens": 10, "completion_tokens": share, "total_tokens": 10 + share}
    details = {**USAGE, "completion_tokens_details": {"reasoning_tokens": 45, "other": None}}
    stage, body = whole(usage=details, logprobs=[{"content": [{}] * count} for count in (20, 30, 40)])
    own = (20, 30, 40)[WHOLE]
    assert body["usage"]["completion_tokens"] == own
    assert body["usage"]["completion_tokens_details"] == {"reasoning_tokens": round(own / 2), "other": None}
    assert stage.dropped_tokens == 90 - own


@pytest.mark.parametrize("raw", [b"", b"<html>", b"[]", b'{"choices": {}}', b'{"choices": [1, 2]}', b'{"error": {}}'])
def test_what_is_no_answer_stays_as_it_is(raw: bytes) -> None:
    """Byte for byte."""
    assert choice().whole(raw) == raw


_MEMBERS = (
    *("choices", "index", "delta", "message", "content", "text", "usage", "completion_tokens", "finish_reason"),
    *("completion_tokens_details", "logprobs", "tokens", "error", "x"),
)
_ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2**70) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(_MEMBERS),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)


@given(st.lists(_ANY, max_size=8), st.sampled_from(["chat", "completions"]))
def test_no_answer_at_all_breaks_a_choice(bodies: list[Any], route: str) -> None:
    """Whatever JSON a server sends, something comes out, and a stream comes to its end."""
    raw = []
    for body in bodies:
        try:
            raw.append(orjson.dumps(body))
        except TypeError:  # a number that is no number of JSON's parser
            continue
    for one in raw:
        choice(route).whole(one)
    events = b"".join(b"data: " + one + b"\n\n" for one in raw) + b"data: [DONE]\n\n"
    assert passed(choice(route), events, 40).endswith(b"data: [DONE]\n\n")


# Which requests


def mark(**more: Any) -> RequestMark:
    """The mark of a request to a gateway that chooses."""
    tree = {"choice_profile": "c1", "profiles_file": "p", "secrets_file": "s", **more}
    made = Marking(WatermarkSettings.model_validate(tree), Sources(Registry((PROFILE,)), KeyRing({"e1": SECRET})))
    return RequestMark(made, "k1")


@pytest.mark.parametrize("level", [Level.SUSPECT, Level.CONFIRMED])
def test_answers_to_suspects_are_chosen(level: Level) -> None:
    """The model is asked for as many as the profile says, whatever the client says of one."""
    made = mark()
    body = {"model": "m", "n": 1, "best_of": 1, "watermark": False, "max_tokens": 5}
    assert made.request(CHAT, body, level) == {"model": "m", "n": 3, "max_tokens": 5}
    assert (made.reason, made.profile) == ("choice", PROFILE)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"n": 2}, "several"),
        ({"best_of": "3"}, "several"),
        ({"prompt": ["a", "b"]}, "several"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"functions": [{}]}, "tools"),
        ({"echo": True}, "echo"),
        ({"temperature": 0}, "greedy"),
    ],
)
def test_what_cannot_be_chosen_from_passes_as_it_is(body: dict[str, Any], reason: str) -> None:
    """With its reason, and without what the client says of marks."""
    made = mark()
    assert made.request(CHAT, body, Level.SUSPECT) is None
    assert made.request(CHAT, {**body, "watermarking": 0}, Level.SUSPECT) == body
    assert (made.reason, made.profile, made.stage) == (reason, None, None)


@pytest.mark.parametrize("level", [0, Level.CLEAR, Level.WATCH])
def test_others_are_not_marked(level: int) -> None:
    """A choice costs as many answers as there are candidates."""
    made = mark()
    assert made.request(CHAT, {"model": "m"}, level) is None
    assert made.reason == "level"


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/responses"])
def test_operations_with_one_answer_pass_or_are_refused(path: str) -> None:
    """As configured; only where a choice is due."""
    route = classify("POST", path)
    made = mark()
    assert made.request(route, {"model": "m"}, Level.SUSPECT) is None
    assert made.reason == "route"
    strict = mark(choice_otherwise="refuse")
    assert strict.request(route, {"model": "m"}, Level.WATCH) is None
    with pytest.raises(Refuse, match="not offered to this key"):
        strict.request(route, {"model": "m"}, Level.SUSPECT)
    assert strict.reason == "refused"


def test_measured_evidence_is_what_the_ledger_gets() -> None:
    """Of the chosen one; nothing where there was no choice, or nothing to score."""
    made = mark()
    made.request(CHAT, {}, Level.SUSPECT)
    stage = made.stage
    assert isinstance(stage, Choice)
    body = {"choices": [{"index": at, "message": {"content": text}} for at, text in enumerate(TEXTS)], "usage": USAGE}
    stage.whole(orjson.dumps(body))
    assert made.ended(Answer(output_tokens=30))
    assert stage.score is not None
    assert (made.tokens, made.nats, made.reason) == (30, stage.score.excess, "choice")
    for texts, reason in ((TEXTS[:1], "one_candidate"), (("Yes.", "No."), "short")):
        made = mark()
        made.request(CHAT, {}, Level.SUSPECT)
        assert made.stage is not None
        made.stage.whole(orjson.dumps({"choices": [{"index": 0, "message": {"content": text}} for text in texts]}))
        assert not made.ended(Answer(output_tokens=30))
        assert (made.tokens, made.nats, made.reason) == (0, 0.0, reason)
