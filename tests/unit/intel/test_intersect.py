"""Private matching between two providers, with the real library: what each step yields, and what a peer's file may be."""

from __future__ import annotations

import builtins
import os
import random
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import BadInput, ConfigError
from app.intel.intersect import curve, exchange, identities, wire
from app.intel.intersect.bounds import ELEMENT_BYTES, LEAST, MOST_ANSWERER, MOST_ASKER
from app.intel.intersect.session import KEPT_SEC, Session, Sessions
from detectors.sharing.tokens import GroupKey
from detectors.watermark.keys import KeyRing, MasterSecret

SECRET = MasterSecret(bytes(range(32)))
RING = KeyRing({"q4": SECRET})
KEY = GroupKey(SECRET)
CANARY = "canary-account-7f3a@example.org"


def _quiet(done: int) -> None:
    """Nobody watches."""


def _tokens(accounts: list[str], most: int = MOST_ASKER) -> dict[str, str]:
    return identities.tokens("\n".join(accounts).encode(), KEY, most)


def _accounts(first: int, count: int) -> list[str]:
    return [f"person{number}@example.org" for number in range(first, first + count)]


def _begun(accounts: list[str]) -> tuple[Session, bytes, dict[str, str]]:
    tokens = _tokens(accounts)
    session, file = exchange.begun(tokens, "labs", "q4", "acme", SECRET, _quiet)
    return session, file, tokens


def _answer(offer: bytes, accounts: list[str]) -> bytes:
    header, elements = wire.opened(offer, "offer", "labs", RING)
    return exchange.answer(header, elements, _tokens(accounts, MOST_ANSWERER), SECRET, _quiet)


def _opened(answer: bytes) -> tuple[wire.Header, list[bytes]]:
    return wire.opened(answer, "answer", "labs", RING)


@pytest.fixture(scope="module")
def run() -> dict[str, Any]:
    """A run to its end: 120 accounts ask 150, of which 70 are common; a canary is in both."""
    mine, theirs = [*_accounts(0, 119), CANARY], [CANARY, *_accounts(50, 149)]
    session, offer, tokens = _begun(mine)
    answer = _answer(offer, theirs)
    size = exchange.size(session, *_opened(answer), _quiet)
    sized = msgspec.structs.replace(session, size=size)
    second = exchange.asked(sized, tokens, SECRET, _quiet)
    told = _answer(second, theirs)
    members = exchange.members(sized, *_opened(told), tokens, _quiet)
    return {
        "session": session, "sized": sized, "offer": offer, "answer": answer, "second": second, "told": told,
        "size": size, "members": members, "tokens": tokens, "mine": mine, "theirs": theirs,
    }  # fmt: skip


def test_size_then_members(run: dict[str, Any]) -> None:
    """The first answer yields how many are common, the second exactly which, as the asker wrote them."""
    assert run["size"] == 70
    assert sorted(run["members"].values()) == sorted(set(run["mine"]) & set(run["theirs"]))


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 1 << 30), st.integers(LEAST, 140), st.integers(LEAST, 140))
def test_exact_on_any_sets(seed: int, own: int, theirs: int) -> None:
    """On sets drawn by lot, with everything from nothing to all in common, size and members are those of the sets."""
    draw = random.Random(seed)
    pool = _accounts(0, draw.choice((145, 300, 100_000)))
    mine, other = draw.sample(pool, own), draw.sample(pool, theirs)
    session, offer, tokens = _begun(mine)
    size = exchange.size(session, *_opened(_answer(offer, other)), _quiet)
    assert size == len(set(mine) & set(other))
    sized = msgspec.structs.replace(session, size=size)
    told = _answer(exchange.asked(sized, tokens, SECRET, _quiet), other)
    assert set(exchange.members(sized, *_opened(told), tokens, _quiet).values()) == set(mine) & set(other)


def test_no_identity_in_any_file(run: dict[str, Any], tmp_path: Path) -> None:
    """Neither an account nor its keyed token is in what is handed over or kept."""
    Sessions(tmp_path).keep(run["sized"])
    kept = (tmp_path / f"{run['session'].run}.json").read_bytes()
    token = KEY.identity(CANARY)
    for data in (run["offer"], run["answer"], run["second"], run["told"], kept):
        for secret in (b"canary", b"example.org", token.encode(), bytes.fromhex(token)):
            assert secret not in data


def test_answer_about_size_tells_no_order(run: dict[str, Any]) -> None:
    """What the asker blinded comes back in ascending order, across slices too, so no place tells which are common."""
    header, elements = _opened(run["answer"])
    twice = elements[header.answerer :]
    assert twice == sorted(twice)
    told, more = _opened(run["told"])
    assert more[told.answerer :] != sorted(more[told.answerer :])
    many = curve.answered(curve.blinded(curve.new_key(), list(map(str, range(1100))), _quiet), ["a"], False, _quiet)
    assert many.twice == sorted(many.twice)


def test_keys_are_fresh(run: dict[str, Any]) -> None:
    """Two runs about the same set have nothing in common, and neither have two answers."""
    _, again, _ = _begun(run["mine"])
    first, second = (set(wire.opened(one, "offer", "labs", RING)[1]) for one in (run["offer"], again))
    assert not first & second
    one, two = _opened(run["answer"])[1], _opened(_answer(run["offer"], run["theirs"]))[1]
    assert not set(one) & set(two)


def test_second_offer_is_about_the_same_set(run: dict[str, Any]) -> None:
    """Both offers commit to one set; with other accounts, or before the size is known, there is no second one."""
    headers = [wire.opened(run[name], "offer", "labs", RING)[0] for name in ("offer", "second")]
    assert headers[0].commitment == headers[1].commitment
    assert [one.reveals for one in headers] == [False, True]
    with pytest.raises(BadInput, match="others than those"):
        exchange.asked(run["sized"], _tokens(_accounts(3, 120)), SECRET, _quiet)
    with pytest.raises(BadInput, match="about the size first"):
        exchange.asked(run["session"], run["tokens"], SECRET, _quiet)


def test_answers_fit_their_offers(run: dict[str, Any]) -> None:
    """An answer to another run, or of the other kind, or one that contradicts the size, is refused."""
    other, _, _ = _begun(run["mine"])
    with pytest.raises(BadInput, match="another offer"):
        exchange.size(other, *_opened(run["answer"]), _quiet)
    with pytest.raises(BadInput, match="tells members"):
        exchange.size(run["session"], *_opened(run["told"]), _quiet)
    with pytest.raises(BadInput, match="size alone"):
        exchange.members(run["sized"], *_opened(run["answer"]), run["tokens"], _quiet)
    changed = _answer(run["second"], [*run["theirs"], *_accounts(0, 9)])
    with pytest.raises(BadInput, match="the one about the size had 70"):
        exchange.members(run["sized"], *_opened(changed), run["tokens"], _quiet)
    with pytest.raises(BadInput, match="others than those"):
        exchange.members(run["sized"], *_opened(run["told"]), _tokens(_accounts(0, 120)), _quiet)


def test_forms_of_an_account_are_one() -> None:
    """Case, compatibility forms and spaces make no difference; comments and empty lines are passed over."""
    some = _accounts(0, 120)
    written = ["# mine", "", *(f"  {one.upper()} \r" for one in some), "ｐerson0@example.org", *some]
    assert _tokens(written).keys() == _tokens(some).keys()


@pytest.mark.parametrize(
    ("accounts", "said"),
    [
        (_accounts(0, LEAST - 1), f"at least {LEAST}"),
        ([*_accounts(0, LEAST - 1), "Person0@EXAMPLE.org"], f"at least {LEAST}"),
        (_accounts(0, LEAST + 51), "at most 150"),
        ([*_accounts(0, LEAST), CANARY + "x" * 320], f"line {LEAST + 1}"),
        ([*_accounts(0, LEAST), CANARY + "\x00"], f"line {LEAST + 1}"),
    ],
    ids=["few", "few that differ", "many", "long", "unprintable"],
)
def test_bounds_of_a_set(accounts: list[str], said: str) -> None:
    """Sets that are too small, too large or no accounts are refused in a sentence without any of them."""
    with pytest.raises(BadInput, match=said) as caught:
        _tokens(accounts, 150)
    assert "canary" not in str(caught.value)
    with pytest.raises(BadInput, match="UTF-8"):
        identities.tokens(b"\xff\xfe", KEY, 150)


def _resealed(file: bytes, elements: list[bytes] | None = None, **fields: Any) -> bytes:
    """As a member makes it who has the key and other software."""
    head, payload = file.split(b"\n", 2)[1:]
    header = msgspec.json.decode(head, type=wire.Header)
    made = [payload[at : at + ELEMENT_BYTES] for at in range(0, len(payload), ELEMENT_BYTES)]
    return wire.sealed(msgspec.structs.replace(header, **fields), made if elements is None else elements, SECRET)


def _elements(file: bytes) -> list[bytes]:
    return wire.opened(file, "offer", "labs", RING)[1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda file: b"", "no file of"),
        (lambda file: bytes(100), "no file of"),
        (lambda file: file + bytes(wire.MAX_BYTES), "no file of"),
        (lambda file: file[:-1], "seal does not fit"),
        (lambda file: file[:200], "header is not as"),
        (lambda file: file[:-1] + bytes([file[-1] ^ 1]), "seal does not fit"),
        (lambda file: file.replace(b'"asker":120', b'"asker":121'), "seal does not fit"),
        (lambda file: file.replace(b'"reveals":false', b'"reveals":true'), "seal does not fit"),
        (lambda file: file.replace(b'"epoch":"q4"', b'"epoch":"q3"'), "intel.keys_dir"),
        (lambda file: file.replace(b'"group":"labs"', b'"group":"lobs"'), "another trust group"),
        (lambda file: file.replace(b'"asker":120', b'"asker":1e9'), "header is not as"),
        (lambda file: file.replace(b'"asker":120', b'"asker":24001'), "header is not as"),
        (lambda file: file.replace(b'"asker":120', b'"asker":7'), "header is not as"),
        (lambda file: _resealed(file, kind="answer"), "is an answer"),
        (lambda file: _resealed(file, answerer=100), "another length"),
        (lambda file: _resealed(file, asker=121), "another length"),
        (lambda file: _resealed(file, commitment="0" * 64), "not those it commits"),
        (lambda file: _resealed(file, _elements(file)[:1] * 120), "in it twice"),
        (lambda file: file.replace(b'"run":"', b'"run":"../'), "header is not as"),
    ],
)
def test_tampered_offers(run: dict[str, Any], change: Any, said: str) -> None:
    """Whatever became of a peer's file, one sentence says what is wrong; nothing of it is worked on."""
    with pytest.raises(BadInput, match=said):
        wire.opened(change(run["offer"]), "offer", "labs", RING)


def test_elements_that_are_no_points(run: dict[str, Any]) -> None:
    """Elements off the curve are refused by both sides, though a member sealed them."""
    junk = [bytes([2]) + number.to_bytes(32, "big") for number in range(120)]
    header, elements = wire.opened(_resealed(run["offer"], junk, commitment=wire.commitment(junk)), "offer", "labs", RING)
    with pytest.raises(BadInput, match="no point"):
        exchange.answer(header, elements, run["tokens"], SECRET, _quiet)
    answering, found = _opened(run["answer"])
    forged = _resealed(run["answer"], [*found[: answering.answerer], *junk])
    with pytest.raises(BadInput, match="no point"):
        exchange.size(run["session"], *_opened(forged), _quiet)


def test_forged_answers(run: dict[str, Any]) -> None:
    """An answer with too few of the peer's own, in another order, or cut is refused."""
    header, elements = _opened(run["answer"])
    few = [*elements[:3], *elements[header.answerer :]]
    with pytest.raises(BadInput, match="fewer than"):
        _opened(_resealed(run["answer"], few, answerer=3))
    turned = [*reversed(elements[: header.answerer]), *elements[header.answerer :]]
    with pytest.raises(BadInput, match="ascending"):
        _opened(_resealed(run["answer"], turned))
    with pytest.raises(BadInput, match="seal"):
        _opened(run["answer"][:-ELEMENT_BYTES])


def test_another_key_of_the_group(run: dict[str, Any]) -> None:
    """Who holds another key is told so, instead of that nothing is in common."""
    other = KeyRing({"q4": MasterSecret(bytes(32))})
    with pytest.raises(BadInput, match="the other side has another key"):
        wire.opened(run["offer"], "offer", "labs", other)


def test_sessions_are_private_and_end(run: dict[str, Any], tmp_path: Path) -> None:
    """The blinding key is for its owner's eyes, goes with the run or after 30 days, and is never printed."""
    kept = Sessions(tmp_path / "runs")
    kept.keep(run["session"])
    path = tmp_path / "runs" / f"{run['session'].run}.json"
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert kept.of(run["session"].run) == run["session"]
    assert run["session"].key not in repr(run["session"])
    os.utime(path, (0, time.time() - KEPT_SEC - 5))
    kept.keep(msgspec.structs.replace(run["session"], run="f" * 32))
    with pytest.raises(BadInput, match="is over"):
        kept.of(run["session"].run)
    kept.forget("f" * 32)
    assert not list(path.parent.iterdir())
    with pytest.raises(BadInput, match="32 hexadecimal"):
        kept.of("../../etc/passwd")


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the extra is not installed, one sentence names it."""
    real = builtins.__import__

    def without(name: str, *more: Any) -> Any:
        if name.startswith("private_set_intersection"):
            raise ImportError(name)
        return real(name, *more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match="needs the extra `intersect`"):
        curve.new_key()


def test_progress_covers_everything(run: dict[str, Any]) -> None:
    """What is told adds up to the identities that are worked on."""
    done: list[int] = []
    header, elements = wire.opened(run["offer"], "offer", "labs", RING)
    exchange.answer(header, elements, _tokens(_accounts(0, 700)), SECRET, done.append)
    assert (sum(done), len(done)) == (820, 3)


def test_a_dishonest_asker_learns_members_with_the_size(run: dict[str, Any]) -> None:
    """The limit that the documentation states: with a key for each element the answer's missing order hides nothing."""
    tokens = list(run["tokens"])[:100]
    keys = [curve.new_key() for _ in tokens]
    elements = [curve.blinded(key, [token], _quiet)[0] for key, token in zip(keys, tokens, strict=True)]
    answer = curve.answered(elements, list(_tokens(run["theirs"])), False, _quiet)
    learned = {token for key, token in zip(keys, tokens, strict=True) if curve.common(key, answer, _quiet)}
    assert learned == set(tokens) & _tokens(run["theirs"]).keys() != set()
