"""Contract tests of the processor for vLLM's second model runner.

vLLM does not run here. What its runner does is done by `Engine` below: slots that requests take and leave, rows of logits
in another order at every step, one row for each draft, tokens in a table that only the rows' numbers point into. That the
real one does so was read in its sources (`vllm/v1/worker/gpu/sample/logits_processor/interface.py`, pull request 56497).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app.watermark.engines.keys import EngineKeys, Marking
from app.watermark.engines.request import MarkRequest
from app.watermark.engines.rows import Sampling, truncated
from app.watermark.engines.vllm_v2 import WatermarkProcessor
from detectors.watermark.green import biased
from detectors.watermark.prf import offsets_of
from detectors.watermark.sampling import Marker, choose

Tensor = Callable[[NDArray[Any]], Any]
Sent = Callable[[str, str], MarkRequest]

VOCABULARY = 30
LONGEST = 200
OFFSETS = offsets_of(np.arange(VOCABULARY))


@dataclass
class Params:
    """The fields of vLLM's `SamplingParams` that a processor reads."""

    extra_args: dict[str, Any] | None = None
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0


@dataclass
class Context:
    """vLLM's `LogitsContext`."""

    expanded_idx_mapping: Any
    idx_mapping: Any
    idx_mapping_np: NDArray[np.int32]
    expanded_local_pos: Any
    input_ids: Any
    pos: Any


class Request:
    """One request, with randomness of its own for each place of its answer, so that a draft that is dropped costs none."""

    def __init__(self, name: int, params: Params, length: int) -> None:
        self.name = name
        self.params = params
        self.length = length
        self.prompt = [name % VOCABULARY, *range(3 + name % 4)]
        self.output: list[int] = []
        self.fed = 0
        """Tokens of prompt and answer that the model has seen."""

    def at_random(self, place: int) -> float:
        """The draw for a place of the answer."""
        return float(np.random.default_rng((self.name, place)).random())


def model(tokens: list[int]) -> NDArray[np.float32]:
    """Logits after these tokens: the same for the same last two, as a language model's would be."""
    return np.random.default_rng(tokens[-2:]).normal(0, 2, VOCABULARY).astype(np.float32)


def drawn(logits: NDArray[Any], params: Params, at_random: float) -> int:
    """What an engine does after the processors: temperature, truncation, a draw; greedy at temperature zero."""
    if params.temperature == 0:
        return int(logits.argmax())
    values = truncated(logits.astype(np.float64), Sampling(params.temperature, params.top_k, params.top_p, params.min_p))
    probabilities = np.exp(values - values.max())
    cumulated = np.cumsum(probabilities / probabilities.sum())
    return min(int(np.searchsorted(cumulated, at_random, side="right")), int(np.flatnonzero(probabilities)[-1]))


def alone(request: Request, marking: Marking | None) -> list[int]:
    """The answer that a request gets by the reference sampler, without an engine."""
    marker = None if marking is None else Marker(marking.prf, marking.profile, marking.word)
    answer: list[int] = []
    for place in range(request.length):
        logits = model(request.prompt + answer)
        by = None if marker is None else marker.next(answer)
        if marking is not None and by is not None and marking.profile.scheme == "gumbel" and request.params.temperature > 0:
            values = truncated(logits.astype(np.float64), Sampling(request.params.temperature, request.params.top_k))
            answer.append(choose(np.exp(values - values.max()), OFFSETS, by))
            continue
        if marking is not None and by is not None and marking.profile.scheme == "green":
            logits = np.asarray(biased(logits, marking.profile, OFFSETS, by))
        answer.append(drawn(logits, request.params, request.at_random(place)))
    return answer


class Engine:
    """Slots, prompts fed in parts, drafts of which some are kept, and requests that are set aside and come back."""

    def __init__(self, tensor: Tensor, slots: int, drafts: int = 0, part: int = 100) -> None:
        self.tensor = tensor
        self.tokens = np.zeros((slots, LONGEST), np.int32)
        self.lengths = np.zeros(slots, np.int32)
        self.states = SimpleNamespace(
            all_token_ids=SimpleNamespace(gpu=tensor(self.tokens)), prompt_len=SimpleNamespace(np=self.lengths)
        )
        self.processor = WatermarkProcessor(None, self.states)
        self.slots: list[Request | None] = [None] * slots
        self.drafts = drafts
        self.part = part
        self.chance = np.random.default_rng(7)

    def run(self, requests: list[Request], *, aside: float = 0.0) -> None:
        """Serves them all."""
        waiting = list(requests)
        while waiting or any(self.slots):
            for slot, held in enumerate(self.slots):
                if held is None and waiting:
                    self._take(slot, waiting.pop(0))
            self.processor.apply_staged_writes()
            self._step()
            for slot, held in enumerate(self.slots):
                if held is not None and len(held.output) >= held.length:
                    self.slots[slot] = None
                elif held is not None and self.chance.random() < aside:
                    waiting.append(held)
                    self.slots[slot] = None

    def _take(self, slot: int, request: Request) -> None:
        self.slots[slot] = request
        # What it had before it was set aside is fed again, prompt and answer together.
        request.fed = 0
        self.lengths[slot] = len(request.prompt)
        self._write(slot, request)
        self.processor.add_request(slot, request.params)

    def _write(self, slot: int, request: Request) -> None:
        # The rest of the row is whatever was there: only what is settled may be read.
        self.tokens[slot] = self.chance.integers(0, VOCABULARY, LONGEST)
        settled = request.prompt + request.output
        self.tokens[slot, : len(settled)] = settled
        self.states.all_token_ids.gpu = self.tensor(self.tokens)

    def _step(self) -> None:
        order = [slot for slot in self.chance.permutation(len(self.slots)).tolist() if self.slots[slot] is not None]
        rows: list[tuple[int, int, int, int]] = []
        inputs: list[list[int]] = []
        for slot in order:
            request = self.slots[slot]
            assert request is not None
            settled = request.prompt + request.output
            request.fed = min(len(settled), request.fed + self.part)
            guesses: list[int] = []
            if request.fed == len(settled) and request.output:
                guesses = [self._guess(request, ahead) for ahead in range(self.drafts)]
            for local in range(len(guesses) + 1):
                seen = (settled + guesses)[: request.fed + local]
                rows.append((slot, local, seen[-1], len(seen) - 1))
                inputs.append(seen)
        logits = self.tensor(np.stack([model(seen) for seen in inputs]))
        slots, locals_, fed, pos = (np.array(column, np.int32) for column in zip(*rows, strict=True))
        context = Context(
            *(self.tensor(slots), self.tensor(np.array(order, np.int32)), np.array(order, np.int32)),
            *(self.tensor(locals_), self.tensor(fed), self.tensor(pos)),
        )
        self._settle(order, rows, inputs, np.asarray(self.processor.apply(logits, context)))

    def _guess(self, request: Request, ahead: int) -> int:
        """A draft model that is often right about the engine's own draw, and never knows of marks."""
        return int(self.chance.integers(0, 6)) if ahead else int(model(request.prompt + request.output).argmax())

    def _settle(
        self, order: list[int], rows: list[tuple[int, int, int, int]], inputs: list[list[int]], marked: NDArray[Any]
    ) -> None:
        for slot in order:
            request = self.slots[slot]
            assert request is not None
            if request.fed < len(request.prompt + request.output):
                continue
            mine = [row for row, (owner, *_) in enumerate(rows) if owner == slot]
            for at, row in enumerate(mine):
                token = drawn(marked[row], request.params, request.at_random(len(request.output)))
                request.output.append(token)
                # The target's draw takes the place of a draft that is another, and ends the step.
                if at + 1 < len(mine) and inputs[mine[at + 1]][-1] != token:
                    break
            del request.output[request.length :]
            self._write(slot, request)


def _requests(sent: Sent) -> list[Request]:
    kinds = [("g4", 1.0), ("green1", 0.0), ("g4", 0.7), ("", 1.0), ("green1", 1.0), ("g4", 0.0)]
    made = []
    for number in range(24):
        profile, temperature = kinds[number % len(kinds)]
        extra = sent(f"tenant-{number % 5}", profile).fields() if profile else None
        made.append(Request(number, Params(extra, temperature, top_k=(0, 20)[number % 2]), length=8 + 5 * number % 31))
    return made


def _demand_alone(requests: list[Request], engine_keys: EngineKeys) -> None:
    for request in requests:
        extra = request.params.extra_args
        marking = engine_keys.marking(MarkRequest(extra["wm_profile"], extra["wm_code"])) if extra else None
        assert request.output == alone(request, marking), (request.name, extra and extra["wm_profile"])


@pytest.mark.parametrize(("drafts", "part", "aside"), [(0, 100, 0.0), (0, 2, 0.1), (3, 100, 0.0), (3, 3, 0.1)])
def test_every_answer_is_as_it_would_be_alone(
    environment: dict[str, str], engine_keys: EngineKeys, sent: Sent, tensor: Tensor, drafts: int, part: int, aside: float
) -> None:
    """Contract: rows in any order, slots used again, prompts in parts, drafts kept and dropped, requests set aside."""
    requests = _requests(sent)
    Engine(tensor, 5, drafts, part).run(requests, aside=aside)
    _demand_alone(requests, engine_keys)


def test_drafts_that_are_kept_are_marked_too(environment: dict[str, str], sent: Sent, tensor: Tensor) -> None:
    """Contract: each row of a request is chosen by the drafts before it, so steps of several tokens do happen."""
    requests = _requests(sent)
    engine = Engine(tensor, 5, drafts=3)
    steps = 0
    step = engine._step

    def counted() -> None:
        nonlocal steps
        steps += 1
        step()

    engine._step = counted  # type: ignore[method-assign]
    engine.run(requests)
    assert steps * 5 < sum(request.length for request in requests)


@pytest.fixture
def engine(environment: dict[str, str], tensor: Tensor) -> Engine:
    """With two slots and nothing in them."""
    return Engine(tensor, 2)


def _apply(engine: Engine, tensor: Tensor, rows: list[tuple[int, int, int, int]]) -> list[int | None]:
    """Of each row (slot, draft, token fed, position) the candidate that is left; None where it was not touched."""
    slots, locals_, fed, pos = (np.array(column, np.int32) for column in zip(*rows, strict=True))
    order = np.unique(slots)
    context = Context(tensor(slots), tensor(order), order, tensor(locals_), tensor(fed), tensor(pos))
    before = np.stack([np.linspace(0, 1, VOCABULARY, dtype=np.float32)] * len(rows))
    after = np.asarray(engine.processor.apply(tensor(before), context))
    return [
        None if (after[row] == before[row]).all() else int(np.flatnonzero(after[row] > -np.inf)[0])
        for row in range(len(rows))
    ]


def _hold(engine: Engine, tensor: Tensor, slot: int, prompt: int, tokens: list[int]) -> None:
    engine.tokens[slot, : len(tokens)] = tokens
    engine.lengths[slot] = prompt
    engine.states.all_token_ids.gpu = tensor(engine.tokens)


def test_a_slot_forgets_who_had_it(engine: Engine, sent: Sent, tensor: Tensor) -> None:
    """Contract: slots are used again; the next request is marked as its own, or not at all."""
    tokens = [1, 1, 9, 8, 7, 6, 5, 4, 3, 2]
    _hold(engine, tensor, 0, 2, tokens)
    steps = [[(0, 0, tokens[pos], pos)] for pos in range(5, 10)]
    chosen = []
    for tenant in ("tenant-0", "tenant-1", "tenant-0"):
        assert engine.processor.add_request(0, Params(sent(tenant, "g4").fields()))
        chosen.append([_apply(engine, tensor, step) for step in steps])
    assert chosen[0] == chosen[2] != chosen[1]
    assert not engine.processor.add_request(0, Params())
    assert _apply(engine, tensor, steps[0]) == [None]


def test_unmarked_rows_beside_marked_ones_are_left_alone(engine: Engine, sent: Sent, tensor: Tensor) -> None:
    """Contract: `apply` sees the rows of requests that were declined, too."""
    for slot in range(2):
        _hold(engine, tensor, slot, 2, [1, 1, 9, 8, 7, 6, 6])
    engine.processor.add_request(0, Params())
    engine.processor.add_request(1, Params(sent("tenant-0", "g4").fields()))
    made = _apply(engine, tensor, [(0, 0, 6, 6), (1, 0, 6, 6)])
    assert [token is None for token in made] == [True, False]


def test_the_prompt_is_no_context(engine: Engine, sent: Sent, tensor: Tensor) -> None:
    """Contract: `prompt_len` says where the answer begins; rows in the prompt and the first four tokens are left alone."""
    _hold(engine, tensor, 0, 6, [5, 5, 5, 5, 5, 5, 1, 2, 3, 4, 5])
    engine.processor.add_request(0, Params(sent("tenant-0", "g4").fields()))
    made = [_apply(engine, tensor, [(0, 0, int(engine.tokens[0, pos]), pos)])[0] for pos in range(11)]
    assert [token is None for token in made] == [True] * 9 + [False] * 2


def test_a_draft_in_the_batch_is_read_from_what_was_fed(engine: Engine, sent: Sent, tensor: Tensor) -> None:
    """Contract: drafts stand in `input_ids` alone; another draft gives other numbers, the same one the same."""
    _hold(engine, tensor, 0, 2, [1, 1, 9, 8, 7, 6])
    engine.processor.add_request(0, Params(sent("tenant-0", "g4").fields()))
    first = _apply(engine, tensor, [(0, 0, 6, 5), (0, 1, 3, 6), (0, 2, 4, 7)])
    other = _apply(engine, tensor, [(0, 0, 6, 5), (0, 1, 2, 6), (0, 2, 4, 7)])
    assert _apply(engine, tensor, [(0, 2, 4, 7), (0, 0, 6, 5), (0, 1, 3, 6)]) == [first[2], first[0], first[1]]
    assert first[0] == other[0]
    assert first[1:] != other[1:]


def test_an_engine_that_goes_back_is_followed(engine: Engine, sent: Sent, tensor: Tensor) -> None:
    """Contract: tokens that are taken back and replaced are read anew."""
    _hold(engine, tensor, 0, 2, [1, 1, 9, 8, 7, 6, 5, 4])
    engine.processor.add_request(0, Params(sent("tenant-0", "g4").fields()))
    _apply(engine, tensor, [(0, 0, 4, 7)])
    _hold(engine, tensor, 0, 2, [1, 1, 3, 3, 2, 6, 5])
    again = _apply(engine, tensor, [(0, 0, 5, 6)])
    engine.processor.add_request(0, Params(sent("tenant-0", "g4").fields()))
    assert _apply(engine, tensor, [(0, 0, 5, 6)]) == again


def test_a_step_without_marked_requests_reads_nothing_from_the_device(engine: Engine) -> None:
    """Contract: unmarked traffic costs no copy: columns that cannot be read are not asked for."""
    engine.processor.add_request(0, Params())
    logits = np.zeros((1, VOCABULARY), np.float32)
    unread = Context(None, None, np.array([0], np.int32), None, None, None)
    assert engine.processor.apply(logits, unread) is logits


def test_a_malformed_request_is_refused_at_admission(environment: dict[str, str], sent: Sent) -> None:
    """Contract: ValueError from `validate_params`, with the field; others are admitted."""
    for extra in (None, {}, {"other": 1}, sent("tenant-0", "green1").fields()):
        WatermarkProcessor.validate_params(Params(extra))
    with pytest.raises(ValueError, match=r"^wm_code: must be 128 hexadecimal digits"):
        WatermarkProcessor.validate_params(Params({"wm_profile": "g4", "wm_code": "77"}))
