"""The JSON of a key's recent exchanges: numbers and words from fixed lists; never a text, nor a digest of one."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.admin.models import Out

BEFORE = r"^(\d{1,15}(-\d{1,15})?)?$"


class EventQuery(BaseModel):
    """Which exchanges."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=500)] = Field(100, description="exchanges in one page")
    before: Annotated[str, StringConstraints(pattern=BEFORE)] = Field(
        "", description="next_before of the page before, or a time in ms since 1970"
    )


class EventOut(Out):
    """One exchange. What a client could fill with text of its own is left out, or shown only where it is a plain word."""

    id: str = Field(description="place in the partition's log")
    at: datetime
    dialect: str
    route: str
    model: str = Field(description="as the client named it; `other` where that is no plain name")
    stream: bool
    status: int
    outcome: str = Field(description="complete, disconnected, upstream_cut, upstream_error or refused")
    error: str
    finish_reason: str
    refusal: bool
    decision: str = Field(description="what we did: allow, throttled, limited, blocked or refused")
    input_tokens: int
    output_tokens: int
    reasoning_tokens: int
    cached_tokens: int
    tokens_estimated: bool
    latency_ms: float
    first_byte_ms: float
    messages: int
    user_turns: int
    system_chars: int
    user_chars: int
    answer_chars: int
    input_items: int
    samples: int = Field(description="answers asked for")
    max_tokens: int | None
    temperature: float | None
    top_logprobs: int | None = Field(description="alternatives asked for; null: no log-probabilities")
    logit_bias_size: int
    response_format: str
    tools: int
    tool_calls: int
    reasoning_effort: str
    client: str = Field(description="kind of client library")
    retry: int = Field(description="which attempt of the client library it was, from 0")
    network: str = Field(description="class of the network: cloud, business, education, residential, mobile, vpn")
    country: str


class EventList(Out):
    """A key's exchanges, newest first. The search is bounded: a page may be short, or empty, and not be the last one."""

    key_id: str
    events: list[EventOut]
    next_before: str | None = Field(description="give it as `before` to go on; null when there is nothing more")
    archive: bool = Field(description="false: this machine has no archive, and only what waits for it was looked through")
