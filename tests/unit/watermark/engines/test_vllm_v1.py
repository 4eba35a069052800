"""Contract tests of the processor for vLLM's first model runner.

vLLM does not run here. What its runner does is done by `Engine` below: persistent rows that requests enter, leave and are
moved between, told of by the same calls in the same order, with the engine's own lists of output tokens. That the real
one calls in this way was read in its sources (`vllm/v1/worker/gpu_input_batch.py`, `vllm/v1/sample/logits_processor/`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app.watermark.engines.keys import EngineKeys, Marking
from app.watermark.engines.request import MarkRequest
from app.watermark.engines.rows import Sampling, truncated
from app.watermark.engines.vllm_v1 import WatermarkProcessor
from detectors.watermark.green import biased
from detectors.watermark.prf import offsets_of
from detectors.watermark.sampling import Marker, choose

Tensor = Callable[[NDArray[Any]], Any]
Sent = Callable[[str, str], MarkRequest]

VOCABULARY = 60
OFFSETS = offsets_of(np.arange(VOCABULARY))


class Direction(Enum):
    """vLLM's `MoveDirectionality`."""

    UNIDIRECTIONAL = auto()
    SWAP = auto()


@dataclass
class Params:
    """The fields of vLLM's `SamplingParams` that a processor reads."""

    extra_args: dict[str, Any] | None = None
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0


@dataclass
class Update:
    """vLLM's `BatchUpdate`."""

    batch_size: int
    removed: list[int] = field(default_factory=list)
    added: list[tuple[int, Params, list[int], list[int]]] = field(default_factory=list)
    moved: list[tuple[int, int, Direction]] = field(default_factory=list)


class Request:
    """One request, with randomness of its own, so that what it draws does not depend on its company."""

    def __init__(self, name: int, params: Params, length: int) -> None:
        self.name = name
        self.params = params
        self.length = length
        self.prompt = [name % VOCABULARY, 7, 11]
        self.output: list[int] = []
        self.randomness = np.random.default_rng(name)


def model(request: Request, tokens: list[int]) -> NDArray[np.float32]:
    """Logits after these tokens: the same for the same last two, as a language model's would be."""
    seed = (request.prompt + tokens)[-2:]
    return np.random.default_rng(seed).normal(0, 2, VOCABULARY).astype(np.float32)


def drawn(logits: NDArray[Any], params: Params, randomness: np.random.Generator) -> int:
    """What an engine does after the processors: temperature, truncation, a draw; greedy at temperature zero."""
    at_random = randomness.random()
    if params.temperature == 0:
        return int(logits.argmax())
    values = truncated(logits.astype(np.float64), Sampling(params.temperature, params.top_k, params.top_p, params.min_p))
    probabilities = np.exp(values - values.max())
    cumulated = np.cumsum(probabilities / probabilities.sum())
    return min(int(np.searchsorted(cumulated, at_random, side="right")), int(np.flatnonzero(probabilities)[-1]))


def alone(request: Request, marking: Marking | None) -> list[int]:
    """The answer that a request gets by the reference sampler, without an engine."""
    randomness = np.random.default_rng(request.name)
    marker = marking and Marker(marking.prf, marking.profile, marking.word)
    answer: list[int] = []
    for _ in range(request.length):
        logits = model(request, answer)
        by = marker and marker.next(answer)
        token = -1
        if marking is not None and by is not None and by is not False:
            if marking.profile.scheme == "green":
                logits = np.asarray(biased(logits, marking.profile, OFFSETS, by))
            elif request.params.temperature > 0:
                sampling = Sampling(*(getattr(request.params, name) for name in ("temperature", "top_k", "top_p", "min_p")))
                values = truncated(logits.astype(np.float64), sampling)
                token = choose(np.exp(values - values.max()), OFFSETS, by)
        plain = drawn(logits, request.params, randomness)
        answer.append(plain if token < 0 else token)
    return answer


class Engine:
    """Persistent rows, filled, emptied, closed up and reordered as the runner does it."""

    def __init__(self, processor: WatermarkProcessor, tensor: Tensor, size: int) -> None:
        self.processor = processor
        self.tensor = tensor
        self.size = size
        self.rows: list[Request] = []
        self.shuffle = np.random.default_rng(99)

    def step(self, waiting: list[Request]) -> list[Request]:
        """One forward pass of the whole batch; gives back the requests that are done."""
        update = self._rearranged(waiting)
        self.processor.update_state(update)
        if not self.rows:
            return []
        logits = self.tensor(np.stack([model(request, request.output) for request in self.rows]))
        marked = np.asarray(self.processor.apply(logits))
        for row, request in enumerate(self.rows):
            request.output.append(drawn(marked[row], request.params, request.randomness))
        return [request for request in self.rows if len(request.output) >= request.length]

    def _rearranged(self, waiting: list[Request]) -> Update | None:
        update = Update(0)
        holes = sorted(
            (row for row, request in enumerate(self.rows) if len(request.output) >= request.length), reverse=True
        )
        rows: list[Request | None] = [None if row in holes else request for row, request in enumerate(self.rows)]
        while waiting and (holes or len(rows) < self.size):
            request = waiting.pop(0)
            # The lowest hole is filled first, and is then none that is told of.
            row = holes.pop() if holes else len(rows)
            rows[row : row + 1] = [request]
            update.added.append((row, request.params, request.prompt, request.output))
        # What is left is closed up from the end.
        while holes:
            if rows[-1] is None:
                update.removed.append(len(rows) - 1)
                holes.remove(len(rows) - 1)
                rows.pop()
                continue
            hole = holes.pop()
            update.removed.append(hole)
            update.moved.append((len(rows) - 1, hole, Direction.UNIDIRECTIONAL))
            rows[hole] = rows.pop()
        settled = [request for request in rows if request is not None]
        # Some backends sort decodes before prefills: two rows change places.
        if len(settled) > 2 and self.shuffle.random() < 0.4:
            one, other = (int(row) for row in self.shuffle.choice(len(settled), 2, replace=False))
            settled[one], settled[other] = settled[other], settled[one]
            update.moved.append((one, other, Direction.SWAP))
        self.rows = settled
        update.batch_size = len(settled)
        return update if update.removed or update.added or update.moved else None


@pytest.fixture
def processor(environment: dict[str, str]) -> WatermarkProcessor:
    """As vLLM makes it."""
    return WatermarkProcessor(None, "cpu", False)


def test_in_a_busy_batch_every_answer_is_as_it_would_be_alone(
    processor: WatermarkProcessor, engine_keys: EngineKeys, sent: Sent, tensor: Tensor
) -> None:
    """Contract: forty requests through eight rows: each keeps its own codeword, or none, wherever it is moved."""
    kinds = [("g4", 1.0), ("green1", 0.0), ("g4", 0.7), ("", 1.0), ("green1", 1.0), ("g4", 0.0)]
    waiting = []
    for number in range(40):
        profile, temperature = kinds[number % len(kinds)]
        extra = sent(f"tenant-{number % 5}", profile).fields() if profile else None
        params = Params(extra, temperature, top_k=(0, 20)[number % 2], top_p=(1.0, 0.9)[number % 3 == 0])
        waiting.append(Request(number, params, length=5 + 7 * number % 23))
    everybody = list(waiting)
    engine, done = Engine(processor, tensor, 8), []
    while waiting or engine.rows:
        done += engine.step(waiting)
        if not waiting and all(len(request.output) >= request.length for request in engine.rows):
            break
    assert len(done) == 40
    for request in everybody:
        name = (request.params.extra_args or {}).get("wm_profile")
        marking = engine_keys.marking(MarkRequest(name, request.params.extra_args["wm_code"])) if name else None
        assert request.output == alone(request, marking), (request.name, name)


def _add(processor: WatermarkProcessor, row: int, params: Params, output: list[int], size: int) -> None:
    processor.update_state(Update(size, added=[(row, params, [1], output)]))


def _winners(processor: WatermarkProcessor, tensor: Tensor, size: int) -> list[int | None]:
    """Of each row the candidate that is left; None where the row was not touched."""
    before = np.stack([np.linspace(0, 1, VOCABULARY, dtype=np.float32)] * size)
    after = np.asarray(processor.apply(tensor(before)))
    return [
        None if (after[row] == before[row]).all() else int(np.flatnonzero(after[row] > -np.inf)[0]) for row in range(size)
    ]


@pytest.fixture
def two(processor: WatermarkProcessor, sent: Sent, tensor: Tensor) -> tuple[WatermarkProcessor, list[int]]:
    """A processor whose first two rows belong to two tenants, and what is chosen for each."""
    answer = [9, 8, 7, 6]
    for row in range(2):
        _add(processor, row, Params(sent(f"tenant-{row}", "g4").fields()), answer, row + 1)
    chosen = [token for token in _winners(processor, tensor, 2) if token is not None]
    assert len(set(chosen)) == 2
    return processor, chosen


def test_a_swap_takes_both_along(two: tuple[WatermarkProcessor, list[int]], tensor: Tensor) -> None:
    """Contract: SWAP."""
    processor, chosen = two
    processor.update_state(Update(2, moved=[(0, 1, Direction.SWAP)]))
    assert _winners(processor, tensor, 2) == chosen[::-1]


def test_a_swap_with_an_unmarked_request_takes_one_along(two: tuple[WatermarkProcessor, list[int]], tensor: Tensor) -> None:
    """Contract: SWAP of a row that is marked and one that is not, either way round."""
    processor, chosen = two
    _add(processor, 2, Params(), [1, 2, 3, 4], 3)
    processor.update_state(Update(3, moved=[(0, 2, Direction.SWAP)]))
    assert _winners(processor, tensor, 3) == [None, chosen[1], chosen[0]]
    processor.update_state(Update(3, moved=[(0, 2, Direction.SWAP)]))
    assert _winners(processor, tensor, 3) == [chosen[0], chosen[1], None]


def test_a_move_empties_where_it_came_from(two: tuple[WatermarkProcessor, list[int]], tensor: Tensor) -> None:
    """Contract: UNIDIRECTIONAL, into a hole."""
    processor, chosen = two
    processor.update_state(Update(1, removed=[0], moved=[(1, 0, Direction.UNIDIRECTIONAL)]))
    assert _winners(processor, tensor, 1) == [chosen[1]]
    processor.update_state(Update(2, added=[(1, Params(), [1], [9, 8, 7, 6])]))
    assert _winners(processor, tensor, 2) == [chosen[1], None]


def test_a_move_of_an_unmarked_request_replaces_a_marked_one(
    two: tuple[WatermarkProcessor, list[int]], tensor: Tensor
) -> None:
    """Contract: UNIDIRECTIONAL from a row without a mark onto one with: the mark is gone with its request."""
    processor, chosen = two
    _add(processor, 2, Params(), [1, 2, 3, 4], 3)
    processor.update_state(Update(2, moved=[(2, 0, Direction.UNIDIRECTIONAL)]))
    assert _winners(processor, tensor, 2) == [None, chosen[1]]


def test_an_added_request_replaces_the_one_of_its_row(
    two: tuple[WatermarkProcessor, list[int]], sent: Sent, tensor: Tensor
) -> None:
    """Contract: a row is given to another without a word about the first, marked or not."""
    processor, chosen = two
    _add(processor, 0, Params(sent("tenant-1", "g4").fields()), [9, 8, 7, 6], 2)
    assert _winners(processor, tensor, 2) == [chosen[1], chosen[1]]
    _add(processor, 0, Params(), [9, 8, 7, 6], 2)
    assert _winners(processor, tensor, 2) == [None, chosen[1]]


def test_all_of_one_update_happens_in_its_order(
    two: tuple[WatermarkProcessor, list[int]], sent: Sent, tensor: Tensor
) -> None:
    """Contract: removed, then added, then moved: a request that enters and is moved at once is found where it went."""
    processor, chosen = two
    update = Update(
        3,
        removed=[1],
        added=[(1, Params(), [1], []), (2, Params(sent("tenant-1", "g4").fields()), [1], [9, 8, 7, 6])],
        moved=[(0, 2, Direction.SWAP)],
    )
    processor.update_state(update)
    assert _winners(processor, tensor, 3) == [chosen[1], None, chosen[0]]


def test_a_removed_request_leaves_its_row(two: tuple[WatermarkProcessor, list[int]], tensor: Tensor) -> None:
    """Contract: removed, and no update where nothing changed."""
    processor, chosen = two
    processor.update_state(Update(1, removed=[1]))
    processor.update_state(None)
    assert _winners(processor, tensor, 1) == [chosen[0]]


def test_a_resumed_request_knows_the_contexts_it_had(processor: WatermarkProcessor, sent: Sent, tensor: Tensor) -> None:
    """Contract: a request that was set aside comes back with its tokens; a context among them is not marked again."""
    _add(processor, 0, Params(sent("tenant-0", "g4").fields()), [1, 2, 3, 4, 5, 1, 2, 3, 4], 1)
    assert _winners(processor, tensor, 1) == [None]
    _add(processor, 0, Params(sent("tenant-0", "g4").fields()), [1, 2, 3, 4, 5, 1, 2, 3], 1)
    assert _winners(processor, tensor, 1) != [None]


def test_a_step_that_is_done_again_chooses_alike(two: tuple[WatermarkProcessor, list[int]], tensor: Tensor) -> None:
    """Contract: what was sampled is thrown away after a failed transfer, and the same step comes again."""
    processor, chosen = two
    assert _winners(processor, tensor, 2) == chosen
    assert _winners(processor, tensor, 2) == chosen


def test_placeholders_are_left_plain_and_reported_once(
    processor: WatermarkProcessor, sent: Sent, tensor: Tensor, caplog: pytest.LogCaptureFixture
) -> None:
    """Contract: where the engine schedules ahead the last token may be −1 (vLLM issue 52461): no mark, and one line."""
    output = [9, 8, 7, 6, -1]
    _add(processor, 0, Params(sent("tenant-0", "g4").fields()), output, 1)
    with caplog.at_level(logging.ERROR, "stillwatch.watermark"):
        assert _winners(processor, tensor, 1) == [None]
        assert _winners(processor, tensor, 1) == [None]
    assert [record.message for record in caplog.records] == [
        "The engine shows placeholders in place of tokens, so answers are not marked: name the processor in"
        " --logits-processors (not as an entry point), or start with --no-async-scheduling."
    ]
    # A repaired list is followed again, from the first context without a placeholder.
    output[-1:] = [5, 4]
    assert _winners(processor, tensor, 1) != [None]


def test_the_engine_is_asked_to_repair_placeholders() -> None:
    """Contract: the flag of vLLM's pull request 52698; and a mark may change the most probable token."""
    assert WatermarkProcessor.needs_output_token_ids()


def test_rows_of_drafts_are_left_plain_and_reported_once(
    two: tuple[WatermarkProcessor, list[int]], tensor: Tensor, caplog: pytest.LogCaptureFixture
) -> None:
    """Contract: more rows than requests are drafts, which this runner does not tell apart: no wrong mark is made."""
    processor, _ = two
    with caplog.at_level(logging.ERROR, "stillwatch.watermark"):
        assert _winners(processor, tensor, 6) == [None] * 6
        assert _winners(processor, tensor, 6) == [None] * 6
    assert len(caplog.records) == 1
    assert "speculative decoding" in caplog.text


def test_a_processor_may_change_the_most_probable_token(processor: WatermarkProcessor) -> None:
    """Contract: so that vLLM runs it before temperature, for greedy requests too."""
    assert processor.is_argmax_invariant() is False


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ({"wm_profile": "g9", "wm_code": "0" * 128}, "wm_profile: this engine has no profile of that name"),
        ({"wm_profile": "g4", "wm_code": "0" * 5}, "wm_code: must be 128 hexadecimal digits"),
        ({"wm_profile": "g4"}, "wm_code: is missing"),
    ],
)
def test_a_malformed_request_is_refused_at_admission(environment: dict[str, str], extra: dict[str, str], said: str) -> None:
    """Contract: ValueError from `validate_params`, before the request reaches a batch."""
    with pytest.raises(ValueError, match=said):
        WatermarkProcessor.validate_params(Params(extra))


def test_other_requests_are_admitted(environment: dict[str, str], sent: Sent) -> None:
    """Contract: with other arguments, with none, and with a mark."""
    for extra in (None, {}, {"top_n_sigma": 2.0}, sent("tenant-0", "g4").fields()):
        WatermarkProcessor.validate_params(Params(extra))


def test_an_engine_without_secrets_does_not_start(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather than serve unmarked answers."""
    monkeypatch.delenv("STILLWATCH_WATERMARK_SECRETS_FILE")
    with pytest.raises(ValueError, match=r"^STILLWATCH_WATERMARK_SECRETS: either it or"):
        WatermarkProcessor(None, "cpu", False)


def test_nothing_that_is_logged_or_printed_shows_a_secret(
    two: tuple[WatermarkProcessor, list[int]], secret_digits: str, tensor: Tensor, caplog: pytest.LogCaptureFixture
) -> None:
    """Not the processor, not what it holds, and not a line that it writes."""
    processor, _ = two
    with caplog.at_level(logging.DEBUG):
        _winners(processor, tensor, 5)
        logging.getLogger("vllm").debug("%r %s", processor, vars(processor))
    assert secret_digits not in caplog.text
    assert "^" * 32 not in caplog.text
