"""One answer out of several: whole, or as a stream that begins once enough of every candidate is there.

The model server makes `n` choices; the client, and everything behind this stage, sees one, as choice 0, with its own share
of the usage. What the candidates said before one was chosen is held in memory; afterwards events pass as they come, and
those of the others are dropped. Where the server makes one choice only, nothing changes.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from app.gateway.concealing import HELD_MAX_BYTES, TooLong
from app.gateway.dialects.shape import JsonObject, count_of, dict_of, dicts
from detectors.watermark.choice import Chooser, Score, beginning, best
from detectors.watermark.words import words

_ENDS = (b"\n\n", b"\r\n\r\n")
_SPLIT = re.compile(rb"(?<=\n\n)|(?<=\r\n\r\n)")
WORDS_SCORED = 2000
"""Of a whole answer, from its beginning: about 3 ms for a thousand, in which no other request is served."""

_CHARS_READ = 16 * WORDS_SCORED
"""A word of English has six characters with its space; scripts without spaces have long ones."""

_HELD_MOST = HELD_MAX_BYTES
"""Bytes of all candidates that wait; beyond it one is chosen among what is there."""


class _Piece(NamedTuple):
    """An event of a candidate."""

    event: bytes
    payload: JsonObject
    choice: JsonObject


class _Candidate:
    """What has come of one choice."""

    __slots__ = ("_look", "_parts", "chars", "enough", "finished", "pieces")

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._look = 0  # characters before which there cannot be enough words
        self.chars = 0
        self.enough = False
        self.finished = False
        self.pieces: list[_Piece] = []

    @property
    def text(self) -> str:
        return "".join(self._parts)

    def take(self, text: str, most: int) -> None:
        """More of its text, of which `most` words are waited for, and the beginning of one more."""
        self.chars += len(text)
        if self.enough:
            return
        self._parts.append(text)
        if self.chars >= self._look:
            missing = most + 1 - len(words(self.text))
            self.enough = missing <= 0
            self._look = self.chars + max(1, missing)


class Choice:
    """Chooses in one answer; a `app.gateway.marking_request.Stage`.

    Attributes:
        score: of the chosen one; None while there is none, or was nothing to choose from.
        dropped_tokens: that the model made for the others, as far as it says or its usage can be divided.
    """

    __slots__ = (
        "_best",
        "_candidates",
        "_chooser",
        "_held",
        "_most",
        "_rest",
        "_route",
        "_wanted",
        "dropped_tokens",
        "score",
    )

    def __init__(self, chooser: Chooser, route: str, wanted: int, chunk_words: int) -> None:
        """Begin an answer.

        Args:
            chooser: of the tenant.
            route: chat or completions.
            wanted: how many candidates were asked for.
            chunk_words: of each that are waited for in a stream.
        """
        self._chooser = chooser
        self._route = route
        self._wanted = wanted
        self._most = chunk_words
        self._candidates: dict[int, _Candidate] = {}
        self._best: int | None = None  # index of the chosen one in a stream; None: still holding
        self._held = 0
        self._rest = b""
        self.score: Score | None = None
        self.dropped_tokens = 0

    # Whole

    def whole(self, raw: bytes) -> bytes:
        """A whole answer → the same with the best choice alone."""
        try:
            body = orjson.loads(raw)
        except orjson.JSONDecodeError:
            return raw
        given = body.get("choices") if type(body) is dict else None
        if type(given) is not list or len(given) < 2 or not all(type(choice) is dict for choice in given):
            return raw
        texts = [self._text(choice, "message") for choice in given]
        scores = [self._chooser.score(words(text[:_CHARS_READ])[:WORDS_SCORED], _lot()) for text in texts]
        at = best(scores)
        self.score = scores[at]
        body["choices"] = [{**given[at], "index": 0}]
        tokens = [_tokens(choice) for choice in given]
        self._share(body, at, [len(text) for text in texts], tokens)
        return orjson.dumps(body)

    def _text(self, choice: JsonObject, holder: str) -> str:
        text = choice.get("text") if self._route == "completions" else dict_of(choice.get(holder)).get("content")
        return text if type(text) is str else ""

    def _share(self, body: JsonObject, at: int, chars: Sequence[int], tokens: Sequence[int | None]) -> None:
        """What the client is billed for: the tokens of its own choice."""
        usage = body.get("usage")
        if type(usage) is not dict:
            return
        total = count_of(usage.get("completion_tokens"))
        own = tokens[at]
        if own is None or None in tokens:
            own = round(total * chars[at] / sum(chars)) if sum(chars) else total // len(chars)
        own = max(1, min(own, total)) if total else 0
        self.dropped_tokens = total - own
        body["usage"] = _scaled(usage, own, total)

    # Streamed

    def pass_on(self, data: bytes) -> bytes:
        """Bytes of a stream from the model → bytes of the chosen one.

        Raises:
            TooLong: an event does not end.
        """
        data = self._rest + data
        end = max((at + len(mark) for mark in _ENDS if (at := data.rfind(mark)) >= 0), default=0)
        self._rest = data[end:]
        if len(self._rest) > HELD_MAX_BYTES:
            raise TooLong
        return b"".join(map(self._event, _SPLIT.split(data[:end]))) if end else b""

    def flush(self) -> bytes:
        """What is held back, at the end of the stream."""
        rest, self._rest = self._rest, b""
        return (self._event(rest) if rest else b"") + self._decide()

    def _event(self, event: bytes) -> bytes:
        lines = [line[5:] for line in event.split(b"\n") if line.startswith(b"data:")]
        if not lines:
            return event  # a comment, which keeps the connection alive
        try:
            payload: Any = orjson.loads(b"\n".join(lines))
        except orjson.JSONDecodeError:
            return self._decide() + event  # [DONE]
        choices = list(dicts(payload.get("choices"))) if type(payload) is dict else []
        if not choices:
            return self._without_choice(event, payload)
        out = b""
        for choice in choices:
            index = count_of(choice.get("index"))
            if index >= self._wanted:
                continue
            candidate = self._candidates.setdefault(index, _Candidate())
            candidate.take(self._text(choice, "delta"), self._most)
            candidate.finished = candidate.finished or choice.get("finish_reason") is not None
            piece = _Piece(event, payload, choice)
            if self._best is None:
                candidate.pieces.append(piece)
                self._held += len(event)
            elif index == self._best:
                out += _as_first(piece)
        if self._best is None and self._is_time():
            out += self._decide()
        return out

    def _is_time(self) -> bool:
        if self._held > _HELD_MOST:
            return True
        there = self._candidates.values()
        return len(there) == self._wanted and all(candidate.enough or candidate.finished for candidate in there)

    def _decide(self) -> bytes:
        """The held events of the best candidate, once; nothing when one was chosen before."""
        if self._best is not None or not self._candidates:
            return b""
        indexes = sorted(self._candidates)
        self._best = indexes[0]
        if len(indexes) > 1:
            scores = [self._chooser.score(self._beginning(self._candidates[index]), _lot()) for index in indexes]
            at = best(scores)
            self._best, self.score = indexes[at], scores[at]
        out = b"".join(map(_as_first, self._candidates[self._best].pieces))
        for candidate in self._candidates.values():
            candidate.pieces.clear()
        return out

    def _beginning(self, candidate: _Candidate) -> Any:
        """The tokens that are compared: of none more than of the others is waited for."""
        return beginning(candidate.text, self._most) if candidate.enough else words(candidate.text)[: self._most]

    def _without_choice(self, event: bytes, payload: Any) -> bytes:
        """An event of no candidate: the usage of all of them, or an error, behind both of which none goes on."""
        if type(payload) is not dict or not (payload.get("usage") or payload.get("error")):
            return event  # what a server says of the prompt
        out = self._decide()
        if type(payload.get("usage")) is not dict or len(self._candidates) < 2:
            return out + event
        indexes = sorted(self._candidates)
        chars = [self._candidates[index].chars for index in indexes]
        assert self._best is not None
        self._share(payload, indexes.index(self._best), chars, [None] * len(indexes))
        return out + _written(event, payload)


def _lot() -> float:
    return 1.0 - random.random()


def _as_first(piece: _Piece) -> bytes:
    """An event of the chosen one as that of choice 0; its own bytes where it is that already."""
    if piece.choice.get("index") == 0 and len(piece.payload["choices"]) == 1:
        return piece.event
    return _written(piece.event, {**piece.payload, "choices": [{**piece.choice, "index": 0}]})


def _written(event: bytes, payload: JsonObject) -> bytes:
    """An event with other data; its other fields and its line ends stay."""
    lines = event.split(b"\n")
    at = [place for place, line in enumerate(lines) if line.startswith(b"data:")]
    ending = b"\r" if lines[at[0]].endswith(b"\r") else b""
    lines[at[0]] = b"data: " + orjson.dumps(payload) + ending
    return b"\n".join(line for place, line in enumerate(lines) if place not in at[1:])


def _tokens(choice: JsonObject) -> int | None:
    """Output tokens of one choice, where the server tells: its own usage, or one log-probability a token; else None."""
    usage = choice.get("usage")
    if type(usage) is dict and type(usage.get("completion_tokens")) is int:
        return count_of(usage["completion_tokens"])
    logprobs = dict_of(choice.get("logprobs"))
    for name in ("content", "tokens"):
        if type(logprobs.get(name)) is list:
            return len(logprobs[name])
    return None


def _scaled(usage: JsonObject, own: int, total: int) -> JsonObject:
    """Usage of all choices → that of one, with details divided alike."""
    made = {**usage, "completion_tokens": own}
    if "total_tokens" in usage:
        made["total_tokens"] = count_of(usage.get("prompt_tokens")) + own
    details = usage.get("completion_tokens_details")
    if type(details) is dict and total:
        made["completion_tokens_details"] = {
            name: round(value * own / total) if type(value) is int else value for name, value in details.items()
        }
    return made
