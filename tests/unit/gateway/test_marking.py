"""What is taken out of a request about marks, what is put in, and which profile is in force."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.gateway.dialects.shape import Answer
from app.gateway.marking import HOLDERS, Marking, about_marks, in_force, merged, sglang_key, stripped
from app.gateway.marking_evidence import Reported
from app.gateway.marking_request import RequestMark
from app.gateway.routes import classify
from app.settings import WatermarkSettings
from app.watermark.sources import Sources
from detectors.watermark.keys import KeyRing, MasterSecret, from_wire, issued
from detectors.watermark.registry import MarkProfile, Registry

SECRET = MasterSecret(bytes(range(32)))
RING = KeyRing({"e1": SECRET, "e2": MasterSecret(bytes(range(1, 33)))})
G1 = MarkProfile("g1", "gumbel", "ab" * 32, "e1")
G2 = MarkProfile("g2", "gumbel", "ab" * 32, "e2", valid_from="2026-12-01")
GREEN = MarkProfile("n1", "green", "ab" * 32, "e1")
CHAT = classify("POST", "/v1/chat/completions")


def marking(*profiles: MarkProfile, group: str = "", now: float = 1.79e9, **more: Any) -> Marking:
    """The marks of one gateway."""
    tree = {"engine": "vllm", "profiles_file": "p", "secrets_file": "s", "profile": [one.id for one in profiles], **more}
    sources = Sources(Registry(profiles), RING)
    return Marking(WatermarkSettings.model_validate(tree), sources, lambda tenant: group, lambda: now)


@pytest.mark.parametrize(
    ("body", "clean"),
    [
        ({"watermark": False}, {}),
        ({"watermark": {"enabled": False, "key": "00"}}, {}),
        ({"watermarking": False}, {}),
        ({"watermarking": None}, {}),
        ({"Watermarking": 0}, {}),
        ({"watermarking_config": {"bias": 0}}, {}),
        ({"wm_code": "0"}, {}),
        ({"custom_logit_processor": "{}"}, {}),
        ({"vllm_xargs": {"wm_code": "f", "wm_profile": "x", "k": 1}}, {"vllm_xargs": {"k": 1}}),
        ({"vllm_xargs": {"WM_CODE": "f"}}, {"vllm_xargs": {}}),
        ({"vllm_xargs": {"no_watermark": 1, "a": {"watermark": 2}}}, {"vllm_xargs": {"a": {"watermark": 2}}}),
        ({"custom_params": {"wm_off": True, "t": 2}}, {"custom_params": {"t": 2}}),
        ({"extra_body": {"watermark": False, "vllm_xargs": {"wm_code": 1}}}, {"extra_body": {"vllm_xargs": {}}}),
        ({"sampling_params": {"custom_params": {"wm_x": 1}}}, {"sampling_params": {"custom_params": {}}}),
        ({"parameters": {"watermark": False, "seed": 1}}, {"parameters": {"seed": 1}}),
    ],
)
def test_whatever_a_client_says_about_marks_is_taken_out(body: dict[str, Any], clean: dict[str, Any]) -> None:
    """Of every engine, in every place where an engine looks; what else is there stays."""
    rest = {"model": "m", "messages": [{"role": "user", "content": "watermark", "wm_x": 1}]}
    given_body = {**rest, **body}
    before = orjson.dumps(given_body)
    assert stripped(given_body) == {**rest, **clean}
    assert orjson.dumps(given_body) == before


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"metadata": {"watermark": "yes", "wm_x": 1}},
        {"vllm_xargs": None},
        {"vllm_xargs": "wm_code"},
        {"vllm_xargs": [{"wm_code": 1}]},
        {"custom_params": 5, "extra_body": []},
        {"tools": [{"function": {"parameters": {"watermark": {"type": "string"}}}}]},
    ],
)
def test_a_body_that_says_nothing_about_marks_is_not_made_anew(body: dict[str, Any]) -> None:
    """Words of the conversation, of metadata and of tools are no parameters."""
    assert stripped(body) is None


_NAMES = st.one_of(
    st.sampled_from([*sorted(HOLDERS), "watermark", "wm_a", "WM_A", "custom_logit_processor", "watermarking", "model"]),
    st.text(max_size=5),
)
_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(_NAMES, _ANY, max_size=6))
def test_nothing_about_marks_is_left_of_any_body_at_all(body: dict[str, Any]) -> None:
    """Whatever its types, at every depth at which an engine looks; a second time there is nothing to take out."""

    def left(part: Any) -> bool:
        return any(
            about_marks(name) or (name in HOLDERS and type(value) is dict and left(value)) for name, value in part.items()
        )

    clean = stripped(body)
    assert not left(body if clean is None else clean)
    assert clean is None or stripped(clean) is None
    made = merged(body if clean is None else clean, {"vllm_xargs": {"wm_profile": "p", "wm_code": "c"}})
    assert made["vllm_xargs"]["wm_code"] == "c"


def test_the_caller_s_codeword_is_put_in_beside_what_was_there() -> None:
    """The digits are the tenant's codeword, the second half of it the group's."""
    body = {"model": "m", "vllm_xargs": {"wm_code": "0", "own": 3}, "watermarking": False}
    made = RequestMark(marking(G1), "k1").request(CHAT, body, 0)
    assert made is not None
    assert made["vllm_xargs"].keys() == {"own", "wm_profile", "wm_code"}
    assert "watermarking" not in made
    word = from_wire(made["vllm_xargs"]["wm_code"], 128, 16)
    assert (word == issued(SECRET, "k1", 128, 16)).all()
    grouped = RequestMark(marking(G1, group="camp-1"), "k1").request(CHAT, body, 0)
    assert grouped is not None
    word = from_wire(grouped["vllm_xargs"]["wm_code"], 128, 16)
    assert (word == issued(SECRET, "k1", 128, 16, "camp-1")).all()
    assert (word[:64] == issued(SECRET, "k1", 128, 16)[:64]).all()


@pytest.mark.parametrize("junk", [None, "x", 5, ["a"], True])
def test_a_holder_that_is_no_object_does_not_keep_the_mark_out(junk: Any) -> None:
    """It is replaced: a request must not come out unmarked because of its types."""
    made = RequestMark(marking(G1), "k1").request(CHAT, {"vllm_xargs": junk}, 0)
    assert made is not None
    assert made["vllm_xargs"].keys() == {"wm_profile", "wm_code"}


def test_sglang_gets_a_key_of_the_tenant() -> None:
    """64 bits that differ from tenant to tenant and from epoch to epoch, in place of whatever the client sent."""
    keys = set()
    for profile in (G1, MarkProfile("g3", "gumbel", "ab" * 32, "e2")):
        for tenant in ("k1", "k2"):
            made = RequestMark(marking(profile, engine="sglang"), tenant).request(CHAT, {"watermark": {"key": "00"}}, 0)
            assert made is not None
            assert made["watermark"] == {"enabled": True, "key": made["watermark"]["key"], "context_window": 4}
            assert len(bytes.fromhex(made["watermark"]["key"])) == 8
            keys.add(made["watermark"]["key"])
    assert len(keys) == 4
    assert sglang_key(SECRET, "k1") == "5c7f62fd56a6ccf0"  # as whoever searches makes it


def test_tenants_are_keys_or_organisations() -> None:
    """A key without an organisation is its own tenant in both cases."""
    assert marking(G1).tenant("k", "o") == "k"
    assert marking(G1, tenant="organisation").tenant("k", "o") == "o"
    assert marking(G1, tenant="organisation").tenant("k", "") == "k"


def test_of_overlapping_profiles_the_newer_marks() -> None:
    """The older one is only looked for from then on; without a valid one nothing is marked."""
    late = MarkProfile("g0", "gumbel", "ab" * 32, "e1", valid_until="2026-12-31")
    assert in_force((late, G2), "2026-11-30") is late
    assert in_force((late, G2), "2026-12-01") is G2
    assert in_force((G2, late), "2026-12-31") is G2
    assert in_force((G2,), "2026-11-30") is None
    assert in_force((G1, late), "2026-11-30") is late


def test_the_profile_changes_at_midnight_without_a_restart() -> None:
    """UTC, on the day that the new profile names."""
    moment = [datetime(2026, 11, 30, 23, 59, 59, tzinfo=UTC).timestamp()]
    settings = WatermarkSettings(engine="vllm", profile=("g1", "g2"), profiles_file="p", secrets_file="s")
    made = Marking(settings, Sources(Registry((G1, G2)), RING), now=lambda: moment[0])
    assert made.profile() is G1
    first = made.fields(G1, "k1")
    moment[0] += 1
    profile = made.profile()
    assert profile is G2
    assert made.fields(G2, "k1") != first


def test_where_no_profile_is_valid_the_wishes_are_taken_out_all_the_same() -> None:
    """And nothing is put in."""
    mark = RequestMark(marking(G2), "k1")
    assert mark.request(CHAT, {"watermark": False, "model": "m"}, 0) == {"model": "m"}
    assert mark.request(CHAT, {"model": "m"}, 0) is None
    assert (mark.profile, mark.reason, mark.ended(Answer(output_tokens=5))) == (None, "no_profile", False)


def test_neither_secret_nor_codeword_shows() -> None:
    """Not in the text of any object that an exception or a log line may show."""
    made = marking(G1)
    code = made.fields(G1, "k1")["vllm_xargs"]["wm_code"]
    mark = RequestMark(made, "k1")
    mark.request(CHAT, {}, 0)
    for shown in (repr(made), str(made), repr(mark), repr(made.settings), repr(RING)):
        assert code not in shown
        assert SECRET.derive("codeword/1").hex() not in shown
        assert bytes(range(32)).hex() not in shown


# The ledger's share of one answer


def ended(
    profile: MarkProfile, body: dict[str, Any], answer: Answer, report: bytes = b"{}"
) -> tuple[bool, int, float, str]:
    """What is told of an answer."""
    mark = RequestMark(marking(profile), "k1")
    mark.request(CHAT, body, 0)
    assert mark.stage is not None
    mark.stage.whole(report)
    found = mark.ended(answer)
    assert mark.ended(Answer(output_tokens=9)) == found  # told once
    return found, mark.tokens, mark.nats, mark.reason


def test_the_evidence_of_an_answer_is_expected_or_reported() -> None:
    """Tokens times the configured excess, without reasoning that nobody got; or what the engine says."""
    answer = Answer(output_tokens=100, reasoning_tokens=40)
    assert ended(G1, {}, answer) == (True, 60, 60 * 0.15, "engine")
    report = orjson.dumps({"usage": {"completion_tokens": 100, "watermark_evidence": 12.5}})
    assert ended(G1, {}, answer, report) == (True, 60, 12.5, "engine")
    assert ended(G1, {"temperature": 0}, answer, report) == (True, 60, 12.5, "engine")


@pytest.mark.parametrize("body", [{"temperature": 0}, {"temperature": "0"}, {"top_p": 0.0}, {"top_k": 1}])
def test_a_greedy_answer_carries_no_gumbel_mark(body: dict[str, Any]) -> None:
    """There is no choice to be marked; a green bias is there all the same."""
    assert ended(G1, body, Answer(output_tokens=10)) == (False, 0, 0.0, "greedy")
    assert ended(GREEN, body, Answer(output_tokens=10))[0]


@pytest.mark.parametrize(
    "answer", [Answer(status=500, output_tokens=5), Answer(), Answer(output_tokens=3, reasoning_tokens=5)]
)
def test_no_answer_is_no_evidence(answer: Answer) -> None:
    """An error, or an answer without a token that the client got."""
    assert ended(G1, {}, answer) == (False, 0, 0.0, "no_answer")


@pytest.mark.parametrize("value", ["7", None, True, -1, 1e9, [1]])
def test_a_report_that_is_none_is_taken_out_and_not_believed(value: Any) -> None:
    """The client does not get it, and the ledger takes the expected evidence."""
    report = Reported()
    assert json.loads(report.whole(orjson.dumps({"usage": {"watermark_evidence": value, "a": 1}}))) == {"usage": {"a": 1}}
    assert report.nats is None


def test_reports_are_taken_out_of_every_dialect_s_stream() -> None:
    """However the bytes are cut, and nothing else of them changes."""
    events = [
        b": ping\n\n",
        b'data: {"choices":[{"index":0,"delta":{"content":"a \\"watermark_evidence\\" b"}}]}\n\n',
        b'event: message_delta\r\ndata: {"type":"message_delta",'
        b'"usage":{"output_tokens":3,"watermark_evidence":1.5}}\r\n\r\n',
        b'data: {"type":"response.completed","response":{"usage":{"watermark_evidence":2.5,"output_tokens":3}}}\n\n',
        b"data: [DONE]\n\n",
    ]
    wanted = [
        events[0],
        events[1],
        b'event: message_delta\r\ndata: {"type":"message_delta","usage":{"output_tokens":3}}\r\n\r\n',
        b'data: {"type":"response.completed","response":{"usage":{"output_tokens":3}}}\n\n',
        events[4],
    ]
    raw = b"".join(events)
    for size in (1, 7, 50, len(raw)):
        report = Reported()
        out = b"".join(report.pass_on(raw[at : at + size]) for at in range(0, len(raw), size)) + report.flush()
        assert out == b"".join(wanted)
        assert report.nats == 2.5


def test_half_a_report_is_not_shown_at_the_end_of_a_cut_stream() -> None:
    """What cannot be read is not passed on either."""
    report = Reported()
    assert report.pass_on(b'data: {"usage":{"watermark_evidence":12.') == b""
    assert report.flush() == b""
