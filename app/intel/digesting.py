"""What members have sent becomes what is looked for: versions, words of others, retractions, and whom to believe.

Objects may come again, in any order, from whoever: so every step looks at what is held and writes what follows, and
doing it twice changes nothing. Only the member that sent an indicator first can change it or take it back; the others'
opinions and sightings are words about it. Whatever an object says about its author counts for nothing: the credential
says who sent it.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import orjson
from msgspec import structs

from app.errors import BadInput, StateUnavailable
from app.intel.parse import Meaning, Opinion, Revoked, Seen, Told, meaning
from app.state.intel_indicators import MOST_OF_ONE, Held, Indicators, Standing, Word
from app.state.intel_received import Received, ReceivedQueue
from detectors.sharing.trust import Report, Reporter

AT_A_TIME = 500

MAX_WORDS = 50
"""Members that have a word about one indicator."""

_DISAGREE = ("strongly-disagree", "disagree")
_AGREE = ("strongly-agree", "agree")


@dataclass(slots=True)
class Digest:
    """What became of objects.

    Attributes:
        taken: indicators that are new or changed.
        retracted: taken back by who sent them.
        words: of others about indicators.
        known: came again, or were older than what is held.
        nothing: said nothing to us, or spoke of what is not held.
        refused: broke a rule.
    """

    taken: int = 0
    retracted: int = 0
    words: int = 0
    known: int = 0
    nothing: int = 0
    refused: int = 0


class Digester:
    """Takes what waits and writes what follows.

    Args:
        queue: of received objects.
        indicators: that are held.
        organisation_of: (group, member) → organisation, as the operator said when it let the member in; the member's own
            name where nothing was said.
    """

    def __init__(
        self, queue: ReceivedQueue, indicators: Indicators, organisation_of: Callable[[str, str], str] | None = None
    ) -> None:
        self._queue = queue
        self._indicators = indicators
        self._organisation_of = organisation_of or (lambda group, member: member)

    async def step(self, now_us: int) -> Digest:
        """A turn over all senders: at most AT_A_TIME objects of each, so that a long queue holds up nobody else."""
        done = Digest()
        fault: Exception | None = None
        for source in await self._queue.sources():
            try:
                waiting = await self._queue.read(source.group, source.member, AT_A_TIME)
                if not waiting:
                    continue
                await self._known(source.group, source.member, now_us)
                await self._take(source.group, source.member, waiting, now_us, done)
                await self._queue.done(source.group, source.member, waiting[-1].entry_id)
            except StateUnavailable:
                raise
            except Exception as error:  # what one member sent must not hold up the others
                fault = error
        if fault is not None:
            raise fault
        return done

    async def forget_ended(self, now_us: int) -> int:
        """Drops what ended."""
        ended = [one for one in await self._indicators.all() if one.indicator.valid_until_us <= now_us]
        return await self._indicators.drop(ended)

    async def _known(self, group: str, member: str, now_us: int) -> None:
        if (group, member) not in await self._indicators.standings():
            organisation = self._organisation_of(group, member)
            await self._indicators.put_standing(Standing(group, member, organisation, since_us=now_us))

    async def _take(self, group: str, member: str, waiting: Sequence[Received], now_us: int, done: Digest) -> None:
        said: list[tuple[Meaning, int]] = []
        for one in waiting:
            try:
                found = meaning(orjson.loads(one.data), now_us)
            except Exception:  # an object for which no rule was thought of must not stay in front of the others
                done.refused += 1
                continue
            if found is None:
                done.nothing += 1
            else:
                said.append((found, one.received_us))
        named = {about for found, _ in said for about in _about(found)}
        held = await self._indicators.get(group, named | {_own_id(member, about) for about in named})
        now = dict(held)
        unsaid: set[str] = set()
        for found, received_us in said:
            for about in _about(found):
                if (rival := _rival(now, found, about, member)) is not None:
                    now[about], found, about = rival, _renamed(found, member), _own_id(member, about)
                before = now.get(about)
                after = _after(before, found, about, group, member, received_us)
                if after is None:
                    done.nothing += 1
                elif after == before:
                    done.known += 1
                else:
                    now[about] = after
                    if before is not None and before.agreed and after.content_us != before.content_us:
                        unsaid.add(after.name)
                    _count(done, found)
        changed = {about: one for about, one in now.items() if one != held.get(about)}
        await self._put(group, member, changed, held, unsaid, done)

    async def _put(
        self, group: str, member: str, changed: dict[str, Held], held: dict[str, Held], unsaid: set[str], done: Digest
    ) -> None:
        """Writes what changed. New ones are refused where there is no room for them; the others never are: a retraction
        must not wait for place."""
        new = [about for about in changed if about not in held]
        if new and await self._indicators.owned(group, member) + len(new) > MOST_OF_ONE:
            done.refused += len(new)
            changed = {about: one for about, one in changed.items() if about in held}
        if not changed:
            return
        try:
            await self._indicators.put(changed.values(), unsaid)
        except BadInput:
            done.refused += len(new)
            await self._indicators.put([one for about, one in changed.items() if about in held], unsaid)


def reports(held: Held, standings: dict[tuple[str, str], Standing]) -> list[Report]:
    """The reports of an indicator by itself, for `detectors.sharing.trust`; none where it is revoked or was set aside here.

    An organisation that says that it is wrong takes one voice away from it, the weakest. Of a key, which shows several
    indicators, it takes one voice away from all of them together: `app.intel.voices.Voices.silenced`.
    """
    found = sorted(agreeing(held, standings), key=lambda report: -report.reporter.trust)
    return found[: max(0, len(found) - len(against(held, standings)))]


def agreeing(held: Held, standings: dict[tuple[str, str], Standing]) -> list[Report]:
    """The reports of those who stand behind an indicator, whoever says that it is wrong; none as of `reports`.

    Where others have an indicator of this id with other tokens, and the first of them is not trusted more than they, only
    its owner stands behind it: nobody can tell which one the others spoke of.
    """
    if held.revoked or held.aside:
        return []
    found: list[Report] = []
    disputed = _disputed(held, standings)
    for word in held.words:
        standing = standings.get((held.group, word.member))
        if standing is not None and word.agrees and (word.member == held.owner or not disputed):
            at_us = min(word.at_us, word.received_us)
            sent = word.told or word.member == held.owner
            found.append(Report(reporter_of(standing), held.indicator.kind, word.confidence, at_us, sent))
    return found


def against(held: Held, standings: dict[tuple[str, str], Standing]) -> frozenset[str]:
    """Organisations that say that an indicator is wrong; not one that was wrong here more often than right, and none where
    a person of ours agrees with the indicator."""
    if held.agreed:
        return frozenset()
    found = [standings.get((held.group, word.member)) for word in held.words if not word.agrees]
    return frozenset(one.organisation for one in found if one is not None and one.disputed <= one.confirmed)


def reporter_of(standing: Standing) -> Reporter:
    """A member, for `detectors.sharing.trust`."""
    name = f"{standing.group}/{standing.member}"
    return Reporter(name, standing.organisation, standing.since_us, standing.confirmed, standing.disputed)


def _disputed(held: Held, standings: dict[tuple[str, str], Standing]) -> bool:
    """Whether somebody who is trusted as much as its owner means something else by its id."""
    trust = [reporter_of(one).trust for name in held.rivals if (one := standings.get((held.group, name)))]
    owner = standings.get((held.group, held.owner))
    return bool(trust) and (owner is None or max(trust) >= reporter_of(owner).trust)


def _own_id(member: str, about: str) -> str:
    """Under which a member's indicator is held where another one holds its id with other tokens."""
    return f"indicator--{uuid.uuid5(uuid.NAMESPACE_OID, f'{member} {about}')}"


def _rival(held: dict[str, Held], found: Meaning, about: str, member: str) -> Held | None:
    """The indicator that stands where a member has another one of the same id, which it speaks of; None mostly.

    An id is no secret: who reads another's feed could send its ids first, with tokens of its own, and have everybody who
    is to be believed stand behind them.
    """
    first = held.get(about)
    if first is None or first.owner == member:
        return None
    if not isinstance(found, Told | Revoked):  # with its own go the sightings of it; what it disagrees with is the first
        return first if member in first.rivals and not (isinstance(found, Opinion) and found.word in _DISAGREE) else None
    if _own_id(member, about) not in held and (isinstance(found, Revoked) or first.indicator.same_content(found.indicator)):
        return None
    if member in first.rivals or len(first.rivals) >= MAX_WORDS:
        return first
    # What it said about the first one before was about its own.
    words = tuple(word for word in first.words if word.member != member)
    return structs.replace(first, rivals=(*first.rivals, member), words=words)


def _renamed(found: Meaning, member: str) -> Meaning:
    if isinstance(found, Told):
        return found._replace(indicator=structs.replace(found.indicator, id=_own_id(member, found.indicator.id)))
    return found._replace(object_id=_own_id(member, found.object_id)) if isinstance(found, Revoked) else found


def _about(found: Meaning) -> tuple[str, ...]:
    if isinstance(found, Told):
        return (found.indicator.id,)
    return found.object_ids if isinstance(found, Opinion) else (found.object_id,)


def _after(before: Held | None, found: Meaning, about: str, group: str, member: str, received_us: int) -> Held | None:
    """What is held about an indicator then; None where it says nothing about anything held."""
    if isinstance(found, Told):
        word = Word(member, found.version_us, received_us, found.indicator.confidence, told=True)
        if before is None:
            return Held(found.indicator, group, member, found.version_us, found.tlp, (word,), content_us=received_us)
        if before.owner != member:  # the same id from somebody else: a copy at best
            return _worded(before, structs.replace(word, confidence=min(50, word.confidence)))
        if found.version_us <= before.version_us:
            return before
        # A retraction is an object's last word: STIX knows no version after it.
        if before.revoked:
            return before
        changed = structs.replace(before, indicator=found.indicator, version_us=found.version_us, tlp=found.tlp)
        if not before.indicator.same_content(found.indicator):
            # Who agreed did not agree with this; who disagrees has to be asked again before it counts for nothing.
            words = tuple(one for one in before.words if one.member == member or not one.agrees)
            changed = structs.replace(changed, words=words, content_us=max(received_us, before.content_us + 1))
        return _worded(changed, word)
    if before is None:
        return None
    if isinstance(found, Revoked):
        if before.owner != member:  # it takes back what it said itself
            words = tuple(word for word in before.words if word.member != member or not word.told)
            return structs.replace(before, words=words)
        if before.revoked:
            return before
        return structs.replace(before, revoked=True, version_us=max(before.version_us, found.version_us))
    if isinstance(found, Seen):
        return before if before.owner == member else _worded(before, Word(member, found.version_us, received_us))
    if found.word in _DISAGREE:
        return _worded(before, Word(member, found.version_us, received_us, 50, agrees=False))
    if found.word in _AGREE and before.owner != member:
        return _worded(before, Word(member, found.version_us, received_us))
    return before


def _worded(held: Held, word: Word) -> Held:
    """With a member's newest word in place of its older one."""
    old = next((one for one in held.words if one.member == word.member), None)
    if old is not None and old.at_us >= word.at_us:
        return held
    if old is None and len(held.words) >= MAX_WORDS:
        return held
    return structs.replace(held, words=(*(one for one in held.words if one.member != word.member), word))


def _count(done: Digest, found: Meaning) -> None:
    if isinstance(found, Told):
        done.taken += 1
    elif isinstance(found, Revoked):
        done.retracted += 1
    else:
        done.words += 1
