"""The report says what was found in words that stand before a court, and holds nothing secret and nothing of the text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from app.watermark import report
from app.watermark.chances import odds, power
from app.watermark.findings import Findings
from app.watermark.investigate import Ask, investigate
from app.watermark.roll import roll
from app.watermark.scan import ScanJob, scan
from app.watermark.verify import verify
from detectors.watermark.keys import MasterSecret, issued, to_wire
from detectors.watermark.registry import MarkProfile
from detectors.watermark.words import words

PNG = b"\x89PNG\r\n"
Tell = Callable[..., str]


@pytest.fixture
def findings(tell: Tell, keep: Callable[..., Path], profile: MarkProfile, secret: MasterSecret, tmp_path: Path) -> Findings:
    """Of a corpus in which tenant-007 is."""
    texts = [tell(seed, "tenant-007" if seed % 2 else "") for seed in range(24)]
    stored = scan(ScanJob(keep(texts), tmp_path / "store"), profile, secret)
    return investigate(stored, secret, roll(["tenant-007", "tenant-041"]), Ask(decoys=200, model_decoys=100))


def test_the_first_paragraph_says_what_was_found_and_what_it_does_not_prove(findings: Findings, tmp_path: Path) -> None:
    """In the order of a reader who stops after it."""
    report.write(findings, tmp_path / "report")
    first = (tmp_path / "report" / report.REPORT).read_text().split("\n\n")[1]
    places = [
        first.index(part) for part in ("What was tested", "What was found", "What it means", "What it does not prove")
    ]
    assert places == sorted(places)
    assert "the mark of exactly one key, `tenant-007`" in first
    assert "tenant-041" not in first
    assert "that the holder of a key trained a model on the text" in first
    assert "rewritten in other words or translated, given without any randomness" in first


def test_several_keys_and_none_are_told_apart(findings: Findings) -> None:
    """None with the model's mark, none without, and two."""
    nobody = [msgspec.structs.replace(key, named=False) for key in findings.keys]
    ours = report.first_paragraph(msgspec.structs.replace(findings, keys=nobody))
    assert "the mark that all our answers carry, but no single key's" in ours
    clean = msgspec.structs.replace(findings.model, log10_p=-1.0)
    none = report.first_paragraph(msgspec.structs.replace(findings, keys=nobody, model=clean))
    assert "no mark, neither of a key nor of our service as a whole" in none
    assert "that no answer of ours is in the text" in none
    both = [msgspec.structs.replace(key, named=True) for key in findings.keys]
    two = report.first_paragraph(msgspec.structs.replace(findings, keys=both))
    assert "the marks of 2 keys, `tenant-007` and `tenant-041`" in two
    green = msgspec.structs.replace(findings, profile={**findings.profile, "scheme": "green"})
    assert "without any randomness" not in report.first_paragraph(green)


def test_pictures_are_drawn_and_named_in_the_page(findings: Findings, tmp_path: Path) -> None:
    """Those that there is something to draw for; of an earlier report none is left."""
    folder = tmp_path / "report"
    paths = report.write(findings, folder)
    assert [path.name for path in paths] == ["findings.json", *report.PICTURES, "report.md"]
    page = (folder / report.REPORT).read_text()
    for name in report.PICTURES:
        assert (folder / name).read_bytes().startswith(PNG)
        assert f"]({name})" in page
    nobody = [msgspec.structs.replace(key, named=False) for key in findings.keys]
    report.write(msgspec.structs.replace(findings, keys=nobody, cells=[], traced=[]), folder)
    page = (folder / report.REPORT).read_text()
    assert report.SHARES not in page
    assert report.DOCUMENTS not in page
    assert {path.name for path in folder.iterdir()} == {"findings.json", report.KEYS, report.REPORT}


def test_nothing_secret_and_nothing_of_the_text_is_written(
    findings: Findings, tell: Tell, profile: MarkProfile, secret: MasterSecret, tmp_path: Path
) -> None:
    """No secret, no codeword, no sentence of the suspect."""
    for path in report.write(findings, tmp_path / "report"):
        content = path.read_bytes()
        assert bytes(range(32)).hex().encode() not in content
        assert to_wire(issued(secret, "tenant-007", profile.positions, profile.symbols), 16).encode() not in content
        assert " ".join(tell(1, "tenant-007").split()[:3]).encode() not in content
    assert secret.fingerprint() in (tmp_path / "report" / report.REPORT).read_text()


def test_names_cannot_break_the_page(findings: Findings, tmp_path: Path) -> None:
    """A tenant called like a table, and a file like a link."""
    key = msgspec.structs.replace(findings.keys[0], name="a|b`[x](http://evil)$y$")
    corpus = msgspec.structs.replace(findings.corpus, name="<script>|")
    paths = report.write(msgspec.structs.replace(findings, keys=[key], corpus=corpus), tmp_path / "report")
    page = paths[-1].read_text()
    assert "<script>" not in page
    assert "[x](http" not in page
    assert "a\\|b" in page


@pytest.mark.parametrize(
    ("log10_p", "as_power", "as_odds"),
    [
        (0.0, "1", "1 in 1"),
        (-1.0, "0.1", "1 in 10"),
        (-2.3, "0.0051", "1 in 199"),
        (-3.0, "0.001", "1 in 1,000"),
        (-8.09, "10^-8.0", "1 in 123,026,877"),
        (-73.09, "10^-73.0", "1 in 10^73"),
    ],
)
def test_a_probability_is_never_told_smaller_than_it_is(log10_p: float, as_power: str, as_odds: str) -> None:
    """Rounded towards one."""
    assert (power(log10_p), odds(log10_p)) == (as_power, as_odds)


def test_one_text_is_verified_against_one_key(tell: Tell, profile: MarkProfile, secret: MasterSecret) -> None:
    """Its own key, another key whose mark it does not carry though it is ours, and a clean text."""
    marked, clean = words(tell(1, "tenant-007", 1500)), words(tell(2, "", 300))
    own = verify(profile, secret, "tenant-007", "", marked)
    assert own.through_key
    assert own.log10_together < own.log10_model < -3
    assert "carries the mark of tenant-007" in own.said("tenant-007")
    assert "no proof that its owner trained" in own.said("tenant-007")
    other = verify(profile, secret, "tenant-041", "", marked)
    assert not other.through_key
    assert other.ours
    assert "not that of tenant-041" in other.said("tenant-041")
    none = verify(profile, secret, "tenant-007", "", clean)
    assert not none.through_key
    assert not none.ours
    assert "No mark shows" in none.said("tenant-007")
    assert "too short" in verify(profile, secret, "tenant-007", "", words("one")).said("tenant-007")


def test_a_member_of_a_group_is_verified_by_its_own_half(tell: Tell, profile: MarkProfile, secret: MasterSecret) -> None:
    """The group's half is evidence of the group, not of another member."""
    marked = words(tell(1, "tenant-007", 600, group="ring"))
    assert verify(profile, secret, "tenant-007", "ring", marked).through_key
    assert not verify(profile, secret, "tenant-008", "ring", marked).through_key


def test_innocent_keys_are_rarely_said_to_be_in_a_text(tell: Tell, profile: MarkProfile, secret: MasterSecret) -> None:
    """The p-value against the other symbols of 150 innocent keys on another key's text is uniform enough."""
    marked = words(tell(1, "tenant-007", 300))
    p = np.array([verify(profile, secret, f"innocent-{number}", "", marked).log10_key for number in range(150)])
    assert 4 <= (p <= -1).sum() <= 30
    assert (p <= -3).sum() <= 3
