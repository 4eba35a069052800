"""Records become the events that the gateway would have made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.errors import BadInput
from app.gateway.identity import Hasher, Identifier
from app.gateway.observe import TextLimits
from app.offline import accounts
from app.offline.exchange import EventBuilder
from app.offline.records import Record
from app.settings import IdentitySettings
from detectors.event import Event

PEPPER = "a pepper for tests"


def _event(tmp_path: Path, response: dict[str, Any], **changes: Any) -> Event:
    identifier = Identifier(IdentitySettings.model_validate({"pepper": PEPPER}), None)
    path = tmp_path / "accounts.jsonl"
    path.write_text(
        '{"key": "k_1", "org": "o_1", "plan": "team", "created_at": 1.5, "payment_hash": "p_1", "country": "DE"}\n'
    )
    known = accounts.load(path, identifier.hasher, "default")
    record = {
        "ts": 10.25,
        "key": "k_1",
        "path": "/v1/chat/completions",
        "ip": "203.0.113.9",
        "request": {"model": "m", "messages": [{"role": "system", "content": "be"}, {"role": "user", "content": "hi"}]},
        "response": {"status": 200, **response},
    } | changes
    return EventBuilder(known, identifier, TextLimits(), "default").event(msgspec.convert(record, Record), 7)


def test_account_time_and_network_are_in_the_event(tmp_path: Path) -> None:
    """The key id is the log's; times are µs; payment and address only as keyed hashes."""
    event = _event(tmp_path, {"text": "hello"})
    assert (event.key_id, event.org_id, event.plan, event.country) == ("k_1", "o_1", "team", "DE")
    assert (event.at_us, event.key_created_us) == (10_250_000, 1_500_000)
    assert event.payment_id == Hasher(PEPPER).payment("p_1")
    assert len(event.ip_prefix_id) == 32
    assert (event.roles, event.user_head, event.answer_head, event.answer_chars) == ("su", "hi", "hello", 5)


def test_credentials_in_both_files_meet_under_their_hash(tmp_path: Path) -> None:
    """Beside a log of credentials the accounts are known by the same keyed hashes; one given as a hash stays as it is."""
    path = tmp_path / "accounts.jsonl"
    path.write_text('{"key": "sk-1", "org": "o_1"}\n{"key_id": "k_2", "org": "o_2"}\n')
    hasher = Hasher(PEPPER)
    assert {key: found.org_id for key, found in accounts.load(path, hasher, "default", hashed=True).items()} == {
        hasher.key("sk-1"): "o_1",
        "k_2": "o_2",
    }


def test_a_key_without_account_is_a_stranger_on_the_default_plan(tmp_path: Path) -> None:
    """It is judged by itself, as live."""
    event = _event(tmp_path, {}, key="k_2")
    assert (event.key_id, event.org_id, event.plan) == ("k_2", "", "default")


def test_a_whole_answer_body_fills_what_the_log_does_not_name(tmp_path: Path) -> None:
    """Text, usage and finish reason come from the body; a field the log names itself wins."""
    body = {
        "choices": [{"message": {"content": "hello"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 7},
    }
    event = _event(tmp_path, {"body": body, "finish_reason": "length"})
    assert (event.answer_chars, event.input_tokens, event.output_tokens, event.finish_reason) == (5, 5, 7, "length")
    assert not event.tokens_estimated


def test_the_error_type_is_read_from_the_body(tmp_path: Path) -> None:
    """An error answer of the dialect names its type."""
    event = _event(tmp_path, {"status": 429, "body": {"error": {"type": "insufficient_quota"}}})
    assert (event.status, event.error) == (429, "insufficient_quota")


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"path": "/v1/../x"}, "segments"),
        ({"request": {"messages": [{"role": "user", "content": [{"image": 1 << 70}]}]}}, "64 bits"),
    ],
)
def test_what_the_gateway_would_refuse_is_a_bad_line(tmp_path: Path, changes: dict[str, Any], rule: str) -> None:
    """Such a record is refused with its rule instead of ending the run."""
    with pytest.raises(BadInput, match=rule):
        _event(tmp_path, {}, **changes)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ('{"key": "a"}\n{"key": "a"}\n', "line 2: this key already"),
        ('{"key": "a"}\n{"org": "a"}\n', r"line 2: .*key"),
        ('\n{"key": "a", "created_at": "x"}\n', r"line 2: .*created_at"),
        ("{", "line 1: not a complete JSON value"),
    ],
)
def test_a_bad_accounts_file_names_the_line(tmp_path: Path, text: str, rule: str) -> None:
    """One bad line refuses the file: a key must not silently lose its organisation."""
    path = tmp_path / "accounts.jsonl"
    path.write_text(text)
    with pytest.raises(BadInput, match=rule):
        accounts.load(path, Hasher(PEPPER), "default")
