"""What a request's headers say about the software that sent it."""

from __future__ import annotations

import pytest

from app.gateway.client import client_of

OPENAI = [
    (b"accept", b"application/json"),
    (b"user-agent", b"OpenAI/Python 3.57.0"),
    (b"x-stainless-lang", b"python"),
    (b"x-stainless-package-version", b"3.57.0"),
    (b"x-stainless-retry-count", b"1"),
]


@pytest.mark.parametrize(
    ("agent", "found"),
    [
        (b"OpenAI/Python 3.57.0", "openai"),
        (b"AsyncAnthropic/Python 2.13.0", "anthropic"),
        (b"python-requests/2.32", "python-requests"),
        (b"curl/8.5.0", "curl"),
        (b"Mozilla/5.0 (X11; Linux x86_64)", "browser"),
        (b"made-up/1.0", "other"),
        (b"\xff\xfe" * 200, "other"),
        (b"", ""),
    ],
)
def test_agent_is_a_class_from_a_fixed_list(agent: bytes, found: str) -> None:
    """A user agent becomes its class; an unknown one is other, and is never stored."""
    assert client_of([(b"user-agent", agent)]).agent_class == found


def test_sdk_and_retries() -> None:
    """The SDK headers give vendor, language and the number of the try."""
    client = client_of(OPENAI)
    assert (client.sdk, client.retry_count) == ("openai-python", 1)
    odd = client_of([(b"x-stainless-lang", b"cobol"), (b"x-stainless-retry-count", b"many")])
    assert (odd.sdk, odd.retry_count) == ("other-other", 0)


def test_digest_tells_software_apart_and_nothing_else() -> None:
    """The digest changes with header names, their order and the SDK's version; not with values, tries or proxies."""
    base = client_of(OPENAI).client_digest
    added = [*OPENAI, (b"x-forwarded-for", b"1.2.3.4"), (b"authorization", b"Bearer x"), (b"traceparent", b"0")]
    assert client_of(added).client_digest == base
    retried = [(name, b"2" if name == b"x-stainless-retry-count" else value) for name, value in OPENAI]
    assert client_of(retried).client_digest == base
    assert client_of(list(reversed(OPENAI))).client_digest != base
    assert client_of([*OPENAI, (b"x-new", b"")]).client_digest != base
    newer = [(name, b"9.9" if name == b"x-stainless-package-version" else value) for name, value in OPENAI]
    assert client_of(newer).client_digest != base
