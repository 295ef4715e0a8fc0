"""A small registrar (RFC 3261 10.3): where the configured devices that register with us can be called.

Who may register is decided in ``gate.py``. In memory only: devices register again within their own interval. No clock:
``now_s`` is an argument.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from orbridge.adapters.sip.messages import Message, SipUri, Source, contacts
from orbridge.codecs.errors import ParseError

MIN_EXPIRES_S = 30
MAX_EXPIRES_S = 3600
DEFAULT_EXPIRES_S = 600
CONTACTS_A_DEVICE = 4


@dataclass(frozen=True, slots=True)
class Binding:
    """One address of a device.

    Attributes:
        uri: as registered.
        source: where the REGISTER came from: what a device behind a NAT can be reached at.
        expires_at_s, registered_at_s: on the caller's clock.
    """

    uri: SipUri
    source: Source
    expires_at_s: float
    registered_at_s: float
    call_id: str
    cseq: int
    user_agent: str = ""

    @property
    def target(self) -> SipUri:
        """Where to send a request: the registered URI, by way of the place it registered from."""
        params = {name: value for name, value in self.uri.params.items() if name != "maddr"}
        if self.source.transport != "udp":
            params["transport"] = self.source.transport
        return SipUri(self.uri.scheme, self.uri.user, self.source.host, self.source.port, params)


@dataclass(frozen=True, slots=True)
class Answer:
    """What to answer to a REGISTER: status and (name, value) headers."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()


class Registrar:
    """Bindings of devices, by device name."""

    def __init__(self) -> None:
        self._bindings: dict[str, list[Binding]] = {}

    def register(self, device: str, message: Message, source: Source, now_s: float) -> Answer:
        """Add, refresh, remove or list a device's bindings. Malformed requests are answered 400."""
        current = self._live(device, now_s)
        call_id, cseq = message.get("call-id") or "", message.cseq
        agent = (message.get("user-agent") or "")[:100]
        try:
            wanted = contacts(message)
            default = _seconds(message.get("expires"), DEFAULT_EXPIRES_S)
        except ParseError:
            return Answer(400)
        if wanted is None:
            if message.get("expires") is None or default != 0:
                return Answer(400)
            # RFC 3261 10.3 step 6: all or nothing
            if any(old.call_id == call_id and old.cseq >= cseq for old in current):
                return Answer(500)
            self._bindings.pop(device, None)
            return Answer(200)
        for contact in wanted:
            try:
                expires = _seconds(contact.params.get("expires"), default)
            except ParseError:
                return Answer(400)
            old = next((known for known in current if known.uri == contact.uri), None)
            if old is not None and old.call_id == call_id and cseq < old.cseq:
                return Answer(500)
            if old is not None and old.call_id == call_id and cseq == old.cseq:
                continue  # a retransmission
            if 0 < expires < MIN_EXPIRES_S:
                return Answer(423, (("Min-Expires", str(MIN_EXPIRES_S)),))
            if old is not None:
                current.remove(old)
            if expires > 0:
                until = now_s + min(expires, MAX_EXPIRES_S)
                current.append(Binding(contact.uri, source, until, now_s, call_id, cseq, agent))
        # The newest stay: a device that came back under another port must not be kept out by its own past.
        current = current[-CONTACTS_A_DEVICE:]
        if current:
            self._bindings[device] = current
        else:
            self._bindings.pop(device, None)
        listed = tuple(("Contact", f"<{b.uri}>;expires={max(int(b.expires_at_s - now_s), 1)}") for b in current)
        return Answer(200, listed)

    def binding(self, device: str, now_s: float) -> Binding | None:
        """Where to call a device: what it registered last."""
        live = self._live(device, now_s)
        return live[-1] if live else None

    def owner(self, source: Source, now_s: float) -> str | None:
        """The device that registered from this address and port."""
        for device in list(self._bindings):
            if any((b.source.host, b.source.port) == (source.host, source.port) for b in self._live(device, now_s)):
                return device
        return None

    def keep(self, devices: set[str]) -> None:
        """Forget everybody else (after a reload)."""
        self._bindings = {name: found for name, found in self._bindings.items() if name in devices}

    def facts(self, now_s: float) -> list[dict[str, Any]]:
        """For status: device, address without its user part, seconds left, user agent."""
        return [
            {
                "device": device,
                "address": f"{b.source.transport}:{b.source.host}:{b.source.port}",
                "expires_in_s": max(int(b.expires_at_s - now_s), 0),
                "user_agent": b.user_agent,
            }
            for device in list(self._bindings)
            for b in self._live(device, now_s)
        ]

    def _live(self, device: str, now_s: float) -> list[Binding]:
        live = [binding for binding in self._bindings.get(device, ()) if binding.expires_at_s > now_s]
        if live:
            self._bindings[device] = live
        else:
            self._bindings.pop(device, None)
        return list(live)


def _seconds(value: str | None, default: int) -> int:
    if value is None:
        return default
    text = value.strip()
    if not text.isascii() or not text.isdigit():
        raise ParseError("sip message", "expires", "isn't a number of seconds")
    return min(int(text[:10]), 2**31)
