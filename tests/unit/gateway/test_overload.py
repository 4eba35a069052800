"""What an overloaded gateway lets begin, in which order, and what it says to the rest."""

from __future__ import annotations

import asyncio
import resource

import anthropic
import httpx2
import openai
import pytest

from app.gateway import overload
from app.gateway.overload import PER_TURN, RETRY_MS, Turnstile, fitting, refusal
from app.settings import GatewaySettings


class Guest:
    """Notes when it may begin."""

    def __init__(self, name: int, begun: list[tuple[int, bool]]) -> None:
        self._name = name
        self._begun = begun

    def begin_due(self, late: bool) -> None:
        """Called by the turnstile."""
        self._begun.append((self._name, late))


async def test_requests_begin_in_the_order_in_which_they_came_a_few_per_turn() -> None:
    """A burst is spread over turns of the loop, and who came first begins first, also when more come meanwhile."""
    turnstile, begun = Turnstile(10_000), list[tuple[int, bool]]()
    for name in range(2 * PER_TURN + 1):
        turnstile.add(Guest(name, begun))
    assert not begun
    await asyncio.sleep(0)
    assert len(begun) == PER_TURN
    turnstile.add(Guest(2 * PER_TURN + 1, begun))
    for turn in (2, 3):
        await asyncio.sleep(0)
        assert len(begun) == min(turn * PER_TURN, 2 * PER_TURN + 2)
    assert begun == [(name, False) for name in range(2 * PER_TURN + 2)]


async def test_who_waited_too_long_is_told_so() -> None:
    """A request older than the bound begins as late, a younger one behind it does not."""
    turnstile, begun = Turnstile(20), list[tuple[int, bool]]()
    turnstile.add(Guest(1, begun))
    turnstile._queue[0] = (turnstile._queue[0][0], asyncio.get_running_loop().time() - 0.05)
    turnstile.add(Guest(2, begun))
    await asyncio.sleep(0)
    assert begun == [(1, True), (2, False)]


@pytest.mark.parametrize("keep", [True, False])
def test_refusal_is_what_the_sdks_expect(keep: bool) -> None:
    """The answer made beforehand is a 503 or 529 that both SDKs know, with a wait that differs from client to client."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        made = refusal(request.url.path.encode(), keep=keep)
        head, _, body = made.partition(b"\r\n\r\n")
        status, *lines = head.split(b"\r\n")
        headers = [tuple(line.decode().split(": ", 1)) for line in lines]
        assert dict(headers)["content-length"] == str(len(body))
        assert ("connection" in dict(headers)) is not keep
        assert 1 <= int(dict(headers)["retry-after"]) <= 3
        waits.add(int(dict(headers)["retry-after-ms"]))
        return httpx2.Response(int(status.split()[1]), headers=headers, content=body)

    waits: set[int] = set()
    ask = [{"role": "user", "content": "hello"}]
    with httpx2.Client(transport=httpx2.MockTransport(answer)) as http:
        ours = openai.OpenAI(api_key="sk-x", base_url="http://gw.test/v1", http_client=http, max_retries=0)
        for _ in RETRY_MS:
            with pytest.raises(openai.InternalServerError) as caught:
                ours.chat.completions.create(model="m", messages=ask)  # type: ignore[arg-type]
            assert (caught.value.status_code, caught.value.code) == (503, "overloaded")
        assert waits == set(RETRY_MS)
        theirs = anthropic.Anthropic(api_key="sk-x", base_url="http://gw.test", http_client=http, max_retries=0)
        with pytest.raises(anthropic.APIStatusError) as told:
            theirs.messages.create(model="m", max_tokens=1, messages=ask)  # type: ignore[arg-type]
        assert told.value.status_code == 529


def test_bound_fits_the_files_that_may_be_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """The soft limit of open files is raised as far as it may be; where that is too little, fewer clients are served."""
    raised: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: raised.append(limits))
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 1_000_000))
    assert fitting(4096, 512) == 4096
    assert raised == [(2 * 4096 + 512 + overload.OTHER_FILES, 1_000_000)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 2048))
    assert fitting(4096, 512) == (2048 - 512 - overload.OTHER_FILES) // 2
    monkeypatch.setattr(resource, "getrlimit", lambda _: (65536, 65536))
    raised.clear()
    assert fitting(4096, 512) == 4096
    assert not raised


def test_defaults_fit_a_process() -> None:
    """By default a process takes no more clients than its memory is measured for, and nobody waits for seconds unheard."""
    assert GatewaySettings().max_connections <= 4096
    assert GatewaySettings().max_wait_ms <= 1000
