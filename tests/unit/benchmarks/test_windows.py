"""The window protocol: what is fitted on and what is tested share nothing, and pairs hold no copies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.windows import pairs
from benchmarks.windows.methods import METHODS, Fitting, Method, Test
from benchmarks.windows.protocol import Plan, folds, honest_windows, interval, measure, mixed_window, roomy
from benchmarks.windows.queries import WIDTH, Queries, rows
from benchmarks.windows.report import picture, tables
from benchmarks.windows.results import Results

PLAN = Plan(parts=3, honest=8, attacked=3, null_windows=50)
NOTHING = np.zeros((5, WIDTH), np.float32)
WORDS = [f"word{letter}" for letter in "abcdefghijklmnopqrs"]


def _queries(count: int, mark: float) -> Queries:
    """Texts that are told apart by their own number, and sides by a mark, in every embedding."""
    rng = np.random.default_rng(int(mark))
    texts = tuple(f"{mark}-{at}" for at in range(count))
    side = np.full((count, 1), mark, np.float32)
    return Queries(
        texts, np.hstack([side, rng.random((count, WIDTH - 1), np.float32)]), np.hstack([side, np.ones_like(side)])
    )


def _sentence(seed: int, words: int = 30) -> str:
    return " ".join(np.random.default_rng(seed).choice(WORDS, words))


def test_each_honest_text_is_tested_in_one_fold_and_in_its_reference_in_none() -> None:
    """Parts cover all texts once; a fold's reference is the rest."""
    found = list(folds(100, 3, 7))
    assert np.array_equal(np.sort(np.concatenate([fold.test for fold in found])), np.arange(100))
    for fold in found:
        assert not set(fold.reference) & set(fold.test)
        assert len(fold.reference) + len(fold.test) == 100


def test_honest_windows_are_disjoint_while_the_part_lasts() -> None:
    """A part of 35 holds three windows of ten without a common text; further ones hold no text twice."""
    windows = list(honest_windows(np.arange(35), 10, 6, np.random.default_rng(0)))
    assert len(windows) == 6
    assert len(set(np.concatenate(windows[:3]))) == 30
    assert all(len(set(window)) == 10 for window in windows)


def test_a_mixed_window_holds_its_share_of_attacking_texts() -> None:
    """A quarter of 40 are ten attacking texts, numbered after the honest ones; honest ones are of the part."""
    window = mixed_window(np.arange(100, 150), 200, 30, 40, 0.25, np.random.default_rng(0))
    assert len(set(window)) == 40
    assert sum(at >= 200 for at in window) == 10
    assert all(100 <= at < 150 for at in window if at < 200)


def test_no_method_is_fitted_on_what_it_is_tested_on() -> None:
    """Every window is made of texts that its reference does not hold, and no reference holds an attacking text."""
    seen: list[int] = []

    def fit(given: Fitting) -> Test:
        known = set(given.reference.texts)
        assert not any(text.startswith("1.0") for text in known)

        def test(window: Queries) -> float:
            assert not known & set(window.texts)
            assert len(set(window.texts)) == given.size == len(window)
            seen.append(sum(text.startswith("1.0") for text in window.texts))
            return 1.0

        return test

    measure(_queries(120, 0.0), _queries(60, 1.0), NOTHING, NOTHING, 20, (Method("spy", fit),), PLAN)
    assert sorted(set(seen)) == [0, 1, 2, 5, 10, 20]


def test_disjoint_honest_windows_are_counted_by_themselves() -> None:
    """Three parts of 40 texts hold two disjoint windows of 20 each."""
    always = Method("always", lambda given: lambda window: 0.0)
    (tally,) = measure(_queries(120, 0.0), _queries(60, 1.0), NOTHING, NOTHING, 20, (always,), PLAN).values()
    assert (len(tally.disjoint), len(tally.honest)) == (6, 24)
    assert tally.power(0.05, 0.005) == 1.0


def test_a_pair_that_is_too_small_for_a_size_is_left_out() -> None:
    """Windows need room in the tested part, in the reference, and among the attacking texts."""
    wide = Method("wide", lambda given: lambda window: 0.0, room=2.0)
    assert roomy(wide, 600, 100, 100)
    assert not roomy(wide, 600, 99, 100)
    assert not roomy(wide, 290, 100, 100)
    assert measure(_queries(30, 0.0), _queries(60, 1.0), NOTHING, NOTHING, 20, (wide,), PLAN) == {}


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_every_method_gives_a_foreign_window_a_small_p_value(method: Method) -> None:
    """A window half of which repeats one foreign text in small variations is found, and reference-like ones are not."""
    rng = np.random.default_rng(3)

    def side(count: int, foreign: int = 0) -> Queries:
        minilm = rng.standard_normal((count, 16)).astype(np.float32)
        minilm[:foreign] = minilm[0] + 0.02 * minilm[:foreign] + np.eye(16, dtype=np.float32)[0] * 5
        minilm /= np.linalg.norm(minilm, axis=1, keepdims=True)
        return Queries(tuple(map(str, range(count))), np.repeat(minilm, 5, axis=1)[:, :WIDTH], minilm)

    test = method.fit(Fitting(side(240), side(150).ours + np.float32(0.3), side(50).ours - np.float32(0.3), 40, 1, 200))
    assert test(side(40, 20)) <= 0.05
    assert min(test(side(40)) for _ in range(3)) > 0.001


def test_an_interval_of_a_rate_is_exact() -> None:
    """No alarm in 59 windows is below 6.1 % at 97.5 %, and all of one says at least 2.5 %."""
    assert interval(0, 59) == pytest.approx((0.0, 1 - 0.025 ** (1 / 59)))
    assert interval(1, 1) == pytest.approx((0.025, 1.0))


def test_near_copies_are_left_out_and_templates_are_not() -> None:
    """An attacking text with half of an honest one's shingles goes, as does an honest repeat; a common frame is no copy."""
    honest = [_sentence(seed) for seed in range(6)]
    copy = " ".join(honest[0].split()[:25]) + " " + _sentence(99, 5)
    frame = "please answer the following question in one short sentence and give no reason for it at all "
    framed = [frame + _sentence(seed, 12) for seed in range(20, 30)]
    kept_attack, kept_honest, repeats = pairs.apart([copy, _sentence(50)], [*honest, copy])
    assert (kept_attack, kept_honest, repeats) == ((_sentence(50),), tuple(honest), 1)
    kept_attack, _, repeats = pairs.apart(framed[:5], framed[5:])
    assert (len(kept_attack), repeats) == (5, 0)


def test_no_background_is_on_a_side_or_related_to_one() -> None:
    """Of every pair that is named, background and known harvests are of other origins than both sides."""
    for attack, honest in pairs.MODERN:
        near = pairs.related({attack, honest})
        assert {attack, honest} <= near
        assert set(pairs.HONEST) - near
        assert set(pairs.ATTACKS) - near
    assert "llm_judge_requests" in pairs.related({"alpaca_52k_en", "banking77"})
    assert "t0_templated" in pairs.related({"imdb"})


def test_rows_are_the_direction_and_the_shape() -> None:
    """A text has a unit direction beside finite numbers of its shape, in any script; an empty one has zeros and numbers."""
    found = rows(["Sort the list [3, 1, 2]!", "请把这句话翻译成英文。", ""])
    assert found.shape == (3, WIDTH)
    assert np.linalg.norm(found[:2, :64], axis=1) == pytest.approx(1.0, abs=0.05)
    assert np.isfinite(found).all()


def test_results_go_on_with_the_same_plan_only(tmp_path: Path) -> None:
    """What was kept is read again, and not for another plan."""
    results = Results(PLAN, left_out={"a": (1, 2)})
    always = Method("Stillwatch", lambda given: lambda window: 0.0)
    for method, tally in measure(_queries(120, 0.0), _queries(60, 1.0), NOTHING, NOTHING, 20, (always,), PLAN).items():
        results.tallies["a", 20, method] = tally
    results.write(tmp_path / "kept.json")
    assert Results.read(tmp_path / "kept.json", PLAN) == results
    assert Results.read(tmp_path / "kept.json", replace(PLAN, seed=2)).tallies == {}
    told = "\n".join(tables(results, [20, 400]))
    assert "| Stillwatch, 0.5% | 100% | 100% | 100% | 100% | 100% | 6 / 6 (54.1%–100.0%) | 24 / 24, 100.0% |" in told
    results.tallies["a", 20, "CAP"] = results.tallies["a", 20, "Stillwatch"]
    picture(results, [20, 400], tmp_path / "power.png")
    assert (tmp_path / "power.png").stat().st_size > 1000
