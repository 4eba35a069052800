"""What is in force in this process now: policy, plans, kill switch, orders and allow-list, as attributes that never wait.

Policy: the file if one is configured, else what is stored in state, else the settings. A new one that is wrong is told and
counted, and the last good one holds. The kill switch is the strongest of three: the setting at the start, a file, and
state; the file is looked at by a loop of its own, so it works while the state server is away.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable

from app.enforcement.policy import Action
from app.enforcement.policy_text import digest, parse_plans, parse_policy, with_plans
from app.enforcement.rules import Kill
from app.enforcement.switches import STRENGTH, PolicyFile, read_kill, strongest
from app.errors import ConfigError
from app.settings import LADDER, EnforcementSettings, LimitSettings, Settings
from app.state.calls import Client
from app.state.control_feed import ControlFeed
from app.telemetry import metrics

log = logging.getLogger(__name__)

FILE, POLICY, PLANS = "policy file", "stored policy", "stored plans"
_SOURCE = {FILE: "file", POLICY: "state", PLANS: "state"}


class Control:
    """The rules of one process; `app.enforcement.rules.Rules` is what most of the code sees of it.

    Before `start`, and without a client, it says what the settings say.

    Attributes:
        policy: in force; another object after each change.
        policy_digest: the same in two processes whose policies say the same.
        policy_source: file, state or settings.
        faults: what is there by precedence but not in force, by its name (FILE, POLICY or PLANS) → what is wrong with it.
        generation: how many policies were in force in this process.
        plans: limits with the stored plans.
        kill: the kill switch.
    """

    def __init__(self, settings: Settings, client: Client | None = None) -> None:
        """Nothing is read yet.

        Args:
            settings: the whole tree.
            client: of the state server; None follows the files only.
        """
        self._settings = settings
        self._subscribers: list[Callable[[], None]] = []
        self._poll_sec = settings.control.poll_ms / 1000
        self._file = PolicyFile(settings.control.policy_file) if settings.control.policy_file else None
        self._feed: ControlFeed | None = None
        if client is not None:
            timeout_sec = settings.state.background_timeout_ms / 1000
            self._feed = ControlFeed(client, self._stored, poll_sec=self._poll_sec, timeout_sec=timeout_sec)
        self._tasks: list[asyncio.Task[None]] = []
        self._started_at = time.monotonic()
        self._file_kill: Kill = ""
        self._policy_text = self._plans_text = ""  # the stored ones that were looked at last
        self.faults: dict[str, str] = {}
        self.policy: EnforcementSettings = settings.enforcement
        self.policy_digest = digest(self.policy)
        self.policy_source = "settings"
        self.generation = 1
        self.plans: LimitSettings = settings.limits
        self.kill: Kill = settings.control.kill

    @property
    def ready(self) -> bool:
        """The state's part was read at least once."""
        return self._feed is None or self._feed.ready

    @property
    def age_sec(self) -> float | None:
        """Time since the copy of the state's part was last known to be complete; None before the first time."""
        return 0.0 if self._feed is None else self._feed.age_sec

    def allowed(self, key_id: str, org_id: str, at_us: int | None = None) -> bool:
        """The key or its organisation is on the allow-list: policy does nothing about it.

        Args:
            key_id: the key.
            org_id: its organisation; "" for none.
            at_us: unix µs; None for now.
        """
        entries = self._feed.allow if self._feed is not None else None
        if not entries:
            return False
        moment = time.time_ns() // 1000 if at_us is None else at_us
        of_key = entries.get(f"key:{key_id}")
        of_org = entries.get(f"org:{org_id}") if org_id else None
        return (of_key is not None and of_key.holds(moment)) or (of_org is not None and of_org.holds(moment))

    def order(self, key_id: str) -> Action | None:
        """The person's order about a key, also while state is away; it may be over by its time."""
        return None if self._feed is None else self._feed.orders.get(key_id)

    def mark_group(self, tenant: str) -> str:
        """The group whose watermark the answers to a tenant carry too; "" for none."""
        return "" if self._feed is None else self._feed.groups.get(tenant, "")

    def subscribe(self, changed: Callable[[], None]) -> None:
        """Have `changed` called, in the loop's thread, after policy, plans, kill switch, orders or allow-list changed."""
        self._subscribers.append(changed)

    async def start(self) -> None:
        """Reads everything, then follows until `stop`. Returns at once when the state server is away.

        Raises:
            ConfigError: the policy file cannot be read or is wrong: there is no last good one yet.
        """
        if self._file is not None and (policy := self._file.changed()) is not None:
            self._use(policy, "file")
        await self._look_for_kill()
        if self._feed is not None:
            await self._feed.start()
        # One loop each: the disk of the policy may hang, and the switch must work all the same.
        self._tasks = [asyncio.create_task(self._loop(look)) for look in (self._look_for_kill, self._look_for_policy)]
        metrics.CONTROL_AGE_SECONDS.set_function(self._age)
        self._show()

    async def stop(self) -> None:
        """Stops following; what is in force stays readable."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._tasks = []
        if self._feed is not None:
            await self._feed.stop()

    async def _loop(self, look: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(self._poll_sec)
            await look()

    async def _look_for_kill(self) -> None:
        kill = await asyncio.to_thread(read_kill, self._settings.kill_file)
        if kill != self._file_kill:
            self._file_kill = kill
            self._switch()

    async def _look_for_policy(self) -> None:
        if self._file is None:
            return
        try:
            policy = await asyncio.to_thread(self._file.changed)
        except ConfigError as error:
            self._reject(FILE, str(error))
        else:
            if policy is not None:
                self._mended(FILE)
                self._use(policy, "file")

    def _stored(self) -> None:
        """The copy of the state's part has changed."""
        assert self._feed is not None
        doc = self._feed.doc
        if doc.policy_toml != self._policy_text:
            self._policy_text = doc.policy_toml
            self._take_policy(doc.policy_toml)
        if doc.plans_json != self._plans_text:
            self._plans_text = doc.plans_json
            try:
                self.plans = with_plans(self._settings.limits, parse_plans(doc.plans_json, "the stored plans"))
                self._mended(PLANS)
            except ConfigError as error:
                self._reject(PLANS, str(error))
        self._switch(tell=False)
        self._tell()

    def _take_policy(self, text: str) -> None:
        """What is stored is in force unless there is a file; where nothing is stored, what the settings say."""
        if self._file is not None:
            return
        try:
            policy = parse_policy(text, "the stored policy") if text else self._settings.enforcement
        except ConfigError as error:
            self._reject(POLICY, str(error))
        else:
            self._mended(POLICY)
            self._use(policy, "state" if text else "settings")

    def _use(self, policy: EnforcementSettings, source: str) -> None:
        """Puts a policy in force."""
        found = digest(policy)
        if found != self.policy_digest:
            self.policy = policy
            self.policy_digest = found
            self.generation += 1
            log.warning("policy %s is in force, from %s, in %s mode", found, source, policy.mode)
        self.policy_source = source
        self._tell()

    @property
    def rejected(self) -> str:
        """The sources that hold what is not in force, as they are told in state: "", file, state, or file,state."""
        return ",".join(sorted({_SOURCE[name] for name in self.faults}))

    def _reject(self, what: str, fault: str) -> None:
        """The last good one holds; said and counted once for each fault, though a missing file is looked for again."""
        if what == FILE and fault == self.faults.get(FILE):
            return
        self.faults[what] = fault
        log.error("%s; what was in force stays so", fault)
        metrics.POLICY_REJECTED.labels(source=_SOURCE[what]).inc()
        self._tell()

    def _mended(self, what: str) -> None:
        """It is good, or not there any more: the same fault is news again."""
        if self.faults.pop(what, ""):
            log.warning("the %s is good again", what)
            self._tell()

    def _switch(self, *, tell: bool = True) -> None:
        """The kill switch is the strongest of all."""
        stored: Kill = self._feed.doc.kill.scope if self._feed is not None else ""
        kill = strongest(self._settings.control.kill, self._file_kill, stored)
        if kill == self.kill:
            return
        self.kill = kill
        log.warning("kill switch: %s", self.kill_sentence or "off")
        if tell:
            self._tell()

    @property
    def kill_sentence(self) -> str:
        """What is switched off, and from where; "" for nothing."""
        if not self.kill:
            return ""
        sources = [
            name
            for name, scope in (
                ("the setting control.kill", self._settings.control.kill),
                (f"the file {self._settings.kill_file}", self._file_kill),
                ("the state", self._feed.doc.kill.scope if self._feed is not None else ""),
            )
            if scope == self.kill
        ]
        what = "nothing is done about verdicts and orders" + (", nor about limits" if self.kill == "all" else "")
        return f"{what}, by {' and '.join(sources)}"

    def _age(self) -> float:
        """Age of the copy; since the start where there is none yet."""
        age = self.age_sec
        return time.monotonic() - self._started_at if age is None else age

    def _tell(self) -> None:
        self._show()
        for changed in self._subscribers:
            try:
                changed()
            except Exception:  # of one must not keep the others from hearing of it, nor end the loop that tells
                log.exception("a change of the rules was not taken over")

    def _show(self) -> None:
        metrics.KILL_SWITCH.set(STRENGTH[self.kill])
        metrics.POLICY_GENERATION.set(self.generation)
        for source in metrics.POLICY_SOURCES:
            metrics.POLICY_BAD.labels(source=source).set(source in self.rejected)
        actions = Counter(action.action for action in self._feed.orders.values()) if self._feed is not None else Counter()
        for action in LADDER:
            metrics.ORDERS_STANDING.labels(action=action).set(actions[action])
