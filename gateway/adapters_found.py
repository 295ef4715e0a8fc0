"""Finds adapters by name: every package in ``orbridge.adapters`` with an ``adapter`` module that has ``create``.

The gateway imports none of them by name, so a host on which one's library is missing runs the rest and says so.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import cast

import structlog

from orbridge.gateway import events
from orbridge.gateway.adapter import Adapter, Context

log = structlog.get_logger(__name__)

PACKAGE = "orbridge.adapters"


def find(context: Context) -> dict[str, Adapter]:
    """Make every adapter whose module can be imported; one line in the log for each that can't."""
    found: dict[str, Adapter] = {}
    package = importlib.import_module(PACKAGE)
    for module in pkgutil.iter_modules(package.__path__):
        if not module.ispkg:
            continue
        try:
            inner = importlib.import_module(f"{PACKAGE}.{module.name}.adapter")
        except ImportError as exc:
            log.warning(events.ADAPTER_MISSING, adapter=module.name, problem=str(exc))
            continue
        found[module.name] = cast(Adapter, inner.create(context))
    for section in context.config.__struct_fields__:
        settings = getattr(context.config, section)
        if section != "http" and getattr(settings, "listen", None) and section not in found:
            problem = f"{section}.listen is configured, but no adapter is called {section}: nothing listens there"
            log.warning(events.ADAPTER_MISSING, adapter=section, problem=problem)
    for device in context.config.devices:
        if device.adapter not in found:
            log.warning(
                events.ADAPTER_MISSING,
                adapter=device.adapter,
                device=device.name,
                problem=f"no adapter is called {device.adapter}; there are: {', '.join(sorted(found)) or 'none'}",
            )
    return found


def one(name: str, context: Context) -> Adapter:
    """This adapter alone. Raises ImportError when its library is missing."""
    return cast(Adapter, importlib.import_module(f"{PACKAGE}.{name}.adapter").create(context))
