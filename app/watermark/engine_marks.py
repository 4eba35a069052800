"""Token lists against the key of an engine that marks by itself: what a file holds, and what the mark is worth."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from app.errors import BadInput
from app.watermark.tokens import token_list
from detectors.watermark.compat.detection import Detection, Scheme, detect, detect_corpus
from detectors.watermark.compat.sglang import Sglang, parse_key
from detectors.watermark.compat.synthid import SynthId
from detectors.watermark.compat.vllm import VllmDualKey, VllmGumbel, VllmSbw, VllmSynthId

LEFTHASH_WIDTH = 1
"""Tokens before that vLLM hashes under `lefthash` where its configuration does not say."""

_VLLM = {"context_width": "context_width", "dedup": "deduplicate_contexts"}
_OPTIONS: dict[str, tuple[Callable[..., Scheme], dict[str, str]]] = {
    "vllm-gumbel": (VllmGumbel, _VLLM),
    "vllm-dual": (VllmDualKey, _VLLM | {"alpha": "alpha"}),
    "vllm-sbw": (VllmSbw, _VLLM | {"seeding": "seeding", "gamma": "gamma"}),
    "vllm-synthid": (VllmSynthId, _VLLM | {"depth": "depth"}),
    "sglang": (Sglang, {"context_width": "context_window", "mixing": "mixing_probability"}),
    "synthid": (SynthId, {"context_width": "ngram_len", "history": "context_history_size", "weights": "weights"}),
}
"""Of each scheme what makes it, and its fields by the option that gives them."""

SCHEMES = tuple(_OPTIONS)


@dataclass(frozen=True, slots=True)
class Answer:
    """The tokens of one text.

    Attributes:
        place: file and line.
        tokens: of the answer.
        prompt: before it; empty where it is not known.
    """

    place: str
    tokens: list[int]
    prompt: list[int]


def scheme_of(name: str, key_place: str, key: str, options: Mapping[str, Any]) -> Scheme:
    """The configuration that a key file and options name.

    Args:
        name: one of `SCHEMES`.
        key_place: of the key file, for errors.
        key: what it holds. vLLM: a number, decimal or after 0x hexadecimal; SGLang: one key or two in hexadecimal digits;
            SynthID: its keys. Several are apart by spaces, commas or lines.
        options: by name, None where one is not given.

    Raises:
        BadInput: an option is not this scheme's or does not fit, or the file holds no such key. The key is never told.
    """
    make, fields = _OPTIONS[name]
    given = {option: value for option, value in options.items() if value is not None}
    for option in given:
        if option not in fields:
            takers = [other for other, (_, theirs) in _OPTIONS.items() if option in theirs]
            raise BadInput(f"{_flag(option)}: {name} makes no use of it; it is for {', '.join(takers)}")
    if name == "vllm-sbw" and given.get("seeding") == "lefthash":
        given.setdefault("context_width", LEFTHASH_WIDTH)
    arguments = {fields[option]: value for option, value in given.items()}
    if "ngram_len" in arguments:
        arguments["ngram_len"] += 1  # the tokens before, and the token itself
    arguments |= _keys(name, key_place, key)
    try:
        return make(**arguments)
    except ValueError as error:
        field, _, rule = str(error).partition(": ")
        flags = {theirs: _flag(option) for option, theirs in fields.items()}
        if field == "ngram_len":
            rule = "must be from 1 to 63"
        raise BadInput(f"{flags.get(field, f'file {key_place}: {field}')}: {rule}") from None


def read_answers(place: str, data: bytes, field: str = "tokens") -> list[Answer]:
    """Token lists: one JSON list, or JSON Lines of lists or of objects with `field` and, where known, `prompt`.

    Raises:
        BadInput: a line is something else, or there is none.
    """
    try:
        whole = json.loads(data)
    except (ValueError, RecursionError):
        whole = None
    if isinstance(whole, list):
        return [_answer(place, whole, field)]
    found = []
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        at = f"{place}: line {number}"
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            raise BadInput(f"{at}: must be JSON") from None
        found.append(_answer(at, value, field))
    if not found:
        raise BadInput(f"{place}: holds no list of tokens")
    return found


def judged(answers: Sequence[Answer], scheme: Scheme) -> tuple[list[Detection], Detection | None]:
    """Each answer by itself, and all together; None where there is one only, or where prompts make contexts.

    Raises:
        BadInput: tokens are too large, or a prompt is given where contexts begin with the answer.
    """
    found = []
    for answer in answers:
        try:
            found.append(detect(answer.tokens, scheme, answer.prompt))
        except ValueError as error:
            raise BadInput(f"{answer.place}: {error}") from None
    together = None
    if len(answers) > 1 and not any(answer.prompt for answer in answers):
        together = detect_corpus([answer.tokens for answer in answers], scheme)
    return found, together


def as_plain(found: Detection) -> dict[str, Any]:
    """A detection for JSON."""
    plain = asdict(found)
    plain["parts"] = list(plain["parts"])
    return plain


def _answer(place: str, value: Any, field: str) -> Answer:
    prompt: Any = None
    if isinstance(value, dict):
        value, prompt = value.get(field), value.get("prompt")
    if not isinstance(value, list):
        raise BadInput(f"{place}: must be a list of tokens, or an object with one in its field {field}")
    if prompt is not None and not isinstance(prompt, list):
        raise BadInput(f"{place}: prompt: must be a list of tokens")
    tokens, before = (token_list(place, name, part) for name, part in ((field, value), ("prompt", prompt or [])))
    return Answer(place, tokens.tolist(), before.tolist())


def _keys(name: str, place: str, text: str) -> dict[str, Any]:
    words = text.replace(",", " ").replace("[", " ").replace("]", " ").split()
    if name == "synthid":
        return {"keys": tuple(_number(place, word) for word in words)}
    most = 2 if name == "sglang" else 1
    if not 1 <= len(words) <= most:
        wanted = "one key, or key A and key B" if most == 2 else "one key"
        raise BadInput(f"file {place}: must hold {wanted} for {name}, not {len(words)} words")
    if name != "sglang":
        return {"key": _number(place, words[0])}
    try:
        return dict(zip(("key", "key_b"), map(parse_key, words), strict=False))
    except ValueError as error:
        raise BadInput(f"file {place}: {error}") from None


def _number(place: str, word: str) -> int:
    try:
        return int(word, 16 if word[:2].lower() == "0x" else 10)
    except ValueError:
        raise BadInput(f"file {place}: a key must be a whole number, or 0x and hexadecimal digits") from None


def _flag(option: str) -> str:
    return "--" + option.replace("_", "-")
