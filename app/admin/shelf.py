"""Everything of sharing that the admin process keeps in state, in one place for all routes."""

from __future__ import annotations

from collections.abc import Sequence

from app.intel.outbox import Outbox
from app.intel.taxii.peers import Peer
from app.state.calls import Client
from app.state.intel import Collection
from app.state.intel_common import CommonHere
from app.state.intel_groups import Group, IntelGroups
from app.state.intel_hits import Hits
from app.state.intel_indicators import Indicators
from app.state.intel_outgoing import Outgoing
from app.state.intel_polls import Polls, Statuses
from app.state.intel_published import Publications
from app.state.intel_received import ReceivedQueue
from app.state.intel_runs import Runs
from app.state.intel_signers import Signers
from app.state.intel_words import OurWords


class Shelf:
    """What the routes work with.

    Args:
        client: of the state server.
        groups: trust groups and members.
        peers: whose collections are read, and who are told what we say about indicators.
    """

    def __init__(self, client: Client, groups: IntelGroups, peers: Sequence[Peer] = ()) -> None:
        self.groups = groups
        self.peers = tuple(peers)
        self.words = OurWords(client)
        self.outgoing = Outgoing(client)
        self.queue = ReceivedQueue(client)
        self.statuses = Statuses(client)
        self.polls = Polls(client)
        self.hits = Hits(client)
        self.common = CommonHere(client)
        self.indicators = Indicators(client)
        self.runs = Runs(client)
        self.signers = Signers(client)
        self.publications = Publications(client)
        self.outbox = Outbox(self.publications, groups, lambda group: self.collection(group, "feed"))
        self._client = client

    def collection(self, group: Group, kind: str) -> Collection:
        """One of a group's."""
        return Collection(self._client, group.name, kind)
