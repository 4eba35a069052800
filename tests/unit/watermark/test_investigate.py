"""From marked text on disk to findings: the right tenants are named, nobody else is, and templates name nobody."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from app.errors import BadInput, ConfigError
from app.offline.progress import Silent
from app.watermark import findings as found
from app.watermark.findings import Findings
from app.watermark.investigate import Ask, investigate
from app.watermark.locate import number_of, tokens_at
from app.watermark.roll import Roll, read_roll, roll
from app.watermark.scan import ScanJob, scan
from app.watermark.store import Stored
from detectors.watermark.keys import MasterSecret
from detectors.watermark.registry import MarkProfile
from detectors.watermark.words import words

TENANTS = [f"tenant-{number:03d}" for number in range(300)]
ASK = Ask(decoys=500, model_decoys=200)

Keep = Callable[..., Path]
Tell = Callable[..., str]
Scanned = Callable[..., Stored]


@pytest.fixture
def scanned(keep: Keep, profile: MarkProfile, secret: MasterSecret, tmp_path: Path) -> Scanned:
    """The evidence of texts."""

    def _scanned(texts: list[str]) -> Stored:
        return scan(ScanJob(keep(texts), tmp_path / "store"), profile, secret)

    return _scanned


def _names(findings: Findings) -> list[str]:
    return [key.name for key in findings.named]


def test_two_tenants_among_clean_text_are_named_and_nobody_else(tell: Tell, scanned: Scanned, secret: MasterSecret) -> None:
    """With their documents and shares; the model's mark shows, the decoys fit no better than chance."""
    owners = ["tenant-007"] * 16 + ["tenant-041"] * 8 + [""] * 16
    owners = [owners[at] for at in np.random.default_rng(2).permutation(len(owners))]
    stored = scanned([tell(seed, owner) for seed, owner in enumerate(owners)])
    findings = investigate(stored, secret, roll(TENANTS), ASK)
    assert sorted(_names(findings)) == ["tenant-007", "tenant-041"]
    assert findings.tested == 300
    first, second = sorted(findings.named, key=lambda key: key.name)
    assert first.documents == pytest.approx(16, abs=2)
    assert second.documents == pytest.approx(8, abs=2)
    assert first.share_low is not None
    assert second.share_low is not None
    assert first.share_low < 16 / 24 < first.share_high  # type: ignore[operator]
    assert second.share_low < 8 / 24 < second.share_high  # type: ignore[operator]
    assert all(owners[one.number] == one.name for one in findings.traced)
    assert all(one.place == f"suspect.jsonl:{one.number + 1}" for one in findings.traced)
    assert [owners[cell.first] for cell in findings.cells if cell.key >= 0] == [
        findings.named[cell.key].name for cell in findings.cells if cell.key >= 0
    ]
    assert findings.model.log10_p < -10
    assert findings.model.decoy_log10_p[0] > -6
    assert findings.decoys.log10_p[0] > -6
    assert findings.keys[2].log10_p > -6


def test_clean_text_names_nobody(tell: Tell, scanned: Scanned, secret: MasterSecret) -> None:
    """Neither a key nor the model."""
    findings = investigate(scanned([tell(seed) for seed in range(20)]), secret, roll(TENANTS), ASK)
    assert _names(findings) == []
    assert findings.model.log10_p > -3
    assert findings.traced == []


def test_a_templated_corpus_names_nobody(scanned: Scanned, secret: MasterSecret) -> None:
    """A hundred forms that differ in a name alone: what repeats counts once, and what is left is fixed numbers."""
    form = (
        "dear {0} we thank you for your order {1} and send it on the morning of the next working day to {0} in your house "
    )
    texts = [form.format(f"customer{number % 17}", 1000 + number) * 3 for number in range(100)]
    findings = investigate(scanned(texts), secret, roll(TENANTS), ASK)
    assert _names(findings) == []
    assert findings.model.log10_p > -3
    assert findings.corpus.repeated > 10 * findings.corpus.ngrams / 4


def test_a_group_is_named_by_its_half_and_its_members_by_theirs(tell: Tell, scanned: Scanned, secret: MasterSecret) -> None:
    """A member whose answers are not in the text is not named for its group's evidence."""
    groups = {"tenant-007": "campaign-1", "tenant-008": "campaign-1"}
    texts = [tell(seed, "tenant-007" if seed % 2 else "", group="campaign-1", length=160) for seed in range(32)]
    findings = investigate(scanned(texts), secret, Roll(TENANTS, groups), ASK)
    assert {(key.name, key.kind, key.group) for key in findings.named} == {
        ("tenant-007", "tenant", "campaign-1"),
        ("campaign-1", "group", ""),
    }
    assert (findings.tested, findings.groups) == (301, 1)


def test_a_document_in_part_marked_is_marked_there(
    tell: Tell, scanned: Scanned, secret: MasterSecret, tmp_path: Path
) -> None:
    """The stretch is found between clean text, and no other key's with it; the places come from the corpus again."""
    mixed = " ".join((tell(1, length=200), tell(2, "tenant-007", 200), tell(3, length=200)))
    stored = scanned([*(tell(seed, "tenant-007") for seed in range(10, 20)), *(tell(seed) for seed in range(20, 30)), mixed,
                      tell(9, "tenant-041", 400)])  # fmt: skip
    looked = tokens_at(stored, tmp_path / "suspect.jsonl", ["suspect.jsonl:21", "suspect.jsonl:22"], None, Silent())
    assert {number: tokens.tolist() for number, tokens in looked.items()}[20] == words(mixed).tolist()
    findings = investigate(stored, secret, roll(TENANTS), ASK, looked=looked)
    own = [one for one in findings.stretches if one.name == "tenant-007"]
    assert own
    assert {one.document for one in own} == {20}
    assert 100 <= own[0].start <= 250
    assert 350 <= own[-1].end <= 500
    assert findings.looked == [20, 21]
    with pytest.raises(BadInput, match="no document is there"):
        number_of(stored, "suspect.jsonl:99")
    (tmp_path / "suspect.jsonl").write_text('{"text": "another"}\n')
    with pytest.raises(BadInput, match="is not the corpus"):
        tokens_at(stored, tmp_path / "suspect.jsonl", ["suspect.jsonl:1"], None, Silent())


def test_the_same_evidence_gives_the_same_findings(tell: Tell, scanned: Scanned, secret: MasterSecret) -> None:
    """Decoys too; only the time differs. And they are read again as they were written."""
    stored = scanned([tell(seed, "tenant-007") for seed in range(8)])
    first, second = (investigate(stored, secret, roll(TENANTS), ASK) for _ in range(2))
    read = found.parse(found.dumped(first))
    assert read == first
    assert {**json.loads(found.dumped(second)), "at": ""} == {**json.loads(found.dumped(first)), "at": ""}


def test_another_secret_is_refused(tell: Tell, scanned: Scanned) -> None:
    """By fingerprint: it would find nothing and say so."""
    stored = scanned([tell(1)])
    with pytest.raises(ConfigError, match="the secret has the fingerprint"):
        investigate(stored, MasterSecret(bytes(32)), roll(TENANTS), ASK)


def test_nothing_long_enough_is_said_and_names_nobody(scanned: Scanned, secret: MasterSecret) -> None:
    """A corpus of single words."""
    findings = investigate(scanned(["one", "two"]), secret, roll(TENANTS), ASK)
    assert _names(findings) == []
    assert findings.model.log10_p == 0.0
    assert any("nothing could be tested" in note for note in findings.notes)


def test_a_roll_is_read_and_checked(tmp_path: Path) -> None:
    """Names once each; a group's line names a tenant of the roll; what is wrong is said with its line."""
    tenants, groups = tmp_path / "tenants.txt", tmp_path / "groups.csv"
    tenants.write_text("# all of them\nacme\n\nglobex\nacme\n")
    groups.write_text("globex, ring-1\n")
    read = read_roll(tenants, groups)
    assert (list(read.tenants), dict(read.groups)) == (["acme", "globex"], {"globex": "ring-1"})
    for path, content, sentence in (
        (groups, "globex ring-1\n", "groups.csv: line 1: must be a tenant, a comma and its group"),
        (groups, "acme,a\nnobody,ring-1\n", "groups.csv: line 2: 'nobody' is not among the tenants"),
        (groups, "acme,a\nacme,b\n", "groups.csv: line 2: 'acme' was given another group before"),
        (tenants, "acme\n" + "x" * 600, "tenants.txt: line 2: a name is at most 256"),
        (tenants, "# nobody\n", "tenants.txt: holds no tenant"),
    ):
        kept = path.read_text()
        path.write_text(content)
        with pytest.raises(BadInput) as error:
            read_roll(tenants, groups)
        assert sentence in str(error.value)
        path.write_text(kept)
    tenants.write_bytes(b"acme\n\xff\n")
    with pytest.raises(BadInput, match="line 2: must be UTF-8"):
        read_roll(tenants)
