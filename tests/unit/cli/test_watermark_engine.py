"""`stillwatch watermark engine`: token lists under the key of an engine that marks by itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.cli import main
from detectors.watermark.compat.detection import detect, detect_corpus
from detectors.watermark.compat.sglang import Sglang, parse_key
from detectors.watermark.compat.synthid import SynthId
from detectors.watermark.compat.vllm import VllmDualKey, VllmGumbel, VllmSbw

VLLM = json.loads((Path(__file__).parents[2] / "fixtures" / "watermark" / "vllm.json").read_text())
MARKED: list[int] = VLLM["known_sequence"]["tokens"]
KEY = "42"
OTHER = list(range(100, 164))
SECRET = "981273498127349812"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("key").write_text(KEY + "\n")
    Path("key").chmod(0o600)
    Path("one.json").write_text(json.dumps(MARKED, indent=1))
    lines = [json.dumps(MARKED), "", json.dumps({"tokens": OTHER}), json.dumps({"tokens": MARKED})]
    Path("many.jsonl").write_text("\n".join(lines) + "\n")


def _told(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main(["watermark", "engine", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_text_has_the_exact_p_beside_the_engines_own(capsys: pytest.CaptureFixture[str]) -> None:
    """vLLM's known sequence shows under its key, in JSON and in a row."""
    told = _told(capsys, "one.json", "--scheme", "vllm-gumbel", "--key-file", "key")
    (text,) = told["texts"]
    wanted = detect(MARKED, VllmGumbel(int(KEY)))
    assert wanted.reported is not None
    assert wanted.log10_p < -6
    assert (text["scored"], text["score"], text["log10_p"]) == (wanted.scored, wanted.score, wanted.log10_p)
    assert text["reported"]["log10_p"] == wanted.reported.log10_p
    assert told["together"] is None
    assert main(["watermark", "engine", "one.json", "-s", "vllm-gumbel", "--key-file", "key"]) == 0
    row = capsys.readouterr().out.rstrip("\n").split("\t")
    assert row[:3] == ["one.json", "64", str(wanted.scored)]
    assert row[4] == row[7] == f"{wanted.log10_p:.2f}"


def test_several_texts_are_judged_together_with_repeats_once(capsys: pytest.CaptureFixture[str]) -> None:
    """A text that comes twice is no more evidence than once; empty lines are passed over, and lines keep their number."""
    told = _told(capsys, "many.jsonl", "--scheme", "vllm-gumbel", "--key-file", "key")
    assert [text["place"] for text in told["texts"]] == [f"many.jsonl: line {number}" for number in (1, 3, 4)]
    wanted = detect_corpus([MARKED, OTHER], VllmGumbel(int(KEY)))
    assert told["together"]["log10_p"] == wanted.log10_p
    assert told["together"]["scored"] == wanted.scored


CASES = [
    ("vllm-dual", "0x2a", ("--alpha", "0.25", "--context-width", "2"), VllmDualKey(42, context_width=2, alpha=0.25)),
    ("vllm-sbw", "42", ("--seeding", "lefthash"), VllmSbw(42, seeding="lefthash", context_width=1)),
    ("vllm-sbw", "42", ("--gamma", "0.25", "--dedup", "none"), VllmSbw(42, gamma=0.25, deduplicate_contexts="none")),
    ("sglang", "0123456789abcdef", ("--context-width", "3"), Sglang(parse_key("0123456789abcdef"), context_window=3)),
    (
        "sglang", "0xa1\nb2", ("--mixing", "0.25"),
        Sglang(0xA1, key_b=0xB2, mixing_probability=0.25),
    ),
    ("synthid", "[654, 400,\n-836]", ("--weights", "linear", "--context-width", "2", "--history", "9"),
     SynthId((654, 400, -836), ngram_len=3, weights="linear", context_history_size=9)),
]  # fmt: skip


@pytest.mark.parametrize(("scheme", "key", "options", "wanted"), CASES, ids=[f"{case[0]} {case[2]}" for case in CASES])
def test_options_and_key_file_make_the_configuration(
    scheme: str, key: str, options: tuple[str, ...], wanted: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every scheme with its own options gives what the detector by itself gives."""
    Path("key").write_text(key)
    (text,) = _told(capsys, "one.json", "--scheme", scheme, "--key-file", "key", *options)["texts"]
    found = detect(MARKED, wanted)
    assert (text["scored"], text["score"], text["log10_p"]) == (found.scored, found.score, found.log10_p)
    assert [part["name"] for part in text["parts"]] == [part.name for part in found.parts]


def test_a_prompt_makes_the_first_contexts_known(capsys: pytest.CaptureFixture[str]) -> None:
    """SGLang's contexts include the prompt: with it no token at the beginning is left out; then nothing is pooled."""
    Path("key").write_text("a1")
    lines = [{"answer": MARKED, "prompt": [1, 2, 3, 4]}, {"answer": OTHER}]
    Path("prompted.jsonl").write_text("\n".join(map(json.dumps, lines)))
    told = _told(capsys, "prompted.jsonl", "--scheme", "sglang", "--key-file", "key", "--field", "answer")
    assert told["texts"][0]["scored"] == detect(MARKED, Sglang(0xA1), [1, 2, 3, 4]).scored
    assert told["texts"][0]["scored"] > detect(MARKED, Sglang(0xA1)).scored
    assert told["together"] is None


WRONG: list[tuple[dict[str, str], tuple[str, ...], str]] = [
    ({"key": SECRET + "x"}, ("vllm-gumbel",), "file key: a key must be a whole number, or 0x"),
    ({"key": ""}, ("vllm-gumbel",), "file key: must hold one key for vllm-gumbel, not 0 words"),
    ({"key": SECRET + SECRET}, ("vllm-gumbel",), "file key: key: must be a whole number from 0 to 2^64 - 1"),
    ({"key": SECRET + "0"}, ("sglang",), "file key: key: must be 1 to 16 hexadecimal digits"),
    ({"key": f"{SECRET[:9]} 2 3"}, ("sglang",), "file key: must hold one key, or key A and key B for sglang, not 3 words"),
    ({"key": ""}, ("synthid",), "file key: keys: must be 1-256 whole numbers"),
    ({}, ("vllm-gumbel", "--alpha", "0.1"), "--alpha: vllm-gumbel makes no use of it; it is for vllm-dual"),
    ({}, ("vllm-dual", "--alpha", "2"), "--alpha: must be from 0 to 1"),
    ({}, ("vllm-gumbel", "--context-width", "0"), "--context-width: must be from 1 to 1024"),
    ({}, ("sglang", "--context-width", "65"), "--context-width: must be from 1 to 64"),
    ({}, ("synthid", "--context-width", "64"), "--context-width: must be from 1 to 63"),
    ({"one.json": "{"}, ("vllm-gumbel",), "one.json: line 1: must be JSON"),
    ({"one.json": "\n"}, ("vllm-gumbel",), "one.json: holds no list of tokens"),
    ({"one.json": '[1]\n{"text": "a"}'}, ("vllm-gumbel",), "one.json: line 2: must be a list of tokens"),
    ({"one.json": "[1, -1]"}, ("vllm-gumbel",), "one.json: tokens: item 2 must be a whole number"),
    (
        {"one.json": "[3000000000]"},
        ("vllm-gumbel",),
        "one.json: tokens: must be a list of whole numbers from 0 to 2147483647",
    ),
    ({"one.json": '{"tokens": [1], "prompt": [2]}'}, ("vllm-gumbel",), "one.json: line 1: prompt: must be empty"),
    (
        {"one.json": '{"tokens": [1], "prompt": "a"}'},
        ("vllm-gumbel",),
        "one.json: line 1: prompt: must be a list of tokens",
    ),
]


@pytest.mark.parametrize(("files", "options", "words"), WRONG, ids=[case[2] for case in WRONG])
def test_what_is_wrong_is_one_sentence_without_the_key(
    files: dict[str, str], options: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file, line or option is named with its rule; the key is never shown."""
    for name, content in files.items():
        Path(name).write_text(content)
    assert main(["watermark", "engine", "one.json", "--key-file", "key", "--scheme", *options]) != 0
    found = capsys.readouterr()
    (line,) = found.err.splitlines()
    assert line.startswith("stillwatch: ")
    assert words in line
    assert SECRET[:9] not in line
    assert found.out == ""


def test_a_key_that_others_may_read_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """As any secret of the service."""
    Path("key").chmod(0o644)
    assert main(["watermark", "engine", "one.json", "--key-file", "key", "--scheme", "sglang"]) != 0
    assert "file key: others than its owner may read it, mode 0644" in capsys.readouterr().err
