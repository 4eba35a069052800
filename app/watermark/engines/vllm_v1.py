"""Marks for vLLM's first model runner (V1): `--logits-processors app.watermark.engines.vllm_v1:WatermarkProcessor`.

Written after `vllm/v1/sample/logits_processor/interface.py` of vLLM as it stood in 2026: a batch of persistent rows, of
which `update_state` tells, and one row of logits per request in `apply`. Processors of this kind run before temperature
and truncation, and not together with speculative decoding.
"""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

from app.watermark.engines.following import Following
from app.watermark.engines.keys import EngineKeys, of_this_process
from app.watermark.engines.request import read
from app.watermark.engines.rows import Row, Rows, Sampling

try:
    from vllm.v1.sample.logits_processor import LogitsProcessor
except ImportError:  # Without vLLM the class is itself alone, for the contract tests.
    LogitsProcessor = object

log = logging.getLogger("stillwatch.watermark")

UNIDIRECTIONAL = "UNIDIRECTIONAL"

PLACEHOLDERS = (
    "The engine shows placeholders in place of tokens, so answers are not marked: name the processor in --logits-processors"
    " (not as an entry point), or start with --no-async-scheduling."
)
NOT_REQUESTS = "Rows of logits are not requests, so answers are not marked: this runner marks without speculative decoding."


class _Request(NamedTuple):
    following: Following
    output: list[int]
    """The engine's own list of the answer's tokens: it grows while the engine generates."""
    sampling: Sampling


def sampling_of(params: Any) -> Sampling:
    """Of vLLM's `SamplingParams`."""
    return Sampling(params.temperature, params.top_k, params.top_p, params.min_p)


def check(params: Any, keys: EngineKeys) -> None:
    """ValueError, naming the field, where a request asks for a mark that this engine cannot make."""
    request = read(params.extra_args)
    if request is not None:
        keys.marking(request)


class WatermarkProcessor(LogitsProcessor):  # type: ignore[misc]
    """One per engine process. Secrets and profiles are those of the process's environment.

    Args:
        vllm_config: not used.
        device: not used: the logits say where they lie.
        is_pin_memory: not used.

    Raises:
        ValueError: the environment names no secrets or profiles, or they break a rule: the engine does not start.
    """

    def __init__(self, vllm_config: Any, device: Any, is_pin_memory: bool) -> None:
        self._keys = of_this_process()
        self._requests: dict[int, _Request] = {}
        self._rows = Rows()
        self._size = 0
        self._warned: set[str] = set()

    @classmethod
    def validate_params(cls, sampling_params: Any) -> None:
        """At admission: ValueError for a malformed field, and the client is answered with it."""
        check(sampling_params, of_this_process())

    @classmethod
    def needs_output_token_ids(cls) -> bool:
        """Asks an engine that schedules ahead to replace its placeholders by the tokens they stand for."""
        return True

    def is_argmax_invariant(self) -> bool:
        """False: a green mark changes the most probable token, and a Gumbel mark leaves no other."""
        return False

    def update_state(self, batch_update: Any) -> None:
        """Follows the batch: requests that left, that came, and that changed their rows, in this order.

        Args:
            batch_update: vLLM's `BatchUpdate`; None where nothing changed.
        """
        if batch_update is None:
            return
        self._size = batch_update.batch_size
        for index in batch_update.removed:
            self._requests.pop(index, None)
        for index, params, _, output in batch_update.added:
            self._put(index, self._new(params, output))
        for source, target, direction in batch_update.moved:
            here, there = self._requests.pop(source, None), self._requests.pop(target, None)
            self._put(target, here)
            if direction.name != UNIDIRECTIONAL:
                self._put(source, there)

    def apply(self, logits: Any) -> Any:
        """Marks the rows of requests that are to be marked, in place.

        Args:
            logits: of shape (requests, vocabulary).
        """
        if len(logits) != self._size:
            # Rows of drafts, or of an engine that this was not written for: whose they are is not known here.
            self._warn(NOT_REQUESTS)
            return logits
        rows = []
        for index, request in self._requests.items():
            if request.output and request.output[-1] < 0:
                self._warn(PLACEHOLDERS)
            by = request.following.next(request.output)
            if by is not None:
                rows.append(Row(index, by, request.following.marking.profile, request.sampling))
        self._rows.mark(logits, rows)
        return logits

    def _new(self, params: Any, output: list[int]) -> _Request | None:
        request = read(params.extra_args)
        if request is None:
            return None
        return _Request(Following(self._keys.marking(request)), output, sampling_of(params))

    def _put(self, index: int, request: _Request | None) -> None:
        if request is None:
            self._requests.pop(index, None)
        else:
            self._requests[index] = request

    def _warn(self, sentence: str) -> None:
        # Once: it would come with every token.
        if sentence not in self._warned:
            self._warned.add(sentence)
            log.error(sentence)
