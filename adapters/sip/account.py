"""pjsua2's accounts: the identities that calls are made with and taken on."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pjsua2 as pj

from orbridge.adapters.sip.border import guarded
from orbridge.adapters.sip.build import Build
from orbridge.adapters.sip.messages import SipUri, bracketed
from orbridge.gateway.config import Sip

Incoming = Callable[["Account", int, str, str], None]

# Of the build's accounts so many stay free for registrations.
RESERVED_ACCOUNTS = 4


@dataclass(frozen=True, slots=True)
class Credentials:
    """What we answer a digest challenge with."""

    username: str
    password: str = field(repr=False)


class Account(pj.Account):  # type: ignore[misc]
    """An identity; incoming calls go to ``incoming(account, call id, INVITE, source)``."""

    # pjsua2's names

    def __init__(self, incoming: Incoming) -> None:
        super().__init__()
        self._incoming = incoming

    @guarded
    def onIncomingCall(self, prm: Any) -> None:
        self._incoming(self, prm.callId, prm.rdata.wholeMsg, prm.rdata.srcAddress)


def account_config(settings: Sip, uri: str, credentials: Credentials | None = None) -> Any:
    """What all our accounts share: media is not pjsua2's, session timers are always on."""
    config = pj.AccountConfig()
    config.idUri = uri
    config.regConfig.registerOnAdd = False
    media = config.mediaConfig
    # A stand-in for the media transport; the port must not be 0, which would mean a refused line.
    media.useLoopMedTp = True
    media.transportConfig.port = 20_000
    # Else a second INVITE follows an answer that names two codecs.
    media.lockCodecEnabled = False
    media.rtcpMuxEnabled = False
    media.srtpUse = 0
    media.srtpSecureSignaling = 0
    config.natConfig.sipOutboundUse = 0
    timers = config.callConfig
    timers.timerUse = pj.PJSUA_SIP_TIMER_ALWAYS
    timers.timerMinSESec = settings.min_se_s
    timers.timerSessExpiresSec = max(settings.session_expires_s, settings.min_se_s)
    if credentials is not None:
        config.sipConfig.authCreds.push_back(
            pj.AuthCredInfo("digest", "*", credentials.username, 0, credentials.password)
        )
    return config


class Accounts:
    """The account for each occasion.

    The first is for everything that comes in and for most of what goes out. A UDP listener beside other UDP listeners
    has one of its own, because pjsip would send from whichever it opened first. A device that asks us for a password
    has one as well, and only it: an answer to a challenge is worth something to whoever may guess.
    """

    def __init__(self, settings: Sip, host: str, build: Build, incoming: Incoming, udp: dict[str, int]) -> None:
        """``udp``: host of each UDP listener -> its transport number."""
        self._settings, self._build, self._incoming = settings, build, incoming
        self.domain = settings.domain or bracketed(host)
        self.main = self._create(account_config(settings, f"sip:{self.domain}"))
        self.main.setDefault()
        self._bound: dict[str, Account] = {}
        if len(udp) > 1:
            for address, transport in udp.items():
                config = account_config(settings, "sip:bound.invalid")
                config.sipConfig.transportId = transport
                self._bound[address] = self._create(config)
        self._asked: OrderedDict[tuple[str, str], Account] = OrderedDict()

    def choose(self, target: SipUri, source: str | None, credentials: Credentials | None) -> Account:
        """``source``: the local address that packets to the target leave from."""
        if credentials is not None:
            return self._with(credentials)
        if target.transport == "udp" and source is not None:
            return self._bound.get(source, self.main)
        return self.main

    def close(self) -> None:
        for account in (self.main, *self._bound.values(), *self._asked.values()):
            account.shutdown()
        self._bound.clear()
        self._asked.clear()

    def _with(self, credentials: Credentials) -> Account:
        key = (credentials.username, credentials.password)
        account = self._asked.get(key)
        if account is None:
            while len(self._asked) >= self._build.max_accounts - RESERVED_ACCOUNTS - len(self._bound) - 1:
                self._asked.popitem(last=False)[1].shutdown()
            account = self._create(account_config(self._settings, "sip:asked.invalid", credentials))
            self._asked[key] = account
        self._asked.move_to_end(key)
        return account

    def _create(self, config: Any) -> Account:
        account = Account(self._incoming)
        account.create(config)
        return account
