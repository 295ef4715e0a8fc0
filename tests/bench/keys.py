"""SRTP keys that both sides of a benchmark know: what DTLS would have agreed on."""

from __future__ import annotations

from pylibsrtp import Policy, Session

OUTBOUND = bytes(range(64))
INBOUND = bytes(range(64, 128))

# Master key and salt together (RFC 3711 8.2, RFC 7714 12).
_SIZES = {"AES_CM_128_HMAC_SHA1_80": 30, "AEAD_AES_128_GCM": 28}
# What the profile adds to a packet: its authentication tag.
TAG_BYTES = {"plain": 0, "AES_CM_128_HMAC_SHA1_80": 10, "AEAD_AES_128_GCM": 16}
_LIBSRTP = {
    "AES_CM_128_HMAC_SHA1_80": Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
    "AEAD_AES_128_GCM": Policy.SRTP_PROFILE_AEAD_AES_128_GCM,
}


def sized(key: bytes, profile: str) -> bytes:
    """Master key followed by master salt, as long as the profile wants them."""
    return key[: _SIZES[profile]]


def session(key: bytes, profile: str, *, inbound: bool) -> Session:
    """libsrtp's own side, for any SSRC."""
    kind = Policy.SSRC_ANY_INBOUND if inbound else Policy.SSRC_ANY_OUTBOUND
    policy = Policy(key=sized(key, profile), ssrc_type=kind, srtp_profile=_LIBSRTP[profile])
    policy.allow_repeat_tx = True
    policy.window_size = 1024
    return Session(policy)
