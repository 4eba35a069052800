"""Record of a log → Event, through the same function that makes the gateway's events."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from app.enforcement.wire_errors import Refuse
from app.errors import BadInput
from app.gateway import dialects
from app.gateway.identity import Identifier, Identity
from app.gateway.observe import Answer, TextLimits, answer_from_record, event_from_exchange
from app.gateway.routes import Route, classify
from app.offline.records import Record, Response
from detectors.event import Event


class EventBuilder:
    """Makes the events of one log.

    Args:
        identities: what the accounts file says, by the log's key; other keys are strangers on the default plan.
        identifier: for the keyed hashes and the address plan.
        limits: characters kept of each text, as the gateway is configured.
        default_plan: plan of a key without an account.
    """

    def __init__(
        self, identities: Mapping[str, Identity], identifier: Identifier, limits: TextLimits, default_plan: str
    ) -> None:
        self._identities = identities
        self._identifier = identifier
        self._limits = limits
        self._default_plan = default_plan

    def event(self, record: Record, number: int) -> Event:
        """The event of line `number`.

        Raises:
            BadInput: the path or the body is one that the gateway would have refused.
        """
        try:
            route = classify("POST", record.path)
            return event_from_exchange(
                event_id=f"{number:032x}",
                at_us=round(record.ts * 1_000_000),
                identity=self._identities.get(record.key) or Identity(record.key, plan=self._default_plan),
                place=self._identifier.place(record.ip),
                route=route,
                body=record.request,
                headers=record.headers,
                answer=_answer(record.response, route),
                limits=self._limits,
            )
        except Refuse:
            raise BadInput("path has . or .. segments") from None
        except (TypeError, RecursionError):
            # The gateway refuses such bodies before it looks at them; a foreign log may hold them.
            raise BadInput("request is nested too deeply or holds a number beyond 64 bits") from None


def _answer(response: Response, route: Route) -> Answer:
    """The fields the log names, and the whole answer body for the rest where the log has it."""
    fields = msgspec.structs.asdict(response)
    if response.usage is not None:
        fields["usage"] = msgspec.structs.asdict(response.usage)
    answer = answer_from_record(fields)
    if response.body is None:
        return answer
    read = Answer()
    has_usage = dialects.read_answer(route, response.body, read)
    if response.text is None:
        answer.text_head, answer.chars = read.text_head, read.chars
    if response.usage is None and has_usage:
        answer.input_tokens, answer.output_tokens = read.input_tokens, read.output_tokens
        answer.reasoning_tokens, answer.cached_tokens = read.reasoning_tokens, read.cached_tokens
        answer.estimated = False
    elif answer.estimated:
        answer.output_tokens = answer.chars // 4
    answer.tool_calls = answer.tool_calls or read.tool_calls
    answer.blocks = read.blocks
    answer.finish_reason = answer.finish_reason or read.finish_reason
    answer.refusal = answer.refusal or read.refusal
    if answer.status >= 400 and not answer.error:
        answer.error = dialects.error_type(route, response.body)
    return answer
