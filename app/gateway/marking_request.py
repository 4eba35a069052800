"""The mark of one request: what is put into it, what is read out of its answer, and what the ledger is told."""

from __future__ import annotations

from typing import Protocol

from app.enforcement.wire_errors import NOT_OFFERED, Refuse
from app.gateway.dialects import openai
from app.gateway.dialects.shape import Answer, JsonObject, count_of, flag_of, number_of
from app.gateway.marking import Marking, merged, stripped
from app.gateway.marking_choice import Choice
from app.gateway.marking_evidence import Reported
from app.gateway.routes import Route
from app.telemetry import metrics
from detectors.contract import Level
from detectors.watermark.choice import Chooser
from detectors.watermark.registry import MarkProfile

REFUSED = "watermark"
"""Why a request is refused that would have to be answered without a mark."""


class Stage(Protocol):
    """Stands between the model and everybody else, the gateway's own reading of the answer too."""

    def whole(self, raw: bytes) -> bytes:
        """A whole answer → what the others get of it."""
        ...

    def pass_on(self, data: bytes) -> bytes:
        """Bytes of a stream → what the others get of them now."""
        ...

    def flush(self) -> bytes:
        """What is held back, at the end of the stream."""
        ...


class RequestMark:
    """How one request is marked, and why it is not where it is not.

    Attributes:
        profile: of the mark; None where the answer gets none.
        reason: for the metric: what marks it, or why nothing does; "" for what is not counted.
        stage: what changes the answer; None where nothing has to.
        tokens: marked tokens that the client got, once the answer is over.
        nats: evidence in them, expected or measured.
    """

    __slots__ = (
        "_body",
        "_choice",
        "_ended",
        "_marking",
        "_reported",
        "_tenant",
        "nats",
        "profile",
        "reason",
        "stage",
        "tokens",
    )

    def __init__(self, marking: Marking, tenant: str) -> None:
        self._marking = marking
        self._tenant = tenant
        self._reported: Reported | None = None
        self._choice: Choice | None = None
        self._body: JsonObject = {}
        self._ended = False
        self.profile: MarkProfile | None = None
        self.reason = "not_sent"
        self.stage: Stage | None = None
        self.tokens = 0
        self.nats = 0.0

    @classmethod
    def of_stored(cls, marking: Marking) -> RequestMark:
        """Of a request that reads an earlier answer again: what the engine reports of its mark is taken out there, too."""
        made = cls(marking, "")
        made.stage, made.reason = Reported(), ""
        return made

    @property
    def light(self) -> bool:
        """All that has to be changed of the answer is a report of the engine, if there is one."""
        return self._choice is None

    def request(self, route: Route, body: JsonObject, level: int) -> JsonObject | None:
        """The body as it is forwarded; None where it stays as it is. Asked again, it begins again.

        Args:
            route: an operation that generates.
            body: of the request; not changed.
            level: of the key, as far as it is known.

        Raises:
            Refuse: a choice is due that this operation cannot give, and that is not to pass unmarked.
        """
        clean = stripped(body)
        self._body = body if clean is None else clean
        self.profile = self.stage = self._reported = self._choice = None
        profile = self._marking.profile()
        if profile is None:
            self.reason = "no_profile"
            return clean
        if profile.scheme == "choice":
            return self._choose(route, profile, level) or clean
        self.reason = "engine"
        self.profile = profile
        self.stage = self._reported = Reported()
        return merged(self._body, self._marking.fields(profile, self._tenant))

    def _choose(self, route: Route, profile: MarkProfile, level: int) -> JsonObject | None:
        """The body that asks for as many answers as there are to be chosen from; None where none is chosen."""
        settings = self._marking.settings
        body = self._body
        self.reason = "level" if level < Level.SUSPECT else _hindrance(route, body)
        if self.reason == "route" and settings.choice_otherwise == "refuse":
            self.reason = "refused"
            raise Refuse(
                NOT_OFFERED, "This operation is not offered to this key. Please use /v1/chat/completions instead.", REFUSED
            )
        if self.reason:
            return None
        self.reason, self.profile = "choice", profile
        chooser = Chooser(self._marking.prf(profile), self._marking.word(profile, self._tenant))
        self.stage = self._choice = Choice(chooser, route.name, profile.candidates, settings.choice_chunk_words)
        return {**{name: value for name, value in body.items() if name != "best_of"}, "n": profile.candidates}

    def ended(self, answer: Answer) -> bool:
        """The answer is over, as far as it came; returns whether the client got anything marked."""
        if self._ended or self.profile is None:
            return self.tokens > 0
        self._ended = True
        self.tokens = max(0, answer.output_tokens - answer.reasoning_tokens) if answer.status == 200 else 0
        if self._choice is not None and self._choice.dropped_tokens:
            metrics.WATERMARK_DROPPED.inc(self._choice.dropped_tokens)
        if not self.tokens:
            self.reason = "no_answer"
        elif self._choice is not None:
            score = self._choice.score
            if score is None or not score.ngrams:
                self.tokens, self.reason = 0, "one_candidate" if score is None else "short"
            else:
                self.nats = score.excess
        elif self._reported is not None and self._reported.nats is not None:
            self.nats = self._reported.nats
        elif self.profile.scheme == "gumbel" and greedy(self._body):
            self.tokens, self.reason = 0, "greedy"
        else:
            self.nats = self.tokens * self._marking.settings.expected_excess_per_token
        return self.tokens > 0


def greedy(body: JsonObject) -> bool:
    """Whether a request leaves the model no choice of tokens, so that none can carry a mark of the scheme gumbel."""
    return number_of(body.get("temperature")) == 0 or number_of(body.get("top_p")) == 0 or count_of(body.get("top_k")) == 1


def _hindrance(route: Route, body: JsonObject) -> str:
    """Why no answer can be chosen for a request; "" for nothing."""
    if route.name not in ("chat", "completions"):
        return "route"
    prompt = body.get("prompt")
    if openai.choices(body) > 1 or (type(prompt) is list and prompt and type(prompt[0]) is not int):
        return "several"
    if body.get("tools") or body.get("functions"):
        return "tools"  # whether a model calls a tool is not to depend on a mark
    if flag_of(body.get("echo")):
        return "echo"
    return "greedy" if greedy(body) else ""
