"""Blocks of the model's reasoning in requests and answers, as digests: the same block gives the same one on both ways.

A block is known by what a client cannot make: its signature (messages API, OpenRouter), its encrypted content or, without
it, its id (responses API), the data of a redacted block. Plain reasoning text is known by its beginning, without the space
around it, since clients trim.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from xxhash import xxh3_64_intdigest

from app.gateway.dialects.shape import JsonObject, dict_of, dicts

BLOCKS_KEPT = 16
"""Of a request the last ones, of an answer the first."""

_TEXT_CHARS = 256
_TEXT_LEAST = 64
"""A shorter thought may be the same by chance."""

_PAIR = struct.Struct("<QQ")
_PLAIN = ("reasoning_content", "reasoning")
_THINKING = frozenset({"thinking", "redacted_thinking"})


def pack(blocks: Sequence[int]) -> bytes:
    """Digests as `Event.emitted` holds them."""
    kept = list(dict.fromkeys(blocks))[:BLOCKS_KEPT]
    return struct.pack(f"<{len(kept)}Q", *kept)


def pack_pair(block: int, chain: int) -> bytes:
    """An entry of `Event.replayed`."""
    return _PAIR.pack(block, chain)


def of_text(text: str) -> int:
    """Digest of plain reasoning text, from its beginning; 0 for one that is too short."""
    head = text[: 2 * _TEXT_CHARS].strip()[:_TEXT_CHARS]
    return xxh3_64_intdigest(head.encode("utf-8", "replace")) if len(head) >= _TEXT_LEAST else 0


def of_opaque(value: Any) -> int:
    """Digest of a signature or ciphertext; 0 for anything that is no text or an empty one."""
    return xxh3_64_intdigest(value.encode("utf-8", "replace")) if type(value) is str and value else 0


def of_block(block: JsonObject) -> int:
    """Digest of a block of the messages API, or of `reasoning_details`; 0 for another kind of block."""
    found = of_opaque(block.get("signature")) or of_opaque(block.get("data"))
    text = block.get("thinking") or block.get("text")
    return found or (of_text(text) if type(text) is str else 0)


def of_blocks(content: Any) -> tuple[int, ...]:
    """Digests of the thinking blocks in the content of a message."""
    found = (of_block(block) for block in dicts(content) if block.get("type") in _THINKING)
    return tuple(digest for digest in found if digest)


def of_message(message: JsonObject) -> tuple[int, ...]:
    """Digests of the reasoning in a message of chat completions."""
    found = [of_block(part) for part in dicts(message.get("reasoning_details"))]
    if not any(found):
        found = [of_text(text) for name in _PLAIN if type(text := message.get(name)) is str]
    return tuple(dict.fromkeys(digest for digest in found if digest))


def brought_item(item: JsonObject) -> tuple[int, ...]:
    """Digest of a reasoning item of the responses API that a client brings."""
    found = of_opaque(item.get("encrypted_content")) or of_opaque(item.get("id"))
    return (found,) if found else ()


def given_item(item: JsonObject) -> tuple[int, ...]:
    """Digests of such an item that is given out: a client may bring it back by its content or by its id."""
    found = (of_opaque(item.get("encrypted_content")), of_opaque(item.get("id")))
    return tuple(digest for digest in found if digest)


class Pieces:
    """Blocks that arrive in pieces, by index: signatures whole or in parts, or the text where there is none."""

    __slots__ = ("_signed", "_text", "found")

    def __init__(self) -> None:
        self.found: list[int] = []
        self._signed: dict[int, str] = {}
        self._text: dict[int, str] = {}

    def add(self, index: Any, text: Any, signature: Any) -> None:
        """Take a piece; what is no text is nothing."""
        at = index if type(index) is int else 0
        if type(text) is str and len(self._text.get(at, "")) < 2 * _TEXT_CHARS and (at in self._text or self._room()):
            self._text[at] = self._text.get(at, "") + text[: 2 * _TEXT_CHARS]
        if type(signature) is str and (at in self._signed or self._room()):
            self._signed[at] = self._signed.get(at, "") + signature

    def whole(self, blocks: Sequence[int]) -> None:
        """Take blocks that came in one piece."""
        self.found += blocks[: max(0, 2 * BLOCKS_KEPT - len(self.found))]

    def close(self) -> list[int]:
        """Digests of all blocks."""
        pieced = [
            of_opaque(self._signed.get(at)) or of_text(self._text.get(at, "")) for at in {**self._text, **self._signed}
        ]
        return [*self.found, *(digest for digest in pieced if digest)]

    def _room(self) -> bool:
        return max(len(self._signed), len(self._text)) < BLOCKS_KEPT


def choice_pieces(choice: JsonObject, pieces: Pieces) -> None:
    """Reasoning in a chunk of chat completions."""
    delta = dict_of(choice.get("delta"))
    for name in _PLAIN:
        if delta.get(name):
            pieces.add(choice.get("index"), delta.get(name), None)
            break
    for part in dicts(delta.get("reasoning_details")):
        pieces.whole([digest for digest in (of_opaque(part.get("signature")), of_opaque(part.get("data"))) if digest])
