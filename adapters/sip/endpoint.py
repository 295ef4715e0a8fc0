"""The one file that starts pjsua2: its life, its listeners, and its place on the event loop.

pjsua2 runs without a thread of its own. Its epoll descriptor is one more reader of the event loop, and a tick every
50 ms turns its timers: every callback runs on the loop's thread, and an idle gateway costs under half a percent of a
core. There can be one endpoint in a process at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import os
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import pjsua2 as pj
import structlog

from orbridge.adapters.sip.account import Account, Accounts
from orbridge.adapters.sip.border import failed, guarded
from orbridge.adapters.sip.build import Build, detect
from orbridge.adapters.sip.call import header
from orbridge.adapters.sip.gate import Action, Verdict
from orbridge.adapters.sip.messages import SipUri, bracketed
from orbridge.codecs.errors import LocalError
from orbridge.gateway import events
from orbridge.gateway.config import Sip
from orbridge.gateway.throttle import Throttle

log = structlog.get_logger(__name__)

TICK_S = 0.05
# Without a descriptor to listen on, pjsip is asked this often.
POLL_S = 0.01
DRAIN_EVENTS = 64
TRIM_S = 30.0
SPARE_CALLS = 16
# PJ_ERRNO_START_SYS: system errors begin here
SYSTEM_ERRORS = 120_000
# of pjsip's own log: 1 fatal, 2 errors and warnings, 3 information, more is tracing
STACK_LOG_LEVEL = 3
LOG_LINE_CHARACTERS = 300

_LISTENER = re.compile(r"(udp|tcp|tls):(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+):(\d{1,5})$")


@dataclass(frozen=True, slots=True)
class Listener:
    """Where we listen. ``host`` without brackets."""

    transport: str
    host: str
    port: int

    @property
    def is_ipv6(self) -> bool:
        return ":" in self.host

    @property
    def is_wildcard(self) -> bool:
        return self.host in ("0.0.0.0", "::")

    def __str__(self) -> str:
        return f"{self.transport}:{bracketed(self.host)}:{self.port}"


def parse_listener(text: str) -> Listener:
    """Raises LocalError when it isn't ``udp:HOST:PORT``, ``tcp:...`` or ``tls:...``."""
    found = _LISTENER.match(text.strip())
    if found is None or int(found[3]) > 65535:
        raise LocalError(f"sip.listen: {text!r} isn't of the form udp:HOST:PORT, tcp:HOST:PORT or tls:HOST:PORT")
    return Listener(found[1], found[2].strip("[]"), int(found[3]))


class Owner(Protocol):
    """Who is told what pjsua2 has to say (the adapter)."""

    def judge(self, text: str, source: str) -> Verdict:
        """A request outside a call, before anything else looks at it."""
        ...

    def incoming(self, account: Account, call_id: int, text: str, source: str) -> None:
        """A call came in and waits for ``Call.answer``."""
        ...


class Endpoint:
    """pjsua2 on the running event loop."""

    def __init__(self, settings: Sip, host: str, owner: Owner) -> None:
        self._settings, self._host, self._owner = settings, host, owner
        self._library: _Library | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._readers: set[int] = set()
        self._timers: list[asyncio.TimerHandle] = []
        self.build: Build | None = None
        self.max_calls = 0
        self.listeners: list[Listener] = []
        self.accounts: Accounts | None = None

    @property
    def is_polling(self) -> bool:
        """No epoll descriptor of pjsip's was found."""
        return not self._readers

    def start(self) -> None:
        """Raises LocalError with a sentence: a port that is taken, a certificate that is missing, too many calls."""
        wanted = [parse_listener(text) for text in self._settings.listen]
        self._loop = asyncio.get_running_loop()
        before = _eventpolls()
        library = self._library = _Library.take(self._owner)
        try:
            library.libCreate()
            self.build = detect(library)
            self.max_calls = self.build.admit(self._settings.max_calls)
            self._report_build(self.build)
            library.libInit(self._config())
            self._listen_to(_eventpolls() - before)
            udp = [(listener, self._open(library, listener)) for listener in wanted]
            library.libStart()
            library.audDevManager().setNoDev()
            self.accounts = Accounts(
                self._settings,
                self._host,
                self.build,
                self._owner.incoming,
                {listener.host: number for listener, number in udp if listener.transport == "udp"},
            )
        except pj.Error as exc:
            self.stop()
            raise LocalError(f"pjsua2 doesn't start: {exc.reason}") from exc
        except BaseException:
            self.stop()
            raise
        self._tick()
        self._trim()

    async def settle(self, within_s: float) -> None:
        """Wait until every goodbye is answered, for over UDP it may have to be said again."""
        library = self._library
        if library is None or not hasattr(library, "libCallCount"):
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while library.libCallCount() > 0:
                    await asyncio.sleep(0.02)

    def stop(self) -> None:
        """Close the listeners and take the library down. Calls must have ended before. Idempotent."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        if self._loop is not None:
            for descriptor in self._readers:
                self._loop.remove_reader(descriptor)
        self._readers = set()
        self.listeners = []
        if self.accounts is not None:
            self.accounts.close()
            self.accounts = None
        if self._library is not None:
            # No waiting for answers of the network: who had to be told has been told.
            with contextlib.suppress(pj.Error):
                self._library.libDestroy(pj.PJSUA_DESTROY_NO_NETWORK)
            self._library.release()
            self._library = None

    def drain(self) -> None:
        """Let pjsip do what is due: read its sockets, turn its timers, call us back."""
        library = self._library
        if library is None:
            return
        try:
            for _ in range(DRAIN_EVENTS):
                if library.libHandleEvents(0) <= 0:
                    break
        except pj.Error:
            failed("libHandleEvents")

    def status(self) -> dict[str, Any]:
        """For ``Adapter.status``."""
        build = self.build
        return {
            "listeners": [str(listener) for listener in self.listeners],
            "build": "patched" if build and build.external_media else "stock",
            "version": build.version if build else "",
            "capacity": build.max_calls if build else 0,
            "shortcomings": list(build.shortcomings) if build else [],
            "polling": self.is_polling,
        }

    def _report_build(self, build: Build) -> None:
        log.info(
            events.STACK_DETECTED,
            version=build.version,
            build="patched" if build.external_media else "stock",
            capacity=build.max_calls,
        )
        if build.shortcomings:
            log.warning(events.STACK_LIMITED, problem="; ".join(build.shortcomings))

    def _config(self) -> Any:
        config = pj.EpConfig()
        assert self.build is not None
        # A call that is over for us keeps its slot until its BYE is answered, or given up after half a minute.
        config.uaConfig.maxCalls = min(self.max_calls * 2 + SPARE_CALLS, self.build.max_calls)
        config.uaConfig.threadCnt = 0
        config.uaConfig.mainThreadOnly = False
        config.uaConfig.userAgent = self._settings.user_agent
        config.medConfig.threadCnt = 0
        config.medConfig.hasIoqueue = False
        # Messages are never logged: they carry SRTP keys and names.
        config.logConfig.msgLogging = 0
        config.logConfig.level = config.logConfig.consoleLevel = STACK_LOG_LEVEL
        config.logConfig.decor = 0
        writer = _LogWriter()
        # libDestroy deletes it
        writer.__disown__()
        config.logConfig.writer = writer
        return config

    def _listen_to(self, descriptors: set[int]) -> None:
        assert self._loop is not None
        for descriptor in descriptors:
            self._loop.add_reader(descriptor, self.drain)
        self._readers = descriptors

    def _tick(self) -> None:
        self.drain()
        self._later(POLL_S if self.is_polling else TICK_S, self._tick)

    def _trim(self) -> None:
        """Give the memory of ended transactions back: glibc keeps it, and hundreds of calls an hour add up."""
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
        self._later(TRIM_S, self._trim)

    def _later(self, delay_s: float, what: Callable[[], None]) -> None:
        if self._library is None or self._loop is None:
            return
        now = self._loop.time()
        self._timers = [timer for timer in self._timers if not timer.cancelled() and timer.when() > now]
        self._timers.append(self._loop.call_later(delay_s, what))

    def _open(self, library: _Library, listener: Listener) -> int:
        config = pj.TransportConfig()
        config.boundAddress, config.port = listener.host, listener.port
        if listener.is_wildcard:
            config.publicAddress = self._host
        if listener.transport == "tls":
            self._secure(config.tlsConfig)
        kind = {
            "udp": (pj.PJSIP_TRANSPORT_UDP, pj.PJSIP_TRANSPORT_UDP6),
            "tcp": (pj.PJSIP_TRANSPORT_TCP, pj.PJSIP_TRANSPORT_TCP6),
            "tls": (pj.PJSIP_TRANSPORT_TLS, pj.PJSIP_TRANSPORT_TLS6),
        }[listener.transport][listener.is_ipv6]
        try:
            number = int(library.transportCreate(kind, config))
        except pj.Error as exc:
            raise LocalError(_bind_problem(listener, exc)) from exc
        self.listeners.append(listener)
        log.info(events.LISTENER_OPENED, listener=str(listener))
        return number

    def _secure(self, tls: Any) -> None:
        settings = self._settings
        for key, path in (
            ("tls_certificate", settings.tls_certificate),
            ("tls_key", settings.tls_key),
            ("tls_ca", settings.tls_ca),
        ):
            if not path and key != "tls_ca":
                raise LocalError(f"sip.listen has a tls: listener, so sip.{key} must name a PEM file")
            if path and not os.access(path, os.R_OK):
                raise LocalError(f"sip.{key}: {path} can't be read")
        if settings.tls_verify_client and not settings.tls_ca:
            raise LocalError("sip.tls_verify_client needs sip.tls_ca, the authority whose certificates are accepted")
        tls.certFile, tls.privKeyFile, tls.CaListFile = settings.tls_certificate, settings.tls_key, settings.tls_ca
        tls.verifyServer = bool(settings.tls_ca)
        tls.verifyClient = tls.requireClientCert = settings.tls_verify_client


class _Library(pj.Endpoint):  # type: ignore[misc]
    """pjsua2's endpoint with our callbacks: one object a process, for making a second one aborts it."""

    _only: _Library | None = None

    def __init__(self) -> None:
        super().__init__()
        self._owner: Owner | None = None

    @classmethod
    def take(cls, owner: Owner) -> _Library:
        """Raises LocalError when somebody has it."""
        if cls._only is None:
            cls._only = cls()
        if cls._only._owner is not None:
            raise LocalError("SIP runs in this process already")
        cls._only._owner = owner
        return cls._only

    def release(self) -> None:
        self._owner = None

    @guarded
    def onRxRequest(self, prm: Any) -> None:
        # A fault here must not let anybody in unjudged.
        prm.statusCode = 500
        if self._owner is None:
            return
        verdict = self._owner.judge(prm.rdata.wholeMsg, prm.rdata.srcAddress)
        if verdict.action is Action.PASS:
            prm.statusCode = 0
        elif verdict.action is Action.DROP:
            prm.statusCode = -1
        else:
            for name, value in verdict.headers:
                prm.headers.push_back(header(name, value))
            prm.statusCode = verdict.status


class _LogWriter(pj.LogWriter):  # type: ignore[misc]
    """pjsip's own log lines, into ours: they name peers, so they are for DEBUG, and errors at most once a second."""

    def __init__(self) -> None:
        super().__init__()
        self._throttle = Throttle()

    @guarded
    def write(self, entry: Any) -> None:
        # Of a packet that it can't read it shows the whole; the first line says why.
        text = entry.msg.strip().partition("\n")[0][:LOG_LINE_CHARACTERS]
        if entry.level <= 1 and (count := self._throttle.take()):
            log.warning(events.STACK_REPORTED, cause=text, count=count)
        else:
            log.debug(events.STACK_REPORTED, cause=text)


def _bind_problem(listener: Listener, exc: Any) -> str:
    code = exc.status - SYSTEM_ERRORS
    where = f"sip.listen: {listener}"
    if code == errno.EADDRINUSE:
        return f"{where}: port {listener.port} is in use: stop the program that has it, or listen on another port"
    if code == errno.EADDRNOTAVAIL:
        return f"{where}: {listener.host} isn't an address of this host"
    if code == errno.EACCES:
        return f"{where}: port {listener.port} needs root or CAP_NET_BIND_SERVICE: choose one above 1023"
    if listener.transport == "tls":
        return f"{where}: {exc.reason}: look at sip.tls_certificate and sip.tls_key"
    return f"{where}: {exc.reason}"


def _eventpolls() -> set[int]:
    """This process's epoll descriptors."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/self/fd/{name}") == "anon_inode:[eventpoll]":
                found.add(int(name))
    return found


def source_address(target: SipUri) -> str | None:
    """The local address that packets to this host leave from; None when there is no way, or it is a name."""
    family = socket.AF_INET6 if ":" in target.host else socket.AF_INET
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((target.host, target.effective_port))
        return str(probe.getsockname()[0])
    return None
