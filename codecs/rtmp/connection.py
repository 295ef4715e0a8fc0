"""An RTMP connection without its transport: one machine (``machine.py``) with two roles.

A shell around it::

    connection = ServerConnection()
    ...
    connection.receive_data(data, now_ms)
    while events := connection.events():
        for event in events:
            match event:
                case ConnectRequested():
                    connection.accept_connect()
                case PublishRequested():
                    connection.accept_publish(event.stream_id)
                case Media():
                    ...
    transport.writelines(connection.data_to_send())
    if connection.ended:
        transport.close()
"""

from __future__ import annotations

from orbridge.codecs.rtmp.chunk import serialise_media
from orbridge.codecs.rtmp.client import ClientConnection
from orbridge.codecs.rtmp.events import (
    Closed,
    Connected,
    ConnectRequested,
    Event,
    Failed,
    Limits,
    Media,
    MediaKind,
    PlayPaused,
    PlayRequested,
    PlayStarted,
    PublishRequested,
    PublishStarted,
    Rejected,
    Status,
    StreamClosed,
    StreamReady,
)
from orbridge.codecs.rtmp.machine import CHUNK_BYTES, Connection
from orbridge.codecs.rtmp.server import ServerConnection

__all__ = [
    "CHUNK_BYTES",
    "ClientConnection",
    "Closed",
    "ConnectRequested",
    "Connected",
    "Connection",
    "Event",
    "Failed",
    "Limits",
    "Media",
    "MediaKind",
    "PlayPaused",
    "PlayRequested",
    "PlayStarted",
    "PublishRequested",
    "PublishStarted",
    "Rejected",
    "ServerConnection",
    "Status",
    "StreamClosed",
    "StreamReady",
    "serialise_media",
]
