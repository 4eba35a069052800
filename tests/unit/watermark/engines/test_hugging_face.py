"""Marks of a real language model under `transformers`: a small GPT-2, trained here in seconds on Python's own help."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pydoc_data.topics import topics  # type: ignore[import-not-found]
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app.watermark.engines.keys import EngineKeys, Marking
from app.watermark.engines.request import MarkRequest
from app.watermark.engines.rows import Sampling
from detectors.watermark.keys import MasterSecret, codewords
from detectors.watermark.prf import Prf, scored
from detectors.watermark.registry import MarkProfile

pytest.importorskip("torch", reason="torch is not installed here; `./run engines` runs this with it")
pytest.importorskip("transformers", reason="transformers is not installed here; `./run engines` runs this with it")

import torch
from transformers import GPT2Config, GPT2LMHeadModel, LogitsProcessorList

from app.watermark.engines.hugging_face import WatermarkProcessor

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")

Sent = Callable[[str, str], MarkRequest]

VOCABULARY = 400
PAD = 0
TENANTS = [f"tenant-{number}" for number in range(200)]


@pytest.fixture(scope="module")
def words() -> NDArray[np.int64]:
    """The help's words as tokens: the 398 most frequent ones, one for all others, and none for padding."""
    found = re.findall(r"\w+|[^\w\s]", " ".join(topics[name] for name in sorted(topics)))
    known = {word: token for token, (word, _) in enumerate(Counter(found).most_common(VOCABULARY - 2), 2)}
    return np.array([known.get(word, 1) for word in found])


@pytest.fixture(scope="module")
def model(words: NDArray[np.int64]) -> Any:
    """A GPT-2 of one layer, trained on them."""
    torch.manual_seed(1)
    torch.set_num_threads(1)
    shape = GPT2Config(
        vocab_size=VOCABULARY,
        n_positions=512,
        n_embd=48,
        n_layer=1,
        n_head=2,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=PAD,
    )
    made = GPT2LMHeadModel(shape)
    optimizer = torch.optim.AdamW(made.parameters(), lr=3e-3)
    starts = np.random.default_rng(1)
    for _ in range(150):
        batch = torch.from_numpy(np.stack([words[at : at + 48] for at in starts.integers(0, len(words) - 48, 16)]))
        loss = made(batch, labels=batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    # Words by their frequency alone would be at about five nats.
    assert float(loss) < 4.6
    return made.eval()


def _prompts(words: NDArray[np.int64], rows: int) -> tuple[Any, Any]:
    """Prompts of different lengths, padded on the left as `generate` wants them, and which tokens are theirs."""
    tokens, mask = torch.full((rows, 12), PAD), torch.zeros((rows, 12), dtype=torch.long)
    for row in range(rows):
        length = 5 + row % 8
        tokens[row, 12 - length :] = torch.from_numpy(words[1000 * row : 1000 * row + length])
        mask[row, 12 - length :] = 1
    return tokens, mask


def _generated(
    model: Any,
    prompts: tuple[Any, Any],
    markings: Sequence[Marking | None],
    length: int,
    sampling: Sampling | None,
    seed: int = 5,
) -> NDArray[np.uint32]:
    """What `generate` adds to the prompts: uint32 of shape (rows, length). Greedy without a sampling."""
    torch.manual_seed(seed)
    processor = WatermarkProcessor(markings, sampling or Sampling(temperature=0.0))
    # A small model that is greedy repeats itself at once, unless it may not.
    how: dict[str, Any] = {"do_sample": False, "no_repeat_ngram_size": 2}
    if sampling is not None:
        how = {"do_sample": True, "top_k": 0, "temperature": sampling.temperature}
    with torch.no_grad():
        made = model.generate(
            prompts[0],
            attention_mask=prompts[1],
            max_new_tokens=length,
            min_new_tokens=length,
            logits_processor=LogitsProcessorList([processor]),
            **how,
        )
    answers: NDArray[np.uint32] = made[:, prompts[0].shape[1] :].numpy().astype(np.uint32)
    return answers


def _scores(prf: Prf, profile: MarkProfile, answer: NDArray[np.uint32], words: NDArray[np.uint8]) -> NDArray[np.float64]:
    """How far each codeword's score lies from an innocent's, in standard deviations; shape (words,)."""
    seeds, positions = prf.steps(answer)
    tokens = answer[profile.context_width :]
    _, first = np.unique(np.stack([seeds, tokens.astype(np.uint64)]), axis=1, return_index=True)
    kept = first[positions[first] >= 0]
    numbers = scored(seeds[kept], tokens[kept], np.arange(profile.symbols))
    table = -np.log1p(-numbers)
    mean, deviation = 1.0, 1.0
    if profile.scheme == "green":
        table = (numbers < profile.gamma).astype(np.float64)
        mean, deviation = profile.gamma, np.sqrt(profile.gamma * (1 - profile.gamma))
    won = table[np.arange(len(kept))[None, :], words[:, positions[kept]]].sum(axis=1)
    return np.asarray((won - mean * len(kept)) / (deviation * np.sqrt(len(kept))))


@pytest.mark.parametrize(("name", "temperature"), [("g4", 1.0), ("g4", 0.8), ("green1", 1.0), ("green1", 0.0)])
def test_every_row_of_a_batch_carries_its_own_codeword(
    model: Any,
    words: NDArray[np.int64],
    engine_keys: EngineKeys,
    sent: Sent,
    secret: MasterSecret,
    name: str,
    temperature: float,
) -> None:
    """Four tenants and one row without a mark: of 200 codewords each row's own fits best by far, the last row's none."""
    markings = [engine_keys.marking(sent(TENANTS[number], name)) for number in (3, 70, 150, 3)]
    # Contexts of one token come again so often that a short answer has few: these have two.
    profile = markings[0].profile if name == "g4" else replace(markings[0].profile, context_width=2)
    prf = Prf(secret, profile)
    sampling = Sampling(temperature) if temperature else None
    rows = [marking._replace(profile=profile, prf=prf) for marking in markings]
    answers = _generated(model, _prompts(words, 5), [*rows, None], 400, sampling)
    issued = codewords(secret, TENANTS, profile.positions, profile.symbols)
    for row, number in enumerate((3, 70, 150, 3, -1)):
        z = _scores(prf, profile, answers[row], issued)
        if number < 0:
            # Two hundred innocent sums: above 5.5 once in some thousand such rows.
            assert z.max() < 5.5
            continue
        # Others share a sixteenth of the symbols, so a little of what is the tenant's is theirs too.
        assert z[number] > np.delete(z, number).max() + 3, (row, z[number], np.sort(z)[-3:])


def test_greedy_answers_carry_no_gumbel_mark(
    model: Any, words: NDArray[np.int64], engine_keys: EngineKeys, sent: Sent
) -> None:
    """At temperature zero the processor changes nothing: the answer is the model's own."""
    marking = engine_keys.marking(sent("tenant-3", "g4"))
    prompts = _prompts(words, 2)
    assert (_generated(model, prompts, [marking], 30, None) == _generated(model, prompts, [None], 30, None)).all()


def test_an_unmarked_call_is_as_without_a_processor(model: Any, words: NDArray[np.int64]) -> None:
    """Token by token, from the same randomness."""
    prompts = _prompts(words, 2)
    torch.manual_seed(5)
    plain = model.generate(
        prompts[0], attention_mask=prompts[1], max_new_tokens=30, min_new_tokens=30, do_sample=True, top_k=0
    )
    assert (_generated(model, prompts, [None], 30, Sampling()) == plain[:, 12:].numpy()).all()


def test_two_tenants_get_different_answers_to_one_prompt(
    model: Any, words: NDArray[np.int64], engine_keys: EngineKeys, sent: Sent
) -> None:
    """Of the same randomness: alike until the context is full, and each its own way from there."""
    marking = engine_keys.marking(sent("tenant-3", "g4"))
    other = engine_keys.marking(sent("tenant-4", "g4"))
    prompts = _prompts(words, 1)
    both = tuple(part.repeat(2, 1) for part in prompts)
    one = _generated(model, both, [marking, other], 40, Sampling())
    two = _generated(model, both, [other, marking], 40, Sampling())
    assert (one[:, :4] == two[:, :4]).all()
    assert (one != two).any(axis=1).all()
    assert (one == _generated(model, both, [marking, other], 40, Sampling())).all()


def test_over_secrets_the_distribution_is_the_model_s(
    model: Any, words: NDArray[np.int64], engine_keys: EngineKeys, sent: Sent
) -> None:
    """A second token under 6,000 secrets: distributed as the model says exactly, summed over every first token."""
    marking = engine_keys.marking(sent("tenant-3", "g4"))
    profile = replace(marking.profile, id="g1", context_width=1)
    markings = [
        Marking(profile, Prf(MasterSecret(number.to_bytes(32, "little")), profile), marking.word) for number in range(6_000)
    ]
    prompt = torch.from_numpy(words[500:510])[None, :]
    seconds = np.concatenate(
        [
            _generated(
                model,
                (prompt.repeat(1_000, 1), torch.ones((1_000, 10), dtype=torch.long)),
                markings[start : start + 1_000],
                2,
                Sampling(),
                seed=start,
            )[:, 1]
            for start in range(0, 6_000, 1_000)
        ]
    )
    with torch.no_grad():
        first = model(prompt).logits[0, -1].double().softmax(0)
        every = torch.cat([prompt.repeat(VOCABULARY, 1), torch.arange(VOCABULARY)[:, None]], dim=1)
        expected = (first[:, None] * model(every).logits[:, -1].double().softmax(1)).sum(0).numpy() * len(seconds)
    counts = np.bincount(seconds, minlength=VOCABULARY).astype(np.float64)
    often = expected >= 10
    counts = np.append(counts[often], counts[~often].sum())
    expected = np.append(expected[often], expected[~often].sum())
    free = len(counts) - 1
    assert free > 40
    # Five standard deviations above the mean of a chi-square distribution with that many degrees of freedom.
    assert ((counts - expected) ** 2 / expected).sum() < free + 5 * np.sqrt(2 * free)


def test_truncation_is_kept_to(model: Any, words: NDArray[np.int64], engine_keys: EngineKeys, sent: Sent) -> None:
    """With top-k 5 every marked token is among the model's five most probable ones."""
    marking = engine_keys.marking(sent("tenant-3", "g4"))
    every = replace(marking.profile, dedup="none")
    prompts = torch.from_numpy(words[700:708])[None, :], torch.ones((1, 8), dtype=torch.long)
    answer = _generated(model, prompts, [marking._replace(profile=every)], 60, Sampling(0.9, top_k=5))
    whole = torch.cat([prompts[0], torch.from_numpy(answer.astype(np.int64))], dim=1)
    with torch.no_grad():
        best = model(whole).logits[0, 7:-1].topk(5).indices.numpy()
    assert all(token in five for token, five in zip(answer[0, 4:], best[4:], strict=True))


def test_a_repeated_context_is_left_to_generate(engine_keys: EngineKeys, sent: Sent) -> None:
    """The second time the scores are as they came; the prompt's own repetitions do not count."""
    processor = WatermarkProcessor([engine_keys.marking(sent("tenant-3", "green1"))])
    scores = torch.zeros((1, VOCABULARY))
    changed = []
    for end in range(1, 8):
        tokens = torch.tensor([[5, 5, 5, 9, 8, 9, 8]])[:, :end]
        if end >= 3:
            changed.append(bool((processor(tokens, scores) != scores).any()))
    assert not scores.any()
    # No answer yet; after 9; after 8; 9 again; 8 again.
    assert changed == [False, True, True, False, False]


def test_what_is_no_single_call_of_generate_is_refused(
    model: Any, words: NDArray[np.int64], engine_keys: EngineKeys, sent: Sent
) -> None:
    """A second call, beams, and rows that are not as many as the markings: one sentence each."""
    marking = engine_keys.marking(sent("tenant-3", "g4"))
    with pytest.raises(ValueError, match="markings: at least one is needed"):
        WatermarkProcessor([])
    with pytest.raises(ValueError, match="markings: 5 rows are generated and there are 2 markings"):
        _generated(model, _prompts(words, 5), [marking, None], 3, Sampling())
    scores = torch.zeros((1, VOCABULARY))
    for tokens in ([[1, 2]], [[1, 2, 3, 4]], [[1, 3, 2]], [[1, 2, 3], [1, 2, 3]]):
        fresh = WatermarkProcessor([marking])
        fresh(torch.tensor([[1, 2]]), scores)
        with pytest.raises(ValueError, match="input_ids: must be those of the last step and one token more"):
            fresh(torch.tensor(tokens), scores)
    with pytest.raises(ValueError, match="without beams"):
        model.generate(
            _prompts(words, 1)[0],
            num_beams=3,
            max_new_tokens=20,
            logits_processor=LogitsProcessorList([WatermarkProcessor([marking])]),
        )


def test_a_processor_shows_no_secret(engine_keys: EngineKeys, sent: Sent, secret_digits: str) -> None:
    """Printed with all that it holds."""
    processor = WatermarkProcessor([engine_keys.marking(sent("tenant-3", "g4"))])
    processor(torch.tensor([[1, 2, 3, 4, 5]]), torch.zeros((1, VOCABULARY)))
    shown = repr(processor) + repr(vars(processor))
    assert secret_digits not in shown
    assert "^" * 32 not in shown
