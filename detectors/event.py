"""Event: one API exchange as the detectors see it, and its bytes on the event stream.

An Event is a value. It carries no secret: keys, organisations, addresses and payment tokens are keyed hashes made at the
gateway. The five text fields are the only prompt or answer text in the system; they are bounded by the gateway, live
in the stream until the worker has applied the entry, and are dropped by `without_text` before anything is archived.

Bytes: one version byte, then a msgpack map. Unknown fields are skipped and missing ones take their default, so a worker
one release older or newer than the gateway reads the entry. A field may be added; it may never change its meaning.
"""

from __future__ import annotations

import msgspec

SCHEMA_VERSION = 1
"""First byte of an encoded event. Raised only when old workers must not read the entry."""

TEXT_FIELDS = ("system_head", "system_tail", "user_head", "user_tail", "answer_head")
"""The fields that hold client or model text; everything else is safe to keep."""


class BadEvent(ValueError):
    """An entry that is not an event; the message names the rule and never quotes the content."""


class Event(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One exchange. Times are unix microseconds, sizes and counts are whole numbers, digests are 64-bit integers.

    A digest of 0 means "there was nothing to hash". ``None`` means "the client did not say".
    """

    # Identity: keyed hashes, in hex. `org_id` is empty when the key belongs to no known organisation.
    event_id: str
    at_us: int
    key_id: str
    org_id: str = ""
    plan: str = ""
    key_created_us: int | None = None
    payment_id: str = ""
    authorised: tuple[str, ...] = ()

    # What was called. `dialect`: openai, anthropic, other. `route`: chat, responses, completions, embeddings, models,
    # messages, count_tokens, other. `model` as the client wrote it, cut at 64 characters.
    dialect: str = "other"
    route: str = "other"
    model: str = ""
    stream: bool = False

    # Sampling. `top_logprobs` is -1 when logprobs are off, else the number of alternatives asked for.
    n: int = 1
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    top_logprobs: int = -1
    logit_bias_size: int = 0
    logit_bias_digest: int = 0
    response_format: str = ""  # text, json_object, json_schema, …
    response_schema_digest: int = 0
    tools_digest: int = 0
    tool_count: int = 0
    reasoning_effort: str = ""

    # Structure. `roles` has one letter per message: s(ystem), d(eveloper), u(ser), a(ssistant), t(ool), ?(other); cut
    # at 64. `chain_digest` covers every message of this request; `prefix_digest` the messages before the last user turn
    # and what the model said before it, so that a continued conversation shows the earlier chain as its prefix.
    roles: str = ""
    message_count: int = 0
    user_turns: int = 0
    chain_digest: int = 0
    prefix_digest: int = 0
    system_digest: int = 0  # exact text of the system prompt
    user_digest: int = 0  # exact text of the last user turn
    system_chars: int = 0
    user_chars: int = 0
    input_items: int = 1  # texts in an embeddings or completions batch

    # Outcome. `outcome`: complete, disconnected (client left), upstream_cut, upstream_error, refused (by us), stopped (by
    # us in the middle, because the key was suspended).
    status: int = 200
    outcome: str = "complete"
    error: str = ""  # error type of the dialect, from a fixed list
    finish_reason: str = ""
    refusal: bool = False
    input_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0  # hidden reasoning, part of output_tokens
    cached_tokens: int = 0
    tokens_estimated: bool = False  # true when the upstream reported no usage
    answer_chars: int = 0
    answer_digest: int = 0  # the first 2,048 characters of the answer
    tool_calls: int = 0
    latency_us: int = 0
    first_byte_us: int = 0

    # Client fingerprint: classes and keyed hashes, never raw values.
    sdk: str = ""  # e.g. openai-python, anthropic-js; empty when no SDK headers were sent
    agent_class: str = ""  # product token of the user-agent from a fixed list, else "other"
    client_digest: int = 0  # names and order of client headers plus SDK version
    retry_count: int = 0
    ip_prefix_id: str = ""  # keyed hash of the /24 or /48
    asn_class: str = ""  # cloud, business, education, residential, mobile, vpn
    country: str = ""

    # What we did: allow, throttled, limited, blocked, refused.
    decision: str = "allow"

    # Bounded text; see TEXT_FIELDS.
    system_head: str = ""
    system_tail: str = ""
    user_head: str = ""
    user_tail: str = ""
    answer_head: str = ""

    # What an action meant for this request: throttle, cap, step_up or suspend where it was done; would_throttle,
    # would_cap, would_step_up, would_suspend where it was only counted, and would_refuse where the narrowed budgets would
    # not have let it pass; empty without one. What was sent of an answer that a suspension ended is in the outcome fields.
    action: str = ""

    # Blocks of the model's reasoning: what a client brings back, and what was given out. An entry of `replayed` is 16
    # bytes: digest of the block, digest of the conversation before the answer it stands in (as `chain_digest` of the
    # request that got that answer). An entry of `emitted` is the 8 bytes of a block's digest. Little-endian, at most 16
    # entries each.
    replayed: bytes = b""
    emitted: bytes = b""
    thinking_budget: int = 0  # tokens of hidden reasoning the client allows; 0 when it named no number
    end_user_digest: int = 0  # the end user a client names (user, safety_identifier, metadata.user_id)

    # The watermark of the answer, where it has one: profile and epoch of the secret, tokens that the client got under it,
    # and the evidence in them, expected or measured, in millionths of a nat above what text without the mark scores.
    mark_profile: str = ""
    mark_epoch: str = ""
    mark_tokens: int = 0
    mark_unats: int = 0


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Event)
_VERSION_BYTE = bytes((SCHEMA_VERSION,))


def encode(event: Event) -> bytes:
    """Event → bytes for the stream. Defaults are left out, and a lone surrogate in a string becomes a question mark."""
    try:
        return _VERSION_BYTE + _encoder.encode(event)
    except UnicodeEncodeError:
        return _VERSION_BYTE + _encoder.encode(_encodable(event))


def _encodable(event: Event) -> Event:
    values = ((name, getattr(event, name)) for name in event.__struct_fields__)
    strings = {name: value.encode("utf-8", "replace").decode() for name, value in values if isinstance(value, str)}
    return msgspec.structs.replace(event, **strings)


def decode(data: bytes) -> Event:
    """Bytes from the stream → Event.

    Raises:
        BadEvent: the version byte is unknown, the bytes are no event, or a field has the wrong type.
    """
    if not data or data[0] != SCHEMA_VERSION:
        raise BadEvent(f"event schema version is {data[0] if data else 'missing'}; this worker reads {SCHEMA_VERSION}")
    try:
        return _decoder.decode(memoryview(data)[1:])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:  # an unknown field may be nested without end
        # The library's message can quote nothing but field names and types, but it is the field we want, not the value.
        raise BadEvent(f"event does not decode: {type(error).__name__}") from None


def without_text(event: Event) -> Event:
    """The same event with every text field empty: what may be archived."""
    return msgspec.structs.replace(event, **dict.fromkeys(TEXT_FIELDS, ""))


def partition_root(event: Event) -> str:
    """The name that decides an event's partition: the organisation where there is one, else the key."""
    return event.org_id or event.key_id
