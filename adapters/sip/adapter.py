"""The SIP adapter: puts endpoint, gate, registrar and registrations together and makes sessions of calls."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import structlog
from aiohttp import web

from orbridge.adapters.sip.account import Account, Credentials
from orbridge.adapters.sip.call import Call, Calls
from orbridge.adapters.sip.devices import profile_for
from orbridge.adapters.sip.digest import Nonces
from orbridge.adapters.sip.endings import status_for
from orbridge.adapters.sip.endpoint import Endpoint, source_address
from orbridge.adapters.sip.gate import Action, Gate, Verdict, device_address
from orbridge.adapters.sip.media import MediaSettings
from orbridge.adapters.sip.messages import (
    Message,
    SipUri,
    parse_address,
    parse_message,
    parse_source,
    parse_uri,
    redacted,
    sdp_of,
)
from orbridge.adapters.sip.negotiated import Policy
from orbridge.adapters.sip.negotiation import Terms
from orbridge.adapters.sip.refusal import refuse
from orbridge.adapters.sip.registrar import Registrar
from orbridge.adapters.sip.registration import Registration, registrar_uri
from orbridge.adapters.sip.session import SipSession
from orbridge.codecs.errors import LocalError, ParseError
from orbridge.gateway import events
from orbridge.gateway.adapter import Context, Refused
from orbridge.gateway.config import Config, Device
from orbridge.gateway.session import CloseReason, State
from orbridge.gateway.throttle import Throttle

log = structlog.get_logger(__name__)

RESOLVE_WITHIN_S = 5.0
RESOLVE_EVERY_S = 300.0
# A little of the time to stop is kept for the registrars.
UNREGISTER_WITHIN_S = 0.7
# pjsip keeps the place of a call that we ended until the peer has confirmed that, or half a minute; one device that
# calls again and again must not fill its table.
REPLACED_A_DEVICE = 8
REPLACED_WINDOW_S = 32.0


@dataclass(frozen=True, slots=True)
class Caller:
    """An INVITE that was let in, until its call is announced."""

    call_id: str
    device: Device | None
    registration: Registration | None


class SipAdapter:
    """Implements ``gateway.adapter.Adapter`` and ``endpoint.Owner``."""

    name = "sip"

    def __init__(self, context: Context) -> None:
        self._context = context
        config = context.config
        self._registrar = Registrar()
        self._gate = Gate(self._registrar, Nonces(config.sip.domain or config.media.host))
        self._endpoint = Endpoint(config.sip, config.media.host, self)
        self._calls = Calls()
        self._sessions: dict[str, SipSession] = {}
        self._registrations: list[Registration] = []
        self._caller: Caller | None = None
        # When calls of each device were replaced by newer ones.
        self._replaced: dict[str, list[float]] = {}
        self._refusals, self._turned_away = Throttle(), Throttle()
        self._resolving: asyncio.Task[None] | None = None
        self._is_stopping = False

    # gateway.adapter.Adapter

    async def start(self) -> None:
        config = self._context.config
        if not config.sip.listen:
            return
        self._configure(config)
        self._endpoint.start()
        for entry in config.registrars:
            password = self._context.secret(entry.password_file)
            registration = Registration(entry, config.sip, password, self.incoming)
            self._registrations.append(registration)
            registration.start()
        self._resolving = asyncio.get_running_loop().create_task(self._resolve())

    async def stop(self, deadline_s: float) -> None:
        self._is_stopping = True
        if self._resolving is not None:
            self._resolving.cancel()
            self._resolving = None
        ending = [session.hangup(CloseReason.SHUTDOWN) for session in list(self._sessions.values())]
        leaving = [entry.stop(UNREGISTER_WITHIN_S) for entry in self._registrations]
        self._registrations = []
        patience_s = max(deadline_s - 0.2, 0.1)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await asyncio.gather(*ending, *leaving, self._endpoint.settle(patience_s), return_exceptions=True)
        self._calls.clear()
        self._endpoint.stop()

    async def reload(self, config: Config) -> None:
        if config.sip.listen:
            self._configure(config)
            await self._look_up()

    async def dial(self, target: Device | str, room: str) -> SipSession:
        if self._is_stopping or self._endpoint.accounts is None:
            raise Refused(CloseReason.UNREACHABLE, "SIP is off: sip.listen names no address")
        if isinstance(target, Device):
            return await self._dial_device(target, room)
        try:
            uri = parse_uri(target)
        except ParseError as exc:
            raise Refused(CloseReason.UNREACHABLE, f"{exc}; write it like sip:room@host") from exc
        admitted = self._context.router.admit_guest(room, uri.user or uri.host)
        return await self._place(uri, uri, None, admitted.name, room, None)

    def sessions(self) -> Iterable[SipSession]:
        return list(self._sessions.values())

    def routes(self) -> Iterable[web.RouteDef]:
        return ()

    def status(self) -> dict[str, Any]:
        return {
            **self._endpoint.status(),
            "calls": len(self._sessions),
            "registrations": [entry.facts() for entry in self._registrations],
            "bindings": self._registrar.facts(self._now_s()),
            "refused": dict(self._gate.counts),
        }

    # endpoint.Owner

    def judge(self, text: str, source: str) -> Verdict:
        try:
            message = parse_message(text)
            via = (message.get("via") or "").upper()
            transport = "tls" if "/TLS" in via else "tcp" if "/TCP" in via else "udp"
            origin = parse_source(source, transport)
        except ParseError:
            self._gate.counts["malformed"] += 1
            return Verdict(Action.ANSWER, 400, cause="malformed")
        if self._is_stopping:
            return Verdict(Action.ANSWER, 503)
        if message.method == "INVITE":
            registration = self._registration_of(message, origin.host)
            if registration is not None:
                self._caller = Caller(message.get("call-id") or "", None, registration)
                return Verdict(Action.PASS)
        verdict = self._gate.judge(message, origin, self._now_s())
        if verdict.cause:
            self._report_refusal(verdict, message, origin.host)
        elif message.method == "INVITE" and verdict.action is Action.PASS:
            self._caller = Caller(message.get("call-id") or "", verdict.device, None)
        return verdict

    def incoming(self, account: Account, call_id: int, text: str, source: str) -> None:
        try:
            message = parse_message(text)
            caller = self._let_in(message, text, source)
        except (ParseError, Refused) as exc:
            refuse(self._calls, account, call_id, 400 if isinstance(exc, ParseError) else status_for(exc.reason))
            return
        if isinstance(caller, Verdict):
            refuse(self._calls, account, call_id, caller.status or 403, caller.headers)
            return
        try:
            session = self._admit(caller, message)
        except Refused as exc:
            self._gate.counts[exc.reason] += 1
            if count := self._turned_away.take():
                name = caller.device.name if caller.device else None
                log.info(events.CALLER_REFUSED, device=name, cause=exc.reason, text=exc.text, count=count)
            refuse(self._calls, account, call_id, status_for(exc.reason))
            return
        self._attach(session)
        session.accept(Call(self._calls, account, session, call_id), sdp_of(message))

    # incoming calls

    def _let_in(self, message: Message, text: str, source: str) -> Caller | Verdict:
        """Who calls. The stock wheel brings us no request before its call, so the judging is done here then."""
        known = self._caller
        if known is None or known.call_id != message.get("call-id"):
            self._caller = None
            verdict = self.judge(text, source)
            if verdict.action is not Action.PASS:
                return verdict
            known = self._caller
        self._caller = None
        assert known is not None
        return known

    def _admit(self, caller: Caller, message: Message) -> SipSession:
        """Raises Refused."""
        self._check_capacity()
        sender = message.get("from") or ""
        wanted = _user(message.request_uri)
        agent = message.get("user-agent") or ""
        if caller.device is not None:
            self._replace(caller.device.name)
            admitted = self._context.router.admit_device(caller.device, wanted)
            return self._session(
                caller.device, admitted.name, admitted.room, redacted(sender), inbound=True, user_agent=agent
            )
        assert caller.registration is not None
        room = caller.registration.config.room or wanted
        if not room:
            raise Refused(CloseReason.REFUSED, "the call names no room, and its registrar has none in the config")
        name = "caller"
        with contextlib.suppress(ParseError):
            address = parse_address(sender)
            name = address.display or address.uri.user or name
        admitted = self._context.router.admit_guest(room, name)
        return self._session(None, admitted.name, admitted.room, redacted(sender), inbound=True, user_agent=agent)

    def _check_capacity(self) -> None:
        """Raises Refused."""
        limit = self._endpoint.max_calls
        if len(self._sessions) >= limit:
            raise Refused(CloseReason.BUSY, f"there are {limit} calls already (sip.max_calls)")

    def _replace(self, device: str) -> None:
        """A device that calls while we think that it is in a call was restarted, or wants to begin anew.

        Raises Refused when it does that again and again.
        """
        now_s = self._now_s()
        past = [at_s for at_s in self._replaced.pop(device, ()) if now_s - at_s < REPLACED_WINDOW_S]
        for session in list(self._sessions.values()):
            if session.device == device:
                if len(past) >= REPLACED_A_DEVICE:
                    self._replaced[device] = past
                    raise Refused(CloseReason.BUSY, f"{device} calls again and again: it has a call already")
                past.append(now_s)
                session.replace("the device called again")
        if past:
            self._replaced[device] = past

    def _registration_of(self, message: Message, host: str) -> Registration | None:
        """The registration that a call came to: from its registrar, for the user that we registered."""
        user = _user(message.request_uri)
        for entry in self._registrations:
            if (
                entry.state == "registered"
                and user == entry.own.user
                and host in self._gate.addresses(entry.registrar.host)
            ):
                return entry
        return None

    def _report_refusal(self, verdict: Verdict, message: Message, host: str) -> None:
        count = self._refusals.take()
        if count:
            log.warning(
                events.CALLER_REFUSED,
                cause=verdict.cause,
                method=message.method[:20],
                source=host,
                answered=verdict.status,
                count=count,
            )

    # outgoing calls

    async def _dial_device(self, device: Device, room: str) -> SipSession:
        busy = next((s for s in self._sessions.values() if s.device == device.name), None)
        if busy is not None and busy.state is not State.CLOSING:
            raise Refused(CloseReason.BUSY, f"device {device.name} is in a call already ({busy.id})")
        address = device_address(device)
        binding = self._registrar.binding(device.name, self._now_s())
        if binding is None and address is None:
            raise Refused(
                CloseReason.UNREACHABLE,
                f"device {device.name} isn't registered here, and the config has no address for it",
            )
        uri = binding.uri if binding else address
        target = binding.target if binding else address
        assert uri is not None
        assert target is not None
        credentials = None
        if device.password_file:
            credentials = Credentials(device.username or device.name, self._context.secret(device.password_file))
        return await self._place(uri, target, device, device.name, room, credentials)

    async def _place(
        self, uri: SipUri, target: SipUri, device: Device | None, name: str, room: str, credentials: Credentials | None
    ) -> SipSession:
        target = await self._resolved(target)
        endpoint = self._endpoint
        self._check_capacity()
        accounts = endpoint.accounts
        if accounts is None:
            raise Refused(CloseReason.SHUTDOWN, "SIP is stopping")
        through = next((r for r in self._registrations if r.registrar.host == uri.host and r.account), None)
        if through is not None and through.account is not None and device is None:
            account: Account = through.account
            local = f"<{through.own}>"
        else:
            account = accounts.choose(target, source_address(target), credentials)
            local = f"<{SipUri('sip', room, accounts.domain.strip('[]'))}>"
        session = self._session(device, name, room, redacted(str(uri)), inbound=False, ipv6=":" in target.host)
        self._attach(session)
        try:
            session.dial(Call(self._calls, account, session), str(uri), local=local, target=str(target))
        except LocalError as exc:
            raise Refused(CloseReason.UNREACHABLE, f"{name}: {exc}") from exc
        return session

    async def _resolved(self, target: SipUri) -> SipUri:
        """The same with an address instead of a name: pjsip's own look-up would hold up the event loop."""
        found = await _lookup(target.host)
        if not found:
            raise Refused(CloseReason.UNREACHABLE, f"{target.host} isn't known to the name service")
        return SipUri(target.scheme, target.user, found[0], target.port, target.params)

    def _transfer(self, session: SipSession, target: str) -> Call | None:
        """A device that may (``allow_refer``) asks us to call somebody else into its room."""
        device = next((d for d in self._context.config.devices if d.name == session.device), None)
        if device is None or not device.allow_refer or self._endpoint.accounts is None or self._is_stopping:
            return None
        try:
            uri = parse_address(target).uri
            admitted = self._context.router.admit_guest(session.room, uri.user or uri.host)
        except (ParseError, Refused):
            return None
        made = self._session(None, admitted.name, session.room, redacted(target), inbound=False)
        self._attach(made)
        call = Call(self._calls, self._endpoint.accounts.main, made)
        made.adopt(call)
        return call

    # sessions

    def _session(
        self,
        device: Device | None,
        name: str,
        room: str,
        remote: str,
        *,
        inbound: bool,
        user_agent: str = "",
        ipv6: bool = False,
    ) -> SipSession:
        return SipSession(
            self._context.next_id("sip"),
            terms=self._terms(device or Device(name=name, adapter="sip"), name, ipv6),
            bus=self._context.bus,
            now_ns=self._context.now_ns,
            name=name,
            room=room,
            remote=remote,
            inbound=inbound,
            device=device.name if device else None,
            user_agent=user_agent[:100],
            transfer=self._transfer,
        )

    def _terms(self, device: Device, label: str, ipv6: bool) -> Terms:
        config = self._context.config
        hosts = [config.media.host, *config.media.hosts]
        kbps = device.max_video_kbps or config.media.max_video_kbps
        build = self._endpoint.build
        return Terms(
            policy=Policy(srtp=device.srtp, audio_codecs=device.audio_codecs, max_video_kbps=kbps),
            media=MediaSettings(
                host=next((host for host in hosts if ":" not in host), ""),
                host_ipv6=next((host for host in hosts if ":" in host), ""),
                label=label,
                secure=device.srtp == "mandatory",
                dscp_audio=config.media.dscp_audio,
                dscp_video=config.media.dscp_video,
                max_video_kbps=kbps,
                prefers_ipv6=ipv6,
            ),
            video=device.video,
            content=build is not None and build.external_media,
            profile=device.profile,
            offer_video=build is not None and build.external_media,
            ring_timeout_s=config.sip.ring_timeout_s,
            silence_timeout_s=config.media.silence_timeout_s,
        )

    def _attach(self, session: SipSession) -> None:
        self._sessions[session.id] = session
        session.on("closed", lambda closed, _reason: self._sessions.pop(closed.id, None))
        self._context.router.attach(session)

    # configuration and names

    def _configure(self, config: Config) -> None:
        """Raises LocalError for a device or registrar that can't be understood."""
        devices = [device for device in config.devices if device.adapter == self.name]
        for device in devices:
            profile_for("", device.profile)
        proxies = [registrar_uri(entry).host for entry in config.registrars]
        self._gate.configure(devices, self._context.secret, proxies)

    async def _resolve(self) -> None:
        while True:
            await self._look_up()
            await asyncio.sleep(RESOLVE_EVERY_S)

    async def _look_up(self) -> None:
        hosts = sorted(self._gate.hosts())
        found = await asyncio.gather(*(_lookup(host) for host in hosts))
        self._gate.resolved({host: frozenset(addresses) for host, addresses in zip(hosts, found, strict=True)})

    def _now_s(self) -> float:
        return self._context.now_ns() / 1e9


async def _lookup(host: str) -> list[str]:
    """IP addresses of a name, IPv4 first; empty when there are none in time."""
    loop = asyncio.get_running_loop()
    try:
        found = await asyncio.wait_for(loop.getaddrinfo(host, None, type=socket.SOCK_DGRAM), RESOLVE_WITHIN_S)
    except (OSError, TimeoutError, UnicodeError):
        return []
    return list(
        dict.fromkeys(str(entry[4][0]) for entry in sorted(found, key=lambda entry: entry[0] != socket.AF_INET))
    )


def _user(uri: str) -> str | None:
    try:
        return parse_uri(uri).user or None
    except ParseError:
        return None


def create(context: Context) -> SipAdapter:
    return SipAdapter(context)
