"""Who may come in: every new request outside a call is judged here before anything else looks at it.

Pure: the request, where it came from and the time go in, a verdict comes out. A caller is known when it is one of the
configured devices: by digest where the device has a password, else by the address that it is configured with.
"""

from __future__ import annotations

import enum
import functools
import ipaddress
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from orbridge.adapters.sip.digest import Authorization, Nonces, Outcome, algorithms_for, parse_authorization
from orbridge.adapters.sip.messages import Message, SipUri, Source, parse_address, parse_uri
from orbridge.adapters.sip.registrar import Registrar
from orbridge.codecs.errors import LocalError, ParseError
from orbridge.gateway.config import Device

ALLOW = "INVITE, ACK, BYE, CANCEL, UPDATE, PRACK, INFO, OPTIONS, REGISTER"
# After so many refusals in a window a source gets no answer any more: an answer tells a scanner that we are here.
REFUSALS_A_WINDOW = 5
OPTIONS_A_WINDOW = 30
WINDOW_S = 60.0
_SOURCES_MAX = 4096


class Action(enum.Enum):
    PASS = "pass"  # the SIP stack goes on with it
    ANSWER = "answer"
    DROP = "drop"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do with a request.

    Attributes:
        status, headers: of the answer.
        device: who it is, when known.
        cause: a word for the counters and the log when it was refused.
    """

    action: Action
    status: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    device: Device | None = None
    cause: str = ""


@dataclass(frozen=True, slots=True)
class Known:
    """A configured device as the gate sees it. ``password`` None: it is known by its address alone."""

    device: Device
    address: SipUri | None
    password: str | None = field(repr=False)

    @property
    def username(self) -> str:
        return self.device.username or self.device.name


def device_address(device: Device) -> SipUri | None:
    """Raises LocalError when the configured address isn't a SIP URI."""
    if not device.address:
        return None
    try:
        return parse_uri(device.address)
    except ParseError as exc:
        raise LocalError(
            f"device {device.name}: address {device.address!r} isn't a SIP URI like sip:{device.name}@10.0.0.5"
        ) from exc


class Limiter:
    """Counts per source in windows; bounded, the longest unseen source is forgotten first."""

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()

    def admits(self, what: str, host: str, limit: int, now_s: float) -> bool:
        """Count one more; whether it is within the limit of this window."""
        key = (what, host)
        began, count = self._seen.pop(key, (now_s, 0))
        if now_s - began > WINDOW_S:
            began, count = now_s, 0
        self._seen[key] = (began, count + 1)
        while len(self._seen) > _SOURCES_MAX:
            self._seen.popitem(last=False)
        return count < limit


class Gate:
    """The judge. ``counts`` says how many requests were refused for what."""

    def __init__(self, registrar: Registrar, nonces: Nonces) -> None:
        self.counts: Counter[str] = Counter()
        self._registrar, self._nonces = registrar, nonces
        self._known: list[Known] = []
        self._resolved: dict[str, frozenset[str]] = {}
        self._proxies: frozenset[str] = frozenset()
        self._limiter = Limiter()

    def configure(self, devices: Iterable[Device], secret: Callable[[str], str], proxies: Iterable[str] = ()) -> None:
        """Take over the config's devices.

        ``proxies``: hosts whose word about a caller's address is taken (the registrars that we are registered at).
        Raises LocalError for an address or a secret that can't be read.
        """
        self._known = [
            Known(device, device_address(device), secret(device.password_file) if device.password_file else None)
            for device in devices
        ]
        self._proxies = frozenset(host.lower() for host in proxies)
        self._registrar.keep({known.device.name for known in self._known})

    def hosts(self) -> set[str]:
        """Names in addresses and proxies that have to be looked up."""
        named = {known.address.host for known in self._known if known.address} | self._proxies
        return {host for host in named if not _is_literal(host)}

    def resolved(self, addresses: dict[str, frozenset[str]]) -> None:
        """Name -> IP addresses, from the resolver."""
        self._resolved = addresses

    def judge(self, message: Message, source: Source, now_s: float) -> Verdict:
        """The verdict over a request outside a call."""
        method = message.method
        if method == "CANCEL":
            return Verdict(Action.PASS)
        if method == "OPTIONS":
            if self._by_address(message, source, now_s) or self._limiter.admits(
                "options", source.host, OPTIONS_A_WINDOW, now_s
            ):
                return Verdict(Action.PASS)
            return self._refuse("options", source, now_s, 503)
        if method == "REFER":
            return self._refuse("refer", source, now_s, 603)
        if method in ("BYE", "UPDATE", "INFO", "PRACK"):
            return self._refuse("no_call", source, now_s, 481)
        if method not in ("INVITE", "REGISTER"):
            return self._refuse("method", source, now_s, 405, (("Allow", ALLOW),))
        verdict = self._identify(message, source, now_s)
        if verdict.device is None or method != "REGISTER":
            return verdict
        answer = self._registrar.register(verdict.device.name, message, source, now_s)
        return Verdict(Action.ANSWER, answer.status, answer.headers, verdict.device)

    def _identify(self, message: Message, source: Source, now_s: float) -> Verdict:
        presented = message.get("authorization")
        if presented is not None:
            return self._by_digest(presented, message, source, now_s)
        found = self._by_address(message, source, now_s)
        named = self._names_a_user(message)
        # Who says the name of a device with a password has to prove it, also where another device is known by address.
        if found is not None and found.password is None and not (named and not _is_named(found, message)):
            return Verdict(Action.PASS, device=found.device)
        if found is not None or named:
            if not self._limiter.admits("challenge", source.host, 20 * REFUSALS_A_WINDOW, now_s):
                return self._refuse("challenge", source, now_s, 403)
            return self._challenge(message, now_s)
        return self._refuse("unknown", source, now_s, 403)

    def _by_digest(self, presented: str, message: Message, source: Source, now_s: float) -> Verdict:
        try:
            auth = parse_authorization(presented)
        except ParseError:
            return self._refuse("authorization", source, now_s, 400)
        known = next((k for k in self._known if k.password is not None and k.username == auth.username), None)
        if known is None or known.password is None or not _same_target(auth, message):
            return self._refuse("credentials", source, now_s, 403)
        transaction = f"{message.get('call-id')} {message.cseq} {message.method}"
        outcome = self._nonces.verify(auth, message.method, known.password, transaction, now_s)
        if outcome is Outcome.GOOD:
            return Verdict(Action.PASS, device=known.device)
        if outcome is Outcome.STALE:
            return self._challenge(message, now_s, stale=auth.realm == self._nonces.realm)
        return self._refuse("credentials", source, now_s, 403)

    def _by_address(self, message: Message, source: Source, now_s: float) -> Known | None:
        """The device that a request comes from by its addresses, or None when none or several fit equally well."""
        owner = self._registrar.owner(source, now_s)
        if owner is not None:
            return next((known for known in self._known if known.device.name == owner), None)
        said = _said(message)
        from_proxy = any(source.host in self.addresses(proxy) for proxy in self._proxies)
        best: list[tuple[int, Known]] = []
        for known in self._known:
            address = known.address
            if address is None:
                continue
            user = any(uri.user == address.user and uri.host == address.host for uri in said)
            if source.host in self.addresses(address.host):
                ports = {source.port, *(uri.effective_port for uri in said)}
                same_user = any(uri.user == address.user for uri in said)
                best.append((1 + 2 * same_user + (address.effective_port in ports), known))
            elif from_proxy and user and address.user:
                best.append((3, known))
        best.sort(key=lambda item: -item[0])
        if not best or (len(best) > 1 and best[0][0] == best[1][0]):
            return None
        return best[0][1]

    def _names_a_user(self, message: Message) -> bool:
        users = {uri.user for uri in _said(message)}
        if message.method == "REGISTER":
            users |= {uri.user for uri in _uris(message, "to")}
        return any(
            known.password is not None
            and (known.username in users or (known.address is not None and known.address.user in users - {""}))
            for known in self._known
        )

    def addresses(self, host: str) -> frozenset[str]:
        """IP addresses of a host, as far as they are known."""
        return frozenset({host}) if _is_literal(host) else self._resolved.get(host, frozenset())

    def _challenge(self, message: Message, now_s: float, *, stale: bool = False) -> Verdict:
        algorithms = algorithms_for(message.get("user-agent") or "")
        offered = self._nonces.challenges(now_s, algorithms, stale=stale)
        headers = tuple(("WWW-Authenticate", value) for value in offered)
        return Verdict(Action.ANSWER, 401, headers)

    def _refuse(
        self, cause: str, source: Source, now_s: float, status: int, headers: tuple[tuple[str, str], ...] = ()
    ) -> Verdict:
        self.counts[cause] += 1
        if self._limiter.admits("refusal", source.host, REFUSALS_A_WINDOW, now_s):
            return Verdict(Action.ANSWER, status, headers, cause=cause)
        self.counts["silenced"] += 1
        return Verdict(Action.DROP, cause=cause)


def _is_named(known: Known, message: Message) -> bool:
    return known.address is not None and any(uri.user == known.address.user != "" for uri in _said(message))


def _said(message: Message) -> list[SipUri]:
    return _uris(message, "from") + _uris(message, "contact")


def _uris(message: Message, header: str) -> list[SipUri]:
    found = []
    for value in message.all(header)[:4]:
        try:
            found.append(parse_address(value).uri)
        except ParseError:
            continue  # says nothing about who it is
    return found


def _same_target(auth: Authorization, message: Message) -> bool:
    """The digest covers this request's target, so that a captured one can't be turned to another room."""
    try:
        return parse_uri(auth.uri).user == parse_uri(message.request_uri).user
    except ParseError:
        return False


# Every request is held against every device's address: parsing them anew was most of what a call's set-up cost here.
@functools.lru_cache(maxsize=4096)
def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
