"""The best of several answers through a real gateway, limiter and state server, as the OpenAI SDK sees it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openai
import orjson
import pytest
from anthropic import Anthropic, PermissionDeniedError
from openai import OpenAI

from app.enforcement.wire_errors import blocked
from app.gateway.core import Core
from app.gateway.middleware import StillwatchMiddleware
from app.limits.limiter import Decision
from app.settings import Settings
from app.simulate.model_api import ModelApi, ModelApiConfig
from app.simulate.rig import LoopThread
from app.telemetry import metrics
from detectors.contract import Level
from detectors.event import decode
from detectors.watermark.attribution import Roster, attribute
from detectors.watermark.evidence import Evidence
from detectors.watermark.keys import MasterSecret, codewords
from detectors.watermark.prf import Prf
from detectors.watermark.registry import WORDS, MarkProfile, Registry
from detectors.watermark.words import words

SECRET = MasterSecret(bytes(range(32)))
ASK: Any = [{"role": "user", "content": "Tell me about rivers."}]
MODEL = "still-small-2"


@pytest.fixture
def sections(tmp_path: Path) -> dict[str, Any]:
    """Settings of a gateway that chooses."""
    profile = MarkProfile("best", "choice", WORDS, "e1", candidates=4)
    (tmp_path / "profiles.json").write_text(Registry([profile]).dumped())
    marks = {
        "choice_profile": "best",
        "profiles_file": str(tmp_path / "profiles.json"),
        "secrets": json.dumps({"e1": bytes(range(32)).hex()}),
        "choice_chunk_words": 20,
    }
    return {"watermark": marks, "limits": {"plans": {"default": {"key": {"output_tokens_per_min": 1_000_000}}}}}


@pytest.fixture
def sent(rig: Any) -> Callable[[str], list[Any]]:
    """The bodies that reached the model with a credential."""
    return lambda key: [orjson.loads(call.body) for call in rig.api.calls if key in str(call.headers)]


def client(gateway: Any, key: str, **headers: str) -> OpenAI:
    """An OpenAI client without retries."""
    return OpenAI(base_url=gateway.url + "/v1", api_key=key, max_retries=0, default_headers=headers)


def dropped() -> float:
    """Tokens of candidates that nobody got, in this process."""
    return float(metrics.REGISTRY.get_sample_value("stillwatch_watermark_dropped_tokens_total") or 0)


def stopped(rig: Any, key: str) -> None:
    """Returns when the model server has noticed that nobody waits for this key's only answer."""
    until = time.monotonic() + 5
    while [call.ended for call in rig.api.calls if key in str(call.headers)] != ["disconnected"]:
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_suspect_gets_one_answer_of_four(
    limited: Any, redis_db: str, key: str, sections: Any, put: Any, sent: Any, events_of: Any
) -> None:
    """Whole: index 0, its own share of the usage, and an event with the evidence that was measured."""
    gateway = limited(redis_db, sections)
    put(gateway.key_id(key), "throttle")
    before = dropped()
    with client(gateway, key, **{"x-sim-words": "120"}) as gpt:
        made = gpt.chat.completions.create(model=MODEL, messages=ASK, extra_body={"watermark": False})
    assert [choice.index for choice in made.choices] == [0]
    assert made.choices[0].finish_reason == "stop"
    assert made.usage is not None
    text = made.choices[0].message.content or ""
    assert len(text) / 6 < made.usage.completion_tokens < len(text) / 3
    assert made.usage.total_tokens == made.usage.prompt_tokens + made.usage.completion_tokens
    assert sent(key) == [{"model": MODEL, "messages": ASK, "n": 4}]
    (event,) = events_of(gateway.key_id(key))
    assert (event.n, event.output_tokens, event.answer_chars) == (1, made.usage.completion_tokens, len(text))
    assert (event.mark_profile, event.mark_epoch, event.mark_tokens) == ("best", "e1", event.output_tokens)
    assert event.mark_unats
    assert dropped() - before > 2 * event.output_tokens


def test_a_stream_is_that_of_one_choice(
    limited: Any, redis_db: str, key: str, sections: Any, put: Any, sent: Any, events_of: Any
) -> None:
    """As choice 0, with the usage that was asked for: the choice's own."""
    gateway = limited(redis_db, sections)
    put(gateway.key_id(key), "throttle")
    with client(gateway, key, **{"x-sim-words": "60"}) as gpt:
        parts = list(
            gpt.chat.completions.create(model=MODEL, messages=ASK, stream=True, stream_options={"include_usage": True})
        )
    assert {choice.index for part in parts for choice in part.choices} == {0}
    text = "".join(part.choices[0].delta.content or "" for part in parts if part.choices)
    assert len(text.split()) >= 55
    assert sent(key)[0]["n"] == 4
    usage = parts[-1].usage
    assert usage is not None
    assert len(text) / 6 < usage.completion_tokens < len(text) / 3
    (event,) = events_of(gateway.key_id(key))
    assert (event.output_tokens, event.outcome, event.mark_profile) == (usage.completion_tokens, "complete", "best")


def test_a_stream_passes_live_once_it_was_chosen(
    limited: Any, redis_db: str, key: str, sections: Any, put: Any, rig: Any
) -> None:
    """The client reads its first words while the model still makes the rest."""
    gateway = limited(redis_db, sections)
    put(gateway.key_id(key), "throttle")
    with (
        client(gateway, key, **{"x-sim-words": "1000", "x-sim-chunk-delay-ms": "2"}) as gpt,
        gpt.chat.completions.create(model=MODEL, messages=ASK, stream=True) as parts,
    ):
        first = [next(parts).choices[0].delta.content or "" for _ in range(20)]
        assert [call.ended for call in rig.api.calls if key in str(call.headers)] == [""]
    assert len("".join(first).split()) >= 15


def test_completions_are_chosen_too(limited: Any, redis_db: str, key: str, sections: Any, put: Any, sent: Any) -> None:
    """Whole and streamed."""
    gateway = limited(redis_db, sections)
    put(gateway.key_id(key), "throttle")
    with client(gateway, key, **{"x-sim-words": "60"}) as gpt:
        made = gpt.completions.create(model=MODEL, prompt="Rivers", best_of=1)
        assert [choice.index for choice in made.choices] == [0]
        parts = list(gpt.completions.create(model=MODEL, prompt="Rivers", stream=True))
        assert {choice.index for part in parts for choice in part.choices} == {0}
        assert parts[-1].choices[0].finish_reason == "stop"
    assert sent(key) == [
        {"model": MODEL, "prompt": "Rivers", "n": 4},
        {"model": MODEL, "prompt": "Rivers", "stream": True, "n": 4},
    ]


def test_keys_below_suspect_and_requests_for_several_are_left_alone(
    limited: Any, redis_db: str, key: str, sections: Any, put: Any, sent: Any, events_of: Any
) -> None:
    """Their bytes are the client's own."""
    gateway = limited(redis_db, sections)
    with client(gateway, key) as gpt:
        gpt.chat.completions.create(model=MODEL, messages=ASK)
        put(gateway.key_id(key), "throttle")
        assert len(gpt.chat.completions.create(model=MODEL, messages=ASK, n=2).choices) == 2
        gpt.chat.completions.create(model=MODEL, messages=ASK, temperature=0)
    assert [body.get("n") for body in sent(key)] == [None, 2, None]
    assert [event.mark_profile for event in events_of(gateway.key_id(key), 3)] == ["", "", ""]


def test_a_suspect_may_be_refused_what_cannot_be_chosen(
    limited: Any, redis_db: str, key: str, sections: Any, put: Any, sent: Any, events_of: Any
) -> None:
    """In the words of each dialect, once, without a retry; before it is suspect it is served."""
    sections["watermark"]["choice_otherwise"] = "refuse"
    gateway = limited(redis_db, sections)
    with Anthropic(base_url=gateway.url, api_key=key) as claude, OpenAI(base_url=gateway.url + "/v1", api_key=key) as gpt:
        asked: Any = {"model": "claude-still-4", "max_tokens": 9, "messages": ASK}
        claude.messages.create(**asked)
        put(gateway.key_id(key), "throttle")
        with pytest.raises(PermissionDeniedError) as caught:
            claude.messages.create(**asked)
        assert caught.value.body["error"]["type"] == "permission_error"  # type: ignore[index]
        with pytest.raises(openai.PermissionDeniedError, match="not offered to this key") as denied:
            gpt.responses.create(model=MODEL, input="hi")
        assert denied.value.code == "operation_not_offered"
        assert gpt.chat.completions.create(model=MODEL, messages=ASK).choices
    assert len(sent(key)) == 2
    first, second, third, last = events_of(gateway.key_id(key), 4)
    assert [event.outcome for event in (first, second, third, last)] == ["complete", "refused", "refused", "complete"]
    assert [event.decision for event in (second, third)] == ["refused", "refused"]
    for word in ("watermark", "mark", "suspect", "level"):
        assert word not in str(caught.value).lower() + str(denied.value).lower()


def test_a_refusal_costs_no_connection_to_the_model(
    limited: Any, redis_db: str, key: str, sections: Any, put: Any, sent: Any, raw: Any
) -> None:
    """With one connection in all, which a refused request had been given already, the next request is served."""
    sections["watermark"]["choice_otherwise"] = "refuse"
    gateway = limited(redis_db, {**sections, "gateway": {"upstream_max_connections": 1, "upstream_connect_timeout_sec": 2}})
    put(gateway.key_id(key), "throttle")
    with client(gateway, key) as gpt:
        for _ in range(3):
            assert gpt.chat.completions.create(model=MODEL, messages=ASK).choices
            data = orjson.dumps({"model": MODEL, "input": "hi"})  # in one piece, which needs no task of its own
            head = f"POST /v1/responses HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\n"
            length = f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
            assert raw(gateway.url, f"{head}{length}".encode() + data).reply.status == 403
    assert len(sent(key)) == 3


def test_usage_that_the_gateway_asks_for_is_the_choice_s_own(
    limited: Any, redis_db: str, key: str, sections: Any, put: Any, events_of: Any
) -> None:
    """The client did not ask for it and does not see it; the event has it."""
    gateway = limited(redis_db, {**sections, "gateway": {"upstream_accepts_include_usage": True}})
    put(gateway.key_id(key), "throttle")
    with client(gateway, key, **{"x-sim-words": "60"}) as gpt:
        parts = list(gpt.chat.completions.create(model=MODEL, messages=ASK, stream=True))
    assert not any(part.usage for part in parts)
    text = "".join(part.choices[0].delta.content or "" for part in parts)
    (event,) = events_of(gateway.key_id(key))
    assert not event.tokens_estimated
    assert len(text) / 6 < event.output_tokens < len(text) / 3


@pytest.mark.parametrize(
    ("fault", "error"),
    [({"x-sim-status": "429"}, openai.RateLimitError), ({"x-sim-status": "500"}, openai.InternalServerError)],
)
def test_errors_of_the_model_come_as_without_a_choice(
    limited: Any, redis_db: str, key: str, sections: Any, put: Any, fault: dict[str, str], error: type[Exception]
) -> None:
    """Whole and for a stream."""
    gateway = limited(redis_db, sections)
    put(gateway.key_id(key), "throttle")
    with client(gateway, key, **fault) as gpt:
        for stream in (False, True):
            with pytest.raises(error):
                gpt.chat.completions.create(model=MODEL, messages=ASK, stream=stream)


@pytest.mark.parametrize("cut", ["x-sim-cut-after", "x-sim-error-after"])
def test_a_stream_that_breaks_never_ends_cleanly(
    limited: Any, redis_db: str, key: str, sections: Any, put: Any, events_of: Any, cut: str
) -> None:
    """While the candidates are held, and afterwards."""
    gateway = limited(redis_db, sections)
    put(gateway.key_id(key), "throttle")
    for after, some in (("9", cut == "x-sim-error-after"), ("200", True)):
        with client(gateway, key, **{"x-sim-words": "90", cut: after}) as gpt:
            got: list[Any] = []
            parts = gpt.chat.completions.create(model=MODEL, messages=ASK, stream=True)
            with pytest.raises(openai.APIError):
                got.extend(parts)
        assert bool(got) is some
    assert {event.outcome for event in events_of(gateway.key_id(key), 2)} <= {"upstream_cut", "complete"}


def test_whoever_leaves_while_candidates_are_held_stops_the_model(
    limited: Any, redis_db: str, key: str, sections: Any, put: Any, rig: Any, raw: Any, events_of: Any
) -> None:
    """The model server is told, and the event says so."""
    gateway = limited(redis_db, sections)
    put(gateway.key_id(key), "throttle")
    data = orjson.dumps({"model": MODEL, "messages": ASK, "stream": True})
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\n"
    slow = "Content-Type: application/json\r\nx-sim-words: 2000\r\nx-sim-chunk-delay-ms: 20\r\n"
    raw(gateway.url, [f"{head}{slow}Content-Length: {len(data)}\r\n\r\n".encode() + data, 0.2], leave=True)
    (event,) = events_of(gateway.key_id(key))
    assert (event.outcome, event.mark_profile) == ("disconnected", "")
    stopped(rig, key)


class Suspecting:
    """A limiter to which every key is suspect, and what it settled."""

    def __init__(self) -> None:
        self.settled: list[dict[str, Any]] = []

    async def decide(self, ask: Any) -> Decision:
        """Admits."""
        return Decision(True, level=Level.SUSPECT, reservation=ask.key_id)

    def settle(self, reservation: Any, **told: Any) -> None:
        """Remembers."""
        self.settled.append(told)


def test_a_capped_suspect_gets_one_answer_without_what_it_may_not_see(
    limited: Any, redis_db: str, key: str, sections: Any, put: Any, sent: Any
) -> None:
    """What a cap takes out and what a choice puts in are in one body."""
    policy = {"mode": "enforce", "automatic_up_to": "cap"}
    gateway = limited(redis_db, {**sections, "enforcement": policy})
    put(gateway.key_id(key), "cap", requests_per_min=None)
    with client(gateway, key, **{"x-sim-words": "60"}) as gpt:
        made = gpt.chat.completions.create(model=MODEL, messages=ASK, n=3, logprobs=True, top_logprobs=2)
    assert sent(key) == [{"model": MODEL, "messages": ASK, "n": 4}]
    assert [(choice.index, choice.logprobs) for choice in made.choices] == [(0, None)]


def test_a_key_that_is_suspended_while_candidates_are_held_gets_nothing_of_them(rig: Any, key: str, sections: Any) -> None:
    """The stream ends with the refusal that a new request would get."""
    gateway = rig.gateway(sections=sections, limiter=Suspecting())
    caught: list[Exception] = []
    parts: list[Any] = []

    def read() -> None:
        with client(gateway, key, **{"x-sim-words": "3000", "x-sim-chunk-delay-ms": "20"}) as gpt:
            try:
                parts.extend(gpt.chat.completions.create(model=MODEL, messages=ASK, stream=True))
            except openai.APIError as error:
                caught.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    until = time.monotonic() + 5
    while not any(running.started for running in gateway.core.active):
        assert time.monotonic() < until
        time.sleep(0.005)
    for running in list(gateway.core.active):
        rig.thread.loop.call_soon_threadsafe(running.stop, blocked("suspend", "sw-a", ""))
    reader.join(10)
    assert parts == []
    assert [getattr(error, "code", "") for error in caught] == ["access_suspended"]
    stopped(rig, key)


@pytest.mark.parametrize("stream", [False, True])
def test_the_middleware_chooses_too(key: str, sections: Any, stream: bool) -> None:
    """The client gets, and is charged for, one answer of the four that the application inside makes."""
    inside, thread, limiter = ModelApi(ModelApiConfig(remember=True)), LoopThread(), Suspecting()
    settings = Settings.model_validate(
        {"identity": {"pepper": "a pepper for rigs only"}, "watermark": sections["watermark"]}
    )
    core = Core(settings, limiter=limiter)
    try:
        url = thread.serve(StillwatchMiddleware(inside, core=core))
        with OpenAI(base_url=url + "/v1", api_key=key, max_retries=0, default_headers={"x-sim-words": "60"}) as gpt:
            if stream:
                options: Any = {"include_usage": True}
                parts = list(gpt.chat.completions.create(model=MODEL, messages=ASK, stream=True, stream_options=options))
                assert {choice.index for part in parts for choice in part.choices} == {0}
                usage = parts[-1].usage
            else:
                made = gpt.chat.completions.create(model=MODEL, messages=ASK)
                assert [choice.index for choice in made.choices] == [0]
                usage = made.usage
        (call,) = inside.calls
        assert orjson.loads(call.body)["n"] == 4
        assert usage is not None
        until = time.monotonic() + 5
        while not limiter.settled:
            assert time.monotonic() < until
            time.sleep(0.005)
        (settled,) = limiter.settled
        assert settled["output_tokens"] == usage.completion_tokens
        event = decode(settled["event"])
        assert (event.mark_profile, event.output_tokens) == ("best", usage.completion_tokens)
    finally:
        thread.stop()


def test_what_suspects_took_away_names_them(limited: Any, redis_db: str, sections: Any, put: Any) -> None:
    """In a data set of three customers' answers, whole and streamed, the two suspects of 2,003 keys are named, no other."""
    profile = MarkProfile("eight", "choice", WORDS, "e1", candidates=8)
    marks = sections["watermark"]
    Path(marks["profiles_file"]).write_text(Registry([profile]).dumped())
    gateway = limited(redis_db, {**sections, "watermark": {**marks, "choice_profile": "eight", "choice_chunk_words": 50}})
    credentials = [f"sk-{number}" for number in range(3)]
    for credential in credentials[:2]:
        put(gateway.key_id(credential), "throttle")
    answers: list[str] = []
    for number, credential in enumerate(credentials):
        with client(gateway, credential, **{"x-sim-words": "60"}) as gpt:
            for turn in range(100 if number < 2 else 40):
                asked: Any = [{"role": "user", "content": f"Tell me about river {number} in year {turn}."}]
                if turn % 4:
                    made = gpt.chat.completions.create(model=MODEL, messages=asked)
                    answers.append(made.choices[0].message.content or "")
                else:
                    parts = gpt.chat.completions.create(model=MODEL, messages=asked, stream=True)
                    answers.append("".join(part.choices[0].delta.content or "" for part in parts))
    evidence = Evidence.of(Prf(SECRET, profile), profile, [words(text) for text in answers])
    names = [gateway.key_id(credential) for credential in credentials] + [f"{number:032x}" for number in range(2000)]
    roster = Roster(names, codewords(SECRET, names, 128, 16), np.arange(128))
    assert {fit.name for fit in attribute(evidence, [roster]).named} == set(names[:2])
