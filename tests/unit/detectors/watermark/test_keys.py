"""Master secrets and the codewords derived from them."""

from __future__ import annotations

import copy
import hashlib
import hmac
import json
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.watermark.keys import (
    KeyRing,
    MasterSecret,
    codewords,
    from_wire,
    group_codewords,
    issued,
    to_wire,
)

RAW = bytes(range(32))
SECRET = MasterSecret(RAW)
SYMBOLS = (2, 4, 8, 16, 32, 64, 128, 256)


def test_codewords_are_frozen() -> None:
    """What a tenant was given once is derived again for ever, for every number of symbols."""
    known = {
        (16, 64): "1906304b06fac52003a2b5439ccc359e20f1c34c9e6e20e611abed15793c5fbf",
        (16, 128): "1906304b06fac52003a2b5439ccc359e20f1c34c9e6e20e611abed15793c5fbf"
        "2baee10a06ebef1d9488d98b22748de8e347ee9b5e0846433a82ad654c08cda4",
        (8, 64): "0620306022603372612200035053250347146065474203616064623633420346",
        (2, 64): "0001100100000110001100000100101100000110111110101100010100100000",
    }
    for (symbols, positions), wire in known.items():
        assert to_wire(codewords(SECRET, ("tenant-1",), positions, symbols)[0], symbols) == wire
    # With 256 symbols a position is a byte of the hash, so 64 of them are what 128 positions of 16 are.
    assert to_wire(codewords(SECRET, ("tenant-1",), 64, 256)[0], 256) == known[(16, 128)]


def test_a_codeword_is_an_hmac() -> None:
    """HMAC-SHA-512 of a counter and the name, under a key of its own: derived here by the standard library alone."""
    key = hashlib.blake2b(b"codeword/1", key=RAW, digest_size=32).digest()
    digest = b"".join(hmac.new(key, bytes((block,)) + b"tenant-1", "sha512").digest() for block in range(2))
    assert codewords(SECRET, ("tenant-1",), 100, 256)[0].tobytes() == digest[:100]


def test_a_group_takes_the_second_half() -> None:
    """A tenant keeps the first half of its codeword; the second is the same for all of its group."""
    alone, both = issued(SECRET, "tenant-1", 128, 16), issued(SECRET, "tenant-1", 128, 16, "group-9")
    other = issued(SECRET, "tenant-2", 128, 16, "group-9")
    assert to_wire(both, 16) == (
        "1906304b06fac52003a2b5439ccc359e20f1c34c9e6e20e611abed15793c5fbf"
        "0c2eb0a2565415b524efab8ee4fb34c613ecf4403b2593a29b4a6ab3a840ec81"
    )
    assert (both[:64] == alone[:64]).all()
    assert (both[64:] == other[64:]).all()
    assert (both[64:] == group_codewords(SECRET, ("group-9",), 128, 16)[0, 64:]).all()
    assert (alone[64:] != both[64:]).any()


def test_a_group_s_word_is_no_tenant_s() -> None:
    """A tenant that is called like a group has another word."""
    assert (group_codewords(SECRET, ("a",), 64, 16) != codewords(SECRET, ("a",), 64, 16)).any()


@pytest.mark.parametrize("symbols", SYMBOLS)
def test_symbols_are_even(symbols: int) -> None:
    """Over 2,000 tenants every symbol comes equally often (chi-square), and none is out of range."""
    words = codewords(SECRET, (f"t{number}" for number in range(2_000)), 64, symbols)
    assert words.shape == (2_000, 64)
    counts = np.bincount(words.ravel(), minlength=symbols)
    assert len(counts) == symbols
    expected = words.size / symbols
    # Five standard deviations above the mean of a chi-square distribution with that many degrees of freedom.
    assert ((counts - expected) ** 2 / expected).sum() < symbols - 1 + 5 * np.sqrt(2 * (symbols - 1))


def test_tenants_agree_as_often_as_by_lot() -> None:
    """Two tenants' words share a sixteenth of their symbols on average, and no two of 500 are alike."""
    words = codewords(SECRET, (f"t{number}" for number in range(500)), 128, 16)
    agreed = (words[:250] == words[250:]).mean()
    assert abs(agreed - 1 / 16) < 4.5 * np.sqrt(1 / 16 * 15 / 16 / (250 * 128))
    assert len(np.unique(words, axis=0)) == 500


@given(st.text(max_size=20), st.sampled_from(SYMBOLS), st.integers(64, 200))
def test_a_word_survives_the_wire(name: str, symbols: int, positions: int) -> None:
    """What is written is read back, whoever it belongs to."""
    word = codewords(SECRET, (name,), positions, symbols)[0]
    wire = to_wire(word, symbols)
    assert (from_wire(wire, positions, symbols) == word).all()
    assert (from_wire(wire.upper(), positions, symbols) == word).all()


def test_a_word_does_not_depend_on_its_company() -> None:
    """One name or a thousand at once: the same words."""
    names = [f"t{number}" for number in range(1_000)]
    assert (codewords(SECRET, names, 128, 16)[613] == codewords(SECRET, ["t613"], 128, 16)[0]).all()
    assert codewords(SECRET, (), 128, 16).shape == (0, 128)


@pytest.mark.parametrize("text", ["", "0" * 127, "0" * 129, "g" * 128, " " * 128, "é" * 128, "0" * 126 + "0x"])
def test_what_is_no_code_is_refused(text: str) -> None:
    """It must be as many hexadecimal digits as the codeword has symbols."""
    with pytest.raises(ValueError, match="wm_code: must be 128 hexadecimal digits"):
        from_wire(text, 128, 16)


def test_a_symbol_out_of_range_is_refused() -> None:
    """With eight symbols a nine is none of them; with 32 the second digit counts too."""
    with pytest.raises(ValueError, match="wm_code: a symbol is below 8"):
        from_wire("9" * 64, 64, 8)
    with pytest.raises(ValueError, match="wm_code: a symbol is below 32"):
        from_wire("20" * 64, 64, 32)


@pytest.mark.parametrize("symbols", [0, 1, 3, 15, 512, -2])
def test_a_strange_number_of_symbols_is_refused(symbols: int) -> None:
    """Only powers of two are equally likely in whole bits."""
    with pytest.raises(ValueError, match="symbols: a power of two from 2 to 256"):
        codewords(SECRET, ("t",), 64, symbols)


def test_purposes_have_keys_of_their_own() -> None:
    """And secrets too; the same purpose gives the same key."""
    keys = {secret.derive(purpose) for secret in (SECRET, MasterSecret(bytes(32))) for purpose in ("a", "b")}
    assert len(keys) == 4
    assert SECRET.derive("a") == MasterSecret(RAW).derive("a")
    assert SECRET.fingerprint() == "0f4367b1563ca07f"


def test_a_secret_is_read_from_digits() -> None:
    """As `openssl rand -hex 32` prints them, line end and all."""
    assert MasterSecret.parse(RAW.hex() + "\n").fingerprint() == SECRET.fingerprint()
    assert MasterSecret.parse(RAW.hex().upper()).fingerprint() == SECRET.fingerprint()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "written in hexadecimal digits"),
        ("zz" * 32, "written in hexadecimal digits"),
        ("abc", "written in hexadecimal digits"),
        ("ab" * 31, "at least 32 bytes; this one has 31"),
    ],
)
def test_a_bad_secret_is_refused_without_being_repeated(text: str, said: str) -> None:
    """The sentence names the rule and not what was given."""
    with pytest.raises(ValueError, match=said) as caught:
        MasterSecret.parse(text)
    assert not text or text not in str(caught.value)


def test_a_secret_shows_itself_to_nobody() -> None:
    """Not printed, formatted or pickled, alone or inside something else, and no error carries it."""
    ring = KeyRing({"2026q4": SECRET})
    shown = "".join(
        (repr(SECRET), str(SECRET), f"{SECRET}", f"{SECRET!r:>40}", f"{SECRET:x}", repr([SECRET]), repr(ring), str(ring))
    )
    for form in (RAW.hex(), repr(RAW), repr(RAW)[2:-1], SECRET.derive("codeword/1").hex()):
        assert form not in shown
    for write in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError, match="a master secret is not pickled"):
            write(SECRET)
    assert not hasattr(SECRET, "__dict__")


def test_a_ring_is_read_from_json() -> None:
    """Epochs in their order, each with its secret."""
    ring = KeyRing.parse(json.dumps({"2026q4": RAW.hex(), "2026q3": "11" * 32}))
    assert ring.epochs == ("2026q4", "2026q3")
    assert ring.of("2026q4").fingerprint() == SECRET.fingerprint()


def test_an_unknown_epoch_is_named() -> None:
    """So that who rotates sees which one is missing."""
    with pytest.raises(ValueError, match="epoch: no master secret for epoch '2025q1'"):
        KeyRing({"2026q4": SECRET}).of("2025q1")


LEAKED = "deadbeef" * 8


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"2026q4={LEAKED}", "secrets: not JSON"),
        (f'{{"2026q4": "{LEAKED}"', "secrets: not JSON"),
        ("[]", "secrets: must be an object"),
        ("{}", "secrets: must be an object"),
        (f'["{LEAKED}"]', "secrets: must be an object"),
        (f'{{"2026q4": ["{LEAKED}"]}}', "secrets: entry 1 is not a string"),
        (f'{{"2026q4": "{LEAKED}", "2026q3": "{LEAKED[:-1]}"}}', "secrets: entry 2: secret: a master secret is written in"),
        (f'{{"2026q4": "{LEAKED[:62]}"}}', "secrets: entry 1: secret: a master secret has at least 32 bytes"),
        (f'{{"{LEAKED}": "{LEAKED}"}}', "epoch: 1-32 of"),
        (f'{{"Q4": "{LEAKED}"}}', "epoch: 1-32 of"),
    ],
)
def test_bad_secrets_are_refused_without_being_repeated(text: str, said: str) -> None:
    """One sentence names the entry and the rule; neither it nor what caused it holds a secret."""
    with pytest.raises(ValueError, match=said) as caught:
        KeyRing.parse(text)
    assert "deadbeef" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
