"""Fingerprint: what is kept of one exchange's text. No text can be read back from it."""

from __future__ import annotations

import msgspec

FINGERPRINT_VERSION = 2
"""Raised whenever the same event may give another fingerprint; fingerprints of two versions are never compared."""

# Intents, as bits of `intents`. Each can be reached by structure alone or by cue words of any of the languages in `cues`.
ELICIT = 1  # asks for the reasoning to be written out
SUPPLIED = 2  # … behind an answer that the request brings along
JUDGE = 4  # grades something on a scale
GENERATE = 8  # makes tasks, questions, personas or dialogues
REWRITE = 16  # rewrites, cleans or hardens a text
PROBE = 32  # asks about hidden instructions or hidden reasoning
TAGGED_ANSWER = 64  # the answer starts with a tag, or holds a pair of tags around a long block
FORCED_ANSWER = 128  # … and the request had asked for that tag


class Fingerprint(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Hashes and small numbers of one exchange; about 500 bytes as msgpack. A hash of 0 means there was nothing to hash.

    Attributes:
        version: FINGERPRINT_VERSION that made it.
        system: masked text of the system prompt (64 bits).
        head: first six masked tokens of the last user turn (64 bits).
        tail: last six masked tokens of the last user turn (64 bits).
        contract: output contract: tags, JSON keys and headings asked for, response format, tool schema (64 bits).
        content: all masked tokens of the last user turn, so that texts which differ in numbers are the same (64 bits).
        simhash: SimHash of the content words; its low 9 bits are the coverage cell (64 bits).
        minhash: 16 MinHash positions of 16 bits over 3-token shingles, little-endian; empty for texts of under three
            tokens.
        grams: up to six winnowed 5-token shingles of the first 64 tokens and six of the last 64, 32 bits each, sorted.
        intents: bits above.
        language: class of script and language, see `script`.
        tags_asked: number of different tags the request asks the answer to contain.
        tokens: tokens seen of the last user turn; bounded by the text bounds, not its length.
        embedding: direction of the last user turn, 64 signed bytes, see `embedding`; empty for no words.
        capability: class of ability drawn on, see `capability`.
        harvest: how much more often such an exchange is sent by harvesters than by honest customers, see `harvest`: eight
            times the logarithm of the ratio, −127 … 127.
        asked: sample of the shingles of the last user turn, see `echo`.
        answered: sample of the shingles of the answer's beginning, see `echo`.
        outline: first and last words of the last user turn as they stand, nothing masked: 16 bits each, see `outline`.
    """

    version: int
    system: int
    head: int
    tail: int
    contract: int
    content: int
    simhash: int
    minhash: bytes
    grams: bytes
    intents: int
    language: int
    tags_asked: int
    tokens: int
    embedding: bytes = b""
    capability: int = 0
    harvest: int = 0
    asked: bytes = b""
    answered: bytes = b""
    outline: bytes = b""
