"""`stillwatch watermark …`, as an operator runs it: from marked answers to a report, and every refusal in one sentence."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from detectors.watermark.keys import MasterSecret, codewords
from detectors.watermark.prf import Prf, offsets_of
from detectors.watermark.registry import MarkProfile, Registry
from detectors.watermark.sampling import Marker, choose, plainly
from detectors.watermark.words import words

SECRET = bytes(range(32))
PROFILE = MarkProfile("words-h2", "gumbel", "words-1", "2026q4", context_width=2)
TENANTS = [f"tenant-{number:03d}" for number in range(200)]
VOCABULARY = [f"{first}{middle}{last}" for first in "bdgklmnprst" for middle in "aeiou" for last in "bdfglmnprst"]


def _text(seed: int, tenant: str = "", length: int = 120) -> str:
    dice = np.random.default_rng(seed)
    secret = MasterSecret(SECRET)
    tokens = words(" ".join(VOCABULARY))
    offsets = offsets_of(tokens)
    probabilities = np.arange(1, 25, dtype=np.float64) ** -1.4
    word = codewords(secret, (tenant,), PROFILE.positions, PROFILE.symbols)[0]
    marker = Marker(Prf(secret, PROFILE), PROFILE, word) if tenant else None
    said: list[int] = []
    for _ in range(length):
        candidates = dice.integers(0, len(tokens), len(probabilities))
        by = marker.next(tokens[said].tolist()) if marker else None
        at = plainly(probabilities, dice) if by is None else choose(probabilities, offsets[candidates], by)
        said.append(int(candidates[at]))
    return " ".join(VOCABULARY[number] for number in said)


@pytest.fixture
def folder(tmp_path: Path, environ: dict[str, str]) -> Path:
    """Profiles, secrets and tenants, named by the settings; and a corpus in which tenant-007 is."""
    (tmp_path / "profiles.json").write_text(Registry([PROFILE]).dumped())
    (tmp_path / "secrets.json").write_text(json.dumps({"2026q4": SECRET.hex()}))
    (tmp_path / "secrets.json").chmod(0o600)
    (tmp_path / "tenants.txt").write_text("\n".join(TENANTS) + "\n")
    texts = [_text(seed, "tenant-007" if seed % 4 == 0 else "") for seed in range(32)]
    pl.DataFrame({"answer": texts}).write_parquet(tmp_path / "suspect.parquet")
    environ |= {
        "STILLWATCH_WATERMARK__PROFILES_FILE": str(tmp_path / "profiles.json"),
        "STILLWATCH_WATERMARK__SECRETS_FILE": str(tmp_path / "secrets.json"),
    }
    return tmp_path


def test_a_data_set_is_traced_to_the_key_it_came_through(folder: Path, run: Any) -> None:
    """Scan, attribute, a report: the right tenant and nobody else; twice the same evidence."""
    scanned = run("watermark", "scan", "suspect.parquet", "--field", "answer", "--out", "evidence", "--json")
    assert scanned.returncode == 0, scanned.stderr
    facts = json.loads(scanned.stdout)
    assert facts["corpus"]["documents"] == 32
    assert stat.S_IMODE((folder / "evidence").stat().st_mode) == 0o700
    assert "documents" in scanned.stderr

    done = run("watermark", "attribute", "evidence", "--tenants", "tenants.txt", "--out", "report", "--json", "--quiet")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    told = json.loads(done.stdout)
    assert [key["name"] for key in told["named"]] == ["tenant-007"]
    assert told["ours"] is True
    assert all(Path(folder / name).exists() for name in told["files"])
    page = (folder / "report" / "report.md").read_text()
    assert "`tenant-007`" in page.split("\n\n")[1]
    assert SECRET.hex() not in page + scanned.stdout + scanned.stderr + done.stdout

    again = run(
        "watermark", "attribute", "suspect.parquet", "--field", "answer", "--tenants", "tenants.txt", "--out", "at-once",
        "--locate", "suspect.parquet:1", "--quiet",
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    assert again.stdout.startswith("1 key of 200 named: tenant-007 (p = 10^-")
    assert "`suspect.parquet:1` | `tenant-007`" in (folder / "at-once" / "report.md").read_text()
    assert (folder / "at-once" / "evidence" / "seeds.u64").read_bytes() == (folder / "evidence" / "seeds.u64").read_bytes()


def test_one_text_is_verified(folder: Path, run: Any) -> None:
    """From a file; for another tenant it says no."""
    (folder / "answer.txt").write_text(_text(4, "tenant-007", 300))
    own = run("watermark", "verify", "answer.txt", "--tenant", "tenant-007")
    assert own.returncode == 0, own.stderr
    assert own.stdout.startswith("The text carries the mark of tenant-007")
    other = json.loads(run("watermark", "verify", "answer.txt", "--tenant", "tenant-008", "--json").stdout)
    assert other["carries_mark"] is False
    assert other["log10_key"] > -3


def test_a_tag_is_what_an_engine_reads(folder: Path, run: Any) -> None:
    """The fields for vLLM, and our processor's for SGLang."""
    word = codewords(MasterSecret(SECRET), ("tenant-007",), 128, 16)[0]
    fields = {"wm_profile": "words-h2", "wm_code": "".join(f"{symbol:x}" for symbol in word.tolist())}
    assert folder.exists()
    assert json.loads(run("watermark", "tag", "tenant-007").stdout) == {"vllm_xargs": fields}
    told = json.loads(run("watermark", "tag", "tenant-007", "--engine", "sglang", "--json").stdout)
    assert told["fields"] == {"custom_params": fields}


def test_a_student_is_asked_about_what_was_served(folder: Path, run: Any) -> None:
    """The served contexts from a log, then the student that repeats them."""
    answers = [_text(seed, "tenant-007") for seed in range(30)]
    (folder / "log.jsonl").write_text(
        "".join(json.dumps({"tenant": "tenant-007", "answer": one}) + "\n" for one in answers)
    )
    (folder / "said.jsonl").write_text("".join(json.dumps({"answer": one}) + "\n" for one in answers[:20]))
    kept = run("watermark", "served", "log.jsonl", "--out", "served")
    assert kept.stdout.startswith("30 answers to 1 tenant so far."), kept.stderr
    asked = run(
        "watermark", "student", "said.jsonl", "-t", "tenant-007", "-t", "tenant-008", "--served", "served", "--quiet"
    )  # fmt: skip
    assert asked.returncode == 0, asked.stderr
    assert "It learned from answers to tenant-007 (p = " in asked.stdout
    told = json.loads(run("watermark", "student", "said.jsonl", "--tenants", "tenants.txt", "--json").stdout)
    assert [key["name"] for key in told["keys"] if key["named"]] == ["tenant-007"]


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (("scan", "suspect.parquet", "--out", "e"), 1,
         "stillwatch: suspect.parquet: has no column 'text'; --field names another"),
        (("scan", "suspect.parquet", "--out", "e", "-p", "other"), 2,
         "stillwatch: --profile: no profile is called 'other'; there are: words-h2"),
        (("scan", "suspect.parquet", "--out", "e", "--tokenizer", "tenants.txt"), 2,
         "stillwatch: --tokenizer: profile words-h2 counts words (words-1) and takes no tokenizer file"),
        (("scan", "suspect.parquet", "--out", "e", "--filter-mib", "3"), 2,
         "stillwatch: filter: must be a power of two, at most 64 GiB"),
        (("attribute", "suspect.parquet", "--tenants", "secrets.json", "--out", "r", "--field", "no"), 1,
         "stillwatch: suspect.parquet: has no column 'no'; --field names another"),
        (("student", "suspect.parquet"), 1, "stillwatch: tenants: at least one is needed"),
        (("verify", "missing.txt", "-t", "x"), 1, "stillwatch: file missing.txt: No such file or directory"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_sentence(
    folder: Path, run: Any, arguments: tuple[str, ...], status: int, sentence: str
) -> None:
    """With the exit status that says whose fault it is."""
    assert folder.exists()
    done = run("watermark", *arguments)
    assert done.stderr.splitlines()[-1] == sentence
    assert done.returncode == status
    assert done.stdout == ""


def test_who_must_be_asked_comes_from_a_running_admin_process(start: Any, run: Any, tmp_path: Path) -> None:
    """The accounts of a deployment, in the files that a search takes; with nobody known it says so."""
    url = start("admin").addresses()["admin"]
    files = ("--out", "who.txt", "--groups", "who.csv", "--admin-url", url)
    nobody = run("watermark", "tenants", *files)
    assert (nobody.returncode, nobody.stderr) == (
        1,
        "stillwatch: no tenant is known: no account, and no key that was seen\n",
    )
    key = "0123456789abcdef" * 2
    assert run("accounts", "set", key, "--org", "acme", "--admin-url", url).returncode == 0
    told = run("watermark", "tenants", *files)
    assert told.stdout == "1 tenant, 0 of them with a group's mark.\n", told.stderr
    assert (tmp_path / "who.txt").read_text() == f"{key}\n"
    assert (tmp_path / "who.csv").read_text() == ""
