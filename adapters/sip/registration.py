"""Registering at a registrar elsewhere, and noticing soon when the way there is back.

pjsip refreshes a registration that works. What fails is tried again here: after a random wait that grows to four
seconds, and for a connection-oriented transport only once a connection can be made at all. While it works, an OPTIONS
every few seconds is the probe: an answer that comes late means that the way was broken meanwhile, so we register anew,
for the registrar may have been started again without its memory. What has had no answer for two seconds is said in the
status at once, long before pjsip gives it up.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from typing import Any

import pjsua2 as pj
import structlog

from orbridge.adapters.sip.account import Account, Credentials, Incoming, account_config
from orbridge.adapters.sip.border import failed, guarded
from orbridge.adapters.sip.messages import SipUri, bracketed, parse_uri
from orbridge.codecs.errors import LocalError, ParseError
from orbridge.gateway import events
from orbridge.gateway.config import Registrar, Sip

log = structlog.get_logger(__name__)

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 4.0
CONNECT_WITHIN_S = 2.0
PROBE_EVERY_S = 5.0
# An answer later than this was preceded by lost requests.
LATE_S = 1.5
# pjsip's own words for no answer (408) and no way there (503).
GIVEN_UP = frozenset({408, 503})
# By then a request has been repeated twice (RFC 3261 17.1.2: after 0.5 and 1.5 s).
UNANSWERED_AFTER_S = 2.0
# Wrong credentials don't become right by asking often, and some registrars lock accounts.
REFUSED_WAIT_S = 60.0


def registrar_uri(config: Registrar) -> SipUri:
    """Where REGISTER goes. Raises LocalError."""
    try:
        own = parse_uri(config.uri)
        if not config.registrar:
            return SipUri(own.scheme, "", own.host, own.port, dict(own.params))
        text = config.registrar
        return parse_uri(text if text.lower().startswith(("sip:", "sips:")) else f"sip:{text}")
    except ParseError as exc:
        raise LocalError(f"registrar {config.uri}: {exc}: write uri like sip:gateway@pbx.example") from exc


class Registration:
    """One registration of ours. ``state``: ``registering``, ``registered``, ``refused``, ``unreachable``, ``off``."""

    def __init__(self, config: Registrar, settings: Sip, password: str, incoming: Incoming) -> None:
        self.config = config
        self.registrar = registrar_uri(config)
        self.own = parse_uri(config.uri)
        self.credentials = Credentials(config.username, password)
        self.state = "off"
        self.detail = ""
        self._settings = settings
        self._incoming = incoming
        self.account: RegisteredAccount | None = None
        self._task: asyncio.Task[None] | None = None
        self._answered = asyncio.Event()
        self._code = 0
        self._wait_s = FIRST_WAIT_S
        self._probe_sent_at = 0.0
        self._is_probing = False
        # loop times: since when REGISTER has no answer, None: it has; when anything was answered, None: never
        self._asked_at: float | None = None
        self._heard_at: float | None = None
        self._told = ("off", "")

    def start(self) -> None:
        config = account_config(self._settings, self.config.uri, self.credentials)
        # Be called at our listener where there is one of that transport: the port of a connection dies with it, and
        # pjsip goes on naming it.
        listens = any(text.startswith(f"{self.registrar.transport}:") for text in self._settings.listen)
        config.natConfig.contactUseSrcPort = int(not listens)
        reg = config.regConfig
        reg.registrarUri = str(self.registrar)
        reg.timeoutSec = self.config.expires_s
        reg.retryIntervalSec = reg.firstRetryIntervalSec = 0
        reg.dropCallsOnFail = False
        self.account = RegisteredAccount(self._incoming, self._on_state, self._on_probe)
        self.account.create(config)
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self, within_s: float) -> None:
        """Unregister, without waiting long for the answer. Idempotent."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
        try:
            if self.account is not None and self.state == "registered":
                self._answered.clear()
                with contextlib.suppress(pj.Error, TimeoutError):
                    self.account.setRegistration(False)
                    await asyncio.wait_for(self._answered.wait(), within_s)
        finally:
            # Also when there is no time left: the object of an account that outlives the library would delete the
            # account that has its number by then.
            account, self.account = self.account, None
            if account is not None:
                with contextlib.suppress(pj.Error):
                    account.shutdown()
            self.state = "off"

    def facts(self) -> dict[str, Any]:
        """For people and programs. ``state`` may be ``unanswered`` too: registered, but the registrar is silent now."""
        where = f"{bracketed(self.registrar.host)}:{self.registrar.effective_port}"
        state, detail = self.state, self.detail
        silent = self._silence()
        if silent:
            state, detail = "unanswered" if state == "registered" else state, silent
        return {"registrar": where, "room": self.config.room, "state": state, "detail": detail}

    def _silence(self) -> str:
        """In words, when a request has no answer for longer than it takes."""
        pending = [at for at in (self._asked_at, self._probe_sent_at if self._is_probing else None) if at is not None]
        now = asyncio.get_running_loop().time()
        if not pending or now - min(pending) < UNANSWERED_AFTER_S:
            return ""
        last = "none before" if self._heard_at is None else f"last one {now - self._heard_at:.0f} s ago"
        return f"trying: no answer for {now - min(pending):.0f} s, {last}"

    async def _run(self) -> None:
        while True:
            self._set("registering", "")
            try:
                if await self._can_connect() and await self._register():
                    self._wait_s = FIRST_WAIT_S
                    await self._watch()
                    continue
            except Exception:  # noqa: BLE001 - a fault must not end the registration for good
                failed("registration")
            wait_s = REFUSED_WAIT_S if self.state == "refused" else random.uniform(0.5, 1.0) * self._wait_s
            self._wait_s = min(self._wait_s * 2, LONGEST_WAIT_S)
            await asyncio.sleep(wait_s)

    async def _can_connect(self) -> bool:
        """For TCP and TLS: the kernel's own patience with a dead way would cost half a minute."""
        if self.registrar.transport == "udp":
            return True
        host, port = self.registrar.host, self.registrar.effective_port
        try:
            _, writer = await asyncio.wait_for(asyncio.open_connection(host, port), CONNECT_WITHIN_S)
        except (OSError, TimeoutError) as exc:
            self._set("unreachable", f"no connection: {exc or 'timeout'}")
            return False
        writer.close()
        return True

    async def _register(self) -> bool:
        assert self.account is not None
        self._answered.clear()
        self._asked_at = asyncio.get_running_loop().time()
        try:
            self.account.setRegistration(True)
        except pj.Error as exc:
            self._asked_at = None
            self._set("unreachable", exc.reason)
            return False
        await self._answered.wait()
        return self.state == "registered"

    async def _watch(self) -> None:
        """Returns when the registration has to be made again."""
        while self.state == "registered":
            self._answered.clear()
            self._probe()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._answered.wait(), PROBE_EVERY_S)

    def _probe(self) -> None:
        if self._is_probing or self.account is None:
            return
        request = pj.SendRequestParam()
        request.method = "OPTIONS"
        request.txOption.targetUri = str(self.registrar)
        try:
            self.account.sendRequest(request)
        except pj.Error as exc:
            self._on_state(503, exc.reason, 0)
            return
        self._is_probing, self._probe_sent_at = True, asyncio.get_running_loop().time()

    def _on_probe(self, status: int) -> None:
        self._is_probing = False
        now = asyncio.get_running_loop().time()
        late = now - self._probe_sent_at > LATE_S
        if status not in GIVEN_UP:
            self._heard_at = now
        if self.state == "registered" and (late or status in GIVEN_UP):
            self._set("unreachable", "the way to the registrar was broken")
            self._answered.set()

    def _on_state(self, code: int, reason: str, expires_s: int) -> None:
        self._asked_at = None
        if code not in GIVEN_UP:
            self._heard_at = asyncio.get_running_loop().time()
        if code // 100 == 2:
            self._set("registered" if expires_s > 0 else "off", "")
        elif code in (401, 403, 404, 407):
            self._set("refused", f"{code} {reason}")
        else:
            self._set("unreachable", f"{code} {reason}")
        self._answered.set()

    def _set(self, state: str, detail: str) -> None:
        self.state, self.detail = state, detail
        if state == "registering" or self._told == (state, detail):
            return
        self._told = (state, detail)
        level = log.info if state in ("registered", "off") else log.warning
        level(events.REGISTRATION_CHANGED, registrar=self.registrar.host, state=state, problem=detail)


class RegisteredAccount(Account):
    """An account that registers."""

    # pjsua2's names

    def __init__(
        self, incoming: Incoming, on_state: Callable[[int, str, int], None], on_probe: Callable[[int], None]
    ) -> None:
        super().__init__(incoming)
        self._on_state, self._on_probe = on_state, on_probe

    @guarded
    def onRegState(self, prm: Any) -> None:
        self._on_state(int(prm.code), str(prm.reason), int(prm.expiration))

    @guarded
    def onSendRequest(self, prm: Any) -> None:
        status = int(prm.e.body.tsxState.tsx.statusCode)
        if status >= 200:
            self._on_probe(status)
