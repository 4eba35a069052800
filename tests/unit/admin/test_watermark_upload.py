"""Which bytes of a data set a request brings, by its headers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.admin.watermark_upload import Part, part_of
from app.errors import BadInput, Conflict


def test_without_a_range_a_request_brings_all() -> None:
    """Also when some of it is here already: it begins again."""
    assert part_of(None, "100", 100, 0) == Part(0, 100)
    assert part_of(None, None, 100, 40) == Part(0, 100)


def test_curl_goes_on_with_a_range() -> None:
    """What `curl -T FILE -C 40` sends of a file of 100 bytes."""
    assert part_of("bytes 40-99/100", "60", 100, 40) == Part(40, 100)


def test_a_part_need_not_be_the_last_and_need_not_know_the_size() -> None:
    """A part in the middle, and one whose client does not say how large all is."""
    assert part_of("bytes 40-49/100", "10", 100, 40) == Part(40, 50)
    assert part_of("bytes 40-49/*", None, 100, 40) == Part(40, 50)


@pytest.mark.parametrize(
    ("content_range", "length", "rule"),
    [
        ("bytes 40-99", "60", "header.content_range: must be bytes FIRST-LAST/ALL"),
        ("bytes */100", "0", "header.content_range: must be bytes FIRST-LAST/ALL"),
        ("bytes 40-99/101", "60", "header.content_range: the data set was announced with 100 bytes"),
        ("bytes 40-100/100", "61", "header.content_range: FIRST must not be above LAST, and LAST must be below 100"),
        ("bytes 50-40/100", "10", "header.content_range: FIRST must not be above LAST"),
        ("bytes 40-99/100", "59", "header.content_length: does not fit content_range, which says 60 bytes"),
        (None, "99", "header.content_length: the data set was announced with 100 bytes"),
    ],
)
def test_headers_that_do_not_fit_are_refused(content_range: str | None, length: str, rule: str) -> None:
    """Each with the header and the rule."""
    with pytest.raises(BadInput) as caught:
        part_of(content_range, length, 100, 40)
    assert str(caught.value).startswith(rule)


@given(st.integers(0, 99), st.integers(0, 99))
def test_a_part_begins_where_the_last_one_ended(first: int, received: int) -> None:
    """Anywhere else it is a conflict, which says where."""
    if first == received:
        assert part_of(f"bytes {first}-99/100", None, 100, received) == Part(first, 100)
        return
    with pytest.raises(Conflict, match=f"the next part begins at byte {received}; that many bytes of 100 are here"):
        part_of(f"bytes {first}-99/100", None, 100, received)
