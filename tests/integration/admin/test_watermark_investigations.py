"""An investigation by API, from announcement to report: on text that is marked here, uploaded in parts, and killed."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from app.admin.watermark_runs import Runs
from app.state.accounts import Account, AccountStore
from app.state.keys import AUDIT
from app.state.mark_groups import MarkGroups
from detectors.watermark.keys import MasterSecret, issued
from detectors.watermark.prf import Prf, offsets_of
from detectors.watermark.registry import WORDS, MarkProfile
from detectors.watermark.sampling import Marker, choose, plainly
from detectors.watermark.words import words

SECRET = MasterSecret.parse("5e" * 32)
PROFILE = MarkProfile(id="words", scheme="gumbel", tokenizer=WORDS, epoch="2026q4", context_width=2)
GUILTY, INNOCENT = "0123456789abcdef" * 2, "fedcba9876543210" * 2
CAMPAIGN = "c-0123456789ab"
HOME = "/v1/watermark/investigations"
WHY = "a data set that was published"
SPOKEN = "zanzibar"
"""A word of every document, which must be in no answer, log or record."""


@cache
def _corpus(documents: int, marked: int, group: str = "") -> bytes:
    """JSON lines: documents of 150 words, of which the first `marked` carry the mark of GUILTY."""
    randomness = np.random.default_rng(7)
    vocabulary = [f"word{number}" for number in range(1, 400)]
    tokens = np.concatenate([words(word) for word in vocabulary])
    offsets = offsets_of(tokens)
    prf = Prf(SECRET, PROFILE)
    word = issued(SECRET, GUILTY, PROFILE.positions, PROFILE.symbols, group)
    lines = []
    for number in range(documents):
        marker = Marker(prf, PROFILE, word)
        said: list[int] = []
        for _ in range(150):
            by = marker.next([int(tokens[at]) for at in said]) if number < marked else None
            likely = randomness.integers(0, len(vocabulary), 12)
            likelihood = np.full(12, 1 / 12)
            at = plainly(likelihood, randomness) if by is None else choose(likelihood, offsets[likely], by)
            said.append(int(likely[at]))
        text = " ".join([SPOKEN, *(vocabulary[at] for at in said)])
        lines.append(json.dumps({"id": number, "text": text}))
    return "\n".join(lines).encode() + b"\n"


@cache
def _plain(documents: int) -> bytes:
    """JSON lines of unmarked words, made fast."""
    numbers = np.random.default_rng(12).integers(1, 60_000, (documents, 120)).tolist()
    return b"".join(json.dumps({"text": " ".join(f"w{one}" for one in row)}).encode() + b"\n" for row in numbers)


def _announcement(data: bytes, **more: Any) -> dict[str, Any]:
    about = {"name": "first shard", "profile": "words", "format": "jsonl", "reason": WHY}
    return {**about, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), **more}


async def _made(desk: Any, data: bytes, **more: Any) -> str:
    """The address of a new investigation."""
    answer = await desk.call("POST", HOME, json=_announcement(data, **more))
    assert answer.status_code == 201, answer.text
    assert answer.json()["state"] == "waiting"
    return f"{HOME}/{answer.json()['id']}"


async def _uploaded(desk: Any, data: bytes, **more: Any) -> str:
    path = await _made(desk, data, **more)
    answer = await desk.call("PUT", f"{path}/corpus", content=data)
    assert (answer.status_code, answer.json()["state"]) == (200, "uploaded"), answer.text
    return path


async def _known(desk: Any) -> None:
    """Two hundred tenants, with and without accounts."""
    await AccountStore(desk.state).import_many({f"{number:032x}": Account() for number in range(198)})
    await AccountStore(desk.state).import_many({GUILTY: Account(org_id="acme"), INNOCENT: Account()})


async def _when(desk: Any, path: str, true: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    """The investigation, as soon as that is true of it."""
    async with asyncio.timeout(90):
        while not true(found := await desk.get(path)):  # noqa: ASYNC110 - a process of its own works on it
            await asyncio.sleep(0.02)
    return dict(found)


async def _over(desk: Any, path: str) -> dict[str, Any]:
    """The investigation at the end of its run."""
    return await _when(desk, path, lambda found: found["state"] not in ("queued", "running"))


def _reading(found: dict[str, Any]) -> bool:
    return bool(found["progress"]) and found["progress"]["stage"] == "documents"


async def _run(desk: Any, path: str, **body: Any) -> dict[str, Any]:
    answer = await desk.call("POST", f"{path}:run", json=body)
    assert answer.status_code == 202, answer.text
    return await _over(desk, path)


async def test_a_marked_data_set_names_its_key(desk: Any) -> None:
    """Uploaded in three parts, of which one breaks off; run; the key is named, nobody else is, and the report says so."""
    await _known(desk)
    data = _corpus(40, 30)
    path = await _made(desk, data)
    third = len(data) // 3

    answer = await desk.call(
        "PUT", f"{path}/corpus", content=data[:third], headers={"content-range": f"bytes 0-{third - 1}/{len(data)}"}
    )
    assert (answer.json()["state"], answer.json()["received"]) == ("waiting", third)
    await _broken_off(desk, f"{path}/corpus", data[third : 2 * third], third, len(data))
    received = (await _when(desk, path, lambda found: found["received"] == third + 1000))["received"]
    rest = {"content-range": f"bytes {received}-{len(data) - 1}/{len(data)}"}
    async with asyncio.timeout(60):  # what broke off is here a moment before the server has done with it
        while (
            answer := await desk.call("PUT", f"{path}/corpus", content=data[received:], headers=rest)
        ).status_code == 409:
            assert "ask again in a moment" in answer.json()["detail"]
    assert (answer.status_code, answer.json()["state"]) == (200, "uploaded")

    found = await _run(desk, path, fwer=1e-6)
    assert (found["state"], found["error"], found["tenants"], found["fwer"]) == ("done", None, 200, 1e-6)
    findings = found["findings"]
    named = [key for key in findings["keys"] if key["named"]]
    assert [key["name"] for key in named] == [GUILTY]
    assert named[0]["log10_p"] < -50
    assert 25 <= named[0]["documents"] <= 40
    assert findings["model_log10_p"] < -50
    assert findings["documents"] == 40
    assert found["received"] == 0  # the data set is gone, its evidence is kept
    folder = desk.settings.investigations_dir / found["id"]
    assert not list(folder.glob("corpus*"))
    assert (folder / "store" / "manifest.json").exists()

    report = await desk.call("GET", f"{path}/report")
    assert report.headers["content-type"] == "text/markdown; charset=utf-8"
    assert GUILTY in report.text
    assert "first shard" in report.text
    assert "## Within documents" in report.text
    assert "](report.png?picture=keys)" in report.text
    whole = (await desk.call("GET", f"{path}/report", params={"form": "json"})).json()
    assert whole["corpus"]["name"] == "first shard"
    assert whole["stretches"]
    for picture in ("keys", "shares", "documents"):
        image = await desk.call("GET", f"{path}/report.png", params={"picture": picture})
        assert image.content.startswith(b"\x89PNG")


async def _uploads(desk: Any) -> int:
    return sum(b"investigation.upload" in fields[b"r"] for _, fields in await desk.state.xrange(AUDIT))


async def _broken_off(desk: Any, path: str, data: bytes, start: int, size: int) -> None:
    """A PUT that says it brings all of `data` and goes away after 1,000 bytes of it."""
    host, port = desk.server.url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    head = (
        f"PUT {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {len(data)}\r\n"
        f"authorization: {desk.http.headers['authorization']}\r\n"
        f"content-range: bytes {start}-{start + len(data) - 1}/{size}\r\n\r\n"
    )
    writer.write(head.encode() + data[:1000])
    await writer.drain()
    # What the server did not read before the connection breaks is lost; it reads once the upload is on record.
    async with asyncio.timeout(60):
        while await _uploads(desk) < 2:  # noqa: ASYNC110 - the server writes it
            await asyncio.sleep(0.02)
    await asyncio.sleep(0.2)
    writer.close()
    await writer.wait_closed()


async def test_a_run_whose_process_is_killed_goes_on(desk: Any) -> None:
    """The process that searches is killed twice; another takes up what it had done, and finds the same as one alone."""
    await _known(desk)
    data = _plain(6_000) + _corpus(40, 30)
    path = await _uploaded(desk, data)
    runs: Runs = desk.server.app.state.runs
    assert (await desk.call("POST", f"{path}:run", json={})).status_code == 202
    for _ in range(2):
        await _when(desk, path, _reading)
        assert runs.process_id is not None
        os.kill(runs.process_id, signal.SIGKILL)
        await _when(desk, path, lambda found: not found["progress"])
    found = await _over(desk, path)
    assert found["state"] == "done", found
    assert [key["name"] for key in found["findings"]["keys"] if key["named"]] == [GUILTY]
    alone = await _run(desk, await _uploaded(desk, data))
    for name in ("documents", "tokens", "ngrams", "repeated", "model_log10_p", "keys"):
        assert found["findings"][name] == alone["findings"][name], name


async def test_an_admin_process_that_is_killed_leaves_nothing_running_and_the_next_goes_on(
    redis_db: str, admin_settings: Any, new_desk: Any, token: str, tmp_path: Path
) -> None:
    """SIGKILL of the admin process ends the search too; the next admin process brings it to its end without being asked."""
    settings = admin_settings()
    environ = {
        **os.environ,
        "STILLWATCH_STATE__REDIS_URL": redis_db,
        "STILLWATCH_STATE__DATA_DIR": str(tmp_path),
        "STILLWATCH_STATE__PARTITIONS": str(settings.state.partitions),
        "STILLWATCH_ADMIN__TOKEN": token,
        "STILLWATCH_ADMIN__PORT": str(_free_port()),
        "STILLWATCH_WATERMARK__PROFILES_FILE": str(settings.watermark.profiles_file),
        "STILLWATCH_WATERMARK__SECRETS": settings.watermark.secrets.get_secret_value(),
    }
    data = _plain(6_000) + _corpus(40, 30)
    admin = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "app.cli", "admin", env=environ,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    url = f"http://127.0.0.1:{environ['STILLWATCH_ADMIN__PORT']}"
    try:
        async with httpx2.AsyncClient(
            base_url=url, trust_env=False, timeout=30.0, headers={"authorization": f"Bearer {token}"}
        ) as http:
            await _answers(http)
            accounts = b"\n".join(json.dumps({"key_id": key}).encode() for key in (GUILTY, INNOCENT))
            assert (await http.post("/v1/accounts:import", content=accounts)).status_code == 200
            made = (await http.post(HOME, json=_announcement(data))).json()
            path = f"{HOME}/{made['id']}"
            assert (await http.put(f"{path}/corpus", content=data)).status_code == 200
            assert (await http.post(f"{path}:run", json={})).status_code == 202
            async with asyncio.timeout(60):
                while not _reading((await http.get(path)).json()):  # noqa: ASYNC110 - a process of its own
                    await asyncio.sleep(0.02)
    finally:
        admin.kill()
        await admin.wait()
    async with new_desk() as desk:
        found = await _over(desk, path)
        assert found["state"] == "done", found
        assert [key["name"] for key in found["findings"]["keys"] if key["named"]] == [GUILTY]


def _free_port() -> int:
    import socket

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def _answers(http: httpx2.AsyncClient) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                if (await http.get("/v1/me")).status_code == 200:
                    return
            except httpx2.TransportError:
                pass
            await asyncio.sleep(0.05)


async def test_an_investigation_can_be_run_again_for_tenants_that_came_since(desk: Any) -> None:
    """The first run knows only innocents; the key gets an account, and the same evidence names it without the data set."""
    await AccountStore(desk.state).import_many({INNOCENT: Account()})
    path = await _uploaded(desk, _corpus(40, 30))
    first = await _run(desk, path)
    assert (first["state"], [key["named"] for key in first["findings"]["keys"]]) == ("done", [False])
    await AccountStore(desk.state).import_many({GUILTY: Account()})
    second = await _run(desk, path)
    assert [key["name"] for key in second["findings"]["keys"] if key["named"]] == [GUILTY]


async def test_tenants_that_nobody_knows_any_more_can_be_named(desk: Any) -> None:
    """A key without an account that was not seen for long is asked about when it is on the list; a bad line is named."""
    await AccountStore(desk.state).import_many({INNOCENT: Account()})
    path = await _uploaded(desk, _corpus(40, 30))
    answer = await desk.call("PUT", f"{path}/tenants", content=f"{GUILTY}\n\nacme\n{GUILTY}\n".encode())
    assert (answer.status_code, answer.json()) == (200, {"tenants": 2})
    answer = await desk.call("PUT", f"{path}/tenants", content=b"acme\ntwo words\n")
    assert answer.status_code == 422
    assert answer.json()["errors"] == [{"field": "body line 2", "rule": "must be 1 to 128 letters, digits and _ . : @ -"}]
    found = await _run(desk, path)
    assert found["tenants"] == 3
    assert [key["name"] for key in found["findings"]["keys"] if key["named"]] == [GUILTY]


async def test_keys_that_were_only_seen_are_asked_about_and_campaigns_are_named(desk: Any) -> None:
    """A key without an account is a tenant; where its campaign shares a mark, tenant and campaign are both named."""
    from detectors.contract import Level

    await desk.judged(GUILTY, Level.CONFIRMED, 0.99)
    await desk.judged(INNOCENT, Level.CLEAR, 0.1)
    await MarkGroups(desk.state).put(GUILTY, CAMPAIGN)
    found = await _run(desk, await _uploaded(desk, _corpus(40, 30, CAMPAIGN)))
    assert (found["tenants"], found["groups"]) == (2, 1)
    named = {(key["kind"], key["name"]) for key in found["findings"]["keys"] if key["named"]}
    assert named == {("tenant", GUILTY), ("group", CAMPAIGN)}


async def test_an_organisation_is_asked_about_where_those_have_the_marks(new_desk: Any) -> None:
    """With watermark.tenant = organisation the roll holds organisations, and keys without one."""
    async with new_desk(STILLWATCH_WATERMARK__TENANT="organisation") as desk:
        await _known(desk)
        path = await _uploaded(desk, _corpus(40, 30))
        await _run(desk, path)
        tenants = (desk.settings.investigations_dir / path.rpartition("/")[2] / "tenants.txt").read_text().split()
        assert "acme" in tenants
        assert GUILTY not in tenants
        assert INNOCENT in tenants


async def test_nothing_of_a_data_set_is_in_logs_records_or_errors(desk: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A word that every document holds, in a good data set and a broken one, is found nowhere but on the way in."""
    await _known(desk)
    good = await _run(desk, await _uploaded(desk, _corpus(40, 30)))
    broken = await _run(desk, await _uploaded(desk, _corpus(3, 0) + f'{{"text": "{SPOKEN}'.encode()))
    assert (good["state"], broken["state"]) == ("done", "failed")
    records = [fields[b"r"].decode() for _, fields in await desk.state.xrange(AUDIT)]
    kept = [path for path in desk.settings.investigations_dir.rglob("*") if path.is_file() and path.name != "corpus.jsonl"]
    assert len(kept) > 10
    report = (await desk.call("GET", f"{HOME}/{good['id']}/report", params={"form": "json"})).text
    for text in (json.dumps(good), json.dumps(broken), report, caplog.text, *records, *(path.name for path in kept)):
        assert SPOKEN not in text
    for path in kept:
        assert SPOKEN.encode() not in path.read_bytes(), path.name


async def test_folders_are_their_owners_alone(desk: Any) -> None:
    """The folder and each in it is 0700, each file with anything in it 0600."""
    await _known(desk)
    await _run(desk, await _uploaded(desk, _corpus(40, 30)))
    root = desk.settings.investigations_dir
    await _uploaded(desk, b'{"text": "waits"}\n')
    assert root.stat().st_mode & 0o777 == 0o700
    for path in root.iterdir():
        assert path.stat().st_mode & 0o077 == 0, path
    for corpus in root.glob("*/corpus*"):
        assert corpus.stat().st_mode & 0o777 == 0o600


async def test_an_erased_investigation_leaves_nothing(desk: Any) -> None:
    """Erasing one that waits and one that runs removes all their files; afterwards they are unknown."""
    await _known(desk)
    waits = await _uploaded(desk, b'{"text": "waits"}\n')
    runs = await _uploaded(desk, _plain(6_000))
    await desk.call("POST", f"{runs}:run", json={})
    await _when(desk, runs, lambda found: found["progress"])
    for path in (waits, runs):
        assert (await desk.call("DELETE", path, params={"reason": WHY})).status_code == 204
        assert (await desk.call("GET", path)).status_code == 404
    assert [one.name for one in desk.settings.investigations_dir.iterdir()] == [".lock"]
    assert (await desk.get(HOME))["investigations"] == []


@pytest.mark.parametrize(
    ("data", "more", "sentence"),
    [
        (b'{"text": "one"}\n{"text": "tw', {}, "corpus.jsonl: line 2: is cut off in the middle of its JSON"),
        (b'{"text": "one"}\n{"text": "\xff"}\n', {}, "corpus.jsonl: line 2, byte 11: must be UTF-8, and holds 0xff"),
        (
            b'{"other": "one"}\n',
            {},
            "corpus.jsonl: line 1: has no field 'text' and no 'tokens'; 'field' of the investigation",
        ),
        (b"PAR1 and then nothing", {"format": "parquet"}, "corpus.parquet: cannot be read as Parquet; it may be cut off"),
        (b'{"text": ""}\n', {}, "corpus.jsonl: is empty: 1 documents, and no token in them"),
        (b'{"text": "one two"}\n', {"profile": "tokens"}, "is a text, for which profile tokens needs the tokenizer file"),
        (b"\x1f\x8b\x08cut", {}, "corpus.jsonl: is cut off in the middle of its gzip stream"),
    ],
)
async def test_a_data_set_that_cannot_be_read_is_one_sentence(
    desk: Any, data: bytes, more: dict[str, str], sentence: str
) -> None:
    """The run fails with file, line and rule, without a folder of the machine; it may be run again."""
    await _known(desk)
    path = await _uploaded(desk, data, **more)
    found = await _run(desk, path)
    assert found["state"] == "failed"
    assert sentence in found["error"]
    assert str(desk.settings.investigations_dir) not in found["error"]
    assert found["findings"] is None
    assert (await desk.call("GET", f"{path}/report")).status_code == 404
    assert (await _run(desk, path))["state"] == "failed"


async def test_a_tokenizer_that_is_not_there_is_said_at_the_announcement(new_desk: Any, tmp_path: Path) -> None:
    """With a folder of tokenizers, a profile whose tokenizer is not among them is refused before anything is uploaded."""
    folder = tmp_path / "tokenizers"
    folder.mkdir()
    (folder / "tokenizer.json").write_text("{}")
    async with new_desk(STILLWATCH_WATERMARK__TOKENIZERS_DIR=str(folder)) as desk:
        answer = await desk.call("POST", HOME, json=_announcement(b"x", profile="tokens"))
        assert answer.status_code == 422
        assert "none of its 1 files is the tokenizer of profile tokens" in answer.json()["detail"]
        assert answer.json()["errors"][0]["field"] == "body.profile"


@pytest.mark.parametrize(
    ("body", "field", "rule"),
    [
        ({"profile": "unknown"}, "body.profile", "no profile is called 'unknown'; there are: words, tokens, old"),
        ({"profile": "old"}, "body.profile", "no master secret for epoch '2026q1'"),
        ({"bytes": (1 << 30) + 1}, "body.bytes", "must be at most 1,073,741,824 (watermark.investigations_max_mb)"),
        ({"sha256": "abc"}, "body.sha256", "must be a SHA-256 in 64 hex digits in lower case, as sha256sum prints it"),
        ({"format": "csv"}, "body.format", "must be 'jsonl', 'parquet' or 'text'"),
        ({"name": "two\nlines"}, "body.name", "must be one line of printable characters"),
        ({"reason": "short"}, "body.reason", "must be one line of at least 10 printable characters"),
    ],
)
async def test_an_announcement_that_breaks_a_rule_is_refused(
    desk: Any, body: dict[str, Any], field: str, rule: str
) -> None:
    """One clear error, and nothing is kept."""
    answer = await desk.call("POST", HOME, json=_announcement(b"x", **body))
    assert answer.status_code == 422, answer.text
    assert (answer.json()["errors"][0]["field"], answer.json()["errors"][0]["rule"]) == (field, rule)
    assert (await desk.get(HOME))["investigations"] == []


async def test_parts_that_do_not_fit_are_refused_one_by_one(desk: Any) -> None:
    """Each misfit of a part is one sentence, and what is here stays as it was; a wrong sum throws all of it away."""
    data = b'{"text": "0123456789"}\n'
    path = await _made(desk, data)

    async def put(content: bytes, content_range: str = "") -> Any:
        headers = {"content-range": content_range} if content_range else {}
        return await desk.call("PUT", f"{path}/corpus", content=content, headers=headers)

    assert (await put(data[:10], "bytes 0-9/23")).json()["received"] == 10
    for content, content_range, status, said in (
        (data[9:], "bytes 9-22/23", 409, "the next part begins at byte 10; that many bytes of 23 are here"),
        (data[11:], "bytes 11-22/23", 409, "the next part begins at byte 10"),
        (data[10:], "bytes 10-22/99", 422, "content_range: the data set was announced with 23 bytes"),
        (data[10:], "bytes 10-23/23", 422, "content_range: FIRST must not be above LAST, and LAST must be below 23"),
        (data[10:], "bytes 10-21/23", 422, "content_length: does not fit content_range, which says 12 bytes"),
        (data[10:], "lines 10-22/23", 422, "must be bytes FIRST-LAST/ALL"),
        (data + b"more", "", 422, "content_length: the data set was announced with 23 bytes"),
    ):
        answer = await put(content, content_range)
        assert answer.status_code == status, answer.text
        assert said in answer.json()["detail"]
        assert (await desk.get(path))["received"] == 10

    async def endless() -> Any:
        for _ in range(4):
            yield b"x" * 10

    answer = await desk.call("PUT", f"{path}/corpus", content=endless(), headers={"content-range": "bytes 10-22/23"})
    assert answer.status_code == 422
    assert "body: is longer than the 13 bytes that were announced" in answer.json()["detail"]
    assert (await desk.get(path))["received"] == 10
    answer = await desk.call("POST", f"{path}:run", json={})
    assert answer.status_code == 409
    assert "10 of 23 bytes of the data set are here" in answer.json()["detail"]
    answer = await put(b"y" * 13, "bytes 10-22/23")
    assert answer.status_code == 422
    assert "SHA-256" in answer.json()["detail"]
    assert (await desk.get(path))["received"] == 0
    assert (await put(data)).json()["state"] == "uploaded"
    assert (await put(data)).status_code == 409


async def test_an_upload_has_its_own_limits(new_desk: Any) -> None:
    """A body larger than the setting is a 413 before it is read; one that stalls is a 408, and what came is kept."""
    async with new_desk(
        STILLWATCH_WATERMARK__INVESTIGATIONS_MAX_MB="1", STILLWATCH_GATEWAY__BODY_TIMEOUT_SEC="0.3"
    ) as desk:
        data = b"z" * 1_000_000
        path = await _made(desk, data, format="text")
        answer = await desk.call("PUT", f"{path}/corpus", content=b"z" * 1_100_000)
        assert answer.status_code == 413

        async def slow() -> Any:
            for at in range(0, 500_000, 100_000):  # slower as a whole than a body may be, and never still
                yield data[at : at + 100_000]
                await asyncio.sleep(0.15)
            await asyncio.sleep(2)

        answer = await desk.call("PUT", f"{path}/corpus", content=slow())
        assert answer.status_code == 408
        assert (await desk.get(path))["received"] == 500_000


async def test_no_more_than_so_many_are_kept(new_desk: Any) -> None:
    """The one beyond is a 409 that says what to do."""
    async with new_desk(STILLWATCH_WATERMARK__INVESTIGATIONS_MOST="1") as desk:
        path = await _made(desk, b"x")
        answer = await desk.call("POST", HOME, json=_announcement(b"x"))
        assert answer.status_code == 409
        assert "1 investigations are kept, and no more may be" in answer.json()["detail"]
        await desk.call("DELETE", path)
        await _made(desk, b"x")


async def test_without_profiles_or_tenants_there_is_nothing_to_look_for(new_desk: Any, desk: Any) -> None:
    """Both are a 409 that names what is missing."""
    path = await _uploaded(desk, b'{"text": "x"}\n')
    answer = await desk.call("POST", f"{path}:run", json={})
    assert (answer.status_code, answer.json()["detail"]) == (
        409,
        "no tenant is known: no account, and no key that was seen",
    )
    async with new_desk(STILLWATCH_WATERMARK__SECRETS="") as other:
        answer = await other.call("POST", HOME, json=_announcement(b"x"))
        assert answer.status_code == 409
        assert answer.json()["detail"].startswith("watermark.secrets_file must be set")


async def test_one_admin_process_works_in_a_folder(new_desk: Any, desk: Any) -> None:
    """A second one over the same folder reads, and refuses to change anything."""
    path = await _uploaded(desk, b'{"text": "x"}\n')
    async with new_desk() as other:
        assert (await other.get(path))["state"] == "uploaded"
        answer = await other.call("POST", HOME, json=_announcement(b"x"))
        assert answer.status_code == 409
        assert "another admin process works on the investigations in this folder" in answer.json()["detail"]
        assert (await other.call("DELETE", path)).status_code == 409


async def test_only_investigators_see_or_touch_them(desk: Any) -> None:
    """A viewer gets nothing, an auditor reads and changes nothing, an analyst does all of it."""
    viewer, auditor, analyst = [await desk.token(role) for role in ("viewer", "auditor", "analyst")]
    made = await desk.as_(analyst, "POST", HOME, json=_announcement(b"x"))
    path = f"{HOME}/{made.json()['id']}"
    for where in (HOME, path, f"{path}/report", f"{path}/report.png"):
        assert (await desk.as_(viewer, "GET", where)).status_code == 403
        assert (await desk.as_(auditor, "GET", where)).status_code in (200, 404)
    assert (await desk.as_(auditor, "PUT", f"{path}/corpus", content=b"x")).status_code == 403
    assert (await desk.as_(auditor, "DELETE", path)).status_code == 403
    assert (await desk.as_(analyst, "DELETE", path)).status_code == 204
