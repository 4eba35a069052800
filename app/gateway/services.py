"""What a gateway needs besides its socket: started in order, stopped in reverse.

state server → layout check → control → accounts → event log → limiter → Core → registration. A gateway starts without state
wherever the policies allow it: it then decides by `limits.on_state_loss` and spools events until the state server answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import socket
from contextlib import AsyncExitStack

from app.enforcement.control import Control
from app.errors import ConfigError, StateUnavailable
from app.gateway import account_file
from app.gateway.core import Core
from app.gateway.identity import Hasher
from app.gateway.networks import Networks
from app.gateway.rotation import Rotation
from app.limits.limiter import Limiter
from app.settings import Settings
from app.state import meta
from app.state.accounts import Account, AccountDirectory, AccountStore
from app.state.adoption import Adoption
from app.state.calls import Client
from app.state.events import EventLog
from app.state.factory import background_client
from app.state.gateways import Registration
from app.state.server import StateServer
from app.state.waiting import end

log = logging.getLogger(__name__)

CHECK_SEC = 1.0
"""Pause between attempts to check the layout of a state server that was away at the start."""

STALE_SEC = 5.0
"""Age of the copies of accounts and control from which on the health sentence mentions it."""

BEAT_SEC = 10.0
"""How often a gateway says that it runs and whether it acts on verdicts; it does at once when that changes."""

LEAVE_SEC = 1.0
"""Longest wait for the state server at the end; a gateway that could not say that it leaves is forgotten a little later."""


class Services:
    """The running services of one gateway process.

    Attributes:
        core: for `Gateway` and `StillwatchMiddleware`.
        control: policy, plans, kill switch, orders and allow-list as they change.
    """

    def __init__(
        self, core: Core, control: Control, accounts: AccountDirectory, stack: AsyncExitStack, *, checked: bool
    ) -> None:
        self.core = core
        self.control = control
        self._accounts = accounts
        self._stack = stack
        self._checked = checked  # the state was made with these settings
        self._fault = ""

    @classmethod
    async def start(cls, settings: Settings, state_url: str | None = None) -> Services:
        """Start everything.

        Args:
            settings: the whole tree.
            state_url: address of a state server that is already running; None resolves one from the settings.

        Raises:
            ConfigError: a setting does not fit, or does not fit the state.
            BadInput: the accounts or the networks file breaks a rule.
            StateUnavailable: the state server is away and nothing else tells who may pass, while unknown keys are denied.
        """
        told, networks = _read_files(settings)
        async with AsyncExitStack() as stack:
            if state_url is None:
                state_url = (await stack.enter_async_context(StateServer(settings.state))).url
            client = background_client(state_url, settings)
            stack.push_async_callback(client.aclose)
            checked = await _check(client, settings, required=settings.identity.unknown_keys == "deny" and not told)
            control = Control(settings, client)
            await control.start()
            stack.push_async_callback(control.stop)
            accounts = AccountDirectory(AccountStore(client), told, timeout_sec=settings.state.background_timeout_ms / 1000)
            await accounts.start()
            stack.push_async_callback(accounts.stop)
            keep = settings.gateway.on_log_loss != "open"
            events = EventLog(state_url, settings.state, settings.spool_dir, keep=keep)
            await events.start()
            stack.push_async_callback(events.stop)
            limiter = Limiter(settings, state_url, events, control)
            await limiter.start()
            stack.push_async_callback(limiter.stop)
            overlap = _overlap(settings, client)
            if overlap is not None:
                stack.push_async_callback(overlap.stop)
            core = Core(
                settings,
                limiter=limiter,
                accounts=accounts,
                events=events,
                networks=networks,
                overlap=overlap,
                control=control,
                losing=events.losing if settings.gateway.on_log_loss == "closed" else None,
                mark_group=control.mark_group,
            )
            if core.marking is not None:
                log.info("answers are marked under %s", core.marking.names)
            limiter.use_plans(control.plans)
            control.subscribe(lambda: limiter.use_plans(control.plans))
            services = cls(core, control, accounts, stack, checked=checked)
            registration = Registration(client, _gateway_id())
            if checked:
                with contextlib.suppress(StateUnavailable):
                    await services._beat(registration)
            stack.push_async_callback(end, asyncio.create_task(services._register(registration)))
            if not checked:
                stack.push_async_callback(end, asyncio.create_task(services._check_later(client, settings)))
            services._stack = stack.pop_all()
        return services

    async def stop(self) -> None:
        """Stop everything in reverse order; events that wait are delivered or spooled."""
        await self._stack.aclose()

    def health(self) -> tuple[bool, str]:
        """(ready for traffic, one sentence).

        A gateway that has lost its state stays ready: it goes on by its failure policies, and taking all gateways out of
        service at once would turn a loss of limits into a loss of service.
        """
        if self._fault:
            return False, self._fault
        ages = (self._accounts.age_sec, self.control.age_sec)
        if None in ages or not self._checked:
            return False, "the state server has not answered since the start"
        sentence = "ok"
        age = max(age for age in ages if age is not None)
        if age > STALE_SEC:
            sentence = f"degraded: the state server has not answered for {age:.0f} s; the failure policies decide"
        if self.control.kill:
            sentence += f"; kill switch: {self.control.kill_sentence}"
        return True, sentence

    async def _register(self, registration: Registration) -> None:
        """Keeps the registration alive until it is cancelled, then takes it back."""
        changed = asyncio.Event()
        self.control.subscribe(changed.set)
        now = asyncio.get_running_loop().time
        due = now()
        try:
            while True:
                due += BEAT_SEC if self._checked else CHECK_SEC
                while now() < due:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(changed.wait(), due - now())
                    changed.clear()
                    if self._says() != registration.says:  # else it was an order, or the allow-list
                        break
                due = now()
                if self._checked:  # what is not may be the state of another deployment
                    with contextlib.suppress(StateUnavailable):
                        await self._beat(registration)
        finally:
            if self._checked:
                with contextlib.suppress(StateUnavailable, TimeoutError):
                    async with asyncio.timeout(LEAVE_SEC):
                        await registration.leave()

    async def _beat(self, registration: Registration) -> None:
        """Says what this gateway does now."""
        await registration.beat(*self._says())

    def _says(self) -> tuple[str, str, str, str]:
        """Mode, kill switch, policy, and where a policy is that is not in force."""
        control = self.control
        return control.policy.mode, control.kill, control.policy_digest, control.rejected

    async def _check_later(self, client: Client, settings: Settings) -> None:
        """What the start could not check. It is too late to refuse then, so the gateway takes itself out of service."""
        while not self._checked and not self._fault:
            await asyncio.sleep(CHECK_SEC)
            try:
                self._checked = await _check(client, settings, required=True)
            except StateUnavailable:
                continue
            except ConfigError as error:
                self._fault = str(error)
                log.critical("%s; stop this gateway", error)


async def _check(client: Client, settings: Settings, required: bool) -> bool:
    """Whether the state was checked; false when its server is away and the gateway may start without it."""
    try:
        await meta.check(client, settings)
    except StateUnavailable as error:
        if required:
            raise
        log.warning("%s; starting without it, by limits.on_state_loss = %s", error, settings.limits.on_state_loss)
        return False
    return True


def _read_files(settings: Settings) -> tuple[dict[str, Account], Networks | None]:
    identity = settings.identity
    hasher = Hasher(identity.pepper.get_secret_value())
    told = account_file.load(identity.accounts_file, hasher) if identity.accounts_file else {}
    return told, Networks.load(identity.networks_file) if identity.networks_file else None


def _overlap(settings: Settings, client: Client) -> Rotation | None:
    """What takes keys over from the previous pepper; None where none is configured."""
    previous = settings.identity.previous_pepper.get_secret_value()
    if not previous:
        return None
    log.info("identity.previous_pepper is set: keys are taken over to their new ids when they are used")
    adoption = Adoption(client, AccountStore(client), settings.state.partitions)
    return Rotation(Hasher(previous), adoption.adopt)


def _gateway_id() -> str:
    """A name no other gateway has: machine, process, and a random part."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
