"""An accounts file of a live service: keys as credentials or as their hashes, and errors that name the line."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import BadInput
from app.gateway import account_file
from app.gateway.identity import Hasher
from app.state.accounts import Account

HASHER = Hasher("a pepper of some length")


def _load(tmp_path: Path, *lines: str) -> dict[str, Account]:
    path = tmp_path / "accounts.jsonl"
    path.write_text("\n".join(lines))
    return account_file.load(path, HASHER)


def test_a_credential_is_hashed_and_a_hash_is_taken(tmp_path: Path) -> None:
    """`key` is a credential and leads to its keyed hash; `key_id` is that hash; payment tokens are hashed too."""
    found = _load(
        tmp_path,
        '{"key": "sk-live-1", "org": "acme", "plan": "team", "created_at": 1790000000.5, "payment_hash": "tok",'
        ' "country": "de", "authorised": ["evaluation"], "email_domain_class": "business"}',
        "",
        '{"key_id": "00000000000000000000000000000abc"}',
    )
    assert found == {
        HASHER.key("sk-live-1"): Account(
            "acme", "team", 1_790_000_000_500_000, HASHER.payment("tok"), ("evaluation",), "DE"
        ),
        "00000000000000000000000000000abc": Account(),
    }


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("{", "not a complete JSON value"),
        ("[]", "Expected `object`"),
        ("{}", "needs either `key` or `key_id`"),
        ('{"key": "sk-canary", "key_id": "00000000000000000000000000000abc"}', "needs either `key` or `key_id`"),
        ('{"key_id": "sk-canary"}', "key_id must be 32 hex digits"),
        ('{"key": 7}', r"Expected `str`, got `int` - at `\$.key`"),
        ('{"key": "sk-canary", "created_at": 1790000000000}', "created_at must be unix seconds"),
        ('{"key": "sk-canary", "created_at": "monday"}', r"at `\$.created_at`"),
        ('{"key": "sk-canary", "orgg": "canary"}', "unknown field orgg; known are key, key_id, org, created_at, plan"),
        ('{"key": "sk-canary", "org_id": "canary"}', "unknown field org_id; known are key, key_id, org"),
        ('{"sk-canary": {"org": "acme"}}', "unknown field; known are key"),
        ('{"key": "sk-canary", "org": "acme {canary}"}', "org_id may have letters"),
        (
            '{"key": "sk-canary", "authorised": ["canary"]}',
            "authorised may name these uses only: evaluation, synthetic_data$",
        ),
        ('{"key": "sk-canary", "country": "Germany"}', "country must be"),
        ('{"key": "sk-first"}', "this key already has an earlier line"),
    ],
)
def test_a_bad_line_is_named_without_its_values(tmp_path: Path, line: str, rule: str) -> None:
    """The error names the file, the line and the rule, and shows nothing of what the line holds."""
    with pytest.raises(BadInput, match=rf"^accounts file .*accounts\.jsonl, line 3: .*{rule}") as caught:
        _load(tmp_path, '{"key": "sk-first"}', "", line)
    assert "canary" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A file that is not there is one sentence with the system's reason."""
    with pytest.raises(BadInput, match=r"^accounts file .*nothing\.jsonl: No such file or directory$"):
        account_file.load(tmp_path / "nothing.jsonl", HASHER)
