"""Names of what is kept of sharing, with type and bound of each; the others are in `app.state.keys`.

Hash tags: {int} groups, members and polls; {intq} what was received; {ints} indicators and what is said about them; {inth}
keys that show some; {intp} publications; {into} what peers are told; {int.<group>} the collections of a group.
"""

from __future__ import annotations

from app.state.keys import PREFIX

INTEL_GROUPS = f"{PREFIX}:{{int}}:groups"
"""Hash trust group → its record, JSON; at most app.state.intel_groups.MAX_GROUPS; no TTL."""

INTEL_MEMBERS = f"{PREFIX}:{{int}}:members"
"""Hash token id → a member's credential, without its secret; at most app.state.intel_groups.MAX_CREDENTIALS; no TTL."""

INTEL_SIGNERS = f"{PREFIX}:{{int}}:signers"
"""Hash "<group> <member>" → public key that the member signs with; at most app.state.intel_signers.MAX_SIGNERS; no TTL."""

INTEL_FEEDS = f"{PREFIX}:{{int}}:feeds"
"""Hash "<group> <member>" → newest signed feed of it that was taken; at most twice as many; no TTL."""

INTEL_POLLS = f"{PREFIX}:{{int}}:polls"
"""Hash "<peer> <collection>" → how far it was read, JSON; at most intel_polls.MAX_POLLS; TTL from the last poll."""

INTEL_INDICATORS = f"{PREFIX}:{{ints}}:i"
"""Hash "<group> <STIX id>" → an indicator and what was said about it; at most intel_indicators.MAX_INDICATORS; no TTL."""

INTEL_REPORTERS = f"{PREFIX}:{{ints}}:r"
"""Hash "<group> <member>" → how it stands as a reporter; at most app.state.intel_indicators.MAX_REPORTERS; no TTL."""

INTEL_BY_REPORTER = f"{PREFIX}:{{ints}}:z"
"""Zset "<group> <owner> <STIX id>" of those indicators, score 0; no TTL."""

INTEL_SAID = f"{PREFIX}:{{ints}}:w"
"""Hash "<group> <STIX id>" → what we say about an indicator; at most app.state.intel_words.MAX_SAID; no TTL."""

INTEL_VERDICTS = f"{PREFIX}:{{ints}}:v"
"""Hash "<group> <STIX id>" → agree or disagree, of the same words: read with the indicators themselves; no TTL."""

INTEL_REVISION = f"{PREFIX}:{{ints}}:n"
"""A number that grows with every change of these."""

INTEL_HITS = f"{PREFIX}:{{inth}}:h"
"""Hash key id → received indicators that it shows; at most app.state.intel_hits.MAX_KEYS; TTL from the newest."""

INTEL_HIT_TIMES = f"{PREFIX}:{{inth}}:t"
"""Zset key id → when its hits were last decided about, unix ms; with the hash."""

INTEL_HIT_RANKS = f"{PREFIX}:{{inth}}:r"
"""Zset key id → how early a person should look at it, see `app.state.intel_hits.rank`; with the hash."""

INTEL_COMMON = f"{PREFIX}:{{inth}}:c"
"""Zset "<group> <STIX id>" → when a worker last found that indicator common here, unix seconds; at most
app.state.intel_common.MOST_COMMON; TTL from the newest."""

INTEL_DIGESTER = f"{PREFIX}:{{intq}}:digester"
"""String, process that takes what members sent; PX lease."""

INTEL_RUNS = f"{PREFIX}:{{int}}:runs"
"""Zset "<role>/<what> <group> <peer> <JSON>", score unix ms; at most app.state.intel_runs.MAX_RUNS; TTL from the newest."""

INTEL_POLLER = f"{PREFIX}:{{int}}:poller"
"""String, process that polls peers; PX lease."""

INTEL_WAITING = f"{PREFIX}:{{intq}}:w"
"""Hash "<group> <member>" → objects and bytes in its queue; only of queues that are there; TTL as theirs."""


def intel_received(group: str, member: str) -> str:
    """Stream of objects that a member has sent and nobody has taken; bounds and TTL in `app.state.intel_received`."""
    return f"{PREFIX}:{{intq}}:s:{group}:{member}"


def intel_outgoing(peer: str) -> str:
    """Stream of objects that wait to be sent to a peer; bounds and TTL in `app.state.intel_outgoing`."""
    return f"{PREFIX}:{{into}}:{peer}"


INTEL_PUBLISHED = f"{PREFIX}:{{intp}}:z"
"""Zset publication → when its record ends, ms; at most app.state.intel_published.MAX_PUBLICATIONS; TTL of the last."""

INTEL_UNSENT = f"{PREFIX}:{{intp}}:unsent"
"""Set of publications whose objects may not all be in the feed; TTL of a record."""


def intel_publication(publication_id: str) -> str:
    """Hash of a proposal or publication with the bytes that leave, see `app.state.intel_published`; TTL by its status."""
    return f"{PREFIX}:{{intp}}:h:{publication_id}"


def intel_series(group: str, campaign_id: str) -> str:
    """String, id of the publication of a campaign to a trust group that stands; TTL of its record."""
    return f"{PREFIX}:{{intp}}:s:{group}:{campaign_id}"


class CollectionKeys:
    """The key names of a collection of a trust group, all in the group's slot; TTL of each a day longer than objects stay.

    A version of an object is named `<object id>|<version, 16 digits of µs, or nothing>`.
    """

    __slots__ = ("by_id", "dated", "newest", "objects", "size")

    def __init__(self, group: str, collection: str) -> None:
        tag = f"{PREFIX}:{{int.{group}}}:{collection}"
        self.dated = f"{tag}:at"  # zset version → when it was added, µs; no two the same
        self.newest = f"{tag}:new"  # zset, those of them that are the newest of their object
        self.by_id = f"{tag}:id"  # zset of versions with score 0: in the order of objects, and of each object's versions
        self.objects = f"{tag}:o"  # hash version → the object, JSON
        self.size = f"{tag}:n"  # hash: bytes of all objects, time of the newest entry

    def all(self) -> list[str]:
        """Every name, as the scripts take them."""
        return [self.dated, self.newest, self.by_id, self.objects, self.size]


def intel_statuses(group: str, member: str) -> tuple[str, str]:
    """(hash status id → status of a request, JSON; list of the ids, newest first), see `app.state.intel_polls`; TTL."""
    return f"{PREFIX}:{{int.{group}}}:st:{member}", f"{PREFIX}:{{int.{group}}}:so:{member}"
