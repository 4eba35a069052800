"""A data set comes in parts: `PUT` with `Content-Range`, the partial PUT of RFC 9110 (section 14.5), as `curl -C` sends it.

Each part goes on where the last one ended; a connection that breaks keeps what has come. Nothing is taken that does not fit
what was announced, and in the end the whole must have the SHA-256 that was announced.
"""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path
from typing import NamedTuple

from fastapi import HTTPException, Request
from starlette.requests import ClientDisconnect

from app.errors import BadInput, Conflict

CONTENT_RANGE = r"^bytes [0-9]{1,15}-[0-9]{1,15}/([0-9]{1,15}|\*)$"
_PARTS = re.compile(r"bytes ([0-9]+)-([0-9]+)/([0-9]+|\*)")

WRITE_BYTES = 1 << 20
"""Collected in memory before they are written."""


class Part(NamedTuple):
    """Bytes of the data set that one request brings: from `start` up to `end`, without that."""

    start: int
    end: int


def part_of(content_range: str | None, content_length: str | None, size: int, received: int) -> Part:
    """Which bytes a request brings.

    Args:
        content_range: the header; None: the request brings all of them.
        content_length: the header; None where the body is chunked.
        size: of the data set, as announced.
        received: bytes that are here.

    Raises:
        BadInput: the headers do not fit each other or what was announced.
        Conflict: the part does not begin where the last one ended.
    """
    if content_range is None:
        part = Part(0, size)
    else:
        found = _PARTS.fullmatch(content_range)
        if found is None:
            raise BadInput("header.content_range: must be bytes FIRST-LAST/ALL, such as bytes 1048576-2097151/5000000")
        first, last, whole = int(found[1]), int(found[2]), found[3]
        if whole not in ("*", str(size)):
            raise BadInput(f"header.content_range: the data set was announced with {size:,} bytes")
        if not first <= last < size:
            raise BadInput(f"header.content_range: FIRST must not be above LAST, and LAST must be below {size:,}")
        if first != received:
            raise Conflict(f"the next part begins at byte {received}; that many bytes of {size} are here")
        part = Part(first, last + 1)
    brought = part.end - part.start
    if content_length is not None and content_length.isdigit() and int(content_length) != brought:
        if content_range is None:
            raise BadInput(
                f"header.content_length: the data set was announced with {size:,} bytes; "
                "a part of it needs the header Content-Range"
            )
        raise BadInput(f"header.content_length: does not fit content_range, which says {brought:,} bytes")
    return part


async def receive(request: Request, path: Path, part: Part) -> int:
    """Write a request's body to its place.

    Returns:
        How many bytes of the data set are here now.

    Raises:
        BadInput: the body is longer than the part; nothing of it is kept.
        HTTPException: 408: it ended early; 507: the disk is full. What came before is kept.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(descriptor, part.start)
        os.lseek(descriptor, 0, os.SEEK_END)
        try:
            written = await _copy(request, descriptor, part.end - part.start)
        except ClientDisconnect:
            raise HTTPException(408, "The body ended early; what came is kept, go on behind it.") from None
        except OSError:
            raise HTTPException(507, "The disk of the admin process is full; what came is kept.") from None
        if written is None:
            os.ftruncate(descriptor, part.start)
            raise BadInput(f"body: is longer than the {part.end - part.start:,} bytes that were announced")
        return part.start + written
    finally:
        await asyncio.to_thread(_close, descriptor)


async def _copy(request: Request, descriptor: int, most: int) -> int | None:
    """How many bytes were written, everything that came even when more was to come; None for more than `most`."""
    held = bytearray()
    written = 0
    try:
        async for chunk in request.stream():
            held += chunk
            if written + len(held) > most:
                held.clear()
                return None
            if len(held) >= WRITE_BYTES:
                data, held = held, bytearray()
                await asyncio.to_thread(_write, descriptor, data)
                written += len(data)
    finally:
        if held:
            await asyncio.to_thread(_write, descriptor, held)
            written += len(held)
    return written


def _write(descriptor: int, data: bytearray) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _close(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
