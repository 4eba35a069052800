"""Event → Fingerprint: the parts in a row."""

from __future__ import annotations

from detectors.event import Event
from detectors.fingerprint.capability import capability
from detectors.fingerprint.content import content, simhash
from detectors.fingerprint.echo import ANSWER_CHARS, ANSWERED, ASKED, sample
from detectors.fingerprint.embedding import embedding
from detectors.fingerprint.harvest import harvest
from detectors.fingerprint.hashing import sequence, shingles, vocabulary
from detectors.fingerprint.intents import intents
from detectors.fingerprint.minhash import minhash
from detectors.fingerprint.normalise import fold, pieces, tokens
from detectors.fingerprint.outline import outline
from detectors.fingerprint.output_contract import output_contract
from detectors.fingerprint.record import FINGERPRINT_VERSION, Fingerprint
from detectors.fingerprint.script import language
from detectors.fingerprint.skeleton import ends, grams


def fingerprint(event: Event) -> Fingerprint:
    """Fingerprint of an event's text. Pure; an event without text gets one of zeros and what needs no text.

    A system prompt whose text was not sent along is known by its exact digest instead of its masked one.
    """
    system_head, system_rest = (fold(part) for part in pieces(event.system_head, event.system_tail, event.system_chars))
    user, rest = (fold(part) for part in pieces(event.user_head, event.user_tail, event.user_chars))
    answer = fold(event.answer_head[:2048])

    words = tokens(user)
    if rest:
        # Where the two parts were cut there may be half a token on either side.
        words = words[:-1] + tokens(rest)[1:]
    known = vocabulary(words)
    near, spans = shingles(sequence(words, known))
    head, tail = ends(words)

    system = f"{system_head}\n{system_rest}" if system_rest else system_head
    contract = output_contract(event, system, f"{user}\n{rest}" if rest else user, answer)
    direction = embedding(known)
    bits = intents(event, system, user, rest, answer, contract)
    able = capability(event, f"{user}\n{rest}" if rest else user, answer, bits)
    said = tokens(answer[:ANSWER_CHARS])
    return Fingerprint(
        version=FINGERPRINT_VERSION,
        system=content(tokens(system)) or event.system_digest,
        head=head,
        tail=tail,
        contract=contract.hash,
        content=content(words),
        simhash=simhash(known),
        minhash=minhash(near),
        grams=grams(spans),
        intents=bits,
        language=language(user, known),
        tags_asked=len(contract.tags),
        tokens=len(words),
        embedding=direction,
        capability=able,
        harvest=harvest(event, direction, bits, len(contract.tags), len(words)),
        asked=sample(spans, ASKED),
        answered=sample(shingles(sequence(said, vocabulary(said)))[1], ANSWERED),
        outline=outline(user, rest),
    )
