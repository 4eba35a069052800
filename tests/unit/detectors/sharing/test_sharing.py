"""What may be shared of a campaign, who hits it, and who is believed."""

from __future__ import annotations

import struct

import msgspec
import pytest

from detectors.campaign.trace import Kind, Trace
from detectors.sharing.distil import distilled
from detectors.sharing.indicator import DAY_US, Indicator, checked
from detectors.sharing.match import Index, kinds_of
from detectors.sharing.tokens import SCHEME, GroupKey
from detectors.sharing.trust import Effect, Report, Reporter, effect, independent, score
from detectors.watermark.keys import MasterSecret

NOW = 1_800_000_000_000_000
SECRET = MasterSecret(bytes(range(32)))


def _trace(name: str, marks: dict[tuple[int, int], float]) -> Trace:
    packed = b"".join(struct.pack("<BIB", kind, item, round(255 * share)) for (kind, item), share in sorted(marks.items()))
    return Trace(key_id=name, org=name, at_us=NOW, marks=packed)


def _members(count: int) -> list[Trace]:
    own = {(Kind.SYSTEM, 7): 1.0, (Kind.CONTRACT, 8): 1.0, (Kind.PAYMENT, 9): 1.0, (Kind.HEAD, 1): 1.0}
    return [_trace(f"m{number}", own | {(Kind.TAIL, 1000 + number): 1.0}) for number in range(count)]


def _honest(count: int) -> list[Trace]:
    return [_trace(f"h{number}", {(Kind.HEAD, 1): 1.0, (Kind.GRAM, number): 1.0}) for number in range(count)]


def _indicator(kind: str, marks: tuple[int, ...], **fields: object) -> Indicator:
    key = GroupKey(SECRET)
    given = {
        "id": f"indicator--{kind}",
        "kind": kind,
        "tokens": tuple(key.token(mark) for mark in marks),
        "weights": (5.0,) * len(marks),
        "scheme": SCHEME,
        "epoch": "2026q4",
        "valid_from_us": NOW - DAY_US,
        "valid_until_us": NOW + DAY_US,
    }
    return Indicator(**(given | fields))  # type: ignore[arg-type]


def test_distilled_shared_rare() -> None:
    """Of a campaign's marks those are shared that members share and honest keys do not, and never a payment."""
    found = {one.kind: one for one in distilled(_members(20), _honest(1000))}
    assert found["template"].marks == (Kind.SYSTEM << 32 | 7,)
    assert found["contract"].marks == (Kind.CONTRACT << 32 | 8,)
    assert set(found) == {"template", "contract"}
    assert found["template"].weights[0] == pytest.approx(7.6, abs=0.1)


@pytest.mark.parametrize(("members", "honest", "field"), [(9, 1000, "members"), (20, 100, "honest")])
def test_distilled_too_few(members: int, honest: int, field: str) -> None:
    """Nothing is made of a small group, or where nobody knows what is rare."""
    with pytest.raises(ValueError, match=f"{field}: "):
        distilled(_members(members), _honest(honest))


def test_tokens_need_key() -> None:
    """Tokens of two groups, of a mark and its kind, differ; an address is hashed alike however it is written."""
    one, other = GroupKey(SECRET), GroupKey(MasterSecret(bytes(32)))
    mark = Kind.SYSTEM << 32 | 7
    assert len({one.token(mark), other.token(mark), one.token(Kind.HEAD << 32 | 7)}) == 3
    assert one.identity(" Ann@Example.COM") == one.identity("ann@example.com") != other.identity("ann@example.com")
    assert one.tokens([Kind.PAYMENT << 32 | 9, mark]) == {one.token(mark): mark}


def test_hits_carry_weight() -> None:
    """A key hits an indicator if it carries half of its weight as a habit, while the indicator is valid."""
    marks = tuple(Kind.SYSTEM << 32 | item for item in (1, 2, 3, 4))
    index = Index([_indicator("template", marks)], {"2026q4": GroupKey(SECRET)})
    half = _trace("k", {(Kind.SYSTEM, 1): 1.0, (Kind.SYSTEM, 2): 0.5})
    assert [(hit.key_id, hit.carried, hit.nats) for hit in index.hits(half, NOW)] == [("k", 0.5, 10.0)]
    assert index.hits(_trace("k", {(Kind.SYSTEM, 1): 1.0}), NOW) == []
    assert index.hits(_trace("k", {(Kind.SYSTEM, 1): 1.0, (Kind.SYSTEM, 2): 0.02}), NOW) == []
    assert index.hits(half, NOW + DAY_US) == []
    assert index.hits(half, NOW - 2 * DAY_US) == []


def test_unknown_scheme_epoch_left_out() -> None:
    """Indicators of another scheme or epoch, and plain ones, are not looked for and disturb nothing."""
    others = [
        _indicator("template", (1,), scheme="stillwatch-marks-9"),
        _indicator("template", (1,), epoch="2020q1"),
        Indicator("indicator--a", "asn", ("AS64500",), NOW, NOW + 1),
    ]
    assert len(Index([*others, _indicator("template", (1,))], {"2026q4": GroupKey(SECRET)})) == 1


def test_kinds_independent() -> None:
    """Template and contract are two kinds; two templates are one."""
    index = Index(
        [
            _indicator("template", (Kind.SYSTEM << 32 | 1,)),
            _indicator("template", (Kind.SYSTEM << 32 | 1,), id="indicator--t2"),
            _indicator("contract", (Kind.CONTRACT << 32 | 2,)),
        ],
        {"2026q4": GroupKey(SECRET)},
    )
    hits = index.hits(_trace("k", {(Kind.SYSTEM, 1): 1.0, (Kind.CONTRACT, 2): 1.0}), NOW)
    assert len(hits) == 3
    assert kinds_of(hits) == {"template", "contract"}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"kind": "prompt"}, "kind"),
        ({"tokens": (), "weights": ()}, "tokens"),
        ({"tokens": ("a",)}, "tokens"),
        ({"tokens": ("ab" * 12,) * 2, "weights": (1.0, 1.0)}, "tokens"),
        ({"weights": ()}, "weights"),
        ({"weights": (-1.0,)}, "weights"),
        ({"weights": (float("nan"),)}, "weights"),
        ({"scheme": ""}, "scheme"),
        ({"confidence": 101}, "confidence"),
        ({"valid_until_us": NOW - 2 * DAY_US}, "valid_until"),
        ({"valid_until_us": NOW + 500 * DAY_US}, "valid_until"),
        ({"kind": "asn", "tokens": ("64500",), "weights": (), "scheme": "", "epoch": ""}, "tokens"),
        ({"kind": "asn", "tokens": ("AS64500",)}, "scheme"),
        ({"kind": "network", "tokens": ("not a network",), "weights": (), "scheme": "", "epoch": ""}, "tokens"),
    ],
)
def test_checked_names_field(change: dict[str, object], field: str) -> None:
    """An indicator that is not as it must be is refused, and the field named."""
    with pytest.raises(ValueError, match=f"^{field}: "):
        checked(msgspec.structs.replace(_indicator("template", (1,)), **change))


def _reporter(name: str, confirmed: int = 5, since_days: int = 90, **fields: object) -> Reporter:
    return Reporter(name, str(fields.pop("organisation", name)), NOW - since_days * DAY_US, confirmed, **fields)  # type: ignore[arg-type]


def _report(reporter: Reporter, confidence: int = 100, age_days: float = 0.0, kind: str = "template") -> Report:
    return Report(reporter, kind, confidence, NOW - int(age_days * DAY_US))


def test_one_voice_below_sixty() -> None:
    """No single reporter passes 60 however trusted, and a stranger stays at 25."""
    assert score([_report(_reporter("a", confirmed=10_000))], NOW) == 60.0
    assert score([_report(_reporter("a", confirmed=0))], NOW) == 25.0
    assert score([_report(_reporter("a", confirmed=0, disputed=10_000))], NOW) == 5.0


def test_reports_fade() -> None:
    """A report is worth half after its kind's half-life, and a future date makes it no fresher."""
    trusted = _reporter("a", confirmed=10_000)
    assert score([_report(trusted, age_days=30)], NOW) == 30.0
    assert score([_report(trusted, age_days=3, kind="network")], NOW) == 30.0
    assert score([_report(trusted, age_days=-300)], NOW) == 60.0


def test_one_organisation_one_voice() -> None:
    """Two members of one organisation score as one, and are one voice."""
    pair = [_report(_reporter("a", organisation="x")), _report(_reporter("b", organisation="x"))]
    assert score(pair, NOW) == score(pair[:1], NOW)
    assert independent(pair, NOW) == 1


@pytest.mark.parametrize(
    ("reporters", "voices"),
    [
        ([_reporter("a"), _reporter("b")], 2),
        ([_reporter("a"), _reporter("b", since_days=5)], 1),  # a newcomer
        ([_reporter("a"), _reporter("b", confirmed=1)], 1),
        ([_reporter("a", confirmed=0), _reporter("b", confirmed=0)], 0),  # a pair made by one liar
        ([_reporter("a"), _reporter("b", confirmed=3, disputed=4)], 1),
    ],
)
def test_voices_long_standing_right(reporters: list[Reporter], voices: int) -> None:
    """A voice is an organisation of long standing that was right before."""
    assert independent([_report(one) for one in reporters], NOW) == voices


def test_effect_needs_two_or_own() -> None:
    """One reporter raises priority; two independent ones or own evidence may act; a template alone never does."""
    one, two = [_report(_reporter("a"))], [_report(_reporter("a")), _report(_reporter("b"))]
    assert effect({"template": one, "contract": one}, local=False, now_us=NOW) is Effect.PRIORITY
    assert effect({"template": one, "contract": one}, local=True, now_us=NOW) is Effect.AUTOMATIC
    assert effect({"template": two, "contract": two}, local=False, now_us=NOW) is Effect.AUTOMATIC
    assert effect({"template": two}, local=True, now_us=NOW) is Effect.PRIORITY
    assert effect({"settings": two}, local=True, now_us=NOW) is Effect.PRIORITY
    assert effect({"identity": two}, local=False, now_us=NOW) is Effect.AUTOMATIC
    assert effect({"template": [], "contract": []}, local=True, now_us=NOW) is Effect.NOTHING
    assert effect({}, local=True, now_us=NOW) is Effect.NOTHING


def test_each_voice_with_two_kinds() -> None:
    """A reporter who only tells of a template is no second voice beside one who tells of two kinds."""
    a, b = _report(_reporter("a")), _report(_reporter("b"))
    assert effect({"template": [a, b], "contract": [a]}, local=False, now_us=NOW) is Effect.PRIORITY
    assert effect({"template": [a, b], "contract": [a], "settings": [b]}, local=False, now_us=NOW) is Effect.AUTOMATIC
