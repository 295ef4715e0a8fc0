"""``sprop-parameter-sets`` (RFC 6184 8.1) of what a camera really sends."""

import re
from base64 import b64encode
from typing import Any

from device_media import Camera


def with_sprop(sdp: str, kinds: tuple[int, ...] = (7, 8), **camera: Any) -> str:
    """The description with the parameter sets of a camera with these settings in every H.264 fmtp line."""
    made = Camera(0, **camera)
    made.picture()
    value = ",".join(b64encode(made.sets[kind]).decode() for kind in kinds)
    bare = re.sub(r";?\s*sprop-parameter-sets=[^;\s]+", "", sdp)
    return re.sub(r"^(a=fmtp:\d+ .*profile-level-id=[^\r\n]*)", rf"\1;sprop-parameter-sets={value}", bare, flags=re.M)
