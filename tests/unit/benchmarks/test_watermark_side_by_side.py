"""The comparison with other engines' detectors: its texts, its tails, and what it says where a reference is not there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.watermark import _peer
from benchmarks.watermark.__main__ import main
from benchmarks.watermark.engines import ENGINES, GREEN_LISTS, REPEATS, Engine, Peers, mark, ours
from benchmarks.watermark.side_by_side import power_of_ten, score_at, stretches
from detectors.watermark.tails import log_binomial_tail, log_gamma_tail

LN10 = float(np.log(10))
OURS = [engine for engine in ENGINES if engine.marked is not None]

REFERENCE = """
from .config import parse_watermark_key
class _Found:
    def __init__(self, tokens, key):
        self.num_contexts, self.score, self.log_p_value = len(tokens), float(parse_watermark_key(key)), -4.605170185988092
class _Both:
    def __init__(self, tokens, key):
        self.combined = _Found(tokens, key)
def detect(tokens, *, key):
    print("a reference may be loud")
    return _Both(tokens, key)
def _gamma_log_survival(score, n):
    return -score * n
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A wheel of SGLang's layout, unpacked, whose own packages must not be run."""
    inner = tmp_path / "sglang" / "sglang" / "srt" / "sampling" / "watermarking"
    inner.mkdir(parents=True)
    (tmp_path / "sglang" / "sglang" / "__init__.py").write_text("raise RuntimeError('the engine itself was loaded')")
    (inner / "__init__.py").write_text("")
    (inner / "config.py").write_text("def parse_watermark_key(digits):\n    return int(digits, 16)\n")
    (inner / "detector.py").write_text(REFERENCE)
    (tmp_path / "sglang" / "sglang-9.8.7.dist-info").mkdir()
    return tmp_path


def _of(name: str) -> Engine:
    return next(engine for engine in ENGINES if engine.peer == name)


@pytest.mark.parametrize("engine", OURS, ids=[engine.peer for engine in OURS])
def test_texts_are_marked_as_the_engine_marks(engine: Engine) -> None:
    """Each is found under its key and not under another, and what the engine would say agrees."""
    texts = mark(engine, 5, 3.0, 4, 150, seed=1)
    assert all(len(text) == 154 and len({tuple(text[at : at + 4]) for at in range(151)}) == 151 for text in texts)
    own, copied = ours(engine, [5] * 4, texts)
    assert (own < -12).all()
    assert copied == pytest.approx(own, rel=0.05)
    wrong, _ = ours(engine, [6] * 4, texts)
    assert (wrong > -4).all()


def test_a_reference_runs_in_a_process_of_its_own(folder: Path) -> None:
    """Only its watermark's files are loaded; its detections, its tail and its version come back, whatever it prints."""
    peers, engine = Peers(folder, None), _of("sglang")
    assert peers.missing(engine) == ""
    tasks: list[dict[str, Any]] = [
        {"do": "detect", "keys": [17, 18], "texts": [[1, 2, 3], [4]]}, {"do": "tail", "n": 10, "score": 2.0},
    ]  # fmt: skip
    detected, tail = peers.ask(engine, tasks)
    assert [(one["scored"], one["score"]) for one in detected["found"]] == [(3, 17.0), (1, 18.0)]
    assert detected["found"][0]["log10_p"] == pytest.approx(-2)
    assert detected["seconds"] > 0
    assert tail["log10_p"] == pytest.approx(-20 / LN10)
    assert peers.versions == {"sglang": "9.8.7"}


def test_a_reference_that_fails_is_named(folder: Path) -> None:
    """With the last line it wrote."""
    (folder / "sglang" / "sglang" / "srt" / "sampling" / "watermarking" / "detector.py").write_text("raise OSError('gone')")
    with pytest.raises(RuntimeError, match="SGLang, one key: its detector stopped: OSError: gone"):
        Peers(folder, None).ask(_of("sglang"), [{"do": "tail", "n": 1, "score": 1.0}])


def test_what_is_not_there_is_said(folder: Path) -> None:
    """A reference needs its folder, its interpreter, or is in no wheel."""
    assert "--peers" in Peers(None, None).missing(_of("sglang"))
    assert "--python" in Peers(folder, None).missing(_of("vllm-gumbel"))
    assert "a folder vllm" in Peers(folder, Path(sys.executable)).missing(REPEATS)
    assert Peers(folder, Path(sys.executable)).missing(_of("transformers-kgw")) == ""
    assert Peers(folder, Path(sys.executable)).missing(GREEN_LISTS)


def test_without_references_our_copies_stand_in_and_are_called_so(capsys: pytest.CaptureFixture[str]) -> None:
    """The rows of engines that we know are there; the others are left out, with the reason."""
    assert main(["side-by-side", "--texts", "3", "--keys", "20"]) == 0
    said = capsys.readouterr().out
    assert "MarkLLM `EXP`: it needs --python with torch; its rows are left out." in said
    assert "SGLang, one key: it needs --peers with a folder sglang; our copy of what it says stands in." in said
    rows = [line for line in said.splitlines() if line.startswith("| ")]
    assert sum("its own (our copy)" in row for row in rows) == 3 + 5
    assert not any("MarkLLM" in row or "KGW" in row for row in rows)
    assert any(row.startswith("| our `gumbel`, one key suspected") for row in rows)


def test_a_detector_that_counts_repeats_is_seen_through() -> None:
    """On templated text a detector that counts repeats is wrong far more often than it says; ours is not."""
    texts = stretches([np.tile(np.arange(40, dtype=np.uint32), 60)], 300, 500)
    keys = list(range(1, 301))
    own, theirs = ours(REPEATS, keys, texts)
    assert (theirs <= -2).mean() > 0.1
    assert (own <= -2).mean() < 0.04


@pytest.mark.parametrize("target", [-6, -12, -400])
def test_a_score_of_a_given_tail_is_found(target: float) -> None:
    """The tail there is the one asked for; of a count it is the first whole number that is as rare."""

    def gamma(score: float) -> float:
        return log_gamma_tail(200, score) / LN10

    def green(count: float) -> float:
        return log_binomial_tail(1000, 0.25, int(count)) / LN10

    assert gamma(score_at(gamma, target, 200.0, None)) == pytest.approx(target, rel=1e-6)
    count = score_at(green, target, 250.0, 1000)
    assert green(count) <= target < green(count - 1)


def test_stretches_are_of_the_text_and_never_token_0() -> None:
    """Of one length, spread from the beginning to the end."""
    texts = stretches([np.arange(31_000, 33_000, dtype=np.uint32)], 5, 100)
    assert [len(text) for text in texts] == [100] * 5
    assert texts[0][0] == 31_001
    assert texts[-1][-1] == (32_999 % 31_999) + 1
    assert min(min(text) for text in texts) >= 1


def test_powers_of_ten_are_written_below_what_a_float_holds() -> None:
    """And a hair below one is written as it."""
    assert power_of_ten(-400 - 1e-12) == "1.0e-400"
    assert power_of_ten(-2.6989700043) == "2.0e-3"
    assert power_of_ten(-np.inf) == "0"


def test_the_child_needs_nothing_of_the_project() -> None:
    """Another interpreter runs it: isolated, away from the tree, it complains of its input and of nothing else."""
    ran = subprocess.run(
        [sys.executable, "-I", str(Path(_peer.__file__))],
        input=json.dumps({"engine": "none", "folder": "", "tasks": []}),
        capture_output=True, text=True, check=False, cwd="/",
    )  # fmt: skip
    assert ran.stderr.strip().splitlines()[-1] == "KeyError: 'none'"
