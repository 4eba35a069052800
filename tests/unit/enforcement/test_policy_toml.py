"""A policy written as TOML is the same policy when it is read again, and says only what was decided."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.enforcement.policy_text import parse_policy
from app.enforcement.policy_toml import render, render_whole
from app.settings import EnforcementSettings

RULE = st.fixed_dictionaries(
    {},
    optional={
        "action": st.sampled_from(["observe", "throttle"]),
        "factor": st.floats(0.001, 1),
        "requests_per_min": st.floats(0.1, 1e9),
        "ttl_sec": st.integers(60, 10**9),
    },
)
POLICY = st.fixed_dictionaries(
    {},
    optional={
        "mode": st.sampled_from(["shadow", "enforce"]),
        "enabled_percent": st.floats(0, 100),
        "enforced_percent": st.floats(0, 100),
        "watch": RULE,
        "suspect": RULE,
        "confirmed": RULE,
        "cap": st.fixed_dictionaries({}, optional={"strip": st.lists(st.sampled_from(["n", "logit_bias"]), max_size=2)}),
        "contract_ground": st.text(max_size=40).filter(lambda text: not any("\ud800" <= char <= "\udfff" for char in text)),
        "appeal_url": st.just("https://example.org/appeals?a=1"),
        "stop_streams": st.booleans(),
    },
)


@given(POLICY)
@example({"contract_ground": 'a \x7f " \\ \n \x00 ü'})
def test_what_is_written_is_read_again(tree: dict[str, Any]) -> None:
    """Both forms, whatever characters a text has; the short one holds no field that was not set."""
    policy = EnforcementSettings.model_validate(tree)
    assert parse_policy(render(policy), "it") == policy
    assert parse_policy(render_whole(policy), "it") == policy
    assert parse_policy(render(policy), "it").model_dump(exclude_unset=True) == policy.model_dump(exclude_unset=True)


def test_a_null_has_no_word_and_is_refused() -> None:
    """TOML knows no null; the sentence names the field instead of silently taking the default."""
    policy = EnforcementSettings.model_validate({"watch": {"requests_per_min": None}})
    with pytest.raises(ValueError, match=r"watch\.requests_per_min: must not be null"):
        render(policy)
