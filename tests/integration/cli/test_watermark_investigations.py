"""The commands of investigations against a running admin process that searches in a process of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app import cli
from app.cli import watermark_investigations
from detectors.watermark.keys import MasterSecret, issued
from detectors.watermark.prf import Prf, offsets_of
from detectors.watermark.registry import MarkProfile, Registry
from detectors.watermark.sampling import Marker, choose

PROFILE = MarkProfile(id="tokens", scheme="gumbel", tokenizer="0" * 64, epoch="e1")
SECRET = "5e" * 32
TENANT = "fedcba9876543210" * 2
WHY = ("--reason", "sold by a reseller")

Say = Callable[..., tuple[int, str, str]]


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    """Lists of tokens that all carry the tenant's mark."""
    secret = MasterSecret.parse(SECRET)
    prf, word = Prf(secret, PROFILE), issued(secret, TENANT, PROFILE.positions, PROFILE.symbols)
    randomness = np.random.default_rng(3)
    offsets = offsets_of(np.arange(500, dtype=np.uint32))
    lines = []
    for _ in range(12):
        marker, said = Marker(prf, PROFILE, word), randomness.integers(0, 500, 4).tolist()
        while len(said) < 120:
            candidates, by = randomness.integers(0, 500, 10), marker.next(said)
            at = 0 if by is None else choose(np.full(10, 0.1), offsets[candidates], by)
            said.append(int(candidates[at]))
        lines.append(json.dumps({"tokens": said}))
    path = tmp_path / "shard.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def say(
    start: Any, environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Say:
    """Runs a command in this process, beside a running admin that has profile and secret: (status, output, errors)."""
    (tmp_path / "profiles.json").write_text(Registry([PROFILE]).dumped())
    files = {
        "STILLWATCH_WATERMARK__PROFILES_FILE": str(tmp_path / "profiles.json"),
        "STILLWATCH_WATERMARK__SECRETS": json.dumps({"e1": SECRET}),
    }
    url = start("admin", **files).addresses()["admin"]
    monkeypatch.setenv("STILLWATCH_ADMIN__TOKEN", environ["STILLWATCH_ADMIN__TOKEN"])
    monkeypatch.setenv("STILLWATCH_ADMIN_URL", url)

    def say(*arguments: str) -> tuple[int, str, str]:
        capfd.readouterr()
        status = cli.main(["watermark", "investigations", *arguments])
        said = capfd.readouterr()
        return status, said.out, said.err

    return say


def test_an_investigation_from_start_to_erasure(
    say: Say, shard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Uploaded in several parts, run for a tenant that is only named, reported with pictures, erased."""
    monkeypatch.setattr(watermark_investigations, "PART_BYTES", 1000)
    monkeypatch.setattr(watermark_investigations, "POLL_SEC", 0.1)
    status, out, err = say("start", str(shard), "-p", "tokens", *WHY)
    assert (status, "no tenant is known" in err) == (1, True), err  # it is here all the same, and can be run
    name = err.partition(":")[0]
    names = tmp_path / "issued.txt"
    names.write_text("".join(f"{number:032x}\n" for number in range(50)) + f"{TENANT}\n")
    assert "51 tenants are asked about" in say("tenants", name, str(names))[1]
    status, out, err = say("run", name, "--fwer", "1e-6")
    assert status == 0, err
    assert f"named: tenant {TENANT}, p = 10^-" in out
    assert "12 documents, 1,440 tokens; 51 tenants and groups tested" in out
    listed = json.loads(say("list", "--json")[1])
    assert [(one["id"], one["state"], one["tenants"]) for one in listed] == [(name, "done", 51)]
    assert "done" in say("show", name)[1]
    status, out, err = say("report", name, "--out", str(tmp_path / "report"))
    assert status == 0, err
    page = (tmp_path / "report" / "report.md").read_text()
    assert TENANT in page
    assert "](keys.png)" in page
    for picture in ("keys", "shares", "documents"):
        assert (tmp_path / "report" / f"{picture}.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((tmp_path / "report" / "findings.json").read_text())["corpus"]["name"] == "shard.jsonl"
    assert say("erase", name, "--yes", "--reason", "case closed")[:2] == (0, f"{name}: erased\n")
    assert "There is no investigation." in say("list")[1]


def test_an_upload_that_broke_off_goes_on(say: Say, shard: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same file goes on where it was; another one is refused before a byte of it is sent."""
    monkeypatch.setattr(watermark_investigations, "PART_BYTES", 1000)
    whole = watermark_investigations.Api.call
    calls = iter(range(100))

    def breaks(api: Any, method: str, *more: Any, **others: Any) -> Any:
        if method == "PUT" and next(calls) == 2:
            raise KeyboardInterrupt
        return whole(api, method, *more, **others)

    with monkeypatch.context() as broken:
        broken.setattr(watermark_investigations.Api, "call", breaks)
        status, _, err = say("start", str(shard), "-p", "tokens", *WHY)
    assert status != 0
    name = next(line.partition(":")[0] for line in err.splitlines() if line.startswith("wi-"))
    assert "waiting, 2,000 bytes here" in say("show", name)[1]
    other = shard.with_name("other.jsonl")
    other.write_text("another")
    status, _, err = say("upload", name, str(other))
    assert (status, "is not the data set that was announced" in err) == (1, True)
    assert say("upload", name, str(shard))[:2] == (0, f"{name}  shard.jsonl: uploaded\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-p", "none"), "--profile: no profile is called 'none'; there are: tokens"),
        (("-p", "tokens", "--name", " "), "--name: must be one line of printable characters"),
        (("-p", "tokens", "--reason", "short"), "--reason: must be one line of at least 10 printable characters"),
    ],
)
def test_what_is_wrong_is_told_with_its_option(say: Say, shard: Path, arguments: tuple[str, ...], said: str) -> None:
    """In one sentence, status 2."""
    why = () if "--reason" in arguments else WHY
    status, _, err = say("start", str(shard), *arguments, *why)
    assert (status, said in err) == (2, True), err


def test_an_id_is_looked_at_before_anything_is_asked(say: Say) -> None:
    """What is none is said at once."""
    status, _, err = say("show", "../../etc")
    assert status == 2
    assert "the id of an investigation is wi- and 13 letters and digits" in err
