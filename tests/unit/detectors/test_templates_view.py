"""Templates for people: the words that never changed are shown, and nothing that varied."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from detectors.templates_view import FEWEST, SLOT, View, views


def test_constant_words_are_shown_around_a_slot(words: Callable[..., str]) -> None:
    """In order, folded, with one mark where the requests differ."""
    texts = [f"Read the note below, carefully: {words(n, 9)} Then answer in one line." for n in range(12)]
    assert views(texts) == [View(f"read the note below carefully {SLOT} then answer in one line", 12)]


def test_a_script_without_spaces_is_shown_by_the_character(words: Callable[..., str]) -> None:
    """Characters take the place of words."""
    (view,) = views([f"请阅读下面的笔记 {words(n, 9)} 不要引用原文" for n in range(8)])
    assert view.text.replace(" ", "") == f"请阅读下面的笔记{SLOT}不要引用原文"


@pytest.mark.parametrize("count", [2, FEWEST - 1])
def test_what_few_requests_share_is_not_shown(words: Callable[..., str], count: int) -> None:
    """It may be a name that they have in common."""
    assert views([f"My name is Ada Lovelace and I live at number nine {words(n, 9)}" for n in range(count)]) == []


def test_no_word_of_a_slot_is_shown(words: Callable[..., str]) -> None:
    """Not even one that stands in many slots."""
    texts = [f"Sort what follows by size, largest first: secret{n} {'often ' * (n % 3)}{words(n, 5)}" for n in range(40)]
    (view,) = views(texts)
    assert view.text == "sort what follows by size largest first"
    assert view.texts == 40


def test_the_same_request_again_is_no_template() -> None:
    """Ten equal texts are one."""
    assert views(["tell me what the weather will be like tomorrow in the mountains"] * 10) == []
    assert views([]) == []


def test_the_most_common_template_comes_first(words: Callable[..., str]) -> None:
    """Two wordings of unlike use are two views."""
    texts = [f"put these words into the order of the alphabet {words(n, 6)}" for n in range(9)]
    texts += [f"write each of these in capital letters please {words(-n, 6)}" for n in range(1, 20)]
    assert [view.texts for view in views(texts)] == [19, 9]
