"""The newest look as Markdown."""

from __future__ import annotations

from app.offline.looks_page import markdown

LOOK = {
    "until": "2026-11-25T00:00:00Z",
    "counts_from": "2026-11-25T01:00:00Z",
    "frozen": ["weekend_share"],
    "reference_old": True,
    "organisations": 728,
    "judged": 1224,
    "called": 1,
}


def test_a_look_is_a_page_for_people() -> None:
    """When, what is frozen, how many were compared, the called keys, and what to do about an old model."""
    text = markdown({"look": LOOK, "honest_share": 0.05, "keys": [{"key_id": "ab", "p_value": 0.00012}]})
    assert "until 2026-11-25 00:00 UTC" in text
    assert "`weekend_share`" in text
    assert "compared: 1,224; called: 1, of which 5% may be expected to be honest" in text
    assert "| `ab` | 0.00012 |" in text
    assert "fit a new one" in text


def test_before_the_first_look_the_page_says_so() -> None:
    """Nothing is shown that is not known."""
    assert markdown({"look": None, "honest_share": 0.05, "keys": []}).startswith("No look was made yet")
