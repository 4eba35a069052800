"""The mark of one request: what is put into it, what is read out of its answer, and what the ledger is told."""

from __future__ import annotations

from typing import Protocol

from app.gateway.dialects.shape import Answer, JsonObject, count_of, number_of
from app.gateway.marking import Marking, merged, stripped
from app.gateway.marking_evidence import Reported
from app.gateway.routes import Route
from detectors.watermark.registry import MarkProfile


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
        reason: for the metric: what marks it, or why nothing does.
        stage: what changes the answer; None where nothing has to.
        tokens: marked tokens that the client got, once the answer is over.
        nats: evidence in them, expected or measured.
    """

    __slots__ = ("_body", "_ended", "_marking", "_reported", "_tenant", "nats", "profile", "reason", "stage", "tokens")

    def __init__(self, marking: Marking, tenant: str) -> None:
        self._marking = marking
        self._tenant = tenant
        self._reported: Reported | None = None
        self._body: JsonObject = {}
        self._ended = False
        self.profile: MarkProfile | None = None
        self.reason = "not_sent"
        self.stage: Stage | None = None
        self.tokens = 0
        self.nats = 0.0

    def request(self, route: Route, body: JsonObject, level: int) -> JsonObject | None:
        """The body as it is forwarded; None where it stays as it is. Asked again, it begins again.

        Args:
            route: an operation that generates.
            body: of the request; not changed.
            level: of the key, as far as it is known.
        """
        clean = stripped(body)
        self._body = body if clean is None else clean
        self.profile = self.stage = self._reported = None
        profile = self._marking.profile()
        if profile is None:
            self.reason = "no_profile"
            return clean
        self.reason = "engine"
        self.profile = profile
        self.stage = self._reported = Reported()
        return merged(self._body, self._marking.fields(profile, self._tenant))

    def ended(self, answer: Answer) -> bool:
        """The answer is over, as far as it came; returns whether the client got anything marked."""
        if self._ended or self.profile is None:
            return self.tokens > 0
        self._ended = True
        self.tokens = max(0, answer.output_tokens - answer.reasoning_tokens) if answer.status == 200 else 0
        if not self.tokens:
            self.reason = "no_answer"
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
