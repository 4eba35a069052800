"""Bodies that two JSON parsers could read differently are refused, and no others."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.enforcement.wire_errors import Refuse
from app.gateway.body import parse_object

DEPTH = 32
TEXT = st.text(max_size=12).filter(lambda text: text.isprintable()) | st.sampled_from(
    ['"', ":", '":', '\\":', "a", "b", "\\"]
)
LEAVES = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXT
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=20
)
OBJECTS = st.dictionaries(TEXT, VALUES, max_size=5)
STYLES: tuple[dict[str, Any], ...] = (
    {},
    {"indent": 2},
    {"separators": (",", ":")},
    {"separators": (" , ", " : ")},
    {"separators": (",", "\n:\t")},
    {"ensure_ascii": False},
)


@given(OBJECTS, st.sampled_from(STYLES))
def test_every_object_is_read_as_written(body: dict[str, Any], style: dict[str, Any]) -> None:
    """Whatever its spacing and escapes, an object without repeated keys passes and is read as other parsers read it."""
    raw = json.dumps(body, **style).encode()
    assert parse_object(raw, DEPTH) == orjson.loads(raw)


def _repeated(body: dict[str, Any], key: str, place: int, style: dict[str, Any], escaped: bool) -> bytes:
    """The body as text with one more member of a name that is there already, inside the `place`-th object."""
    objects: list[dict[str, Any]] = []

    def collect(value: Any) -> None:
        if isinstance(value, dict):
            objects.append(value)
            for inner in value.values():
                collect(inner)
        elif isinstance(value, list):
            for inner in value:
                collect(inner)

    collect(body)
    chosen = objects[place % len(objects)]
    chosen.setdefault(key, 1)
    mark = "mark that is replaced"
    chosen[mark] = 2
    name = "".join(f"\\u{ord(letter):04x}" for letter in key) if escaped else json.dumps(key)[1:-1]
    return json.dumps(body, **style).replace(f'"{mark}"', f'"{name}"').encode()


@given(
    OBJECTS,
    TEXT.filter(lambda key: all(ord(letter) < 0x10000 for letter in key)),
    st.integers(0, 50),
    st.sampled_from(STYLES),
    st.booleans(),
)
def test_a_repeated_key_is_always_found(
    body: dict[str, Any], key: str, place: int, style: dict[str, Any], escaped: bool
) -> None:
    """Wherever it is, however it is spaced or escaped, a key that comes twice in one object is refused."""
    with pytest.raises(Refuse) as caught:
        parse_object(_repeated(body, key, place, style, escaped), DEPTH)
    assert caught.value.why == "json_duplicate"


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_depth_is_counted_exactly(opening: bytes, closing: bytes) -> None:
    """A body as deep as allowed passes; one level more does not."""
    for depth, passes in ((DEPTH - 1, True), (DEPTH, False), (900, False)):
        raw = b'{"x":' + opening * depth + b"1" + closing * depth + b"}"
        if passes:
            assert parse_object(raw, DEPTH)
        else:
            with pytest.raises(Refuse, match="nests deeper than 32 levels"):
                parse_object(raw, DEPTH)


@given(st.binary(max_size=60))
def test_noise_is_refused_without_being_quoted(noise: bytes) -> None:
    """What is no JSON is refused with a place, and never with a word of it."""
    raw = b'{"canary-7f3a' + noise
    said = ""
    try:
        parse_object(raw, DEPTH)
    except Refuse as refuse:
        said = refuse.message + repr(refuse)
    assert "canary" not in said
