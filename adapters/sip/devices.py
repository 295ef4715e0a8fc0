"""Device families and what each needs that the rules don't give: the quirks, each in one place with its device named.

A family is known by its User-Agent (or Server) header, or set by ``profile`` in the device's configuration. What an SDP
says always counts more than what is known here; the parsers are tolerant by rule and need none of this.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches

from orbridge.adapters.sip.negotiated import Feedback
from orbridge.codecs.errors import LocalError

_NEVER = 1_000_000


@dataclass(frozen=True, slots=True)
class DeviceProfile:
    """What is known about a family.

    Attributes:
        name: as in the configuration.
        title: for people.
        user_agent: what its header matches (searched, case ignored); empty: only by configuration.
        session_name: what its ``s=`` line matches; empty: not looked at.
        info_from_attempt: from which attempt on a key frame is asked for by SIP INFO ``picture_fast_update`` (RFC 5168)
            too, for a line where RTCP feedback was agreed. Without it INFO goes out at once.
        min_session_expires_s: shortest session timer it takes, to spare the 422; 0: the usual 90 s.
        in_band_parameter_sets: False: SPS and PPS come in the SDP and never in the stream.
        keys_by_info: it takes keys by SIP INFO only, although it agrees on telephone-event (RFC 4733).
        late_offer: it is called without a description and offers its own in the 200 (RFC 3261 13.2.1).
        reason: why the entry exists: which device said or did what.
    """

    name: str
    title: str
    user_agent: str = ""
    session_name: str = ""
    info_from_attempt: int = 3
    min_session_expires_s: int = 0
    in_band_parameter_sets: bool = True
    keys_by_info: bool = False
    late_offer: bool = False
    reason: str = ""

    def wants_info(self, attempt: int, feedback: Feedback) -> bool:
        """Whether the given attempt (from 1) for a key frame goes out as SIP INFO as well.

        ``feedback``: what was agreed that we may send on that line.
        """
        if not (feedback.pli or feedback.fir):
            return self.info_from_attempt < _NEVER
        return attempt >= self.info_from_attempt


# The first that matches counts: the special before the general.
PROFILES: tuple[DeviceProfile, ...] = (
    DeviceProfile(
        "polycom-vsx",
        "Polycom VSX",
        user_agent=r"\bVSX",
        info_from_attempt=1,
        reason="VSX 7000 knows H.263 only, VSX 6000A H.264 at level 1.2 without RTCP feedback",
    ),
    DeviceProfile(
        "polycom-group",
        "Polycom RealPresence Group or HDX",
        user_agent=r"Polycom.*(RealPresence|HDX|Group)",
        session_name=r"^MRD=MRE",
        reason="High profile and vendor lines (SVC, LPR) come first in its offers",
    ),
    DeviceProfile(
        "cisco-expressway",
        "Cisco Expressway or VCS",
        user_agent=r"^TANDBERG/4(1|3)\d\d|b2bua",
        min_session_expires_s=500,
        reason="TANDBERG/4352 (X8.7.3-b2bua-1.0) sends Min-SE: 500",
    ),
    DeviceProfile(
        "tandberg-e20",
        "Tandberg E20",
        user_agent=r"^TANDBERG/257\b|\(TE\d",
        reason="RTP/AVP with optional a=crypto from tag 0, lifetime 2^48, UNENCRYPTED_SRTCP alternatives",
    ),
    DeviceProfile(
        "cisco-movi",
        "Cisco Jabber Video (Movi)",
        user_agent=r"^TANDBERG/77\d\b|\(MCX",
        reason="offers larger pictures for slides than for the camera",
    ),
    DeviceProfile(
        "tandberg",
        "Tandberg or Cisco TelePresence (TC, CE, RoomOS)",
        user_agent=r"^TANDBERG/|Cisco-(CE|RoomOS)|Cisco/(CE|RoomOS)",
        reason="C20 (TC3.1.3) prefers AAC-LD, offers slides at once and mode 0 before mode 1",
    ),
    DeviceProfile(
        "cisco-cucm",
        "Cisco Unified Communications Manager",
        user_agent=r"^Cisco-CUCM",
        reason="RTCP of each line at an address of its own, explicit mode 0, Require: timer",
    ),
    DeviceProfile(
        "huawei-mc850",
        "Huawei MC850",
        user_agent=r"\bMC850",
        info_from_attempt=1,
        reason="refuses audio and keeps video; lists no RTCP feedback",
    ),
    DeviceProfile(
        "huawei",
        "Huawei ViewPoint or TE",
        user_agent=r"huawei|viewpoint|\bHD90\d0|\bTE[3-6]0\b",
        reason="HD9030 lists FIR and no PLI, and writes H.263 parameters separated by spaces",
    ),
    DeviceProfile(
        "microsoft",
        "Microsoft Lync or Skype for Business",
        user_agent=r"\bRTCC/|\bUCCAPI/|\bLync\b|Skype for Business",
        info_from_attempt=_NEVER,
        reason="its X-H264UC is not H.264: sound only; knows no INFO for key frames",
    ),
    DeviceProfile(
        "radvision",
        "Avaya or Radvision Scopia",
        user_agent=r"radvision|scopia|avaya",
        reason="private FEC types; asks for NAL units of 1270 bytes",
    ),
    DeviceProfile(
        "hikvision",
        "Hikvision",
        user_agent=r"hikvision|\bHIK\b",
        reason="32 kHz AAC only, no sprop-parameter-sets",
    ),
    DeviceProfile(
        "axis",
        "Axis camera",
        user_agent=r"\bAXIS\b",
        in_band_parameter_sets=False,
        reason="SPS and PPS in the SDP only",
    ),
    DeviceProfile(
        "baresip",
        "baresip",
        user_agent=r"\bbaresip\b",
        reason="offers mode 0 only; its encoder makes one key frame a call unless asked",
    ),
    DeviceProfile(
        "keys-by-info",
        "SIP device that takes keys by INFO only",
        keys_by_info=True,
        reason="menus behind a gateway that agrees on telephone-event and doesn't hand it on; set by configuration",
    ),
    DeviceProfile(
        "late-offer",
        "SIP device that wants to offer first",
        late_offer=True,
        reason="call controls that are set to delayed offer and refuse any other call; set by configuration",
    ),
)

GENERIC = DeviceProfile("generic", "SIP device", reason="what no family is known for")

_BY_NAME = {profile.name: profile for profile in (*PROFILES, GENERIC)}
_PATTERNS = tuple(
    (
        profile,
        re.compile(profile.user_agent, re.IGNORECASE) if profile.user_agent else None,
        re.compile(profile.session_name) if profile.session_name else None,
    )
    for profile in PROFILES
)
_MAX_HEADER = 256


def profile_for(user_agent: str, configured: str = "auto", *, session_name: str = "") -> DeviceProfile:
    """The family of a device.

    Args:
        user_agent: its User-Agent or Server header, empty when it sent none.
        configured: a profile's name, or ``auto``.
        session_name: of its description, for those that send no telling header.

    Raises:
        LocalError: ``configured`` names no profile.
    """
    if configured != "auto":
        if configured not in _BY_NAME:
            near = get_close_matches(configured, ["auto", *_BY_NAME], n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are auto, {', '.join(sorted(_BY_NAME))}"
            raise LocalError(f"device profile {configured!r} isn't known: {hint}")
        return _BY_NAME[configured]
    for profile, agent, session in _PATTERNS:
        if agent is not None and agent.search(user_agent[:_MAX_HEADER]):
            return profile
        if session is not None and session.search(session_name[:_MAX_HEADER]):
            return profile
    return GENERIC
