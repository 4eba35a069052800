"""Contract tests of the custom logit processor for SGLang.

SGLang does not run here. Its sampler hands such a processor the logits of its requests and their parameters, with a record
of each request under `__req__`; read in `python/sglang/srt/layers/sampler.py` and `…/sampling/custom_logit_processor.py`.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app.watermark.engines.keys import EngineKeys
from app.watermark.engines.request import MarkRequest
from app.watermark.engines.sglang import WatermarkLogitProcessor
from detectors.watermark.prf import offsets_of
from detectors.watermark.sampling import Marker, choose

Tensor = Callable[[NDArray[Any]], Any]
Sent = Callable[[str, str], MarkRequest]

VOCABULARY = 50


class Req:
    """SGLang's record of a request, as far as a processor reads it; the length of the answer is the engine's."""

    def __init__(self, temperature: float = 1.0, top_k: int = 1 << 30) -> None:
        self.origin_input_ids = [1, 2, 3, 4, 5]
        self.output_ids: list[int] = []
        self.sampling_params = SimpleNamespace(temperature=temperature, top_k=top_k, top_p=1.0, min_p=0.0)


@pytest.fixture
def processor(environment: dict[str, str]) -> WatermarkLogitProcessor:
    """As SGLang makes it, of the class that a request names."""
    return WatermarkLogitProcessor()


def _logits(requests: list[Req]) -> NDArray[np.float32]:
    return np.stack(
        [
            np.random.default_rng((request.origin_input_ids + request.output_ids)[-2:]).normal(0, 2, VOCABULARY)
            for request in requests
        ]
    ).astype(np.float32)


def test_a_batch_that_changes_keeps_every_codeword(
    processor: WatermarkLogitProcessor, engine_keys: EngineKeys, sent: Sent, tensor: Tensor
) -> None:
    """Contract: requests come, go and change their rows from step to step; each is marked as the reference sampler does."""
    offsets, chance = offsets_of(np.arange(VOCABULARY)), np.random.default_rng(3)
    requests = [Req() for _ in range(6)]
    written = [sent(f"tenant-{number % 3}", "g4") for number in range(5)]
    parameters: list[dict[str, Any] | None] = [
        {**one.fields(), "__req__": request} for one, request in zip(written, requests, strict=False)
    ]
    parameters.append({"__req__": requests[5]})
    markers = []
    for one in written:
        marking = engine_keys.marking(one)
        markers.append(Marker(marking.prf, marking.profile, marking.word))
    marked = 0
    for _ in range(60):
        batch = [int(row) for row in chance.permutation(6)[: chance.integers(1, 7)]]
        before = _logits([requests[number] for number in batch])
        after = np.asarray(processor(tensor(before), [parameters[number] for number in batch]))
        for row, number in enumerate(batch):
            by = markers[number].next(requests[number].output_ids) if number < 5 else None
            if by is None:
                assert (after[row] == before[row]).all()
                token = int(chance.integers(0, VOCABULARY))
            else:
                values = before[row].astype(np.float64)
                token = choose(np.exp(values - values.max()), offsets, by)
                assert np.flatnonzero(after[row] > -np.inf).tolist() == [token]
                marked += 1
            requests[number].output_ids.append(token)
    assert marked > 50


def test_greedy_requests_have_no_gumbel_mark(processor: WatermarkLogitProcessor, sent: Sent, tensor: Tensor) -> None:
    """Contract: SGLang writes temperature zero as one candidate; a green mark works there."""
    request = Req(top_k=1)
    request.output_ids = [1, 2, 3, 4]
    before = _logits([request])
    for name, touched in (("g4", False), ("green1", True)):
        other = Req(top_k=1)
        other.output_ids = [1, 2, 3, 4]
        parameters = [{**sent("tenant-0", name).fields(), "__req__": other}]
        assert bool((np.asarray(processor(tensor(before), parameters)) != before).any()) is touched


def test_rows_of_drafts_are_left_plain_and_reported_once(
    processor: WatermarkLogitProcessor, sent: Sent, tensor: Tensor, caplog: pytest.LogCaptureFixture
) -> None:
    """Contract: where SGLang drafts, a request has several rows and one set of parameters: no wrong mark is made."""
    request = Req()
    request.output_ids = [1, 2, 3, 4]
    before = _logits([request] * 3)
    parameters = [{**sent("tenant-0", "g4").fields(), "__req__": request}]
    with caplog.at_level(logging.ERROR, "stillwatch.watermark"):
        for _ in range(2):
            assert (np.asarray(processor(tensor(before), parameters)) == before).all()
    assert len(caplog.records) == 1
    assert "drafts" in caplog.text


@pytest.mark.parametrize("parameters", [None, {}, {"thinking_budget": 3}])
def test_other_parameters_are_no_mark(
    processor: WatermarkLogitProcessor, tensor: Tensor, parameters: dict[str, Any] | None
) -> None:
    """Contract: with the record of a request and without."""
    request = Req()
    request.output_ids = [1, 2, 3, 4]
    before = _logits([request])
    for one in (parameters, None if parameters is None else {**parameters, "__req__": request}):
        assert (np.asarray(processor(tensor(before), [one])) == before).all()
    with_nothing = tensor(before[:0])
    assert processor(with_nothing) is with_nothing


def test_a_request_that_is_gone_is_forgotten(processor: WatermarkLogitProcessor, sent: Sent, tensor: Tensor) -> None:
    """Contract: a processor lives as long as the engine, and nobody tells it of a request's end."""
    request = Req()
    request.output_ids = [1, 2, 3, 4]
    processor(tensor(_logits([request])), [{**sent("tenant-0", "g4").fields(), "__req__": request}])
    assert len(processor._answers) == 1
    del request
    gc.collect()
    assert len(processor._answers) == 0


def test_an_engine_without_secrets_makes_no_processor(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather than serve unmarked answers."""
    monkeypatch.delenv("STILLWATCH_WATERMARK_PROFILES_FILE")
    with pytest.raises(ValueError, match=r"^STILLWATCH_WATERMARK_PROFILES_FILE: must be set"):
        WatermarkLogitProcessor()
