"""SRTP by policy: which keys a line gets, or why it is refused (RFC 4568, RFC 8643)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from orbridge.adapters.sip.codec_choice import Refusal
from orbridge.adapters.sip.negotiated import SrtpKeys, SrtpPolicy
from orbridge.adapters.sip.remote import RtpProfile
from orbridge.codecs import sdes, sdp


class Keying(NamedTuple):
    """Outcome for a line.

    Attributes:
        keys: None: plain RTP.
        tag: of the peer's crypto line that was taken; goes into our answer.
        passed_over: why crypto lines of the peer weren't taken although the line goes on in the clear; empty: none.
    """

    keys: SrtpKeys | None
    tag: int = 0
    passed_over: str = ""


def agree_keys(
    media: sdp.Media, profile: RtpProfile, policy: SrtpPolicy, own: Mapping[str, bytes], verb: str
) -> Keying | Refusal:
    """Take the peer's first crypto line that we can do; the same for its offer and for its answer to ours.

    An RTP/SAVP line must be encrypted; an RTP/AVP line may (``optional``, RFC 8643) or must (``mandatory``).
    """
    lines = [line for value in media.values("crypto") if (line := sdes.parse(value)) is not None]
    if policy == "off":
        if profile.secure:
            return Refusal("srtp_off", f"{verb} encrypted media only, and srtp is off for it")
        return Keying(None)
    for line in lines:
        if not line.problem and line.suite in own:
            return Keying(SrtpKeys(line.suite, own[line.suite], line.key), line.tag)
    problem = next((line.problem or f"the suite {line.suite} isn't ours" for line in lines), "")
    if profile.dtls or (profile.secure and not lines and media.has("fingerprint")):
        return Refusal("srtp_dtls", f"{verb} keys by DTLS, which is not done here; SDES (a=crypto) is")
    if profile.secure and not lines:
        return Refusal("srtp_unusable", f"{verb} encrypted media without a key (a=crypto)")
    if profile.secure or (policy == "mandatory" and lines):
        return Refusal("srtp_unusable", f"{verb} encryption that can't be used: {problem}")
    if policy == "mandatory":
        return Refusal("srtp_missing", f"{verb} no encryption, and srtp is mandatory for it")
    return Keying(None, 0, problem)
