"""A scan keeps what is evidence, whatever the form and order of the corpus, and a killed one goes on where it was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from app.errors import BadInput, Conflict
from app.watermark import store
from app.watermark.corpus import Reading
from app.watermark.scan import ScanJob, scan
from app.watermark.store import Stored
from detectors.watermark.evidence import Evidence
from detectors.watermark.keys import MasterSecret
from detectors.watermark.prf import Prf
from detectors.watermark.registry import MarkProfile, Registry
from detectors.watermark.words import words

FILES = (*store.ARRAYS, store.MANIFEST)
ROOT = Path(__file__).resolve().parents[3]

Keep = Callable[..., Path]


def _bytes(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES}


@pytest.fixture
def texts(tell: Callable[..., str]) -> list[str]:
    """Thirty documents, some of which repeat each other."""
    return [tell(seed % 20, "tenant-001" if seed % 20 % 3 else "", 60) for seed in range(30)]


def test_the_store_holds_the_evidence_of_the_documents(
    texts: list[str], keep: Keep, profile: MarkProfile, secret: MasterSecret, tmp_path: Path
) -> None:
    """As if all were in memory at once; pairs that came before count once; places are lines."""
    stored = scan(ScanJob(keep(texts), tmp_path / "store", block=7), profile, secret)
    direct = Evidence.of(Prf(secret, profile), profile, [words(text) for text in texts])
    for name in ("seeds", "tokens", "positions", "starts"):
        assert np.array_equal(getattr(stored.evidence, name), getattr(direct, name)), name
    facts = stored.manifest.corpus
    assert (facts.documents, facts.tokens, facts.ngrams) == (30, 30 * 60, len(direct.seeds))
    assert facts.repeated == 30 * 58 - facts.ngrams > 10 * 58 - 1
    assert stored.lengths.tolist() == [60] * 30
    assert stored.place(29) == "suspect.jsonl:30"
    assert stored.manifest.secret == secret.fingerprint()
    assert (tmp_path / "store").stat().st_mode & 0o077 == 0
    assert all((tmp_path / "store" / name).stat().st_mode & 0o077 == 0 for name in FILES)


def test_every_form_of_a_corpus_gives_the_same_evidence(
    texts: list[str], keep: Keep, profile: MarkProfile, secret: MasterSecret, tmp_path: Path
) -> None:
    """JSON Lines, Parquet, a divided text file, a folder of files, and lists of tokens."""
    pl.DataFrame({"answer": texts}).write_parquet(tmp_path / "suspect.parquet")
    (tmp_path / "suspect.txt").write_text("\n\n".join(texts))
    (tmp_path / "folder").mkdir()
    for number, text in enumerate(texts):
        (tmp_path / "folder" / f"{number:03d}.txt").write_text(text)
    corpora = [
        (keep(texts), Reading()),
        (tmp_path / "suspect.parquet", Reading(field="answer")),
        (tmp_path / "suspect.txt", Reading()),
        (tmp_path / "folder", Reading()),
        (keep([words(text).tolist() for text in texts], "tokens.jsonl"), Reading()),
    ]
    found = []
    for number, (corpus, reading) in enumerate(corpora):
        scan(ScanJob(corpus, tmp_path / f"store-{number}", reading), profile, secret)
        kept = _bytes(tmp_path / f"store-{number}")
        found.append(
            {name: kept[name] for name in ("seeds.u64", "tokens.u32", "positions.i16", "starts.i64", "lengths.u32")}
        )
    assert all(one == found[0] for one in found[1:])


def test_the_order_of_the_documents_does_not_matter_to_what_is_pooled(
    texts: list[str], keep: Keep, profile: MarkProfile, secret: MasterSecret, tmp_path: Path
) -> None:
    """Table and model-level channel are the same, though each repeated pair counts in another document."""
    order = np.random.default_rng(3).permutation(len(texts))
    first = scan(ScanJob(keep(texts, "a.jsonl"), tmp_path / "a"), profile, secret).evidence
    other = scan(ScanJob(keep([texts[at] for at in order], "b.jsonl"), tmp_path / "b", block=4), profile, secret).evidence
    assert not np.array_equal(first.seeds, other.seeds)
    np.testing.assert_allclose(first.pooled(), other.pooled(), rtol=1e-12, atol=1e-12)
    (score, count), (other_score, other_count) = first.model(), other.model()
    assert count.sum() == other_count.sum()
    assert score.sum() == pytest.approx(other_score.sum(), rel=1e-12)


def test_a_scan_killed_in_the_middle_goes_on_and_gives_the_same_bytes(
    keep: Keep, profile: MarkProfile, secret: MasterSecret, tmp_path: Path
) -> None:
    """SIGKILL to a process of its own, twice; with a filter so small that what it leaves out must come out alike, too."""
    numbers = np.random.default_rng(1).integers(0, 900, (800, 150))
    corpus = keep(numbers.tolist())
    (tmp_path / "profiles.json").write_text(Registry([profile]).dumped())

    def job(name: str) -> ScanJob:
        return ScanJob(corpus, tmp_path / name, filter_bytes=1 << 14, block=16, settle_sec=0.0)

    scan(job("whole"), profile, secret)
    script = (
        "import sys; from pathlib import Path; from app.watermark.scan import ScanJob, scan\n"
        "from detectors.watermark.keys import MasterSecret; from detectors.watermark.registry import Registry\n"
        "base = Path(sys.argv[1]); profile = next(iter(Registry.parse((base / 'profiles.json').read_text())))\n"
        "scan(ScanJob(base / 'suspect.jsonl', base / 'killed', filter_bytes=1 << 14, block=16, settle_sec=0.0), profile,\n"
        "     MasterSecret(bytes(range(32))))\n"
    )
    done = 0
    for _ in range(2):
        environ = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], env=environ)
        try:
            until = time.monotonic() + 60
            while (manifest := store.read_manifest(tmp_path / "killed")) is None or manifest.corpus.documents < done + 64:
                assert process.poll() is None, "it ended before it could be killed"
                assert time.monotonic() < until
                time.sleep(0.002)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        manifest = store.read_manifest(tmp_path / "killed")
        assert manifest is not None
        assert not manifest.whole
        assert done < manifest.corpus.documents < 800
        done = manifest.corpus.documents
        with pytest.raises(BadInput, match="has not reached the end"):
            store.load(tmp_path / "killed")
    scan(job("killed"), profile, secret)
    assert _bytes(tmp_path / "killed") == _bytes(tmp_path / "whole")


def test_what_was_written_after_the_last_whole_block_is_cut_off(
    texts: list[str], keep: Keep, profile: MarkProfile, secret: MasterSecret, tmp_path: Path
) -> None:
    """As a process leaves it that was killed between two blocks, or before the first was settled."""
    job = ScanJob(keep(texts), tmp_path / "store", block=7)
    scan(job, profile, secret)
    whole = _bytes(job.store)
    for name in store.ARRAYS:
        with (job.store / name).open("ab") as file:
            file.write(b"half a block")
    (job.store / store.MANIFEST).unlink()
    scan(job, profile, secret)
    assert _bytes(job.store) == whole


def test_a_whole_scan_is_not_made_again(
    texts: list[str], keep: Keep, profile: MarkProfile, secret: MasterSecret, tmp_path: Path
) -> None:
    """The same command opens the store."""
    job = ScanJob(keep(texts), tmp_path / "store")
    scan(job, profile, secret)
    before = (job.store / "seeds.u64").stat().st_mtime_ns
    assert isinstance(scan(job, profile, secret), Stored)
    assert (job.store / "seeds.u64").stat().st_mtime_ns == before


def test_a_store_of_something_else_is_not_written_to(
    texts: list[str], keep: Keep, profile: MarkProfile, secret: MasterSecret, tmp_path: Path
) -> None:
    """Another corpus, secret or way of reading is named; so is a folder with other files, and one that is in use."""
    corpus = keep(texts)
    job = ScanJob(corpus, tmp_path / "store")
    scan(job, profile, secret)
    kept = _bytes(job.store)
    for other, named, with_secret in (
        (ScanJob(keep(texts[1:], "b.jsonl"), job.store), "corpus", secret),
        (ScanJob(corpus, job.store, Reading(limit_bytes=99)), "way of reading", secret),
        (job, "secret", MasterSecret(bytes(32))),
    ):
        with pytest.raises(BadInput, match=f"holds a scan with another {named}"):
            scan(other, profile, with_secret)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("do not lose")
    with pytest.raises(BadInput, match="holds other files"):
        scan(ScanJob(corpus, tmp_path / "full"), profile, secret)
    with store.writing(job.store), pytest.raises(Conflict, match="another scan"):
        scan(job, profile, secret)
    assert _bytes(job.store) == kept


def test_a_corpus_without_a_token_is_refused(profile: MarkProfile, secret: MasterSecret, tmp_path: Path) -> None:
    """No line, and lines without text; one that is too short to test is no error, and holds no n-gram."""
    path = tmp_path / "suspect.jsonl"
    for content in ("", "\n\n", json.dumps({"text": " "}) + "\n"):
        path.write_text(content)
        with pytest.raises(BadInput, match="is empty"):
            scan(ScanJob(path, tmp_path / "store"), profile, secret)
    path.write_text(json.dumps({"text": "too short"}) + "\n")
    assert scan(ScanJob(path, tmp_path / "short"), profile, secret).manifest.corpus.ngrams == 0


def test_what_was_left_out_is_counted(keep: Keep, profile: MarkProfile, secret: MasterSecret, tmp_path: Path) -> None:
    """Empty documents, cut ones, and how many n-grams a full filter lost, about."""
    texts = ["", "a still " * 400, "one still distils"]
    stored = scan(ScanJob(keep(texts), tmp_path / "store", Reading(limit_bytes=64)), profile, secret)
    facts = stored.manifest.corpus
    assert (facts.documents, facts.empty, facts.cut, facts.tokens) == (3, 1, 1, 16 + 3)
    many = keep(np.random.default_rng(1).integers(0, 1 << 31, (200, 102)).tolist(), "many.jsonl")
    lossy = scan(ScanJob(many, tmp_path / "lossy", filter_bytes=1 << 12, block=10), profile, secret).manifest.corpus
    assert lossy.repeated > 0
    assert lossy.lost_share > 0.5


def test_a_damaged_store_is_refused(
    texts: list[str], keep: Keep, profile: MarkProfile, secret: MasterSecret, tmp_path: Path
) -> None:
    """A shorter array, a manifest of another kind, no store at all."""
    job = ScanJob(keep(texts), tmp_path / "store")
    scan(job, profile, secret)
    os.truncate(job.store / "tokens.u32", 8)
    with pytest.raises(BadInput, match=r"tokens\.u32: is shorter than manifest\.json says"):
        store.load(job.store)
    (job.store / store.MANIFEST).write_text('{"format": 1}')
    with pytest.raises(BadInput, match=r"manifest\.json"):
        store.load(job.store)
    with pytest.raises(BadInput, match="is no evidence store"):
        store.load(tmp_path)
