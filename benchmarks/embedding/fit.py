"""Fits the token table to sentences and writes the artefact.

    python -m benchmarks.embedding.fit TEXTS.jsonl [--write] [--words 16000]

TEXTS.jsonl holds one JSON string a line: short texts of many kinds. The teacher's directions, reduced to their 64 main
ones, are regressed on which words stand in a text (ridge; a text of n words weighs each by 1/√n, so that lengths do not
matter), with every whole word of the teacher's vocabulary, embedded alone, as a weak prior for words that the texts hardly
hold. Prints how far the table agrees with the teacher on texts held out: the mean cosine to the teacher's own direction,
and the correlation between the cosines of pairs of texts in both. Without --write nothing is changed.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
import xxhash
from numpy.typing import NDArray
from scipy import sparse
from sklearn.linear_model import Ridge

from benchmarks.embedding.teacher import embed, find_model
from benchmarks.labelled import ROOT, NoBench
from detectors.fingerprint.embedding import BUCKETS, DIMENSIONS
from detectors.fingerprint.hashing import vocabulary
from detectors.fingerprint.normalise import fold, tokens

ALPHA = 0.1
ALONE = 0.5
"""Weight of a word alone against a text."""

HELD_OUT = 1500


class Student:
    """Texts → sparse rows over the vocabulary and the shared buckets."""

    def __init__(self, words: Sequence[str]) -> None:
        self.words = list(words)
        self._place = {word: at for at, word in enumerate(self.words)}

    def rows(self, texts: Sequence[Sequence[str]]) -> sparse.csr_matrix:
        """Shape (texts, words + BUCKETS)."""
        row, column, value = [], [], []
        for number, text in enumerate(texts):
            for word in text:
                row.append(number)
                shared = len(self.words) + xxhash.xxh3_64_intdigest(word.encode()) % BUCKETS
                column.append(self._place.get(word, shared))
                value.append(1.0 / len(text) ** 0.5)
        return sparse.csr_matrix((value, (row, column)), shape=(len(texts), len(self.words) + BUCKETS))


def main(arguments: Sequence[str] | None = None) -> int:
    """Fits and prints; writes when asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.embedding.fit", description=__doc__.splitlines()[0])
    parser.add_argument("texts", type=Path)
    parser.add_argument("--words", type=int, default=16_000)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args(arguments)
    texts = [json.loads(line) for line in given.texts.read_text("utf-8").splitlines()]
    try:
        taught = embed(texts, 64, _told)
        alone = [word for word in (find_model() / "vocab.txt").read_text("utf-8").split("\n") if word.isalnum()]
        taught_alone = embed(alone, 8, _told)
    except NoBench as missing:
        print(missing, file=sys.stderr)
        return 1
    centre = taught.mean(axis=0)
    main_directions = np.linalg.svd(taught - centre, full_matrices=False)[2][:DIMENSIONS].T
    bags = [list(vocabulary(tokens(fold(text)))) for text in texts]
    singles = {bag[0]: at for at, word in enumerate(alone) if len(bag := tokens(fold(word))) == 1}
    seen = Counter(word for bag in bags for word in bag)
    common = [word for word, count in seen.most_common() if count >= 2][: 3 * given.words // 4]
    student = Student((common + [word for word in singles if word not in set(common)])[: given.words])
    known = list(singles.items())
    prior = student.rows([[word] for word, _ in known])
    prior_target = (taught_alone[[at for _, at in known]] - centre) @ main_directions
    rows, target = student.rows(bags), (taught - centre) @ main_directions
    order = np.random.default_rng(0).permutation(len(texts))
    held, used = order[:HELD_OUT], order[HELD_OUT:]
    fitted = _ridge(rows[used], target[used], prior, prior_target)
    agreement = _agreement(rows[held] @ fitted, target[held], taught[held])
    print(f"{len(texts):,} texts, {len(student.words):,} words; held out: {agreement}")
    if given.write:
        _write(student, _ridge(rows, target, prior, prior_target), len(texts))
    return 0


def _ridge(
    rows: sparse.csr_matrix, target: NDArray[np.float32], prior: sparse.csr_matrix, prior_target: NDArray[np.float32]
) -> NDArray[np.float64]:
    model = Ridge(alpha=ALPHA, fit_intercept=False, solver="sparse_cg", tol=1e-3, max_iter=300)
    model.fit(sparse.vstack([rows, prior * ALONE]).tocsr(), np.vstack([target, prior_target * ALONE]))
    coefficients: NDArray[np.float64] = model.coef_.T
    return coefficients


def _agreement(made: NDArray[np.float64], target: NDArray[np.float32], taught: NDArray[np.float32]) -> str:
    unit = made / np.maximum(np.linalg.norm(made, axis=1, keepdims=True), 1e-9)
    wanted = target / np.linalg.norm(target, axis=1, keepdims=True)
    one, other = np.triu_indices(min(600, len(unit)), 1)
    ours, theirs = (unit[one] * unit[other]).sum(1), (taught[one] * taught[other]).sum(1)
    return f"cosine {(unit * wanted).sum(1).mean():.3f}, correlation of pair cosines {np.corrcoef(ours, theirs)[0, 1]:.3f}"


def _write(student: Student, table: NDArray[np.float64], texts: int) -> None:
    hashes = np.array([xxhash.xxh3_64_intdigest(word.encode()) for word in student.words], np.uint64)
    order = np.argsort(hashes)
    rows = np.vstack([table[: len(hashes)][order], table[len(hashes) :]])
    scales = np.maximum(np.abs(rows).max(axis=1), 1e-6) / 127.0
    held = io.BytesIO()
    np.savez_compressed(
        held,
        allow_pickle=False,
        hashes=hashes[order],
        rows=np.rint(rows / scales[:, None]).astype(np.int8),
        scales=scales.astype(np.float16),
        centre=np.zeros(DIMENSIONS, np.float16),
    )
    folder = ROOT / "detectors" / "artefacts"
    (folder / "token_table.npz").write_bytes(held.getvalue())
    card = folder / "token_table.toml"
    lines = card.read_text("utf-8").splitlines() if card.is_file() else ['sha256 = ""', "texts = 0"]
    stated = {"sha256": f'"{sha256(held.getvalue()).hexdigest()}"', "texts": str(texts)}
    names = [line.partition(" = ")[0] for line in lines]
    card.write_text(
        "\n".join(f"{name} = {stated[name]}" if name in stated else line for name, line in zip(names, lines, strict=True))
        + "\n"
    )
    print(f"wrote {folder / 'token_table.npz'}: {len(held.getvalue()):,} bytes")


def _told(done: int, whole: int) -> None:
    print(f"\r{done:,} of {whole:,} texts", end="\n" if done == whole else "", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
