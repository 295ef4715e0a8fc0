"""Structured logging: coloured text on a terminal, JSON lines under systemd, the same keys, nothing personal.

Redaction is by key: a value under a personal key is replaced, and in any other text SIP user parts, query strings,
tokens and SDP key lines are cut out. Per packet or access unit nothing is ever logged.
"""

from __future__ import annotations

import logging
import re
import sys
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from orbridge.gateway.config import Log

REDACTED = "[redacted]"
# The one key whose value has several lines.
TRACE = "exception"
PERSONAL_KEYS = frozenset(
    {"display_name", "user", "username", "password", "token", "secret", "authorization", "sdp", "body", "digits", "key"}
)
_SIP_USER = re.compile(r"(sips?:)([^@\s;>\"]+)@", re.IGNORECASE)
_QUERY = re.compile(r"\?[^\s\"'>]+")
_KEYING = re.compile(r"(a=crypto:|inline:|a=ice-pwd:|[Bb]earer |token=|key=|password=)\S+[^\r\n]*")
# What would end a line or steer a terminal, or can't be written at all; a trace's own line ends stay.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_LINE_ENDS = re.compile(r"[\r\n\t]+")
_DISPLAY_NAME = re.compile(r'"[^"]*"(?=\s*<sips?:)')


def scrub(text: str) -> str:
    """Text without what may name a person or open a door."""
    text = _KEYING.sub(lambda match: match[1] + REDACTED, text)
    text = _SIP_USER.sub(rf"\1{REDACTED}@", text)
    text = _DISPLAY_NAME.sub(f'"{REDACTED}"', text)
    return _QUERY.sub("?" + REDACTED, text)


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """structlog processor; walks nested values too."""
    return {
        key: REDACTED if key.lower() in PERSONAL_KEYS else printable(scrub(value)) if key == TRACE else _clean(value)
        for key, value in event.items()
    }


def printable(text: str) -> str:
    """On however many lines it was, but nothing in it that isn't text."""
    return _CONTROLS.sub("?", text)


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return printable(_LINE_ENDS.sub(" ", scrub(value)))
    if isinstance(value, dict):
        return {key: REDACTED if str(key).lower() in PERSONAL_KEYS else _clean(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(inner) for inner in value]
    return value


def configure(settings: Log, stream: TextIO | None = None) -> None:
    """Set up structlog and the standard library's logging (aiohttp, aiortc) to one output. May be called again."""
    stream = stream or sys.stderr
    as_json = settings.format == "json" or (settings.format == "auto" and not stream.isatty())
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # The trace is turned into text before redaction, so that an exception's words pass through it too.
    ending: list[Processor] = [structlog.processors.format_exc_info, redact]
    renderer: Processor = (
        structlog.processors.JSONRenderer(ensure_ascii=False, default=str)
        if as_json
        else structlog.dev.ConsoleRenderer(colors=stream.isatty(), pad_event_to=24)
    )
    structlog.configure(
        processors=[*shared, *ending, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, *ending],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.INFO))
    # Libraries speak at WARNING and above only: their INFO lines name peers.
    for name in ("aioice", "aiortc", "aiohttp", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("orbridge").setLevel(level)
