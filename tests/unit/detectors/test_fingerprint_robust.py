"""Fingerprints of anything that can arrive: no input raises, none takes long, and every process agrees."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.event import Event
from detectors.fingerprint import Fingerprint, fingerprint
from detectors.fingerprint.script import CLASSES

MakeEvent = Callable[..., Event]

ROOT = Path(__file__).parents[3]
AWKWARD = {
    "empty": "",
    "one letter": "x",
    "one space": " ",
    "one digit": "7",
    "long": "lorem ipsum dolor " * 6_000,
    "one long word": "a" * 100_000,
    "digits": "1" * 100_000,
    "tags": "<a1>" * 25_000,
    "open brackets": "<[{(" * 25_000,
    "quotes": '"' * 100_000,
    "colons": "a:\n" * 30_000,
    "numbered": "1.\n" * 30_000,
    "blank lines": "\n \t" * 30_000,
    "emoji": "👩‍👩‍👧‍👦🏳️‍🌈🙂" * 200,
    "right to left": "\u202eשלום العالم\u202c " * 100,
    "combining": "e\u0301" * 2_000,
    "expanding": "\ufdfa" * 1_024,
    "nul": "a\x00b\x00" * 100,
    "control": "".join(map(chr, range(32))) * 10,
    "surrogates": "a\ud800b\udfff" * 100,
    "private and unassigned": "\ue000\U0010ffff\u0378" * 50,
    "zero width": "\u200b\u200d\ufeff" * 300,
}


@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_text_has_a_fingerprint_within_its_ranges(make_event: MakeEvent, name: str) -> None:
    """In any field, bounded by the gateway or not, text of any kind and length is read without an error."""
    text = AWKWARD[name]
    for event in (
        make_event(text, text, text),
        make_event("x", user_head=text, system_head=text, answer_head=text, user_tail=text, system_tail=text),
        make_event("x", user_head="", user_tail=text, user_chars=0),
    ):
        _check(fingerprint(event))


@given(
    st.text(st.characters(), max_size=300), st.text(st.characters(), max_size=100), st.text(st.characters(), max_size=100)
)
def test_any_text_has_a_fingerprint(user: str, system: str, answer: str) -> None:
    """Whatever the characters, surrogates included."""
    event = Event(
        event_id="e", at_us=1, key_id="k", user_head=user, user_chars=len(user), system_head=system, answer_head=answer
    )
    _check(fingerprint(event))


_marks = st.lists(
    st.sampled_from(['"', "<", ">", "</", "[", "]", "/", ":", "\n", "1.", " ", "a", "思", "{", "}", "#", "*", "0-10"]),
    max_size=200,
)


@given(_marks.map("".join))
def test_any_heap_of_marks_has_a_fingerprint(text: str) -> None:
    """The marks that the patterns look for, in any order."""
    event = Event(
        event_id="e",
        at_us=1,
        key_id="k",
        user_head=text,
        user_chars=len(text),
        system_head=text,
        answer_head=text,
        output_tokens=3,
    )
    _check(fingerprint(event))


def _check(fp: Fingerprint) -> None:
    for name in ("system", "head", "tail", "contract", "content", "simhash"):
        assert 0 <= getattr(fp, name) < 2**64
    assert len(fp.minhash) in (0, 32)
    assert len(fp.grams) % 4 == 0
    assert len(fp.grams) <= 48
    assert 0 <= fp.language < len(CLASSES)
    assert 0 <= fp.intents < 256
    assert fp.tokens >= 0
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(fp), type=Fingerprint) == fp


def test_an_event_without_text_has_an_empty_fingerprint(make_event: MakeEvent) -> None:
    """Every hash is 0, so that nothing is taken for a shared template."""
    fp = fingerprint(make_event())
    assert (fp.system, fp.head, fp.tail, fp.contract, fp.content, fp.simhash) == (0,) * 6
    assert (fp.minhash, fp.grams, fp.intents, fp.tokens) == (b"", b"", 0, 0)


_PROGRAM = """
import hashlib
from detectors.event import Event
from detectors.fingerprint import fingerprint
from detectors.profile import Profile
import msgspec
profile, out = Profile.new("k", "key"), hashlib.sha256()
for n in range(120):
    text = f"Rewrite <a></a> number {n} of {n % 7} step by step: the quick brown fox {'jumps ' * (n % 9)} 红色 \\"k\\": {n}"
    event = Event(event_id=str(n), at_us=10**15 + n * 10**8, key_id="k", route="chat", roles="u", user_turns=1,
        model=f"m{n % 11}", user_head=text, user_tail=text[-512:], user_chars=len(text), answer_head="<a>1",
        output_tokens=n * 9, input_tokens=50, ip_prefix_id=f"{n % 30}", logit_bias_digest=n, tools_digest=n % 3)
    fp = fingerprint(event)
    out.update(msgspec.msgpack.encode(fp))
    profile.update(event, fp)
out.update(profile.to_bytes())
print(out.hexdigest())
"""


def test_every_process_computes_the_same() -> None:
    """Fingerprints and profiles do not depend on the hash seed of the process: workers and replays agree to the bit."""
    digests = set()
    for seed in ("0", "1", "random"):
        run = subprocess.run(
            [sys.executable, "-c", _PROGRAM],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        digests.add(run.stdout.strip())
    assert len(digests) == 1
    assert len(digests.pop()) == hashlib.sha256().digest_size * 2
