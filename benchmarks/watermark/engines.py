"""Texts marked as vLLM and SGLang mark them, and what stands for a reference detector: itself in a process, or our copy."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.watermark.texts import CANDIDATES, VOCABULARY, zipf
from detectors.watermark.compat.detection import Scheme, detect
from detectors.watermark.compat.murmur3 import context_hashes, token_hashes
from detectors.watermark.compat.philox import prf_words, uniforms
from detectors.watermark.compat.sglang import Sglang
from detectors.watermark.compat.vllm import VllmDualKey, VllmGumbel, VllmSbw, derived_keys

Texts = list[list[int]]
WIDTH = 4
ALPHA = 0.1
UNIT = 2.0**-32


@dataclass(frozen=True)
class Engine:
    """A detector that is compared.

    Attributes:
        name: in the tables.
        peer: its name in `_peer`; empty: there is no reference that runs here, and our copy of what it says stands in.
        needs: folder in `--peers`; empty: a package of the interpreter.
        torch: whether it runs under `--python`.
        scheme: of a key, ours for the same mark; None: there is none.
        marked: numbers by which a token is chosen: of a key, contexts, candidates and a generator; None: `_peer` marks.
    """

    name: str
    peer: str
    needs: str
    torch: bool
    scheme: Callable[[int], Scheme] | None
    marked: Callable[[int, NDArray[np.int64], NDArray[np.int64], np.random.Generator], NDArray[np.float64]] | None = None


def _philox(
    key: int, contexts: NDArray[np.int64], candidates: NDArray[np.int64], _: np.random.Generator
) -> NDArray[np.float64]:
    rows = np.repeat(contexts, candidates.shape[1], axis=0)
    return uniforms(prf_words(key, rows, candidates.ravel())).astype(np.float64).reshape(candidates.shape)


def _two_keys(
    key: int, contexts: NDArray[np.int64], candidates: NDArray[np.int64], randomness: np.random.Generator
) -> NDArray[np.float64]:
    of_a, of_b = (_philox(one, contexts, candidates, randomness) for one in derived_keys(key))
    return np.where(randomness.random((len(contexts), 1)) < ALPHA, of_b, of_a)


def _murmur(
    key: int, contexts: NDArray[np.int64], candidates: NDArray[np.int64], _: np.random.Generator
) -> NDArray[np.float64]:
    hashes = context_hashes(contexts, np.full(len(contexts), contexts.shape[1]))[:, None]
    of_each = token_hashes(key, np.broadcast_to(hashes, candidates.shape), candidates.astype(np.uint64))
    return np.asarray((of_each.astype(np.float64) + 0.5) * UNIT)


ENGINES = (
    Engine("vLLM `gumbel`", "vllm-gumbel", "vllm", True, VllmGumbel, _philox),
    Engine("vLLM `dual_key_gumbel`", "vllm-dual", "vllm", True, lambda key: VllmDualKey(key, alpha=ALPHA), _two_keys),
    Engine("SGLang, one key", "sglang", "sglang", False, Sglang, _murmur),
    Engine("transformers KGW `lefthash`", "transformers-kgw", "", True, None),
    Engine("MarkLLM `EXP`", "markllm-exp", "markllm", True, None),
)
REPEATS = Engine("vLLM `gumbel`, contexts not deduplicated", "vllm-gumbel-none", "vllm", True,
                 lambda key: VllmGumbel(key, deduplicate_contexts="none"))  # fmt: skip
GREEN_LISTS = Engine("vLLM `sbw`", "", "", False, lambda key: VllmSbw(key))


def mark(engine: Engine, key: int, bits: float, count: int, length: int, seed: int) -> Texts:
    """Texts of `length` marked tokens after four plain ones; no context comes twice in one, so none is left unmarked."""
    assert engine.marked is not None
    randomness, p = np.random.default_rng(seed), zipf(bits)
    made = np.zeros((count, WIDTH + length), np.int64)
    made[:, :WIDTH] = randomness.integers(0, VOCABULARY, (count, WIDTH))
    for at in range(WIDTH, WIDTH + length):
        candidates = randomness.integers(0, VOCABULARY, (count, CANDIDATES))
        numbers = engine.marked(key, made[:, at - WIDTH : at], candidates, randomness)
        made[:, at] = candidates[np.arange(count), (np.log(numbers) / p).argmax(axis=1)]
    return [[int(token) for token in text] for text in made]


class Peers:
    """Runs the references that are here.

    Args:
        folder: of `--peers`; None: none.
        python: interpreter with torch and transformers; None: none.
    """

    def __init__(self, folder: Path | None, python: Path | None) -> None:
        self._folder, self._python = folder, python
        self.versions: dict[str, str] = {}

    def missing(self, engine: Engine) -> str:
        """Why a reference does not run here; empty: it does."""
        if not engine.peer:
            return "no released wheel has its detector"
        if engine.torch and self._python is None:
            return "it needs --python with torch"
        if engine.needs and (self._folder is None or not (self._folder / engine.needs).is_dir()):
            return f"it needs --peers with a folder {engine.needs}"
        return ""

    def ask(self, engine: Engine, tasks: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """What it answers to tasks of `_peer`.

        Raises:
            RuntimeError: it failed; what it wrote last is in the message.
        """
        python = self._python if engine.torch else Path(sys.executable)
        job = {"engine": engine.peer, "folder": str(self._folder), "tasks": list(tasks)}
        script = Path(__file__).with_name("_peer.py")
        ran = subprocess.run([str(python), str(script)], input=json.dumps(job), capture_output=True, text=True, check=False)
        if ran.returncode:
            said = ran.stderr.strip().splitlines() or ["nothing was said"]
            raise RuntimeError(f"{engine.name}: its detector stopped: {said[-1]}")
        answer = json.loads(ran.stdout)
        self.versions[engine.needs or "transformers"] = answer["version"]
        return list(answer["answers"])


def ours(engine: Engine, keys: Sequence[int], texts: Texts) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Log10 of our p and of what we say that theirs is, per text."""
    assert engine.scheme is not None
    own, copied = np.zeros(len(texts)), np.zeros(len(texts))
    for at, (key, text) in enumerate(zip(keys, texts, strict=True)):
        found = detect(text, engine.scheme(key))
        own[at] = found.log10_p
        copied[at] = np.nan if found.reported is None or found.reported.log10_p is None else found.reported.log10_p
    return own, copied
