"""Which build of pjsua2 this host has, and what follows from it.

Our own wheel (``pjproject/build.sh``) leaves media to us. The stock wheel from the package index runs its own
negotiation underneath ours; it does for trying things out, not for an operating room.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from orbridge.codecs.errors import LocalError
from orbridge.gateway.config import Sip

# What the stock wheel is compiled with (PJSUA_MAX_CALLS, PJSUA_MAX_ACC): it has no function that says so.
STOCK_MAX_CALLS = 4
STOCK_MAX_ACCOUNTS = 8


@dataclass(frozen=True, slots=True)
class Build:
    """Attributes: ``external_media``: our SDP goes out as written, requests outside calls reach us."""

    version: str
    external_media: bool
    max_calls: int
    max_accounts: int

    @property
    def shortcomings(self) -> tuple[str, ...]:
        """What doesn't work, a sentence each."""
        if self.external_media:
            return ()
        return (
            f"no more than {self.max_calls} calls at a time",
            "outgoing calls have sound only",
            "a device that offers H.264 twice may be answered with the wrong payload type",
            "encrypted media (SRTP) is refused",
            "devices can't register here",
            "requests to change the picture (INFO) are answered 400",
        )

    def admit(self, max_calls: int) -> int:
        """How many calls there may be. Raises LocalError when the configuration wants more than this build can do.

        The default isn't a wish: where nothing is configured, it is what the build can do.
        """
        if max_calls == Sip().max_calls:
            return min(max_calls, self.max_calls)
        if max_calls > self.max_calls:
            kind = "this build of pjsua2" if self.external_media else "the stock pjsua2 wheel"
            cure = "" if self.external_media else " or install the wheel that adapters/sip/pjproject/build.sh makes"
            raise LocalError(f"sip.max_calls is {max_calls}, but {kind} can do {self.max_calls}: lower it{cure}")
        return max_calls


def detect(endpoint: Any) -> Build:
    """``endpoint``: a created ``pjsua2.Endpoint``."""
    version = str(endpoint.libVersion().full)
    if not hasattr(endpoint, "libLimits"):
        return Build(version, False, STOCK_MAX_CALLS, STOCK_MAX_ACCOUNTS)
    limits = endpoint.libLimits()
    return Build(version, bool(limits.externalMedia), int(limits.maxCalls), int(limits.maxAccounts))
