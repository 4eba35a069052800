"""Run the simulated model API: ``python -m app.simulate --port 9000``."""

from __future__ import annotations

import argparse

import uvicorn

from app.simulate.faults import Faults
from app.simulate.model_api import ModelApi, ModelApiConfig


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m app.simulate", description="Simulated OpenAI and Anthropic API.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=9000, help="port to listen on (default: %(default)s)")
    parser.add_argument("--uds", help="unix socket to listen on instead")
    parser.add_argument("--seed", type=int, default=1, help="root of every answer (default: %(default)s)")
    parser.add_argument("--latency-ms", type=float, default=0.0, help="wait before the first byte of every answer")
    parser.add_argument("--chunk-delay-ms", type=float, default=0.0, help="wait before every chunk of a stream")
    parser.add_argument("--chunks", type=int, default=0, help="pieces of text in a stream; 0: one per word")
    parser.add_argument("--words", type=int, default=0, help="words of an answer; 0: as the prompt wants")
    given = parser.parse_args()
    faults = Faults(
        latency_ms=given.latency_ms, chunk_delay_ms=given.chunk_delay_ms, chunks=given.chunks, words=given.words
    )
    api = ModelApi(ModelApiConfig(seed=given.seed, faults=faults))
    # Cut streams are ordered, so the server's complaints about them would only hide real ones: nothing below critical.
    uvicorn.run(
        api, host=given.host, port=given.port, uds=given.uds, log_level="critical", access_log=False, lifespan="off",
        timeout_keep_alive=75, server_header=False,
    )  # fmt: skip


if __name__ == "__main__":
    main()
