"""Who may publish and play over RTMP, and what they get: decisions about names, keys and tokens. No connection here."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from orbridge.adapters.rtmp.address import Target
from orbridge.codecs.errors import LocalError
from orbridge.gateway.adapter import Context, Refused
from orbridge.gateway.config import Device
from orbridge.gateway.session import CloseReason
from orbridge.gateway.wrong_tokens import WrongTokens, network_of

LIVE = "live"
ROOMS = "rooms"
KEY = "key"
# Characters that mean something in an address; ffmpeg cuts at the last slash even behind the question mark.
DIVIDERS = "/?&#% "
GOOD_KEY_LENGTH = 16
TOKEN = "token"
UNKNOWN = "no device of this name may publish with this key"
STREAM_LIMIT = 200


@dataclass(frozen=True, slots=True)
class Play:
    """What a player gets: one stream of the bus, or a room's picture and sound.

    Attributes:
        name: of who plays: the token's.
        stream: None: the room's.
    """

    room: str
    name: str
    stream: str | None


def device_stream(device: Device) -> str:
    """The name under which a device of any protocol is on the bus."""
    return f"{device.name}/main"


class Gate:
    """Judges publishers and players. ``counts``: refusals by cause since the start."""

    def __init__(self, context: Context, clock: Callable[[], float] = time.monotonic) -> None:
        self._context = context
        self._wrong = WrongTokens(clock)
        # Compared against where there is no device, so that the time taken tells nothing.
        self._nobody = secrets.token_hex(16).encode()
        self.counts: Counter[str] = Counter()

    def publisher(self, target: Target, remote: str) -> Device:
        """The device that publishes. Raises Refused, alike for unknown names and wrong keys."""
        key = target.query.get(KEY, "").encode("utf-8", "surrogateescape")
        address, digest = network_of(remote), hashlib.sha256(key).digest()
        wait_s = self._wrong.wait_s(address, digest)
        if wait_s:
            raise self._refused(
                "too_many_wrong_keys", f"too many wrong keys came from this address: wait {wait_s:.0f} s"
            )
        device = self._device(target.name)
        known = self._key_of(device) if device is not None and device.adapter == "rtmp" and target.app == LIVE else None
        is_right = hmac.compare_digest(known or self._nobody, key)
        if device is None or known is None or not is_right:
            self._wrong.wrong(address)
            raise self._refused("wrong_key", UNKNOWN)
        self._wrong.right(address, digest)
        return device

    def player(self, target: Target, remote: str) -> Play:
        """What is played. Raises Refused, also for a stream that nobody publishes."""
        if target.app not in (LIVE, ROOMS) or not target.name or len(target.name) > STREAM_LIMIT:
            raise self._refused(
                "bad_name", "there is rtmp://SERVER/live/DEVICE, rtmp://SERVER/live/STREAM and rtmp://SERVER/rooms/ROOM"
            )
        if target.app == ROOMS:
            name = self._authorise(target, remote, "view", target.name)
            return Play(target.name, name, None)
        device = self._device(target.name)
        stream = device_stream(device) if device is not None else target.name
        room = self._context.router.room_of(stream)
        is_there = bool(self._context.bus.engine.streams([stream]))
        # What belongs to no room is for who may do everything; a name that isn't there, for who may view there.
        right = "admin" if is_there and room is None else "view"
        name = self._authorise(target, remote, right, room or (None if right == "admin" else self.home(stream)))
        if not is_there:
            raise self._refused("no_stream", f"nobody publishes {target.name} at the moment")
        return Play(room or self.home(stream), name, stream)

    def home(self, stream: str) -> str:
        """The room in which a stream is, or would be if it were published: its device's, else the first of its name."""
        first = stream.partition("/")[0]
        device = self._device(first)
        return self._context.router.room_of(stream) or (device.room if device is not None else first)

    def _device(self, name: str) -> Device | None:
        return next((device for device in self._context.config.devices if device.name == name), None)

    def _authorise(self, target: Target, remote: str, right: str, room: str | None) -> str:
        try:
            # an address that has a key for publishing is changed into one for playing by its value alone
            secret = target.query.get(TOKEN) or target.query.get(KEY, "")
            return self._context.authorise_secret(secret, remote, right, room)
        except Refused:
            self.counts["wrong_token"] += 1
            raise

    def doubts(self) -> Iterator[tuple[str, str]]:
        """(device, what is wrong with its key) for keys that can be guessed or that encoders won't send whole."""
        for device in self._context.config.devices:
            key = (self._key_of(device) or b"").decode("utf-8", "replace") if device.adapter == "rtmp" else ""
            cut = next((character for character in key if character in DIVIDERS), None)
            if cut is not None:
                yield device.name, f"its key has {cut!r}, where encoders cut addresses: use letters, digits, - and _"
            elif key and len(key) < GOOD_KEY_LENGTH:
                yield device.name, f"its key has fewer than {GOOD_KEY_LENGTH} characters: too easy to guess"

    def _key_of(self, device: Device) -> bytes | None:
        if not device.key_file:
            return None
        try:
            return self._context.secret(device.key_file).encode()
        except LocalError:
            # Said when the configuration was read; who has no key is locked out.
            return None

    def _refused(self, cause: str, text: str) -> Refused:
        self.counts[cause] += 1
        return Refused(CloseReason.REFUSED, text)
