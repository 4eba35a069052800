"""One reference detector in a process of its own: jobs as JSON on standard input, answers as JSON on standard output.

Nothing of the project is imported, so any interpreter that has the reference's own requirements runs this file. Of an
engine only the files of its watermark are loaded: what they import of the rest stands in empty, and is never called.

A job is {"engine", "folder", "tasks"}; a task one of
    {"do": "detect", "keys": [...], "texts": [[...], ...]}         text i under key i
    {"do": "mark", "key", "p", "count", "length", "seed", "vocabulary"}    texts, where only the reference can mark
    {"do": "tail", "n", "score"}                                   its p-value of a statistic
"""

from __future__ import annotations

import importlib
import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

VOCABULARY = 32_000
GREEN, BIAS = 0.25, 2.0
"""Share and bias of a green list: the defaults of transformers."""

Found = dict[str, Any]


def log10(p: float) -> float:
    """Minus infinity for a p-value that is 0."""
    return math.log10(p) if p > 0 else -math.inf


class Vllm:
    """`vllm.v1.watermarking.gumbel`, one key or two, with and without its deduplication."""

    def __init__(self, folder: str, engine: str) -> None:
        root = Path(folder) / "vllm"
        self.version = version_in(root)
        package("vllm", root / "vllm")
        for name in ("v1", "config", "v1/watermarking"):
            package("vllm." + name.replace("/", "."), root / "vllm" / name)
        stand_in("vllm.config.utils", config=lambda kind: kind)
        stand_in("vllm.logger", init_logger=lambda name: None)
        stand_in("vllm.v1.worker.gpu.sample.gumbel", gumbel_sample=None)
        gumbel = importlib.import_module("vllm.v1.watermarking.gumbel")
        kind = gumbel.DualKeyGumbelWatermarkDetector if "dual" in engine else gumbel.GumbelWatermarkDetector
        self._make: Callable[[int], Any] = lambda key: kind(key, deduplicate_contexts="none" not in engine)

    def detect(self, key: int, text: list[int]) -> Found:
        """Its own detection."""
        found = self._make(key).detect(text)
        return {"scored": found.num_scored_tokens, "score": found.score, "log10_p": log10(found.p_value)}

    def tail(self, n: int, score: float) -> float:
        """Its p of a score."""
        return log10(self._make(1)._get_p_value(score, n))


class Sglang:
    """`sglang.srt.sampling.watermarking.detector` with one key; pure Python."""

    def __init__(self, folder: str, engine: str) -> None:
        root = Path(folder) / "sglang"
        self.version = version_in(root)
        for name in ("sglang", "sglang/srt", "sglang/srt/sampling"):
            package(name.replace("/", "."), root / name)
        self._module = importlib.import_module("sglang.srt.sampling.watermarking.detector")

    def detect(self, key: int, text: list[int]) -> Found:
        """Its own detection."""
        found = self._module.detect(text, key=f"{key:016x}").combined
        return {"scored": found.num_contexts, "score": found.score, "log10_p": found.log_p_value / math.log(10)}

    def tail(self, n: int, score: float) -> float:
        """Its p of a score."""
        return float(self._module._gamma_log_survival(score, n) / math.log(10))


class Transformers:
    """`transformers.WatermarkDetector` (KGW, `lefthash`), with its defaults."""

    def __init__(self, folder: str, engine: str) -> None:
        import transformers

        self.version = transformers.__version__
        self._kind = transformers.WatermarkDetector
        self._model = SimpleNamespace(bos_token_id=-1, is_encoder_decoder=False, vocab_size=VOCABULARY)

    def _detector(self, key: int) -> Any:
        marking = {"greenlist_ratio": GREEN, "bias": BIAS, "hashing_key": key, "seeding_scheme": "lefthash",
                   "context_width": 1}  # fmt: skip
        return self._kind(self._model, "cpu", marking)

    def detect(self, key: int, text: list[int]) -> Found:
        """Its own detection, and the colours of different pairs of tokens, each looked up once by it."""
        import torch

        detector = self._detector(key)
        look_up, colours = detector._get_ngram_score_cached, []

        def kept(*pair: Any) -> Any:
            colours.append(bool(look_up(*pair)))
            return colours[-1]

        detector._get_ngram_score_cached = kept
        found = detector(torch.tensor([text]), return_dict=True)
        return {
            "scored": int(found.num_tokens_scored[0]), "score": float(found.num_green_tokens[0]),
            "log10_p": log10(float(found.p_value[0])), "different": len(colours), "different_green": sum(colours),
        }  # fmt: skip

    def tail(self, n: int, score: float) -> float:
        """Its p of a number of green tokens."""
        import numpy as np

        detector = self._detector(1)
        return log10(float(detector._compute_pval(detector._compute_z_score(np.array([score]), np.array([n])))[0]))

    def chooser(self, key: int, p: Any, randomness: Any) -> Callable[[list[int], Any], int]:
        """Draws among candidates with the bias on the green ones."""
        import numpy as np
        import torch

        processor = self._detector(key).processor

        def choose(made: list[int], candidates: Any) -> int:
            green = processor._get_greenlist_ids(torch.tensor(made[-1:])).numpy()
            biased = p * np.where(np.isin(candidates, green), math.exp(BIAS), 1.0)
            return int(randomness.choice(len(p), p=biased / biased.sum()))

        return choose


class MarkLlm:
    """MarkLLM's `EXP`, with the settings it comes with."""

    def __init__(self, folder: str, engine: str) -> None:
        root = Path(folder) / "markllm"
        sys.path.insert(0, str(root))
        self.version = version_in(root)
        exp = importlib.import_module("markllm.watermark.exp.exp")
        config = importlib.import_module("markllm.utils.transformers_config").TransformersConfig
        torch = importlib.import_module("torch")
        tokenizer = SimpleNamespace(encode=lambda text, **options: torch.tensor([text]))
        self._exp = exp.EXP(None, config(None, tokenizer, vocab_size=VOCABULARY, device="cpu"))
        self._torch = torch

    def detect(self, key: int, text: list[int]) -> Found:
        """Its own detection; it tells the p-value alone."""
        self._exp.config.hash_key = key
        p = float(self._exp.detect_watermark(text)["score"])
        return {"scored": len(text) - self._exp.config.prefix_length, "score": None, "log10_p": log10(p)}

    def tail(self, n: int, score: float) -> float:
        """Its p of a score."""
        from scipy.stats import gamma

        return log10(float(gamma.sf(score, n, loc=0, scale=1)))  # the line of `detect_watermark`

    def chooser(self, key: int, p: Any, randomness: Any) -> Callable[[list[int], Any], int]:
        """Gumbel-max with its numbers."""
        import numpy as np

        self._exp.config.hash_key = key
        utils = self._exp.utils

        def choose(made: list[int], candidates: Any) -> int:
            utils.seed_rng(self._torch.tensor(made[-4:]))
            numbers = self._torch.rand(VOCABULARY, generator=utils.rng).numpy()[candidates]
            return int((np.log(np.maximum(numbers, 1e-30)) / p).argmax())

        return choose


KINDS: dict[str, Any] = {
    "vllm-gumbel": Vllm, "vllm-gumbel-none": Vllm, "vllm-dual": Vllm, "sglang": Sglang,
    "transformers-kgw": Transformers, "markllm-exp": MarkLlm,
}  # fmt: skip


def mark(peer: Any, task: dict[str, Any]) -> list[list[int]]:
    """Texts of `length` marked tokens after four plain ones."""
    import numpy as np

    p, randomness = np.array(task["p"]), np.random.default_rng(task["seed"])
    choose = peer.chooser(task["key"], p, randomness)
    texts = []
    for _ in range(task["count"]):
        made = randomness.integers(1, VOCABULARY, 4).tolist()
        for candidates in randomness.integers(1, VOCABULARY, (task["length"], len(p))):
            made.append(int(candidates[choose(made, candidates)]))
        texts.append(made)
    return texts


def answers(peer: Any, tasks: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """What each task comes to."""
    for task in tasks:
        if task["do"] == "mark":
            yield {"texts": mark(peer, task)}
        elif task["do"] == "tail":
            yield {"log10_p": peer.tail(task["n"], task["score"])}
        else:
            peer.detect(task["keys"][0], task["texts"][0])  # what is loaded at first use is no part of the speed
            began = time.perf_counter()
            found = [peer.detect(key, text) for key, text in zip(task["keys"], task["texts"], strict=True)]
            yield {"found": found, "seconds": time.perf_counter() - began}


def package(name: str, folder: Path) -> None:
    """A package whose own `__init__` is not run."""
    module = ModuleType(name)
    module.__path__ = [str(folder)]
    sys.modules[name] = module


def stand_in(name: str, **members: Any) -> None:
    """A module with these members, and empty packages above it."""
    parents = name.split(".")
    for length in range(1, len(parents)):
        above = ".".join(parents[:length])
        if above not in sys.modules:
            package(above, Path("/nowhere"))
    module = ModuleType(name)
    vars(module).update(members)
    sys.modules[name] = module


def version_in(root: Path) -> str:
    """Of the wheel that was unpacked here."""
    for folder in root.glob("*.dist-info"):
        return folder.name.split("-")[1].removesuffix(".dist")
    return "unknown version"


@contextmanager
def one_thread() -> Iterator[None]:
    """Of torch, where there is one: ours has one too."""
    try:
        import torch

        torch.set_num_threads(1)
    except ImportError:
        pass
    yield


def main() -> None:
    """Does the job."""
    job = json.load(sys.stdin)
    with redirect_stdout(sys.stderr), one_thread():
        peer = KINDS[job["engine"]](job["folder"], job["engine"])
        done = list(answers(peer, job["tasks"]))
    json.dump({"version": peer.version, "answers": done}, sys.stdout)


if __name__ == "__main__":
    main()
