"""Names and parameters in RTMP's addresses, where encoders put keys into different places.

ffmpeg and OBS put ``?key=...`` behind the stream's name; encoders with one field for the address leave it in ``tcUrl``
or in the application. All of them are read, the more exact place wins.
"""

from __future__ import annotations

from urllib.parse import unquote

_MAX_PARAMETERS = 64


def split_query(text: str) -> tuple[str, dict[str, str]]:
    """What stands before ``?``, without slashes around it, and the parameters; the first of two equal ones counts."""
    name, _, query = text.partition("?")
    return name.strip("/"), read_query(query)


def read_query(query: str) -> dict[str, str]:
    """Parameters of a query, percent-decoded; what comes after the 64th is left out.

    A plus sign stands for itself: keys in base64 have it, and no encoder writes HTML forms.
    """
    found: dict[str, str] = {}
    for piece in query.replace("?", "&").split("&")[:_MAX_PARAMETERS]:
        name, equals, value = piece.partition("=")
        if name or equals:
            found.setdefault(unquote(name), unquote(value))
    return found


def address_query(tc_url: str) -> dict[str, str]:
    """Parameters of a ``tcUrl``."""
    return read_query(tc_url.partition("?")[2])


def stream_name(text: str) -> tuple[str, dict[str, str]]:
    """Name and parameters of what a client publishes or plays.

    Flash clients prefix a container (``mp4:``, ``flv:``), which means nothing for live streams.
    """
    name, query = split_query(text)
    for prefix in ("mp4:", "flv:", "mp3:"):
        name = name.removeprefix(prefix)
    return unquote(name).strip("/"), query
