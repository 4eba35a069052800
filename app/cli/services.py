"""serve, worker, admin, all: the long-running processes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

import typer

from app.cli.common import Config, Sets, addresses, err, settle, warn_of_strangers
from app.errors import UpstreamUnavailable
from app.settings import Settings

Upstream = Annotated[
    str | None, typer.Option("--upstream", "-u", metavar="URL", help="Base address of the model API (gateway.upstream).")
]
Host = Annotated[str | None, typer.Option("--host", metavar="ADDRESS", help="Address to listen on (gateway.host).")]
Port = Annotated[
    int | None, typer.Option("--port", "-p", metavar="PORT", help="Port to listen on (gateway.port); 0: a free one.")
]
NeedUpstream = Annotated[
    bool, typer.Option("--require-upstream", help="Do not start while the model API cannot be reached.")
]
AdminHost = Annotated[str | None, typer.Option("--host", metavar="ADDRESS", help="Address to listen on (admin.host).")]
AdminPort = Annotated[
    int | None, typer.Option("--port", "-p", metavar="PORT", help="Port to listen on (admin.port); 0: a free one.")
]
MetricsPort = Annotated[
    int | None,
    typer.Option("--metrics-port", metavar="PORT", help="Port of /metrics (worker.metrics_port); 0: a free one."),
]


def serve(
    upstream: Upstream = None,
    host: Host = None,
    port: Port = None,
    require_upstream: NeedUpstream = False,
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Run the gateway: the reverse proxy in front of a model API.

    Needs identity.pepper (STILLWATCH_PEPPER).
    Without state.redis_url, processes with the same state.data_dir share one embedded state server.

    Example: [bold]stillwatch serve --upstream http://127.0.0.1:8000[/bold]
    """
    from app import main

    settings = settle(config, sets, gateway__upstream=upstream, gateway__host=host, gateway__port=port)
    main.check_gateway(settings)
    _look_upstream(settings, require_upstream)
    _run("gateway", lambda stop: main.run_gateway(settings, stop, _say), settings)


def worker(metrics_port: MetricsPort = None, config: Config = None, sets: Sets = None) -> None:
    """Run a worker: reads the event log, keeps profiles, judges keys, writes the archive.

    Any number may run; they share the partitions. Without worker.model_dir only the named rules judge.
    While a configured state server is away, it waits.

    Example: [bold]stillwatch worker --set worker.model_dir=model[/bold]
    """
    from app import main

    settings = settle(config, sets, worker__metrics_port=metrics_port)
    _run("worker", lambda stop: main.run_worker(settings, stop, _say), settings)


def admin(host: AdminHost = None, port: AdminPort = None, config: Config = None, sets: Sets = None) -> None:
    """Run the admin API: keys by suspicion, why, and what is done about them.

    Needs admin.token (STILLWATCH_ADMIN_TOKEN).

    Example: [bold]stillwatch admin --port 8081[/bold]
    """
    from app import main

    settings = settle(config, sets, admin__host=host, admin__port=port)
    main.check_admin(settings)
    _run("admin", lambda stop: main.run_admin(settings, stop, _say), settings)


def everything(
    upstream: Upstream = None,
    host: Host = None,
    port: Port = None,
    require_upstream: NeedUpstream = False,
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Run gateway, worker and admin API together, on the embedded state server unless one is configured.

    Needs identity.pepper and admin.token.
    If one of the processes ends, the others are stopped and the status is 1: a supervisor starts all of them again.

    Example: [bold]stillwatch all --upstream http://127.0.0.1:8000 --set state.data_dir=/var/lib/stillwatch[/bold]
    """
    from app import main
    from app.processes import run_tree

    settings = settle(config, sets, gateway__upstream=upstream, gateway__host=host, gateway__port=port)
    main.check_gateway(settings)
    main.check_admin(settings)
    main.check_ports(settings)
    _look_upstream(settings, require_upstream)
    parts = [(name, f"app.main:{role.__name__}") for name, role in main.ROLES.items()]

    async def work(stop: asyncio.Event) -> None:
        from app.state.server import StateServer

        # Ours first and last, so that the state outlives every process that writes to it.
        async with StateServer(settings.state):
            await run_tree(parts, settings, stop, _say, grace_sec=settings.gateway.grace_sec + 5)

    _run("all", work, settings)


def _run(process: str, work: Callable[[asyncio.Event], Coroutine[Any, Any, None]], settings: Settings) -> None:
    from app import main
    from app.telemetry import logging as logs

    logs.configure(settings, process)
    warn_of_strangers()
    main.run(work)


def _say(found: dict[str, str]) -> None:
    err.print(f"serving: {addresses(found)}; stop with Ctrl-C", soft_wrap=True)


def _look_upstream(settings: Settings, required: bool) -> None:
    """Whether anybody listens at the upstream's address. A model server may start later, so it is a remark unless required.

    Raises:
        UpstreamUnavailable: nobody does, and it is required.
    """
    from app.gateway.upstream import Upstream as Pool

    async def look() -> None:
        pool = Pool(settings.gateway)
        try:
            await pool.connect()
        finally:
            await pool.close()

    try:
        asyncio.run(look())
    except UpstreamUnavailable as error:
        sentence = f"gateway.upstream {settings.gateway.upstream}: {error}"
        if required:
            raise UpstreamUnavailable(sentence) from None
        err.print(f"warning: {sentence}; requests are answered with 502 until it can be", soft_wrap=True, markup=False)
