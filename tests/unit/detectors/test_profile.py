"""The rules of a profile: who it is about, what late and repeated exchanges do, and how large it gets."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable

import msgspec
import pytest

from detectors.event import Event
from detectors.fingerprint import fingerprint
from detectors.profile import PROFILE_VERSION, BadProfile, Profile, Stored
from detectors.sketch.decay import DAY_US, HOUR_US
from detectors.tally import COUNTERS

MakeEvent = Callable[..., Event]
ProfileOf = Callable[[Iterable[Event]], Profile]
Stream = Callable[..., list[Event]]
Words = Callable[..., str]

MINUTE_US = 60_000_000


def _count(profile: Profile, name: str) -> float:
    return profile.decayed(name, profile.last_at_us)


def test_account_facts_are_those_of_the_newest_exchange_that_has_them(stream: Stream, profile_of: ProfileOf) -> None:
    """An exchange without plan or age of the key says nothing about them; authorised uses are always said."""
    events = [
        *stream(1, plan="free", key_created_us=5, authorised=("evaluation",)),
        *stream(1, plan="team", key_created_us=7, authorised=("evaluation",)),
        *stream(1),
    ]
    profile = profile_of(events)
    assert (profile.plan, profile.created_us, profile.authorised) == ("team", 7, ())


def test_an_organisation_is_as_young_as_its_youngest_key(stream: Stream) -> None:
    """Old accounts with new keys are watched like new ones."""
    profile = Profile.new("o", "org")
    for event in stream(3, key_created_us=lambda n: (9, 5, 7)[n]):
        profile.update(event, fingerprint(event))
    assert profile.created_us == 9


def test_a_late_exchange_counts_but_makes_no_gap(stream: Stream, profile_of: ProfileOf, start_us: int) -> None:
    """It weighs what its own time gives it; first and last times take it in; rhythm is that of the others."""
    events = stream(20)
    late = stream(1, at_us=start_us - HOUR_US)
    with_late, without = profile_of([*events[:10], *late, *events[10:]]), profile_of(events)
    assert with_late.first_at_us == start_us - HOUR_US
    assert with_late.last_at_us == without.last_at_us
    assert _count(with_late, "gap_n") == pytest.approx(_count(without, "gap_n"))
    assert _count(with_late, "gap_sum") == pytest.approx(_count(without, "gap_sum"))
    assert _count(without, "requests") < _count(with_late, "requests") < _count(without, "requests") + 1


def test_what_is_older_than_a_month_weighs_nothing(stream: Stream, profile_of: ProfileOf, start_us: int) -> None:
    """Sixty days on, a single exchange reads as a key of one exchange."""
    profile = profile_of([*stream(500), *stream(1, at_us=start_us + 60 * DAY_US)])
    assert _count(profile, "requests") == pytest.approx(1, abs=0.2)
    assert profile.valuable_total == 0


def test_a_retry_of_the_client_library_is_the_same_request_again(stream: Stream, profile_of: ProfileOf) -> None:
    """It is no repeat, no near-duplicate, no new content and no further valuable answer."""
    first, again = stream(1, output_tokens=400, chain_digest=3), stream(1, output_tokens=400, chain_digest=3, retry_count=1)
    profile = profile_of([*first, *again])
    assert _count(profile, "retries") == pytest.approx(1)
    assert profile.valuable_total == 1
    assert profile.repeats.histogram(1.0)[:2] == [1.0, 0.0]
    assert _count(profile, "near_duplicate") == 0


def test_an_element_on_few_exchanges_is_no_template(stream: Stream, profile_of: ProfileOf, words: Words) -> None:
    """A system prompt on one exchange in ten does not make those exchanges templated; on every second it does."""
    rare = profile_of(stream(200, system=lambda n: "You are a helpful assistant." if n % 10 == 0 else ""))
    often = profile_of(stream(200, system=lambda n: "You are a helpful assistant." if n % 2 == 0 else ""))
    assert _count(rare, "templated") / _count(rare, "generated") < 0.02
    assert _count(often, "templated") / _count(often, "generated") == pytest.approx(0.5, abs=0.05)


def test_the_first_hour_is_counted_from_the_first_exchange(stream: Stream, profile_of: ProfileOf) -> None:
    """Sixty in the first hour, whatever comes later."""
    assert profile_of(stream(500)).first_hour == 60


def test_only_generated_text_enters_the_sketches(stream: Stream, profile_of: ProfileOf) -> None:
    """Errors and embeddings leave templates, cells and languages alone."""
    profile = profile_of([*stream(10, status=500), *stream(10, route="embeddings"), *stream(10, decision="limited")])
    assert all(top.total == 0 for top in profile.tops.values())
    assert profile.cells.visited() == 0
    assert sum(profile.languages) == 0
    assert _count(profile, "requests") == pytest.approx(30, rel=0.01)


@pytest.mark.parametrize("data", [b"", b"\x00", b"\xc0", b"\x90", b"\x91" * 3_000, b"nonsense" * 50])
def test_bytes_that_are_no_profile_are_refused(data: bytes) -> None:
    """With one error that says what it is."""
    with pytest.raises(BadProfile):
        Profile.from_bytes(data)


def test_a_profile_of_another_version_is_refused(stream: Stream, profile_of: ProfileOf) -> None:
    """Its numbers would mean something else."""
    stored = msgspec.msgpack.decode(profile_of(stream(3)).to_bytes(), type=Stored)
    newer = msgspec.msgpack.encode(msgspec.structs.replace(stored, version=PROFILE_VERSION + 1))
    with pytest.raises(BadProfile, match=f"version is {PROFILE_VERSION + 1}"):
        Profile.from_bytes(newer)


def test_damage_inside_a_profile_is_refused_when_it_is_read(stream: Stream, profile_of: ProfileOf) -> None:
    """Every part of the wrong length, one at a time: never an error in the middle of a later batch."""
    stored = msgspec.msgpack.decode(profile_of(stream(50)).to_bytes(), type=Stored)
    for name in Stored.__struct_fields__:
        part = getattr(stored, name)
        if isinstance(part, bytes):
            wrong: object = part + b"\x01"
        elif isinstance(part, tuple) and part and isinstance(part[0], bytes):
            wrong = (part[0] + b"\x01", *part[1:])
        else:
            continue
        with pytest.raises(BadProfile):
            Profile.from_bytes(msgspec.msgpack.encode(msgspec.structs.replace(stored, **{name: wrong})))


def test_a_profile_holds_no_text(make_event: MakeEvent, profile_of: ProfileOf) -> None:
    """Prompts, answers, addresses and models are hashes in it."""
    event = make_event("CANARYUSER and more words here", "CANARYSYSTEM", "<canarytag>CANARYANSWER", model="CANARYMODEL")
    event = msgspec.structs.replace(event, ip_prefix_id="CANARYNET", payment_id="CANARYPAY", at_us=event.at_us)
    data = profile_of([event] * 10).to_bytes().lower()
    assert b"canary" not in data


def test_the_median_profile_of_a_mixed_day_is_small(stream: Stream, profile_of: ProfileOf, words: Words) -> None:
    """Forty customers of six kinds with 20 to 400 exchanges: at most 5 KiB at the median, and never above six."""
    kinds: list[dict[str, object]] = [
        {"roles": lambda n: "u" + "au" * (n % 5), "user_turns": lambda n: 1 + n % 5, "chain_digest": lambda n: n + 1},
        {"text": lambda n: f"Classify this ticket as bug, wish or question: {words(n)}", "output_tokens": 3},
        {"text": lambda n: f"{words(n)} step by step in <think></think>", "answer": lambda n: f"<think>{words(-n)}"},
        {
            "tools_digest": 5,
            "tool_calls": 1,
            "roles": "suatat",
            "system": "You are a coding agent.",
            "model": lambda n: f"m{n % 3}",
        },
        {"ip_prefix_id": lambda n: f"net{n}", "client_digest": lambda n: n % 30 + 1, "system": lambda n: words(n % 12)},
        {"top_logprobs": 5, "logit_bias_size": 9, "logit_bias_digest": lambda n: n + 1, "output_tokens": 1},
    ]
    sizes = [
        len(profile_of(stream(20 + customer * 10, 4 * MINUTE_US, **kinds[customer % 6])).to_bytes())
        for customer in range(40)
    ]
    assert statistics.median(sizes) <= 5 * 1024
    assert max(sizes) <= 6 * 1024
    assert len(COUNTERS) * 8 * 2 < 2048
