"""How commands speak to the admin API: over HTTP, with the caller's own token, so that roles and audit hold here too.

The address is --admin-url, else `admin.host` and `admin.port`. The token is `admin.token` (STILLWATCH_ADMIN_TOKEN), which
may be the one that a person was given instead of the service's own.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, urlencode, urlsplit

import typer

from app.cli import places
from app.cli.common import settle
from app.errors import BadInput, ConfigError, Refused, StateUnavailable
from app.main import NEEDS_LOGIN
from app.settings import Settings

ANSWER_SEC = 30.0
"""Longest silence of the admin API; it gives up on its state server long before."""

MAX_ANSWER_BYTES = 64 * 1024 * 1024

AdminUrl = Annotated[
    str,
    typer.Option(
        "--admin-url",
        envvar="STILLWATCH_ADMIN_URL",
        metavar="URL",
        help="Address of the admin API; default: admin.host and admin.port of the settings.",
    ),
]

MAX_TOLD = 5
"""Faults of one request that a sentence names."""

_URL_RULE = "--admin-url must be http:// or https:// and a host without credentials, such as http://127.0.0.1:8081"


class Api:
    """The admin API as one person sees it.

    Args:
        url: base address, http:// or https://.
        token: the person's bearer token.
    """

    def __init__(self, url: str, token: str) -> None:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise ConfigError(_URL_RULE) from None
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or parts.query:
            raise ConfigError(_URL_RULE)
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname, port or (443 if self._secure else 80)
        self._base = parts.path.rstrip("/")
        self._token = token
        self.url = url.rstrip("/")

    def get(self, path: str, **query: Any) -> Any:
        """The JSON at a path; parameters that are None are not sent."""
        return self.call("GET", path, query=query)

    def rows(self, path: str, field: str, most: int | None = None, *, page: int = 500, **query: Any) -> Iterator[Any]:
        """What a list holds, page after page; raises as `call`.

        Args:
            path: of the list.
            field: of each page that holds its part.
            most: how many at most; None for all.
            page: how many are asked for at once at most.
            query: other parameters; those that are None are not sent.
        """
        cursor, left = None, most
        while left is None or left > 0:
            found = self.get(path, **query, limit=page if left is None else min(page, left), cursor=cursor)
            yield from found[field][:left]
            left = None if left is None else left - len(found[field])
            cursor = found["next_cursor"]
            if not cursor:
                return

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, Any] | None = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        wait_sec: float = ANSWER_SEC,
    ) -> Any:
        """One request; its JSON, or None where there is none.

        Args:
            method: of HTTP.
            path: with its slash; parts that are not ours must be quoted, see `part`.
            body: sent as JSON.
            query: parameters; those that are None are left out.
            content: bytes that are sent as they are instead of `body`.
            headers: more of them.
            wait_sec: longest silence of the server.

        Raises:
            ConfigError: the token is not right (status 2 of the program).
            Refused: a field breaks its rule (status 2 as well).
            BadInput: it was refused otherwise: not allowed, not known, or not now.
            StateUnavailable: the API cannot be reached or cannot reach its state.
        """
        asked = {name: value for name, value in (query or {}).items() if value is not None}
        target = self._base + path + (f"?{urlencode(asked)}" if asked else "")
        sent = {"authorization": f"Bearer {self._token}", "accept": "application/json", **(headers or {})}
        if content is None and body is not None:
            content, sent["content-type"] = json.dumps(body).encode(), "application/json"
        status, data = self._exchange(method, target, content, sent, wait_sec)
        if status < 300:
            return json.loads(data) if data else None
        raise _refusal(status, data, self.url, path)

    def lines(self, path: str) -> Iterator[bytes]:
        """The lines of a long answer with their ends, as they come.

        Raises:
            ConfigError, BadInput, StateUnavailable: as `call`; StateUnavailable too when the answer breaks off.
        """
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=ANSWER_SEC)
        try:
            connection.request("GET", self._base + path, headers={"authorization": f"Bearer {self._token}"})
            answer = connection.getresponse()
            if answer.status >= 300:
                raise _refusal(answer.status, answer.read(MAX_ANSWER_BYTES), self.url, path)
            yield from answer
        except (OSError, http.client.HTTPException) as error:
            raise StateUnavailable(
                f"the admin API at {self.url} broke off or cannot be reached ({type(error).__name__})"
            ) from None
        finally:
            connection.close()

    def _exchange(
        self, method: str, target: str, content: bytes | None, headers: Mapping[str, str], wait_sec: float
    ) -> tuple[int, bytes]:
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=wait_sec)
        try:
            connection.request(method, target, content, dict(headers))
            answer = connection.getresponse()
            data = answer.read(MAX_ANSWER_BYTES + 1)
        except (OSError, http.client.HTTPException) as error:
            raise StateUnavailable(
                f"the admin API at {self.url} cannot be reached ({type(error).__name__}); does 'stillwatch admin' run?"
            ) from None
        finally:
            connection.close()
        if len(data) > MAX_ANSWER_BYTES:
            raise BadInput(f"the admin API at {self.url} answered with more than {MAX_ANSWER_BYTES:,} bytes")
        return answer.status, data


def part(text: str) -> str:
    """One segment of a path from what a person typed."""
    return quote(text, safe="")


def connect(config: Path | None, sets: list[str] | None, url: str = "") -> Api:
    """The admin API of the configuration.

    Raises:
        ConfigError: there is no token, or no address.
    """
    settings = settle(config, sets)
    token = settings.admin.token.get_secret_value()
    if not token:
        raise ConfigError(NEEDS_LOGIN)
    return Api(url or _configured(settings), token)


def _configured(settings: Settings) -> str:
    host, port = settings.admin.host, settings.admin.port
    if not port:
        raise ConfigError("admin.port is 0, any free port: give the address with --admin-url")
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104 - read, not listened on
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _refusal(status: int, data: bytes, url: str, path: str) -> Exception:
    """What a problem document says, as an error of the program; fields have the names of the command's options."""
    try:
        problem = json.loads(data)
        told = [places.told(path, fault["field"], fault["rule"]) for fault in problem.get("errors", ())]
        more = f"; and {len(told) - MAX_TOLD:,} more" if len(told) > MAX_TOLD else ""
        sentence = "; ".join(told[:MAX_TOLD]) + more if told else str(problem["detail"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return StateUnavailable(f"what is at {url} answered {status}, and not as an admin API does")
    if status == 401:
        return ConfigError(f"admin.token: the admin API at {url} does not take it")
    if status == 422:
        return Refused(sentence, problem.get("errors", []))
    return StateUnavailable(sentence) if status >= 500 else BadInput(sentence)
