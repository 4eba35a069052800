"""What `keys show` says is done about a key, and how its timeline reads."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.admin import views
from app.cli.keys import _action_line, _change
from app.enforcement import timeline
from app.enforcement.policy import encode_verdict
from app.settings import ActionRule
from app.state.gateways import Mode
from app.state.orders import Order
from detectors.contract import Level, Status, Verdict

AT_US = 1_790_000_000_000_000
END = "2026-09-21 15:13:20 UTC"
STORED = encode_verdict(Level.SUSPECT, ActionRule(action="throttle", ttl_sec=3600), AT_US)
VERDICT = Verdict("0" * 32, "key", Status.JUDGED, 0.91237, Level.SUSPECT, AT_US, AT_US, AT_US, (), (), 3, 40, False, "m1")


@pytest.mark.parametrize(
    ("mode", "line"),
    [
        ("enforce", f"action: throttle until {END}"),
        ("shadow", f"action: observe (shadow mode: the policy asks for throttle until {END})"),
        ("unknown", f"action: observe (no gateway is running; the policy asks for throttle until {END})"),
        ("mixed", f"action: throttle until {END} (only some of the gateways act: the others are in shadow mode)"),
    ],
)
def test_the_action_is_what_the_gateways_do(mode: Mode, line: str) -> None:
    """One line for each thing that running gateways, or none, may do about a throttled key."""
    assert _action_line(views.action(STORED, mode, AT_US), None, views.verdict(VERDICT)) == line


def test_an_order_is_told_with_its_reference() -> None:
    """A person's order acts in shadow mode too; the kill switch holds it back."""
    stored = encode_verdict(
        Level.WATCH, ActionRule(action="suspend", ttl_sec=3600), AT_US, by="person", ref="sw-aaaaaaaaaaaaa"
    )
    order = Order(since_us=AT_US, until_us=AT_US + 1, action="suspend", ref="sw-aaaaaaaaaaaaa", by="ann", reason="leaked")
    line = _action_line(views.action(stored, "shadow", AT_US), None, None, order)
    assert line == f"action: suspend until {END}, ordered by ann under sw-aaaaaaaaaaaaa: leaked"
    killed = _action_line(views.action(stored, "enforce", AT_US, killed=True), None, None, order)
    assert killed == (
        f"action: observe (the kill switch is on; a person asks for suspend until {END}), "
        "ordered by ann under sw-aaaaaaaaaaaaa: leaked"
    )


def test_an_excuse_and_a_lift_are_told() -> None:
    """A contracted use and a person's lift each say why nothing is done; otherwise it just observes."""
    nothing = views.action("", "enforce", AT_US)
    excused = views.verdict(replace(VERDICT, authorised=True))
    hold = views.hold(Order(since_us=AT_US, until_us=AT_US + 3_600_000_000, reason="a slip", by="ann", ref="sw-a"))
    assert _action_line(nothing, None, excused) == "action: observe (authorised use: only observed)"
    assert _action_line(nothing, hold, excused) == f"action: none, lifted until {END} by ann under sw-a: a slip"
    assert _action_line(nothing, None, None) == "action: observe"


@pytest.mark.parametrize(
    ("item", "line"),
    [
        (
            timeline.item(VERDICT, what="level", action="throttle", at_us=AT_US, was=Level.WATCH),
            "watch → suspect, score 0.912",
        ),
        (
            timeline.item(replace(VERDICT, authorised=True), what="level", action="observe", at_us=AT_US, was=Level.CLEAR),
            "clear → suspect, score 0.912, authorised use: only observed",
        ),
        (
            timeline.item(replace(VERDICT, authorised=True), what="authorised", action="observe", at_us=AT_US),
            "authorised use: only observed",
        ),
        (
            timeline.item(VERDICT, what="authorised", action="throttle", at_us=AT_US),
            "no authorised use any more: throttle",
        ),
        (
            timeline.item(VERDICT, what="authorised", action="observe", at_us=AT_US, who="admin", note="allowed now"),
            "authorised use: only observed: allowed now",
        ),
        (
            timeline.item(
                None, what=timeline.LIFTED, action="observe", at_us=AT_US, who="admin", note="slip",
                until_us=AT_US + 3_600_000_000,
            ),
            f"lifted until {END} by admin: slip",
        ),
        (
            timeline.item(
                None, what=timeline.LIFTED, action="observe", at_us=AT_US, who="admin", by="ann", note="slip", ref="sw-a",
                until_us=AT_US + 3_600_000_000,
            ),
            f"lifted until {END} by ann under sw-a: slip",
        ),
        (
            timeline.item(VERDICT, what=timeline.LIFT_ENDED, action="", at_us=AT_US, who="admin", by="ann", ref="sw-a"),
            "lift sw-a taken back by ann",
        ),
        (
            timeline.item(
                VERDICT, what=timeline.ORDERED, action="suspend", at_us=AT_US, who="admin", by="ann", note="fraud",
                ref="sw-a", until_us=AT_US + 3_600_000_000,
            ),
            f"suspend until {END}, ordered by ann under sw-a: fraud",
        ),
        (
            timeline.item(
                VERDICT, what=timeline.ORDER_ENDED, action="throttle", at_us=AT_US, who="admin", by="bob", note="a slip",
                ref="sw-b", until_us=AT_US + 3_600_000_000,
            ),
            f"order sw-b ended by bob: a slip; throttle until {END} stands again",
        ),
        (
            timeline.item(VERDICT, what=timeline.ORDER_ENDED, action="", at_us=AT_US, who="admin", by="bob", ref="sw-b"),
            "order sw-b ended by bob; what policy asks for is done again",
        ),
    ],
)  # fmt: skip
def test_each_change_is_one_line(item: dict[str, object], line: str) -> None:
    """Levels, contracted uses and lifts."""
    assert _change(views.timeline_item(item)) == line


def test_a_change_that_an_earlier_release_stored_is_a_change_of_level() -> None:
    """Without the fields that came later it reads as it always did."""
    item = timeline.item(VERDICT, what="level", action="throttle", at_us=AT_US, was=Level.WATCH)
    for field in ("who", "what", "note", "until_us"):
        del item[field]
    assert _change(views.timeline_item(item)) == "watch → suspect, score 0.912"
