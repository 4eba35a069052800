"""Accounts: written whole or not at all, and errors that name the line."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from app.state.accounts import AccountDirectory, AccountStore

KEY = "0123456789abcdef" * 2
ACCOUNT = {
    "org_id": "acme",
    "plan": "payg",
    "created_at": "2026-03-01T12:00:00.000001Z",
    "payment_id": "00ff",
    "authorised": ["evaluation"],
    "country": "DE",
}


def _key(number: int) -> str:
    return f"{number:032x}"


def _lines(*accounts: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(account).encode() + b"\n" for account in accounts)


async def test_an_account_is_put_read_and_deleted(desk: Any) -> None:
    """What was put is read back to the microsecond; after the delete it is not found, and neither is it a second time."""
    path = f"/v1/accounts/{KEY}"
    await desk.get(path, status=404)
    put = await desk.call("PUT", path, json=ACCOUNT)
    assert put.json() == {"key_id": KEY, **ACCOUNT}
    assert await desk.get(path) == put.json()
    assert (await desk.get("/v1/accounts"))["accounts"] == [put.json()]
    gone = await desk.call("DELETE", path)
    assert gone.status_code == 204
    assert "content-type" not in gone.headers
    await desk.get(path, status=404)
    assert (await desk.call("DELETE", path)).status_code == 404


async def test_a_put_replaces_the_whole_account(desk: Any) -> None:
    """A field that the second put does not give is empty again."""
    await desk.call("PUT", f"/v1/accounts/{KEY}", json=ACCOUNT)
    await desk.call("PUT", f"/v1/accounts/{KEY}", json={"plan": "team"})
    found = await desk.get(f"/v1/accounts/{KEY}")
    assert found == {
        "key_id": KEY, "org_id": "", "plan": "team", "created_at": None, "payment_id": "", "authorised": [], "country": ""
    }  # fmt: skip


async def test_a_time_without_a_zone_is_utc(desk: Any) -> None:
    """Times are stored in UTC, from any zone and from none."""
    for given, stored in (
        ("2026-03-01T12:00:00", "2026-03-01T12:00:00Z"),
        ("2026-03-01T12:00:00+02:00", "2026-03-01T10:00:00Z"),
        ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
    ):
        answer = await desk.call("PUT", f"/v1/accounts/{KEY}", json={"created_at": given})
        assert answer.json()["created_at"] == stored


async def test_a_change_reaches_a_directory(desk: Any) -> None:
    """A gateway's directory learns of an account that was put, imported or deleted, without being asked."""
    directory = AccountDirectory(AccountStore(desk.state))
    await directory.start()
    try:
        await desk.call("PUT", f"/v1/accounts/{_key(1)}", json=ACCOUNT)
        await desk.call("POST", "/v1/accounts:import", content=_lines({"key_id": _key(2), "org_id": "o2"}))
        await _until(lambda: directory.get(_key(2)) is not None)
        first, second = directory.get(_key(1)), directory.get(_key(2))
        assert first is not None
        assert second is not None
        assert first.org_id == "acme"
        assert first.authorised == ("evaluation",)
        assert second.org_id == "o2"
        await desk.call("DELETE", f"/v1/accounts/{_key(1)}")
        await _until(lambda: directory.get(_key(1)) is None)
    finally:
        await directory.stop()


async def _until(reached: Any) -> None:
    async with asyncio.timeout(10):
        while not reached():  # noqa: ASYNC110 - the directory offers no event
            await asyncio.sleep(0.02)


async def test_a_bad_account_is_refused_with_field_and_rule(desk: Any) -> None:
    """Each bad field gives its name and its rule, never its value, and nothing is stored."""
    secret = "Sk-Live 0123"
    for body, field in (
        ({"org_id": secret}, "body.org_id"),
        ({"org_id": "brace{}"}, "body.org_id"),
        ({"org_id": 5}, "body.org_id"),
        ({"plan": secret}, "body.plan"),
        ({"plan": "x" * 129}, "body.plan"),
        ({"payment_id": secret}, "body.payment_id"),
        ({"created_at": secret}, "body.created_at"),
        ({"created_at": "1969-12-31T23:59:59Z"}, "body.created_at"),
        ({"created_at": "9999-12-31T23:59:59-23:00"}, "body.created_at"),
        ({"created_at": "0001-01-01T00:00:00+23:00"}, "body.created_at"),
        ({"created_at": 1e300}, "body.created_at"),
        ({"authorised": secret}, "body.authorised"),
        ({"authorised": [secret]}, "body.authorised.0"),
        ({"authorised": ["x"] * 17}, "body.authorised"),
        ({"country": "de"}, "body.country"),
        ({"country": "DE\n"}, "body.country"),
        ({"plann": "x"}, "body.plann"),
        ({secret: "x"}, "body.?"),
        ([], "body"),
        (None, "body"),
    ):
        answer = await desk.call("PUT", f"/v1/accounts/{KEY}", json=body)
        assert answer.status_code == 422, body
        assert [error["field"] for error in answer.json()["errors"]] == [field], body
        assert secret not in answer.text
    await desk.get(f"/v1/accounts/{KEY}", status=404)


async def test_what_is_no_json_is_refused(desk: Any) -> None:
    """Bytes that are no JSON document, too deep, or not UTF-8 get one sentence, whatever they claim to be."""
    for body in (b"", b"{", b"{}x", b"\xff\xfe", b"nul", b'{"plan": NaN}', b"[" * 60_000, b'{"plan": "\\ud800"}', b"\x00"):
        for content_type in ("application/json", "text/plain", ""):
            answer = await desk.call(
                "PUT", f"/v1/accounts/{KEY}", content=body, headers={"content-type": content_type} if content_type else {}
            )
            assert answer.status_code == 422, body
            assert answer.json()["detail"].startswith("body"), body


async def test_an_import_stores_all_lines(desk: Any) -> None:
    """Every line becomes an account, empty lines and line ends of Windows aside; the list has each of them."""
    body = _lines(*({"key_id": _key(number), "org_id": f"org{number % 7}"} for number in range(1500)))
    body = b"\r\n" + body.replace(b"\n", b"\r\n\n")
    answer = await desk.call("POST", "/v1/accounts:import", content=body)
    assert answer.json() == {"lines": 1500, "stored": 1500, "dry_run": False}
    listed: dict[str, str] = {}
    cursor = "0"
    while cursor:
        page = await desk.get("/v1/accounts", params={"limit": 100, "cursor": cursor})
        listed |= {account["key_id"]: account["org_id"] for account in page["accounts"]}
        cursor = page["next_cursor"]
    assert listed == {_key(number): f"org{number % 7}" for number in range(1500)}


async def test_an_import_names_every_bad_line_and_stores_nothing(desk: Any) -> None:
    """Each fault is named by line and field, a repeated key by both lines; of the good lines none is stored."""
    body = b"\n".join(
        (
            b'{"key_id":"%s","plan":"payg"}' % _key(1).encode(),
            b'{"key_id":"sk-live-secret"}',
            b"",
            b"{broken",
            b'{"key_id":"%s","country":"germany","plan":7}' % _key(2).encode(),
            b'{"org_id":"x"}',
            b'{"key_id":"%s"}' % _key(1).encode(),
        )
    )
    answer = await desk.call("POST", "/v1/accounts:import", content=body)
    assert answer.status_code == 422
    rules = {error["field"]: error["rule"] for error in answer.json()["errors"]}
    assert list(rules) == [
        "body line 2.key_id",
        "body line 4",
        "body line 5.plan",
        "body line 5.country",
        "body line 6.key_id",
        "body line 7.key_id",
    ]
    assert rules["body line 4"] == "must be valid JSON"
    assert rules["body line 7.key_id"] == "must not be the key of line 1 again"
    assert answer.json()["detail"].startswith("5 of 6 lines break a rule, nothing is stored; the first: body line 2.key_id")
    assert "sk-live" not in answer.text
    assert (await desk.get("/v1/accounts"))["accounts"] == []


async def test_thousands_of_bad_lines_are_all_named(desk: Any) -> None:
    """A person repairs a file once: every bad line is in the answer, and the sentence says how many there are."""
    answer = await desk.call("POST", "/v1/accounts:import", content=b"x\n" * 5000)
    assert [error["field"] for error in answer.json()["errors"]] == [f"body line {number}" for number in range(1, 5001)]
    assert answer.json()["detail"].startswith("5,000 of 5,000 lines break a rule")


async def test_a_dry_run_checks_and_stores_nothing(desk: Any) -> None:
    """It answers as the import would, names what is wrong, and leaves no account and no record of a change."""
    path = "/v1/accounts:import?dry_run=true"
    body = _lines({"key_id": _key(1)}, {"key_id": _key(2)})
    assert (await desk.call("POST", path, content=body)).json() == {"lines": 2, "stored": 0, "dry_run": True}
    assert (await desk.call("POST", path, content=body + b"x\n")).json()["errors"] == [
        {"field": "body line 3", "rule": "must be valid JSON"}
    ]
    assert (await desk.get("/v1/accounts"))["accounts"] == []
    assert (await desk.get("/v1/audit"))["records"] == []


async def test_an_empty_import_stores_nothing(desk: Any) -> None:
    """No line is no fault."""
    assert (await desk.call("POST", "/v1/accounts:import", content=b"\n")).json() == {
        "lines": 0,
        "stored": 0,
        "dry_run": False,
    }


async def test_a_bad_cursor_of_accounts_is_refused(desk: Any) -> None:
    """A cursor that the server could not read is a 422, not a fault."""
    for cursor in ("x", "-1", str(2**64), "1.5", "9" * 5000):
        problem = await desk.get("/v1/accounts", status=422, params={"cursor": cursor})
        assert problem["errors"][0]["field"] == "query.cursor"
