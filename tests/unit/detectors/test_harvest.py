"""The density ratio of one exchange."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np
import pytest

from detectors.artefacts import load
from detectors.event import Event
from detectors.fingerprint import Fingerprint, fingerprint
from detectors.fingerprint.harvest import LIMIT, SHAPE, STEPS, WIDTH, Network, harvest, network, row

MakeEvent = Callable[..., Event]

CHAT = "hi, my train was late again and I missed the connection, what can I do now to get some of the money back?"
TASK = "Think first inside <reasoning></reasoning>, then answer inside <answer></answer>.\n\nName three uses of a brick."


def _of(event: Event, fp: Fingerprint) -> int:
    return harvest(event, fp.embedding, fp.intents, fp.tags_asked, fp.tokens)


def test_forced_reasoning_over_a_task_is_denser_among_harvesters(make_event: MakeEvent) -> None:
    """A task under a fragment that forces tagged reasoning is rated above a person's question about a late train."""
    task = fingerprint(make_event(TASK, answer="<reasoning>A brick can…</reasoning><answer>…</answer>", output_tokens=600))
    chat = fingerprint(make_event(CHAT, roles="uauau", message_count=5, user_turns=3))
    assert task.harvest > 0 > chat.harvest


def test_nothing_is_said_about_what_was_not_answered(make_event: MakeEvent) -> None:
    """A failed request, an exchange without a text and an embeddings call are all 0."""
    fp = fingerprint(make_event(TASK))
    for event in (make_event(TASK, status=429), make_event(TASK, route="embeddings")):
        assert _of(event, fp) == 0
    assert fingerprint(make_event("")).harvest == 0


def test_is_one_signed_byte_in_eighths_of_a_log_ratio(make_event: MakeEvent) -> None:
    """The number is the rounded log ratio in steps of 1/8, never beyond ±127."""
    event = make_event(TASK)
    fp = fingerprint(event)
    ratio = float(network().ratios(row(event, fp.embedding, fp.intents, fp.tags_asked, fp.tokens)[None])[0])
    assert fp.harvest == round(STEPS * ratio)
    assert -LIMIT <= fp.harvest <= LIMIT


def test_what_a_caller_changes_for_nothing_changes_nothing(make_event: MakeEvent) -> None:
    """Temperature, token limit, model, client and time leave the number as it is."""
    event = make_event(TASK)
    other = msgspec.structs.replace(event, temperature=1.0, max_tokens=9, model="x", sdk="y", at_us=1, client_digest=7)
    assert fingerprint(event).harvest == fingerprint(other).harvest


def test_batches_and_single_rows_agree(make_event: MakeEvent) -> None:
    """The ratio of a row is the same alone and among others, to a hundredth of a step."""
    rows = np.stack([row(make_event(CHAT[: 10 + at]), bytes(64), at, at % 3, at) for at in range(40)])
    alone = np.array([float(network().ratios(one[None])[0]) for one in rows])
    assert np.abs(network().ratios(rows) - alone).max() < 0.01 / STEPS


def test_a_network_of_other_columns_is_refused() -> None:
    """An artefact whose card names other columns than these is no network of ours."""
    artefact = load("harvest")
    assert artefact.arrays["first"].shape == (WIDTH, artefact.arrays["second"].shape[0])
    artefact.card["columns"] = list(SHAPE[1:])
    with pytest.raises(ValueError, match="other columns"):
        Network.from_artefact(artefact)
