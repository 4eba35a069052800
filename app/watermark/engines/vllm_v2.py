"""Marks for vLLM's second model runner (V2): `--logits-processors app.watermark.engines.vllm_v2:WatermarkProcessor`.

Written after `vllm/v1/worker/gpu/sample/logits_processor/interface.py` of vLLM as pull request 56497 (September 2026) made
it. Requests have slots; a row of logits belongs to a slot, and a request that drafts has a row for each draft. Tokens lie
on the device: those that are settled in `all_token_ids`, a step's drafts only in `input_ids`. Processors run before
temperature and truncation, under speculative decoding too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.watermark.engines.following import Following
from app.watermark.engines.keys import of_this_process
from app.watermark.engines.request import read
from app.watermark.engines.rows import Row, Rows, Sampling
from app.watermark.engines.vllm_v1 import check, sampling_of

try:
    from vllm.v1.worker.gpu.sample.logits_processor.interface import LogitsProcessor
except ImportError:  # Without vLLM the class is itself alone, for the contract tests.
    LogitsProcessor = object


class _Request:
    """What a slot holds: how its request is marked, and its settled tokens as far as they were read."""

    __slots__ = ("answer", "following", "sampling")

    def __init__(self, following: Following, sampling: Sampling) -> None:
        self.following = following
        self.sampling = sampling
        self.answer: list[int] = []


class _Place:
    """A request's rows in one step: where the first of them stands, and the tokens that were fed at each."""

    __slots__ = ("fed", "length", "request", "rows", "slot")

    def __init__(self, slot: int, request: _Request) -> None:
        self.slot = slot
        self.request = request
        self.length = 0
        self.rows: list[int] = []
        self.fed: list[int] = []


class WatermarkProcessor(LogitsProcessor):  # type: ignore[misc]
    """One per engine process. Secrets and profiles are those of the process's environment.

    Args:
        vllm_config: not used.
        req_states: vLLM's `LogitsProcRequestState`: tokens and lengths by slot. Only read.

    Raises:
        ValueError: the environment names no secrets or profiles, or they break a rule: the engine does not start.
    """

    def __init__(self, vllm_config: Any, req_states: Any) -> None:
        self._keys = of_this_process()
        self._states = req_states
        self._requests: dict[int, _Request] = {}
        self._rows = Rows()

    @classmethod
    def validate_params(cls, sampling_params: Any) -> None:
        """At admission: ValueError for a malformed field, and the client is answered with it."""
        check(sampling_params, of_this_process())

    def add_request(self, req_idx: int, sampling_params: Any) -> bool:
        """A request takes a slot; whatever the slot held before is forgotten. Says whether it is to be marked."""
        self._requests.pop(req_idx, None)
        request = read(sampling_params.extra_args)
        if request is None:
            return False
        self._requests[req_idx] = _Request(Following(self._keys.marking(request)), sampling_of(sampling_params))
        return True

    def apply_staged_writes(self) -> None:
        """Nothing waits: what is known of a request stays on the host."""

    def apply(self, logits: Any, ctx: Any) -> Any:
        """Marks the rows of requests that are to be marked, in place.

        Args:
            logits: of shape (rows, vocabulary).
            ctx: vLLM's `LogitsContext` of this step.
        """
        if self._requests.keys().isdisjoint(ctx.idx_mapping_np.tolist()):
            return logits
        places = self._places(ctx)
        self._catch_up(places)
        rows = []
        for place in places:
            request = place.request
            profile = request.following.marking.profile
            for local, row in enumerate(place.rows):
                by = request.following.next(request.answer + place.fed[1 : local + 1])
                if by is not None:
                    rows.append(Row(row, by, profile, request.sampling))
        self._rows.mark(logits, rows)
        return logits

    def _places(self, ctx: Any) -> list[_Place]:
        """The rows of each request that is to be marked and has begun its answer, in the order of its drafts."""
        slots, locals_, fed, ends = _on_host(ctx.expanded_idx_mapping, ctx.expanded_local_pos, ctx.input_ids, ctx.pos)
        places: dict[int, _Place] = {}
        for row in np.argsort(locals_, kind="stable").tolist():
            slot = int(slots[row])
            request = self._requests.get(slot)
            if request is None:
                continue
            if slot not in places:
                places[slot] = _Place(slot, request)
                places[slot].length = int(ends[row]) + 1 - int(self._states.prompt_len.np[slot]) - int(locals_[row])
            places[slot].rows.append(row)
            places[slot].fed.append(int(fed[row]))
        # Part of a prompt is fed: what is sampled there is thrown away.
        return [place for place in places.values() if place.length >= 0]

    def _catch_up(self, places: list[_Place]) -> None:
        """Reads the tokens that were settled since the last step; from the device only where there are several."""
        slots: list[int] = []
        columns: list[int] = []
        behind: list[tuple[_Place, int]] = []
        for place in places:
            answer = place.request.answer
            if place.length < len(answer):
                # The engine went back, and what it settles now may be something else.
                answer.clear()
            missing = place.length - len(answer)
            if missing == 1:
                answer.append(place.fed[0])
            elif missing > 1:
                start = int(self._states.prompt_len.np[place.slot])
                slots += [place.slot] * missing
                columns += range(start + len(answer), start + place.length)
                behind.append((place, missing))
        if behind:
            tokens = _on_host(self._states.all_token_ids.gpu[slots, columns])[0].tolist()
            for place, missing in behind:
                place.request.answer += tokens[:missing]
                del tokens[:missing]


def _on_host(*columns: Any) -> list[NDArray[np.int64]]:
    """Columns of whole numbers, all of one length, copied from the device together."""
    if isinstance(columns[0], np.ndarray):
        return [np.asarray(column, np.int64) for column in columns]
    import torch

    return list(torch.stack([column.long() for column in columns]).cpu().numpy())
