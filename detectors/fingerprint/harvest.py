"""How much more often harvesters than honest customers send an exchange like this one: a shipped small network.

Whether a key harvests is decided elsewhere, from many exchanges among peers. This is what one exchange contributes: the
logarithm of the density ratio harvest : honest, from what the exchange is about (its embedding), what it is for (intents)
and its shape (turns, lengths, tools, form asked). It is trained with equal weight for both classes, so 0 says nothing.

Temperature, token limits, models, names of clients and times are left out: they cost a caller nothing to change, and a
generator of traffic writes them by rule, so a network would learn the generator. How it was trained: `benchmarks.harvest`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import log1p

import numpy as np
from numpy.typing import NDArray

from detectors.artefacts import Artefact, load
from detectors.event import Event
from detectors.fingerprint.embedding import DIMENSIONS

STEPS = 8
"""Units of the result per unit of log ratio: 8 is e times as often."""
LIMIT = 127

INTENT_BITS = 8
SHAPE = (
    *(f"intent_{bit}" for bit in range(INTENT_BITS)),
    "tags_asked", "tokens", "user_chars", "system_chars", "input_tokens", "written", "reasoning", "out_in", "messages",
    "single_turn", "has_system", "tools_offered", "tools_called", "tool_roles", "formed", "schema", "many", "logprobs",
    "biased", "streamed", "completion", "cut", "refused", "cached",
)  # fmt: skip
"""Columns before the embedding."""
WIDTH = len(SHAPE) + DIMENSIONS


def shape(event: Event, intents: int, tags_asked: int, tokens: int) -> list[float]:
    """The columns of `SHAPE` of one exchange; lengths are logarithms, so that twice as long is one step everywhere."""
    written = max(0, event.output_tokens - event.reasoning_tokens)
    return [
        *(float(intents >> bit & 1) for bit in range(INTENT_BITS)),
        float(min(tags_asked, 3)),
        log1p(tokens),
        log1p(event.user_chars),
        log1p(event.system_chars),
        log1p(event.input_tokens),
        log1p(written),
        log1p(event.reasoning_tokens),
        log1p(written) - log1p(event.input_tokens),
        log1p(event.message_count),
        float(event.user_turns <= 1),
        float(event.system_chars > 0),
        float(event.tool_count > 0),
        float(event.tool_calls > 0),
        float("t" in event.roles),
        float(event.response_format not in ("", "text")),
        float(event.response_schema_digest != 0),
        float(event.n > 1),
        float(event.top_logprobs >= 0),
        float(event.logit_bias_size > 0),
        float(event.stream),
        float(event.route == "completions"),
        float(event.finish_reason in ("length", "max_tokens")),
        float(event.refusal),
        float(event.cached_tokens > 0),
    ]


@dataclass(frozen=True, slots=True)
class Network:
    """One hidden layer.

    Attributes:
        first: float32 of shape (WIDTH, hidden); scaling of the columns and int8 of the embedding are in it.
        first_bias: of shape (hidden,).
        second: of shape (hidden,).
        second_bias: so that the result is a log density ratio.
    """

    first: NDArray[np.float32]
    first_bias: NDArray[np.float32]
    second: NDArray[np.float32]
    second_bias: float

    @classmethod
    def from_artefact(cls, artefact: Artefact) -> Network:
        """The shipped network.

        Raises:
            ValueError: it was trained on other columns.
        """
        arrays = artefact.arrays
        if arrays["first"].shape[0] != WIDTH or artefact.card.get("columns") != list(SHAPE):
            raise ValueError("the harvest network was trained on other columns")
        return cls(arrays["first"], arrays["first_bias"], arrays["second"], float(arrays["second_bias"][0]))

    def ratios(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Log density ratios of rows of `SHAPE` and the embedding as int8 values, float32 of shape (n, WIDTH)."""
        hidden = np.maximum(rows @ self.first + self.first_bias, np.float32(0.0))
        found: NDArray[np.float32] = hidden @ self.second + np.float32(self.second_bias)
        return found


@cache
def network() -> Network:
    """The shipped network, read once.

    Raises:
        BadArtefact: it is missing or not what was shipped.
    """
    return Network.from_artefact(load("harvest"))


def row(event: Event, embedding: bytes, intents: int, tags_asked: int, tokens: int) -> NDArray[np.float32]:
    """Input of the network, float32 of shape (WIDTH,)."""
    out = np.empty(WIDTH, np.float32)
    out[: len(SHAPE)] = shape(event, intents, tags_asked, tokens)
    out[len(SHAPE) :] = np.frombuffer(embedding, np.int8) if embedding else 0.0
    return out


def judged(event: Event, tokens: int) -> bool:
    """Whether an exchange is rated at all: it was answered, and there is a text that asked for it."""
    return event.status == 200 and tokens > 0 and event.route != "embeddings"


def harvest(event: Event, embedding: bytes, intents: int, tags_asked: int, tokens: int) -> int:
    """The log density ratio in steps of 1/STEPS, −LIMIT … LIMIT; 0 for an exchange that was not answered or wrote nothing.

    Args:
        event: for lengths, turns, tools and form; its text is not read.
        embedding: of the last user turn, int8.
        intents: bits.
        tags_asked: tags that the answer must hold.
        tokens: of the last user turn.
    """
    if not judged(event, tokens):
        return 0
    ratio = float(network().ratios(row(event, embedding, intents, tags_asked, tokens)[None, :])[0])
    return int(max(-LIMIT, min(LIMIT, round(STEPS * ratio))))
