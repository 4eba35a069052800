"""What an answered exchange changes in the sketches of a profile, and what they know about it."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING

from detectors.event import Event
from detectors.fingerprint import Fingerprint
from detectors.fingerprint.content import cell, region
from detectors.fingerprint.hashing import digest
from detectors.fingerprint.minhash import low_bytes
from detectors.fingerprint.record import ELICIT, FORCED_ANSWER
from detectors.leak import suspicion
from detectors.pooled.rows import pool_row
from detectors.profile.layout import GRAM_MEMORY
from detectors.profile.provenance import look_up
from detectors.sketch.decay import DAY
from detectors.sketch.recent import LOW24
from detectors.tally import INDEX, Seen, is_valuable

if TYPE_CHECKING:
    from detectors.profile.state import Profile

_LOW32 = 0xFFFFFFFF
_GENERATED = INDEX["generated"]

CONSTANT = 2.5
"""An element is constant when it stood in at least this many recent exchanges of its kind: in about three or more."""

TEMPLATE_SHARE = 0.3
"""An exchange is "under a skeleton" when it carries an element that at least this share of the key's exchanges carries."""

NEAR_DUPLICATE = 0.7
"""Similarity in excess of the template's; the bound at which Self-Instruct drops its own near-duplicates."""

ECHOED = 3
"""Shingles of earlier answers in a request from which on the answer has come back: two may be a name and a phrase."""


def read(profile: Profile, event: Event, fp: Fingerprint, seen: Seen, weight: float) -> None:
    """Take an answered exchange into the profile's sketches, and fill what they know about it.

    Args:
        profile: changed.
        event: answered, on a route that writes text.
        fp: of the same exchange.
        seen: filled.
        weight: with which the exchange enters sums at the landmark of the week.
    """
    elements = {"system": fp.system & _LOW32, "head": fp.head & _LOW32, "tail": fp.tail & _LOW32}
    constant = _constant_grams(profile, fp.grams)
    tops = profile.tops
    enough = TEMPLATE_SHARE * float(profile.week[_GENERATED])
    for name, item in elements.items():
        if item:
            top = tops[name]
            seen.templated = seen.templated or top.floor(item) >= enough > 0.0
            top.add(item, weight)
    for gram in constant:
        seen.templated = seen.templated or tops["grams"].floor(gram) >= enough > 0.0
        tops["grams"].add(gram, weight)
    if fp.contract:
        contract = fp.contract & _LOW32
        seen.constant_forced = fp.intents & FORCED_ANSWER != 0 and tops["contract"].floor(contract) >= CONSTANT * weight
        tops["contract"].add(contract, weight)
    settings = parameters(event)
    # The very first settings are not new: a young entity must not look like a playground.
    seen.new_parameters = bool(tops["parameters"].entries) and not tops["parameters"].floor(settings)
    tops["parameters"].add(settings, weight)
    if fp.intents & ELICIT:
        # Salted by kind through different bits of the hashes: a head must not meet a tail of the same words.
        most = CONSTANT * weight
        for item in (
            fp.system >> 32,
            (fp.head >> 16) & _LOW32,
            (fp.tail >> 24) & _LOW32,
            (fp.contract >> 8) & _LOW32,
            *constant,
        ):
            if item:
                seen.constant_elicitation = seen.constant_elicitation or tops["elicited"].floor(item) >= most
                tops["elicited"].add(item, weight)
    profile.languages[fp.language] += weight
    profile.models.add(event.model, event.at_us, DAY.weight(event.at_us, profile.landmarks[1]))

    if event.replayed or event.emitted:
        look_up(profile, event, seen)
    if event.retry_count:
        return
    request = (event.chain_digest or event.user_digest or fp.content) & _LOW32
    repeated = profile.repeats.see(request, weight) > 1 if request else False
    if event.chain_digest:
        seen.continued = profile.chains.see(event.chain_digest & _LOW32, event.prefix_digest & _LOW32, event.at_us)
        seen.open_chains = profile.chains.open(event.at_us)
    if event.end_user_digest:
        profile.distincts["end_users"].add(event.end_user_digest)
    if fp.embedding:
        profile.pool.add(pool_row(fp.embedding, fp.harvest))
        place = region(fp.embedding)
        profile.topics.add(place, weight)
    else:
        place = cell(fp.simhash)
    if fp.tokens:
        seen.novel = not profile.windows["contents"].see(fp.content & _LOW32)
        seen.fresh_cell = profile.cells.visit(place, event.at_us)
    if not repeated:
        # The same request again says nothing of what varies.
        profile.templates.see(fp.outline, weight)
    _echo(profile, event, fp, seen)
    if fp.minhash and not repeated:
        signature = low_bytes(fp.minhash)
        seen.near_duplicate = profile.similar.excess(signature) >= NEAR_DUPLICATE
        profile.similar.push(signature)
    if event.refusal:
        skeleton = (fp.head ^ fp.tail ^ fp.system) & _LOW32
        seen.new_refused_skeleton = not profile.windows["refused"].see(skeleton)
    if event.logit_bias_digest:
        profile.distincts["biases"].add(event.logit_bias_digest)
    if is_valuable(event):
        profile.distincts["valuable"].add(event.chain_digest or event.user_digest or fp.content or digest(event.event_id))
        if not repeated and fp.tokens:
            profile.account.add(suspicion(fp.harvest))


def _echo(profile: Profile, event: Event, fp: Fingerprint, seen: Seen) -> None:
    """Does an earlier answer come back in a request outside its conversation; and remember this answer.

    What two answers share is a phrase of the model, and what an answer shares with its own request the client's words:
    neither tells that an answer came back.
    """
    answers, phrases = profile.windows["answers"], profile.windows["phrases"]
    asked = {shingle & LOW24 for shingle in _hashes(fp.asked)}
    if asked and "a" not in event.roles:
        seen.echoed = len(asked & answers.items.keys()) >= ECHOED
    for hashed in _hashes(fp.answered):
        shingle = hashed & LOW24
        if shingle in asked:
            continue
        if shingle in phrases.items:
            phrases.see(shingle)
        elif shingle in answers.items:
            del answers.items[shingle]
            phrases.see(shingle)
        else:
            answers.see(shingle)


def _constant_grams(profile: Profile, grams: bytes) -> tuple[int, ...]:
    """Shingles of this exchange that one of the last few also had."""
    mine = _hashes(grams)
    recent = set(_hashes(b"".join(profile.last_grams)))
    if grams:
        profile.last_grams = [*profile.last_grams[1 - GRAM_MEMORY :], grams] if profile.last_grams else [grams]
    return tuple(gram for gram in mine if gram in recent)


def _hashes(data: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(data) // 4}I", data)


def parameters(event: Event) -> int:
    """Hash of the sampling settings; max_tokens by octave, since many clients compute it from the input."""
    octave = math.frexp(event.max_tokens)[1] if event.max_tokens else 0
    values = (
        event.temperature,
        event.top_p,
        event.n,
        octave,
        event.top_logprobs,
        event.response_format,
        event.reasoning_effort,
    )
    return digest(repr(values)) & _LOW32
