"""`python -m app.worker`: one bare worker, without metrics; settings from the environment. See also `stillwatch worker`."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys

from app.errors import ConfigError, StillwatchError
from app.settings import Settings, load
from app.state.factory import background_client
from app.worker.worker import Worker, load_analysis


async def _main(settings: Settings) -> None:
    if not settings.state.redis_url:
        raise ConfigError("state.redis_url: a worker of its own needs the address of the server that the gateways use")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    client = background_client(settings.state.redis_url, settings)
    try:
        await Worker(client, settings, load_analysis(settings)).run(stop)
    finally:
        await client.aclose()


def main() -> None:
    """Runs a worker; one sentence and status 1 when it cannot."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        asyncio.run(_main(load()))
    except StillwatchError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
