"""Headers as client libraries send them. Attackers use the ones that everybody uses, so nothing here tells them apart."""

from __future__ import annotations

from random import Random

_STAINLESS = {
    "x-stainless-os": "Linux",
    "x-stainless-arch": "x64",
    "x-stainless-runtime": "CPython",
    "x-stainless-async": "false",
}
OPENAI: tuple[dict[str, str], ...] = (
    {
        "accept": "application/json",
        "user-agent": "OpenAI/Python 2.14.0",
        "x-stainless-lang": "python",
        "x-stainless-package-version": "2.14.0",
        **_STAINLESS,
    },
    {
        "accept": "application/json",
        "user-agent": "AsyncOpenAI/Python 1.109.1",
        "x-stainless-lang": "python",
        "x-stainless-package-version": "1.109.1",
        **_STAINLESS,
        "x-stainless-async": "async:asyncio",
    },
    {
        "accept": "application/json",
        "user-agent": "OpenAI/JS 6.10.0",
        "x-stainless-lang": "js",
        "x-stainless-package-version": "6.10.0",
        **_STAINLESS,
        "x-stainless-runtime": "node",
    },
    {"accept": "*/*", "user-agent": "python-httpx/0.28.1"},
    {"accept": "*/*", "user-agent": "Go-http-client/1.1"},
)
ANTHROPIC: tuple[dict[str, str], ...] = (
    {
        "accept": "application/json",
        "user-agent": "Anthropic/Python 0.75.0",
        "anthropic-version": "2023-06-01",
        "x-stainless-lang": "python",
        "x-stainless-package-version": "0.75.0",
        **_STAINLESS,
    },
    {
        "accept": "application/json",
        "user-agent": "Anthropic/JS 0.71.2",
        "anthropic-version": "2023-06-01",
        "x-stainless-lang": "js",
        "x-stainless-package-version": "0.71.2",
        **_STAINLESS,
        "x-stainless-runtime": "node",
    },
)


def draw(rng: Random, dialect: str) -> dict[str, str]:
    """The headers of one client, without its credential; names in lower case."""
    return dict(rng.choice(ANTHROPIC if dialect == "anthropic" else OPENAI))
