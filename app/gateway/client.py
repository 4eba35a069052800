"""What a request's headers say about the software that sent it: classes from fixed lists, and one digest."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from xxhash import xxh3_64_intdigest

_LANGUAGES = frozenset(("python", "js", "node", "go", "java", "kotlin", "ruby", "csharp", "php", "swift", "rust"))
_AGENTS = {
    "openai": "openai",
    "asyncopenai": "openai",
    "azureopenai": "openai",
    "asyncazureopenai": "openai",
    "anthropic": "anthropic",
    "asyncanthropic": "anthropic",
    "anthropicbedrock": "anthropic",
    "claude-cli": "claude-cli",
    "python": "python",
    "python-urllib": "python",
    "python-requests": "python-requests",
    "python-httpx": "python-httpx",
    "aiohttp": "aiohttp",
    "curl": "curl",
    "wget": "wget",
    "axios": "axios",
    "node": "node",
    "node-fetch": "node",
    "undici": "node",
    "bun": "bun",
    "deno": "deno",
    "okhttp": "okhttp",
    "java-http-client": "java",
    "apache-httpclient": "java",
    "go-http-client": "go",
    "reqwest": "rust",
    "litellm": "litellm",
    "langchain": "langchain",
    "langchainjs": "langchain",
    "llamaindex": "llamaindex",
    "ai": "vercel-ai",
    "ai-sdk": "vercel-ai",
    "postmanruntime": "postman",
    "insomnia": "insomnia",
    "mozilla": "browser",
    "wrk": "load-tool",
    "locust": "load-tool",
    "k6": "load-tool",
}
_SDK_VENDORS = frozenset(("openai", "anthropic"))
_UNSTABLE = frozenset(
    # Set by proxies, transports and credentials, not by the client's software.
    b"host connection content-length transfer-encoding keep-alive te expect authorization x-api-key x-request-id "
    b"forwarded x-real-ip via traceparent tracestate cookie x-stainless-retry-count".split()
)
_VERSION = re.compile(rb"^[0-9A-Za-z.+-]{1,32}$")


@dataclass(frozen=True, slots=True)
class Client:
    """Field names as in ``Event``."""

    sdk: str
    agent_class: str
    client_digest: int
    retry_count: int


_known: dict[tuple[bytes, ...], Client] = {}
_KNOWN_MAX = 1024
_KNOWN_BYTES = 4096
"""Clients are few kinds of software, so most are looked up. Bounds on how many are remembered, and how long one may be."""


def client_of(headers: Sequence[tuple[bytes, bytes]]) -> Client:
    """Request headers, names in lower case, → client facts. The digest covers names, their order, and SDK version."""
    fields = dict(headers)
    get = fields.get
    key = (get(b"user-agent", b""), get(b"x-stainless-lang", b""), get(b"x-stainless-package-version", b""), *fields)
    client = _known.get(key)
    if client is None:
        client = _read(*key)
        if sum(map(len, key)) <= _KNOWN_BYTES:
            if len(_known) >= _KNOWN_MAX:
                del _known[next(iter(_known))]
            _known[key] = client
    retry = get(b"x-stainless-retry-count", b"0")
    if retry == b"0":
        return client
    retries = int(retry) if retry.isdigit() and len(retry) < 4 else 0
    return Client(client.sdk, client.agent_class, client.client_digest, retries)


def _read(agent: bytes, language: bytes, version: bytes, *names: bytes) -> Client:
    stable = [name for name in names if name not in _UNSTABLE and name[:12] != b"x-forwarded-"]
    agent_class = _agent_class(agent)
    sdk = ""
    if language:
        word = language.decode("latin-1").lower()
        vendor = agent_class if agent_class in _SDK_VENDORS else "other"
        sdk = f"{vendor}-{word if word in _LANGUAGES else 'other'}"
    if version and _VERSION.match(version):
        stable.append(version)
    return Client(sdk, agent_class, xxh3_64_intdigest(b"\n".join(stable)), 0)


def _agent_class(agent: bytes) -> str:
    if not agent:
        return ""
    product = agent[:64].replace(b" ", b"/", 1).partition(b"/")[0]
    return _AGENTS.get(product.decode("latin-1").lower(), "other")
