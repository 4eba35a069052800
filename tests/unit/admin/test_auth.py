"""Tokens have a form that can be checked without the state, and a bootstrap token that can be guessed is refused."""

from __future__ import annotations

import re

import pytest

from app.admin import auth
from app.admin.auditing import _value
from app.errors import ConfigError
from app.settings import AdminSettings


def test_made_tokens_have_their_form_and_are_never_the_same() -> None:
    """`sw_<8>_<43>_<6>` of letters and digits: 43 of 62 kinds are more than 256 bits; a thousand are a thousand."""
    made = {auth.made() for _ in range(1000)}
    assert len({token for token, _ in made}) == 1000
    for token, token_id in made:
        assert re.fullmatch(r"sw_[0-9A-Za-z]{8}_[0-9A-Za-z]{43}_[0-9A-Za-z]{6}", token)
        assert auth.token_id_of(token) == token_id == token[3:11]
    assert 62**43 > 2**256


def test_the_checksum_finds_every_slip_of_one_character() -> None:
    """Another character at any place makes it no token, so nobody asks the state about it."""
    token, _ = auth.made()
    for at in range(len(token)):
        for other in "0aZ_":
            if other != token[at]:
                assert auth.token_id_of(token[:at] + other + token[at + 1 :]) is None


@pytest.mark.parametrize("wrong", ["", "sw_", "sw__", "x" * 62, "sw_" + "é" * 59, "sw_" + "٣" * 59])
def test_what_is_no_token_has_no_id(wrong: str) -> None:
    """Nothing but the form of a token has one, whatever else is given."""
    assert auth.token_id_of(wrong) is None


@pytest.mark.parametrize(
    ("token", "rule"),
    [
        ("", "must be set"),
        ("a" * 24, "fewer than 8 different characters"),
        ("abcabcabcabcabcabcabcabc", "fewer than 8 different characters"),
        ("changeme-changeme-changeme", "a word of an example"),
        ("My-Example-Token-0123456789", "a word of an example"),
        ("0123456789-PASSWORD-0123456789", "a word of an example"),
    ],
)
def test_a_bootstrap_token_that_can_be_guessed_is_refused(token: str, rule: str) -> None:
    """A default, a word of an example or a repeated pattern is a ConfigError that names the setting and not the value."""
    with pytest.raises(ConfigError, match=rule) as refused:
        auth.check_bootstrap(AdminSettings(token=token))  # type: ignore[arg-type]
    assert str(refused.value).startswith("admin.token must be")
    assert not token or token not in str(refused.value)


def test_a_random_bootstrap_token_is_taken() -> None:
    """What `openssl rand -hex 16`, `pwgen` and our own tokens look like passes."""
    for token in ("9f86d081884c7d659a2feaa0c55ad015", "Xk2p9QmZ-4tRv7wLs1Yb", auth.made()[0]):
        assert auth.check_bootstrap(AdminSettings(token=token + "f00d")) == token + "f00d"  # type: ignore[arg-type]


def test_values_of_records_stay_what_they_are_within_bounds() -> None:
    """Plain JSON passes as it is; names of secrets hide texts only, so counts of tokens stay."""
    plain = {"tokens_per_day": 5, "token_id": "a", "list": [1, 2.5, None, True], "deep": {"x": "y"}}
    assert _value(plain) == plain
    assert _value({"api_token": "x", "secret": "y", "pepper": "z", "password": 3}) == {
        "api_token": "(hidden)",
        "secret": "(hidden)",
        "pepper": "(hidden)",
        "password": 3,
    }
