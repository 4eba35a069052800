"""Marks through a real gateway: what the model server is asked, and what the client gets to see of it."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from anthropic import Anthropic
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse
from openai import OpenAI
from prometheus_client import generate_latest

from app.errors import ConfigError
from app.gateway.core import Core
from app.gateway.identity import Hasher
from app.gateway.middleware import StillwatchMiddleware
from app.settings import Settings, load
from app.simulate.rig import EventList, LoopThread, RunningGateway
from app.state.factory import background_client
from app.state.mark_ledger import Marked, MarkLedger
from app.telemetry import metrics
from app.worker.worker import Worker, load_analysis
from detectors.watermark.keys import MasterSecret, issued, to_wire

SECRET = "5e1f" * 16
PROFILE = {"id": "live", "scheme": "gumbel", "tokenizer": "ab" * 32, "epoch": "e1"}
ASK: Any = [{"role": "user", "content": "hi"}]
OPT_OUT: dict[str, Any] = {
    "watermark": {"enabled": False, "key": "00" * 8},
    "watermarking": False,
    "custom_logit_processor": "x",
    "vllm_xargs": {"wm_code": "0" * 128, "mine": 7},
    "custom_params": {"wm_off": 1},
}


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Settings that name one profile and its secret."""
    folder = tmp_path_factory.mktemp("marks")
    (folder / "profiles.json").write_text(json.dumps({"profiles": [PROFILE]}))
    (folder / "secrets.json").write_text(json.dumps({"e1": SECRET}))
    (folder / "secrets.json").chmod(0o600)
    return {
        "profile": "live",
        "engine": "vllm",
        "profiles_file": str(folder / "profiles.json"),
        "secrets_file": str(folder / "secrets.json"),
    }


@pytest.fixture(scope="session")
def marking(rig: Any, sources: dict[str, Any]) -> RunningGateway:
    """A gateway before a vLLM that marks."""
    made: RunningGateway = rig.gateway(sections={"watermark": sources})
    return made


@pytest.fixture
def forwarded(rig: Any, key: str) -> Callable[[], list[Any]]:
    """The bodies of this test's calls that reached the model."""

    def find() -> list[Any]:
        told = [call for call in rig.api.calls if key in str(call.headers)]
        return [orjson.loads(call.body) for call in told]

    return find


def code_of(key_id: str) -> str:
    """The digits of a key's codeword, made without the gateway."""
    return to_wire(issued(MasterSecret.parse(SECRET), key_id, 128, 16), 16)


def wire(key: str, path: str, body: Any) -> bytes:
    """One request as bytes."""
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data


def counted(outcome: str, reason: str) -> float:
    """Answers counted so far, in this process."""
    return float(
        metrics.REGISTRY.get_sample_value("stillwatch_watermark_responses_total", {"outcome": outcome, "reason": reason})
        or 0
    )


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"model": "still-small-2", "messages": ASK}),
        ("/v1/completions", {"model": "still-small-2", "prompt": "hi"}),
        ("/v1/responses", {"model": "still-small-2", "input": "hi"}),
        ("/v1/messages", {"model": "claude-still-4", "messages": ASK, "max_tokens": 50}),
    ],
)
def test_the_model_is_told_the_caller_s_mark_and_never_the_client_s_wish(
    marking: RunningGateway, raw: Any, key: str, forwarded: Any, path: str, body: dict[str, Any], stream: bool
) -> None:
    """On every route that generates, whole and streamed; nothing else of the request changes."""
    before = counted("marked", "engine")
    sent = {**body, "stream": stream}
    reply = raw(marking.url, wire(key, path, {**sent, **OPT_OUT})).reply
    assert reply.status == 200
    code = code_of(marking.key_id(key))
    wanted = {**sent, "vllm_xargs": {"mine": 7, "wm_profile": "live", "wm_code": code}, "custom_params": {}}
    assert forwarded() == [wanted]
    assert code.encode() not in reply.body
    assert b"wm_" not in reply.body
    until = time.monotonic() + 5
    while counted("marked", "engine") != before + 1:  # it is counted once the client has its answer
        assert time.monotonic() < until
        time.sleep(0.005)


def test_what_does_not_generate_is_forwarded_as_it_is(marking: RunningGateway, raw: Any, rig: Any, key: str) -> None:
    """Byte for byte."""
    data = b'{ "model": "text-embedding-still",  "input": "hi" }'
    assert raw(marking.url, wire(key, "/v1/embeddings", data)).reply.status == 200
    (call,) = [call for call in rig.api.calls if key in str(call.headers)]
    assert call.body == data


def test_without_marking_no_byte_of_a_request_changes(gateway: RunningGateway, raw: Any, rig: Any, key: str) -> None:
    """Not even a wish about marks."""
    data = b'{ "model": "still-small-2",  "watermarking": false, "messages": [{"role": "user", "content": "hi"}] }'
    assert raw(gateway.url, wire(key, "/v1/chat/completions", data)).reply.status == 200
    (call,) = [call for call in rig.api.calls if key in str(call.headers)]
    assert call.body == data
    assert gateway.core.marking is None


def test_the_sdks_notice_nothing(marking: RunningGateway, key: str, forwarded: Any) -> None:
    """OpenAI's and Anthropic's, whole and streamed, with an opt-out in their extra body."""
    with OpenAI(base_url=marking.url + "/v1", api_key=key, max_retries=0) as gpt:
        made = gpt.chat.completions.create(model="still-small-2", messages=ASK, extra_body=OPT_OUT)
        assert made.choices[0].message.content
        parts = gpt.chat.completions.create(model="still-small-2", messages=ASK, stream=True, extra_body=OPT_OUT)
        assert "".join(part.choices[0].delta.content or "" for part in parts)
    with Anthropic(base_url=marking.url, api_key=key, max_retries=0) as claude:
        said = claude.messages.create(model="claude-still-4", max_tokens=50, messages=ASK, extra_body=OPT_OUT)
        assert said.content
        with claude.messages.stream(model="claude-still-4", max_tokens=50, messages=ASK) as stream:
            assert stream.get_final_text()
    code = code_of(marking.key_id(key))
    assert [body["vllm_xargs"]["wm_code"] for body in forwarded()] == [code] * 4
    assert not any("watermark" in body or "watermarking" in body for body in forwarded())


def test_usage_that_the_gateway_asks_for_goes_with_the_mark(
    rig: Any, sources: Any, raw: Any, key: str, forwarded: Any
) -> None:
    """Both changes are in the one body that is written anew; the client sees neither."""
    sections = {"watermark": sources, "gateway": {"upstream_accepts_include_usage": True}}
    gateway = rig.gateway(sections=sections)
    body = {"model": "still-small-2", "messages": ASK, "stream": True}
    reply = raw(gateway.url, wire(key, "/v1/chat/completions", body)).reply
    assert b'"usage":{' not in reply.body
    (sent,) = forwarded()
    assert sent["stream_options"] == {"include_usage": True}
    assert sent["vllm_xargs"]["wm_profile"] == "live"
    assert not gateway.events.of(gateway.key_id(key))[0].tokens_estimated


def test_sglang_is_told_in_its_own_words(rig: Any, sources: Any, raw: Any, key: str, forwarded: Any) -> None:
    """The client's key of its own does not reach it."""
    gateway = rig.gateway(sections={"watermark": {**sources, "engine": "sglang"}})
    body = {"model": "still-small-2", "messages": ASK, **OPT_OUT}
    assert raw(gateway.url, wire(key, "/v1/chat/completions", body)).reply.status == 200
    (event,) = gateway.events.of(gateway.key_id(key))
    assert event.mark_unats == round(event.mark_tokens * 0.15e6)
    (sent,) = forwarded()
    assert sent["watermark"].keys() == {"enabled", "key", "context_window"}
    assert sent["watermark"]["enabled"] is True
    assert sent["watermark"]["key"] != "00" * 8
    assert sent["vllm_xargs"] == {"mine": 7}


def test_secrets_and_codewords_are_in_no_log_metric_or_error(
    marking: RunningGateway, raw: Any, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where the request fails, and where the model server does."""
    caplog.set_level(logging.DEBUG)
    chat = "/v1/chat/completions"
    bodies: list[Any] = [
        {"model": "still-small-2", "messages": ASK},
        {"model": "still-small-2", "messages": []},
        {"model": "no-such-model", "messages": ASK},
        b'{"model": 1',
        {"model": "still-small-2", "messages": ASK, "metadata": {"simulate": "x"}},
    ]
    shown = b"".join(raw(marking.url, wire(key, chat, body)).raw for body in bodies)
    shown += caplog.text.encode() + generate_latest(metrics.REGISTRY)
    shown += repr(marking.events.of(marking.key_id(key), 1)).encode()
    assert code_of(marking.key_id(key)).encode() not in shown
    assert SECRET.encode() not in shown


def test_a_gateway_does_not_start_without_what_is_named(rig: Any, sources: Any, tmp_path: Path) -> None:
    """One sentence, which begins with the setting."""
    with pytest.raises(ConfigError, match=r"^watermark\.profile: no profile is called 'next'; there are: live$"):
        rig.gateway(sections={"watermark": {**sources, "profile": "next"}})
    with pytest.raises(ConfigError, match=r"^watermark\.secrets_file: No such file"):
        rig.gateway(sections={"watermark": {**sources, "secrets_file": str(tmp_path / "none")}})


# What an engine reports


class Engine:
    """An application that reports the evidence of its marks, as a model server whose adapter does."""

    def __init__(self) -> None:
        self.bodies: list[Any] = []
        self.api = FastAPI()
        self.api.add_api_route("/v1/chat/completions", self.chat, methods=["POST"])
        self.api.add_api_route("/v1/responses/r1", self.stored, methods=["GET"])

    async def stored(self) -> Any:
        """An answer that was made in the background."""
        return JSONResponse({"id": "r1", "usage": {"output_tokens": 8, "watermark_evidence": 3.25}})

    async def chat(self, request: Request) -> Any:
        """A whole answer or a stream, with its evidence."""
        raw = await request.body()
        asked = orjson.loads(raw)
        self.bodies.append(raw)
        usage = {"prompt_tokens": 1, "completion_tokens": 8, "total_tokens": 9, "watermark_evidence": 3.25}
        head = {"id": "c", "created": 1, "model": "m"}
        if not asked.get("stream"):
            choice = {"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}
            return JSONResponse({**head, "object": "chat.completion", "choices": [choice], "usage": usage})

        async def events() -> Any:
            base = {**head, "object": "chat.completion.chunk"}
            for text in ("Hel", "lo."):
                choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
                data = b"data: " + orjson.dumps({**base, "choices": [choice]}) + b"\n\n"
                yield data[:11]
                await asyncio.sleep(0)
                yield data[11:]
            yield b"data: " + orjson.dumps({**base, "choices": [], "usage": usage}) + b"\n\n"
            yield b"data: [DONE]\n\n"

        return StreamingResponse(events(), media_type="text/event-stream")


@pytest.fixture(scope="module")
def engine() -> Iterator[tuple[Engine, str, LoopThread]]:
    """The application on a socket of its own."""
    made, thread = Engine(), LoopThread()
    yield made, thread.serve(made.api), thread
    thread.stop()


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_does_not_see_how_strongly_it_is_marked(
    rig: Any, sources: Any, engine: Any, key: str, stream: bool, raw: Any
) -> None:
    """The report is taken out of the usage; the usage stays, and so does every other event."""
    gateway = rig.gateway(upstream=engine[1], sections={"watermark": sources})
    body = {"model": "m", "messages": ASK, "stream": stream}
    reply = raw(gateway.url, wire(key, "/v1/chat/completions", body)).reply
    assert b"evidence" not in reply.body
    assert b'"completion_tokens":8' in reply.body
    assert (b"[DONE]" in reply.body) is stream
    event = gateway.events.of(gateway.key_id(key))[0]
    assert (event.output_tokens, event.outcome) == (8, "complete")
    assert (event.mark_profile, event.mark_epoch, event.mark_tokens, event.mark_unats) == ("live", "e1", 8, 3_250_000)


def test_an_answer_that_is_read_again_does_not_show_it_either(
    rig: Any, sources: Any, engine: Any, key: str, raw: Any
) -> None:
    """As of a response that was made in the background; reading it marks nothing, and is not counted."""
    gateway = rig.gateway(upstream=engine[1], sections={"watermark": sources})
    before = counted("unmarked", "no_answer"), counted("unmarked", "not_sent")
    reply = raw(
        gateway.url, f"GET /v1/responses/r1 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\n\r\n".encode()
    ).reply
    assert reply.json == {"id": "r1", "usage": {"output_tokens": 8}}
    (event,) = gateway.events.of(gateway.key_id(key))
    assert event.mark_profile == ""
    assert (counted("unmarked", "no_answer"), counted("unmarked", "not_sent")) == before


@pytest.mark.parametrize("stream", [False, True])
def test_the_middleware_marks_too(sources: Any, key: str, stream: bool) -> None:
    """The same body for the application inside, and no report in what the client gets."""
    inside, thread, events = Engine(), LoopThread(), EventList()
    settings = Settings.model_validate({"identity": {"pepper": "a pepper for rigs only"}, "watermark": sources})
    core = Core(settings, events=events)
    try:
        url = thread.serve(StillwatchMiddleware(inside.api, core=core))
        with OpenAI(base_url=url + "/v1", api_key=key, max_retries=0) as client:
            asked: Any = {"model": "m", "messages": ASK, "extra_body": OPT_OUT}
            if stream:
                parts = list(client.chat.completions.create(**asked, stream=True))
                text = "".join(part.choices[0].delta.content or "" for part in parts if part.choices)
                usage = parts[-1].usage
            else:
                made = client.chat.completions.create(**asked)
                text, usage = made.choices[0].message.content or "", made.usage
        key_id = Hasher("a pepper for rigs only").key(key)
        assert text == "Hello."
        assert usage is not None
        assert usage.to_dict() == {"prompt_tokens": 1, "completion_tokens": 8, "total_tokens": 9}
        (sent,) = [orjson.loads(raw) for raw in inside.bodies]
        assert sent["vllm_xargs"] == {"mine": 7, "wm_profile": "live", "wm_code": code_of(key_id)}
        assert "watermark" not in sent
        assert events.of(key_id)[0].output_tokens == 8
    finally:
        thread.stop()


def test_the_middleware_changes_nothing_without_marking(key: str, raw: Any) -> None:
    """The application gets the client's own bytes."""
    inside, thread = Engine(), LoopThread()
    core = Core(Settings.model_validate({"identity": {"pepper": "a pepper for rigs only"}}), events=EventList())
    data = b'{"model": "m",  "watermark": false, "messages": []}'
    try:
        url = thread.serve(StillwatchMiddleware(inside.api, core=core))
        assert raw(url, wire(key, "/v1/chat/completions", data)).reply.status == 200
    finally:
        thread.stop()
    assert inside.bodies == [data]


# From an answer to the ledger


def test_what_the_gateway_tells_is_what_the_ledger_has(
    limited: Any, redis_db: str, sources: Any, key: str, events_of: Any, tmp_path: Path
) -> None:
    """Five answers through a real gateway, state server and worker: their tokens, and the evidence expected of them."""
    gateway = limited(redis_db, {"watermark": sources})
    with OpenAI(base_url=gateway.url + "/v1", api_key=key, max_retries=0) as client:
        for stream in (False, True, False, True, False):
            made: Any = client.chat.completions.create(model="still-small-2", messages=ASK, stream=stream)
            if stream:
                list(made)
        client.chat.completions.create(model="still-small-2", messages=ASK, temperature=0)
    key_id = gateway.key_id(key)
    events = [event for event in events_of(key_id, 6) if event.mark_profile]
    assert len(events) == 5

    async def worked() -> list[Marked]:
        settings = load(
            None, {}, {"state.data_dir": tmp_path, "worker.archive_dir": tmp_path / "archive", "worker.poll_ms": 10}
        )
        state = background_client(redis_db, settings)
        stop, ledger = asyncio.Event(), MarkLedger(state, settings.state.partitions)
        worker = asyncio.create_task(Worker(state, settings, load_analysis(settings)).run(stop))
        try:
            async with asyncio.timeout(20):
                while sum(row.answers for row in await ledger.of_key(key_id)) < 5:  # noqa: ASYNC110 - the worker counts
                    await asyncio.sleep(0.02)
            return await ledger.of_key(key_id)
        finally:
            stop.set()
            await worker
            await state.aclose()

    (row,) = asyncio.run(worked())
    assert (row.profile, row.epoch, row.answers) == ("live", "e1", 5)
    assert row.tokens == sum(event.output_tokens for event in events)
    assert row.nats == pytest.approx(0.15 * row.tokens, abs=1e-5)


def test_without_marking_nothing_of_it_is_loaded() -> None:
    """Not even the modules: what is off costs no request anything."""
    program = (
        "import sys\n"
        "from app.gateway.app import Gateway\n"
        "from app.gateway.core import Core\n"
        "from app.gateway.middleware import StillwatchMiddleware\n"
        "from app.settings import Settings\n"
        "tree = {'identity': {'pepper': 'a pepper for tests only'}, 'gateway': {'upstream': 'http://127.0.0.1:9'}}\n"
        "settings = Settings.model_validate(tree)\n"
        "Gateway(Core(settings), settings.gateway)\n"
        "print([name for name in sys.modules if 'marking' in name or 'watermark' in name])\n"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.strip() == "[]"
