"""The commands over files: a key, an export, what verify says and refuses, and a pull into a running admin process."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import orjson
import pytest
from pymisp import MISPEvent

from app.cli import main
from app.intel import bundle, documents, signing, tlp
from app.state.intel_received import ReceivedQueue
from detectors.sharing.indicator import DAY_US, Indicator

CANARY = "CANARY-SECRET-0123456789"


@pytest.fixture
def folder(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Path:
    """A folder with a key that `keygen` made, its public half, and a bundle."""
    assert main(["intel", "keygen", str(tmp_path / "key.pem")]) == 0
    said = capfd.readouterr()
    (tmp_path / "public.pem").write_text(said.out)
    (tmp_path / "fingerprint").write_text(said.err.removeprefix("fingerprint: ").strip())
    (tmp_path / "bundle.json").write_bytes(_bundle())
    return tmp_path


def _bundle(**change: Any) -> bytes:
    now = time.time_ns() // 1000
    provider = bundle.Provider(bundle.provider_id("Acme"), "Acme")
    found = [Indicator(bundle.indicator_stix_id(provider, "ref", "asn", "0"), "asn", ("AS64500",), now, now + DAY_US)]
    objects = bundle.objects(provider, bundle.Shared("ref", now - DAY_US, now, 240, 12_000, found), now)
    changed = [{**one, **change} if one["type"] == "indicator" else one for one in objects]
    return orjson.dumps(bundle.bundle([{k: v for k, v in one.items() if v is not None} for one in changed]))


def _feed(folder: Path) -> Path:
    key = f"intel.signing_key_file={folder / 'key.pem'}"
    made = ["intel", "export", str(folder / "bundle.json"), "-f", "feed", "-o", str(folder / "feed.json"), "--set", key]
    assert main(made) == 0
    return folder / "feed.json"


def test_export_and_verify(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A feed verifies by the key's file, by its fingerprint and, as whose is unknown, by itself; stix is byte for byte."""
    feed = str(_feed(folder))
    for key in (str(folder / "public.pem"), (folder / "fingerprint").read_text()):
        assert main(["intel", "verify", feed, "--key", key, "--json"]) == 0
        said = json.loads(capfd.readouterr().out)
        assert said["signature"] == "good, by the key that was asked for"
        assert (said["indicators"], said["tlp"], said["said by"]) == ({"asn": 1}, {"amber+strict": 2}, "Acme")
    assert main(["intel", "verify", feed]) == 0
    assert "a key that it brings along" in capfd.readouterr().out
    assert main(["intel", "export", feed]) == 0
    assert capfd.readouterr().out.encode() == (folder / "bundle.json").read_bytes()
    assert main(["intel", "export", feed, "-f", "misp"]) == 0
    event: Any = MISPEvent()
    event.load(capfd.readouterr().out)
    assert "AS64500" in {one.value for one in event.attributes}
    assert main(["intel", "export", feed, "-f", "csv"]) == 0
    assert ",asn,AS64500," in capfd.readouterr().out


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"valid_until": None}, "valid_until"),
        ({"object_marking_refs": [tlp.LEVELS["red"]]}, "TLP:RED"),
        ({"pattern": None}, "STIX 2.1"),
        ({"confidence": 200}, "confidence"),
        ({"id": "indicator--7"}, "STIX identifier"),
    ],
)
def test_verify_refuses(folder: Path, capfd: pytest.CaptureFixture[str], change: dict[str, Any], word: str) -> None:
    """A document that does not hold ends with status 1 and one sentence, which names the rule."""
    (folder / "bundle.json").write_bytes(_bundle(**change))
    assert main(["intel", "verify", str(folder / "bundle.json")]) == 1
    said = capfd.readouterr()
    assert said.out == ""
    assert word in said.err
    assert said.err.count("\n") == 1


def test_signatures_refused(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A changed feed, another's fingerprint, an unsigned document, a key file that others may read: one sentence each."""
    feed = _feed(folder)
    text = feed.read_bytes()
    at = text.index(b'"payload":"') + 99
    (folder / "bad.json").write_bytes(text[:at] + (b"A" if text[at : at + 1] != b"A" else b"B") + text[at + 1 :])
    public = str(folder / "public.pem")
    for arguments, word in (
        ([str(folder / "bad.json"), "--key", public], "does not fit"),
        ([str(feed), "--key", "0" * 64], "another key"),
        ([str(feed), "--key", "nope"], "64 hexadecimal digits"),
        ([str(folder / "bundle.json"), "--key", public], "bears none"),
    ):
        assert main(["intel", "verify", *arguments]) == 1
        assert word in capfd.readouterr().err
    assert main(["intel", "keygen", str(folder / "key.pem")]) == 1
    assert "never overwritten" in capfd.readouterr().err
    (folder / "key.pem").chmod(0o644)
    made = ["intel", "export", str(feed), "-f", "feed", "--set", f"intel.signing_key_file={folder / 'key.pem'}"]
    assert main(made) == 2
    assert "0644" in capfd.readouterr().err


async def test_pull(site: Any, folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A signed feed counts as the member's, a plain bundle as the person's, the same again as nothing."""
    await site.server.app.state.taking.stop()
    monkeypatch.setenv("STILLWATCH_ADMIN__TOKEN", site.token)
    feed, plain, public = _feed(folder), folder / "bundle.json", (folder / "public.pem").read_text()
    total = len(documents.read(plain.read_bytes()))

    async def pull(*arguments: str) -> int:
        return await asyncio.to_thread(main, ["intel", "pull", *arguments, "-g", "labs", "--admin-url", site.server.url])

    assert await pull(str(feed), "--as", "acme") == 1
    assert "No key of such a member" in capfd.readouterr().err
    await site.http.put(
        "/v1/intel/groups/labs/members/acme/key", json={"public_key": public},
        headers={"authorization": f"Bearer {site.token}"},
    )  # fmt: skip
    assert await pull(str(feed), "--as", "acme", "--key", str(folder / "public.pem")) == 0
    assert capfd.readouterr().out == f"{total:,} objects taken as acme\n"
    assert await pull(str(feed), "--as", "acme") == 0
    assert capfd.readouterr().out == "taken before, as acme: nothing to do\n"
    assert await pull(str(plain)) == 0
    assert "objects taken as @" in capfd.readouterr().out
    assert await pull(str(plain), "--as", "acme") == 1
    assert "leave --as out" in capfd.readouterr().err
    found = {source.member[:1]: source.objects for source in await ReceivedQueue(site.state).sources()}
    assert found == {"a": total, "@": total}


async def test_pull_waits_for_place(
    site: Any, folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A document that does not fit into the queue goes in piece by piece while the queue is emptied."""
    monkeypatch.setenv("STILLWATCH_ADMIN__TOKEN", site.token)
    site.server.app.state.taking._queue._most = 700
    objects = [site.indicator(number) for number in range(1, 2001)]
    (folder / "many.json").write_bytes(orjson.dumps({"objects": objects}))
    arguments = ["intel", "pull", str(folder / "many.json"), "-g", "labs", "--admin-url", site.server.url]
    assert await asyncio.to_thread(main, arguments) == 0
    assert "2,000 objects taken as @" in capfd.readouterr().out


def test_secrets_never_shown(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Neither a private key nor what a broken file holds is in any output of the commands."""
    secret = (folder / "key.pem").read_text().splitlines()[1]
    feed = _feed(folder)
    (folder / "broken").write_text(CANARY)
    (folder / "broken").chmod(0o600)
    broken = str(folder / "broken")
    for arguments in (
        ["verify", broken], ["verify", str(feed), "--key", broken], ["export", broken], ["keygen", broken],
        ["export", str(feed), "-f", "feed", "--set", f"intel.signing_key_file={broken}"],
        ["export", str(feed), "-f", "csv"],
        ["verify", str(folder / "key.pem")], ["verify", "http://user:pw@example.org/x"], ["verify", "http://example.org/x"],
    ):  # fmt: skip
        main(["intel", *arguments])
        said = capfd.readouterr()
        assert CANARY not in said.out + said.err
        assert secret not in said.out + said.err
    assert secret.encode() not in feed.read_bytes()
    assert signing.is_signed(feed.read_bytes())
