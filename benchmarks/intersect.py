"""Private matching: seconds and peak memory of each step of either side, and the bytes that travel.

    python -m benchmarks.intersect [--sizes 1000x10000 24000x100000]

Each step runs in a process of its own, so that its peak memory is its own. Half of the asker's accounts are common.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from app.intel.intersect import exchange, identities, wire
from app.intel.intersect.bounds import MOST_ANSWERER, MOST_ASKER
from detectors.sharing.tokens import GroupKey
from detectors.watermark.keys import KeyRing, MasterSecret

_SECRET = MasterSecret(bytes(range(32)))
_RING = KeyRing({"q4": _SECRET})
_ROW = "{:>7} {:>8}  {:<16} {:>8} {:>9} {:>12}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["1000x10000", "24000x100000"], help="asker x answerer")
    given = parser.parse_args(sys.argv[1:] if arguments is None else arguments)
    print(_ROW.format("asker", "answerer", "step", "seconds", "peak MiB", "file, bytes"))
    for size in given.sizes:
        own, theirs = map(int, size.split("x"))
        _measure(own, theirs)
    return 0


def _measure(own: int, theirs: int) -> None:
    mine = _accounts(0, own)
    other = _accounts(own // 2, theirs)

    def step(name: str, work: Callable[..., Any], *given: Any) -> Any:
        seconds, peak, found = _alone(work, *given)
        size = f"{len(found):,}" if isinstance(found, bytes) else ""
        print(_ROW.format(f"{own:,}", f"{theirs:,}", name, f"{seconds:.1f}", f"{peak:.0f}", size), flush=True)
        return found

    session, offer = step("offer", _begun, mine)
    print(_ROW.format("", "", "  its file", "", "", f"{len(offer):,}"))
    answer = step("answer", _answered, offer, other)
    common = step("cardinality", _size, session, answer)
    assert common == own - own // 2
    sized = msgspec.structs.replace(session, size=common)
    asked = step("offer-members", _asked, sized, mine)
    told = step("answer --reveal", _answered, asked, other)
    assert step("reveal", _members, sized, told, mine) == common


def _alone(work: Callable[..., Any], *given: Any) -> tuple[float, float, Any]:
    """(seconds, MiB at most, result) of work in a new process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_timed, (work, given))


def _timed(work: Callable[..., Any], given: tuple[Any, ...]) -> tuple[float, float, Any]:
    began = time.perf_counter()
    found = work(*given)
    return time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, found


def _accounts(first: int, count: int) -> bytes:
    return "".join(f"person{number}@example.org\n" for number in range(first, first + count)).encode()


def _tokens(accounts: bytes, most: int = MOST_ASKER) -> dict[str, str]:
    return identities.tokens(accounts, GroupKey(_SECRET), most)


def _begun(accounts: bytes) -> Any:
    return exchange.begun(_tokens(accounts), "labs", "q4", "acme", _SECRET, _quiet)


def _answered(offer: bytes, accounts: bytes) -> bytes:
    header, elements = wire.opened(offer, "offer", "labs", _RING)
    return exchange.answer(header, elements, _tokens(accounts, MOST_ANSWERER), _SECRET, _quiet)


def _size(session: Any, answer: bytes) -> int:
    return exchange.size(session, *wire.opened(answer, "answer", "labs", _RING), _quiet)


def _asked(session: Any, accounts: bytes) -> bytes:
    return exchange.asked(session, _tokens(accounts), _SECRET, _quiet)


def _members(session: Any, answer: bytes, accounts: bytes) -> int:
    opened = wire.opened(answer, "answer", "labs", _RING)
    return len(exchange.members(session, *opened, _tokens(accounts), _quiet))


def _quiet(done: int) -> None:
    """Nobody watches."""


if __name__ == "__main__":
    sys.exit(main())
