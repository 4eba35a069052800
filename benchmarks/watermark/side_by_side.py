"""Our detectors beside those of vLLM, SGLang, transformers and MarkLLM on the same texts: power, errors, speed, tails.

The references are not part of the project. `--peers FOLDER` holds their wheels, unpacked, one folder each:

    pip download --no-deps vllm sglang markllm
    unzip -q vllm-*.whl    'vllm/config/watermarking.py' 'vllm/v1/watermarking/*' '*.dist-info/*' -d FOLDER/vllm
    unzip -q sglang-*.whl  'sglang/srt/sampling/watermarking/*' '*.dist-info/*'                   -d FOLDER/sglang
    unzip -q markllm-*.whl -d FOLDER/markllm

so that there are
    FOLDER/vllm/vllm/config/watermarking.py
    FOLDER/vllm/vllm/v1/watermarking/{detector,gumbel,watermarker}.py and prfs/{__init__,base,philox}.py
    FOLDER/sglang/sglang/srt/sampling/watermarking/{__init__,config,detector}.py
    FOLDER/markllm/markllm/
`--python` is an interpreter with torch, transformers, scipy and pydantic; SGLang's detector needs neither and runs under
this one. Each reference runs in a process of its own (`_peer`), one thread, its own files and settings. Without one of them
our copy of what it says (`Detection.reported`) stands in, marked so, or the row is left out; which, is said first.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from math import log
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from benchmarks.watermark.calibration import prose, templated
from benchmarks.watermark.engines import ALPHA, ENGINES, GREEN_LISTS, REPEATS, Engine, Peers, Texts, mark, ours
from benchmarks.watermark.power import LENGTHS
from benchmarks.watermark.texts import VOCABULARY, Clock, Writer, profile, secret, table, tenants, words_of, zipf
from detectors.watermark import single
from detectors.watermark.compat.detection import detect_corpus
from detectors.watermark.evidence import Evidence
from detectors.watermark.prf import Prf
from detectors.watermark.tails import log_binomial_tail, log_binomial_tails, log_dual_tail, log_gamma_tail

NAME = "side-by-side"
LN10 = log(10)
GREEN = 0.25
"""Share of green tokens in transformers, its default."""

CLEAN_TOKENS = 500
SPEED_TEXTS, SPEED_TOKENS = 20, 1000
COPY = " (our copy)"
Logs = NDArray[np.float64]


def add(parser: argparse.ArgumentParser) -> None:
    """Where the references are, and how much is measured."""
    parser.add_argument("--peers", type=Path, metavar="FOLDER", help="their wheels, unpacked; see the module's docstring")
    parser.add_argument("--python", type=Path, metavar="FILE", help="interpreter with torch and transformers")
    parser.add_argument("--texts", type=int, default=200, help="marked texts a row (default: %(default)s)")
    parser.add_argument("--keys", type=int, default=1000, help="wrong keys a corpus (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Prints the tables."""
    peers = Peers(args.peers, args.python)
    for engine in (*ENGINES, REPEATS, GREEN_LISTS):
        why = peers.missing(engine)
        if why:
            instead = "its rows are left out" if engine.scheme is None else "our copy of what it says stands in"
            print(f"{engine.name}: {why}; {instead}.")
    print("\nFound at 1e-6, of marked texts\n")
    lengths = [f"{bits:g} bit, {length:,} tokens" for bits, length in LENGTHS]
    table(("mark", "detector", *lengths), _power(peers, args.texts))
    print(f"\nFalse positives under {args.keys:,} keys that had no part, a text of {CLEAN_TOKENS} tokens each\n")
    for level in (1e-2, 1e-3):
        low, high = binom.interval(0.99, args.keys, level)
        print(f"at {level:g} the 99 % binomial band is {low / args.keys:.4f} to {high / args.keys:.4f}")
    print()
    table(
        ("mark", "detector", "prose, 1e-2", "1e-3", "templated, 1e-2", "1e-3", "smallest p"),
        _false_positives(peers, args.keys),
    )
    print(f"\nSpeed, {SPEED_TEXTS} texts of {SPEED_TOKENS:,} tokens under one key, one core\n")
    table(("mark", "theirs, tokens/s", "ours, tokens/s", "ratio"), _speed(peers))
    print("\nTrue p over the p that is said, and the p that is said where the true one is 1e-400\n")
    table(
        ("detector", "tokens", "z = 2", "z = 4", "z = 6", "z = 8", "p = 1e-6", "1e-9", "1e-12", "1e-400"),
        _tails(peers),
    )
    print("\nVersions: " + ", ".join(f"{name} {version}" for name, version in sorted(peers.versions.items())))
    return 0


def _key(number: int) -> int:
    """A key of 31 bits, which every engine takes."""
    return int(np.random.default_rng(number).integers(1 << 30, (1 << 31) - 1))


def _power(peers: Peers, count: int) -> Iterator[tuple[object, ...]]:
    for engine in ENGINES:
        missing = peers.missing(engine)
        if missing and engine.scheme is None:
            continue
        theirs, own = [], []
        for row, (bits, length) in enumerate(LENGTHS):
            key, seed = _key(row), 100 + row
            if engine.marked is None:
                task = {"do": "mark", "key": key, "p": zipf(bits).tolist(), "count": count, "length": length, "seed": seed}
                texts = peers.ask(engine, [task])[0]["texts"]
            else:
                texts = mark(engine, key, bits, count, length, seed)
            said, of_ours = _both(peers, engine, [key] * count, texts)
            theirs.append(_share(said, -6))
            own.append("-" if of_ours is None else _share(of_ours, -6))
        yield (engine.name, "its own" + (COPY if missing else ""), *theirs)
        if own[0] != "-":
            yield (engine.name, _our_name(engine), *own)
    yield ("our `gumbel`, one key suspected", "ours", *(_own_power(bits, length, count) for bits, length in LENGTHS))


def _own_power(bits: float, length: int, count: int) -> str:
    kind, logs = profile(), np.zeros(count)
    for number in range(count):
        master = secret(77_000_000 + number)
        prf, word = Prf(master, kind), words_of(master, tenants(1), kind)[0]
        text = Writer(prf, kind, bits, number).marked(word, length)
        logs[number] = single.test(Evidence.of(prf, kind, [text]), word).log10_p
    return _share(logs, -6)


def _false_positives(peers: Peers, count: int) -> Iterator[tuple[object, ...]]:
    keys = [_key(1_000 + number) for number in range(count)]
    corpora = [stretches(prose(), count, CLEAN_TOKENS), stretches(templated(2000), count, CLEAN_TOKENS)]
    for engine in (*ENGINES[:2], REPEATS, GREEN_LISTS, *ENGINES[2:]):
        missing = peers.missing(engine)
        if missing and engine.scheme is None:
            continue
        pairs = [_both(peers, engine, keys, texts) for texts in corpora]
        said = [theirs for theirs, _ in pairs]
        yield (engine.name, "its own" + (COPY if missing else ""), *_rates(said))
        of_ours = [own for _, own in pairs if own is not None]
        if of_ours:
            yield (engine.name, _our_name(engine), *_rates(of_ours))


def _rates(logs: list[Logs]) -> tuple[str, ...]:
    least = min(float(one.min()) for one in logs)
    return (*(f"{(one <= level).mean():.3f}" for one in logs for level in (-2, -3)), power_of_ten(least))


def _both(peers: Peers, engine: Engine, keys: list[int], texts: Texts) -> tuple[Logs, Logs | None]:
    """Log10 of their p and of ours, per text; None: there is none of ours."""
    own: Logs | None = None
    copied: Logs | None = None
    if engine.scheme is not None:
        own, copied = ours(engine, keys, texts)
    if peers.missing(engine):
        assert copied is not None
        return copied, own
    found = peers.ask(engine, [{"do": "detect", "keys": keys, "texts": texts}])[0]["found"]
    if "different" in found[0]:  # its green lists, each pair of tokens once, and the exact tail
        counts = np.array([(one["different"], one["different_green"]) for one in found])
        own = log_binomial_tails(counts[:, 0], GREEN, counts[:, 1]) / LN10
    return np.array([one["log10_p"] for one in found]), own


def _our_name(engine: Engine) -> str:
    return "ours" if engine.scheme is not None else "our exact tail over its green lists, each pair once"


def _speed(peers: Peers) -> Iterator[tuple[object, ...]]:
    texts = np.random.default_rng(5).integers(1, VOCABULARY, (SPEED_TEXTS, SPEED_TOKENS)).tolist()
    keys, total = [_key(9)] * SPEED_TEXTS, SPEED_TEXTS * SPEED_TOKENS
    for engine in ENGINES:
        if peers.missing(engine):
            continue
        theirs = total / float(peers.ask(engine, [{"do": "detect", "keys": keys, "texts": texts}])[0]["seconds"])
        if engine.scheme is None:
            yield (engine.name, f"{theirs:,.0f}", "-", "-")
            continue
        scheme = engine.scheme(keys[0])
        detect_corpus(texts[:1], scheme)
        clock = Clock()
        for text in texts:
            detect_corpus([text], scheme)  # the p-value alone, without what the engine would say
        own = total / clock()
        yield (engine.name, f"{theirs:,.0f}", f"{own:,.0f}", f"{own / theirs:.1f}")


def _tails(peers: Peers) -> Iterator[tuple[object, ...]]:
    for engine in ENGINES:
        if peers.missing(engine):
            continue
        for n in (200, 1000):
            exact, mean, deviation, top = _law(engine, n)
            scores = [mean + z * deviation for z in (2, 4, 6, 8)]
            if top is not None:
                scores = [float(np.ceil(score)) for score in scores]
            scores += [score_at(exact, target, mean, top) for target in (-6, -9, -12, -400)]
            said = [one["log10_p"] for one in peers.ask(engine, [{"do": "tail", "n": n, "score": s} for s in scores])]
            cells = [_ratio(exact(score) - log_p) for score, log_p in zip(scores[:-1], said[:-1], strict=True)]
            # Of n tokens a quarter green, not even all of them may be as rare as that.
            last = "-" if exact(scores[-1]) > -399 else power_of_ten(said[-1])
            yield (engine.name, f"{n:,}", *cells, last)


def _law(engine: Engine, n: int) -> tuple[Callable[[float], float], float, float, int | None]:
    """The exact log10 tail of an engine's statistic, its mean and deviation, and its largest value where it counts."""
    if engine.peer == "transformers-kgw":
        spread = float(np.sqrt(n * GREEN * (1 - GREEN)))
        return (lambda k: log_binomial_tail(n, GREEN, int(k)) / LN10), n * GREEN, spread, n
    if engine.peer == "vllm-dual":
        spread = float(np.sqrt(n * ((1 - ALPHA) ** 2 + ALPHA**2)))
        return (lambda s: log_dual_tail(n, s, ALPHA) / LN10), float(n), spread, None
    return (lambda s: log_gamma_tail(n, s) / LN10), float(n), float(np.sqrt(n)), None


def score_at(exact: Callable[[float], float], target: float, low: float, top: int | None) -> float:
    """Where an exact tail is 10^target: the least whole score there, or the top, where it counts up to `top`."""
    high = float(top) if top is not None else 20 * low + 2000
    for _ in range(60):
        middle = (low + high) / 2
        if exact(np.ceil(middle) if top is not None else middle) > target:
            low = middle
        else:
            high = middle
    return float(np.ceil(high)) if top is not None else high


def stretches(documents: list[NDArray[np.uint32]], count: int, length: int) -> Texts:
    """So many texts of `length` tokens, from places spread over the documents one after the other; never token 0."""
    whole = np.concatenate(documents).astype(np.int64) % (VOCABULARY - 1) + 1
    starts = np.linspace(0, len(whole) - length, count).astype(np.int64)
    return [[int(token) for token in whole[start : start + length]] for start in starts]


def _share(logs: Any, level: float) -> str:
    share = float((np.asarray(logs) <= level).mean())
    return f"{share:.3f} ± {1.96 * np.sqrt(share * (1 - share) / len(logs)):.3f}"


def _ratio(log10: float) -> str:
    return "∞" if log10 == np.inf else f"{10**log10:,.2f}" if log10 < 4 else power_of_ten(log10)


def power_of_ten(log10: float) -> str:
    """10^x in words of a table, also far below what a float holds; 0 for minus infinity."""
    if log10 == -np.inf:
        return "0"
    exponent = int(np.floor(log10 + 1e-9))  # a tail found by bisection lies a hair below its power of ten
    return f"{10 ** (log10 - exponent):.1f}e{exponent}"
