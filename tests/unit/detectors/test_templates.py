"""Templates induced from an entity's own requests: what is constant is kept, in any language, and nothing is listed."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest

from detectors.event import Event
from detectors.fingerprint import fingerprint
from detectors.fingerprint.normalise import fold
from detectors.fingerprint.outline import FIRST_WORDS, LAST_WORDS, outline
from detectors.sketch.templates import CAPACITY, FIRST_TOKENS, MOST_TOKENS, RUN, Templates

MakeEvent = Callable[..., Event]

WRAPPED = {
    "english": ("Read the following note and tell me what its author wants, in one sentence:", "Do not quote it."),
    "german": ("Lies die folgende Notiz und sage mir in einem Satz, was die Verfasserin will:", "Zitiere sie nicht."),
    "french": ("Lis la note suivante et dis-moi en une phrase ce que veut son auteur :", "Ne la cite pas."),
    "spanish": ("Lee la nota siguiente y dime en una frase qué quiere su autora:", "No la cites nunca."),
    "portuguese": ("Leia a nota seguinte e diga em uma frase o que a autora quer:", "Não a cite nunca."),
    "russian": ("Прочти следующую заметку и скажи одним предложением, чего хочет её автор:", "Не цитируй её."),
    "chinese": ("请阅读下面的笔记,用一句话说明作者想要什么:", "不要引用原文。"),
    "japanese": ("次のメモを読み、筆者の望みを一文で述べてください:", "引用はしないでください。"),
    "korean": ("다음 메모를 읽고 글쓴이가 원하는 것을 한 문장으로 말해 주세요:", "인용하지 마세요."),
    "arabic": ("اقرأ الملاحظة التالية وقل لي في جملة واحدة ماذا يريد كاتبها:", "لا تقتبس منها."),
    "hindi": ("नीचे लिखा नोट पढ़ो और एक वाक्य में बताओ कि लेखक क्या चाहता है:", "इसे उद्धृत मत करो।"),
    "thai": ("อ่านบันทึกต่อไปนี้แล้วบอกว่าผู้เขียนต้องการอะไร:", "ห้ามคัดลอก"),
    "turkish": ("Aşağıdaki notu oku ve yazarının ne istediğini bir cümleyle söyle:", "Nottan alıntı yapma."),
}


def _outline(text: str) -> bytes:
    return outline(fold(text), "")


def _seen(texts: Sequence[str]) -> Templates:
    sketch = Templates()
    for text in texts:
        sketch.see(_outline(text), 1.0)
    return sketch


def _random_words(dice: random.Random, count: int) -> str:
    return " ".join(f"w{dice.randrange(3000)}" for _ in range(count))


def _share(sketch: Templates) -> float:
    return sum(template.weight for template in sketch.induced()) / sketch.total


@pytest.mark.parametrize("language", WRAPPED)
def test_a_wrapped_text_is_a_template_of_its_wrapper_in_every_language(language: str, words: Callable[..., str]) -> None:
    """From the second request on all are under one template, whose words are the wrapper's and no slot's."""
    before, after = WRAPPED[language]
    sketch = _seen([f"{before} {words(n, 12)} {after}" for n in range(30)])
    (template,) = sketch.induced()
    assert _share(sketch) == 1.0
    wrapper = len(_outline(f"{before} {after}")) // 2
    assert min(wrapper, FIRST_TOKENS) - RUN <= template.tokens <= wrapper


@pytest.mark.parametrize("slot", ["numbers", "names", "quotes", "code"])
def test_what_a_slot_looks_like_does_not_matter(slot: str) -> None:
    """Numbers, names, quotations and code vary alike: the constant words around them are the template."""
    dice = random.Random(slot)
    fill = {
        "numbers": lambda: str(dice.randrange(10**6)),
        "names": lambda: "".join(dice.choice("abcdefghij") for _ in range(8)).title(),
        "quotes": lambda: f'"{dice.random()} {dice.random()}"',
        "code": lambda: f"def f{dice.randrange(999)}(x): return x * {dice.random()}",
    }[slot]
    sketch = _seen([f"Please look at {fill()} and then compare it with {fill()} as you did before." for _ in range(40)])
    assert _share(sketch) == 1.0
    assert len(list(sketch.induced())) == 1


def test_unrelated_texts_are_no_template(words: Callable[..., str]) -> None:
    """Common words in the same order are not enough: of a stream of unrelated texts next to nothing is templated."""
    glue = [
        "the",
        "of",
        "a",
        "to",
        "in",
        "and",
        "is",
        "it",
        "for",
        "that",
        "on",
        "with",
        "as",
        "was",
        "at",
        "by",
        "this",
        "from",
    ]
    dice = random.Random(3)
    texts = [" ".join(word for pair in zip(words(n, 40).split(), dice.choices(glue, k=40), strict=True) for word in pair)
             for n in range(200)]  # fmt: skip
    assert _share(_seen(texts)) <= 0.05


def test_several_templates_are_held_beside_each_other(words: Callable[..., str]) -> None:
    """Three wrappers in turn, of unlike length, are three templates, and stay so."""
    kinds = [WRAPPED[language] for language in ("english", "german", "chinese")]
    texts = [f"{kinds[n % 3][0]} {words(n, 9)} {kinds[n % 3][1]}" for n in range(90)]
    sketch = _seen(texts)
    assert sorted(template.weight for template in sketch.induced()) == [30.0, 30.0, 30.0]


def test_a_template_among_unlike_texts_is_found(words: Callable[..., str]) -> None:
    """Of a key that asks two thirds unlike things, most of the third under a template is seen."""
    before, after = WRAPPED["english"]
    texts = [f"{before} {words(n, 9)} {after}" if n % 3 == 0 else words(n, 40) for n in range(150)]
    assert 0.28 <= _share(_seen(texts)) <= 0.34


def test_a_request_that_shares_less_than_half_leaves_a_template_as_it_is() -> None:
    """Otherwise one odd request would wear a template down to its idioms."""
    constant = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
    sketch = _seen([f"{constant} {slot}" for slot in ("red", "blue", "grey")])
    (template,) = sketch.induced()
    before = template.runs
    sketch.see(_outline("one two three four five six and then something else entirely about a boat"), 1.0)
    assert template.runs == before
    assert template.weight == 3.0


def test_templates_are_few_and_short(words: Callable[..., str]) -> None:
    """Whatever is seen, at most four of forty tokens each are kept."""
    texts = [f"{words(n // 5, 200)} {words(n, 5)}" for n in range(100)]
    sketch = _seen(texts)
    assert len(sketch.held) == CAPACITY
    assert max(template.tokens for template in sketch.held) <= MOST_TOKENS
    assert len(sketch.to_bytes()) <= 420


def test_a_merge_counts_one_wrapper_once_and_is_symmetric(words: Callable[..., str]) -> None:
    """Two keys with the same wrapper have one template together; another one stays its own."""
    before, after = WRAPPED["french"]
    left = _seen([f"{before} {words(n, 9)} {after}" for n in range(20)])
    right = _seen([f"{before} {words(-n, 9)} {after}" for n in range(1, 11)] + [f"{words(7, 20)} {n}" for n in range(5)])
    merged = left.merged(right)
    assert merged.to_bytes() == right.merged(left).to_bytes()
    assert sorted(template.weight for template in merged.induced()) == [5.0, 30.0]
    assert merged.total == left.total + right.total


@pytest.mark.parametrize(
    ("wordings", "in_turn", "low", "high"), [(4, True, 1.0, 1.0), (5, True, 0.0, 0.0), (6, False, 0.35, 0.65)]
)
def test_more_than_four_wordings_are_a_blind_spot(wordings: int, in_turn: bool, low: float, high: float) -> None:
    """Of five in strict turn none is seen, of six in random order about half: as the page of features says."""
    dice = random.Random(wordings)
    fronts = [_random_words(dice, 12) for _ in range(wordings)]
    texts = [f"{fronts[n % wordings] if in_turn else dice.choice(fronts)} {_random_words(dice, 10)}" for n in range(400)]
    assert low <= _share(_seen(texts)) <= high


@pytest.mark.parametrize(("replaced", "low", "high"), [(0.1, 0.7, 0.9), (0.2, 0.4, 0.65)])
def test_words_replaced_at_random_wear_a_template_down(replaced: float, low: float, high: float) -> None:
    """One in ten costs about a fifth of the requests, one in five about half: as the page of features says."""
    dice = random.Random(1)
    fixed = _random_words(dice, 18).split()
    texts = [
        " ".join(_random_words(dice, 1) if dice.random() < replaced else word for word in fixed)
        + f" {_random_words(dice, 10)}"
        for _ in range(400)
    ]
    assert low <= _share(_seen(texts)) <= high


def test_an_outline_holds_both_ends_of_a_text(words: Callable[..., str]) -> None:
    """Of a long text the first and the last words, of a short one each word once, whichever piece they come from."""
    text = words(1, 120)
    assert len(outline(text, "")) == 2 * (FIRST_WORDS + LAST_WORDS)
    assert outline(text[:1024], "cut " + text[-200:])[: 2 * FIRST_WORDS] == outline(text, "")[: 2 * FIRST_WORDS]
    short = words(2, 20)
    assert len(outline(short, "")) == 40
    assert outline("", "") == b""


@pytest.mark.parametrize(
    "unit", ["请写出以下问题的详细答案", "詳しい答えを書いて", "문제를 단계별로", "เขียนคำตอบ", "решите задачу "]
)
def test_the_ends_are_the_same_however_much_lies_between(unit: str) -> None:
    """Of a text without spaces little is split, and it gives what splitting all of it gives."""
    head, tail = unit * 30, unit * 20
    middles = ("", "x" * 30, "日" * 90)
    first = {outline(fold((head + middle)[:400]), fold(tail))[: 2 * FIRST_WORDS] for middle in middles}
    last = {outline(fold(head + middle), fold(tail))[-2 * LAST_WORDS :] for middle in middles}
    assert len(first) == len(last) == 1


def test_the_share_of_a_key_is_a_feature(
    make_event: MakeEvent, words: Callable[..., str], stream: Callable[..., list[Event]], values_of: Callable[..., object]
) -> None:
    """A wrapper without any listed slot is seen from the fifth request on; the same request again does not count."""
    before, after = WRAPPED["turkish"]
    wrapped = values_of(stream(20, text=lambda n: f"{before} {words(n, 9)} {after}"))
    assert wrapped["template_share"] == pytest.approx(1.0)  # type: ignore[index]
    mixed = values_of(stream(20))
    assert mixed["template_share"] == 0.0  # type: ignore[index]
    same = values_of(stream(20, text=lambda _: f"{before} {after}", user_digest=5, chain_digest=5))
    assert same["template_share"] is None  # type: ignore[index]
    assert values_of(stream(4))["template_share"] is None  # type: ignore[index]
    assert len(fingerprint(make_event(f"{before} {after}")).outline) % 2 == 0
