"""What the command line prints: for a technician at two in the morning, worst first, in words."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

GOOD, POOR, BAD = "green", "yellow", "red"


def duration(seconds: float) -> str:
    """``4 s``, ``3 min``, ``2 h 5 min``, ``3 d 4 h``."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = int(seconds // 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"


def status(facts: dict[str, Any]) -> RenderableType:
    """The whole of `orbridge status`."""
    daemon = facts["status"]
    head = Text.assemble(
        ("ready" if daemon["ready"] else "NOT READY", GOOD if daemon["ready"] else BAD),
        f"  orbridge {daemon['version']}, up {duration(daemon['up_s'])}, "
        f"{daemon['sessions']} sessions in {daemon['rooms']} rooms  ",
        ("  ".join(daemon.get("urls", ())), "dim"),
    )
    entries = [entry for found in daemon.get("adapters", {}).values() for entry in found.get("registrations", ())]
    return Group(
        head,
        *registrations(entries),
        devices(facts["devices"]),
        rooms(facts["rooms"]),
        sessions(facts["sessions"]),
        *conversions(daemon.get("conversions", {})),
    )


def table(title: str, *columns: str) -> Table:
    made = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        made.add_column(column, overflow="fold")
    return made


def registrations(found: list[dict[str, Any]]) -> list[RenderableType]:
    """Where the gateway registers itself; nothing when nowhere."""
    made = table("Registrations", "registrar", "state", "room", "remark")
    for entry in found:
        state = str(entry["state"])
        colour = GOOD if state == "registered" else BAD if state in ("refused", "unreachable") else POOR
        made.add_row(entry["registrar"], Text(state, colour), entry.get("room") or "-", Text(entry["detail"], POOR))
    return [made] if found else []


def devices(found: list[dict[str, Any]]) -> RenderableType:
    """Every configured device with its state in words."""
    made = table("Devices", "device", "state", "room", "session", "remark")
    for device in found:
        state = str(device.get("state", "unknown"))
        colour = GOOD if state == "connected" else POOR if state == "registered" else "dim"
        made.add_row(
            device["name"],
            Text(state, colour),
            device.get("room") or "-",
            device.get("session") or "-",
            Text(str(device.get("reason") or ""), POOR),
        )
    return made if found else Text("No device is configured.", "dim")


def rooms(found: list[dict[str, Any]]) -> RenderableType:
    made = table("Rooms", "room", "who is in")
    for room in found:
        people = ", ".join(
            f"{member['name']}{' (speaking)' if member.get('speaking') else ''}" for member in room["participants"]
        )
        made.add_row(room["name"], people or Text("empty", "dim"))
    return made if found else Text("No room is open.", "dim")


def conversions(found: dict[str, Any]) -> list[RenderableType]:
    """What is decoded and encoded, for whom; nothing when nothing is and nothing was refused."""
    made = table("Conversions", "of", "from", "to", "for", "since", "behind")
    refused = []
    for kind, facts in found.items():
        for one in facts["running"]:
            behind = Text(f"{one['backlog_ms']} ms", GOOD if one["backlog_ms"] < 300 else POOR)
            who = ", ".join(one["users"]) or Text("nobody any more", "dim")
            made.add_row(one["of"], one["from"], one["to"], who, duration(one["up_s"]), behind)
        if facts["refused"]:
            text = f"{facts['refused']} wishes for {kind} were over the limit of {facts['limit']}"
            refused.append(Text(text, POOR))
    return [*([made] if made.row_count else []), *refused]


def sessions(found: list[dict[str, Any]]) -> RenderableType:
    made = table("Sessions", "session", "who", "room", "state", "for", "remark")
    for session in found:
        # a device's notes are with the device, above
        notes = "" if session.get("device") else "; ".join(note["text"] for note in session.get("notes", ()))
        made.add_row(
            session["id"],
            who(session),
            session["room"],
            Text(session["state"], GOOD if session["state"] == "active" else POOR),
            duration(session.get("up_s", 0.0)),
            Text(notes, POOR),
        )
    return made if found else Text("Nobody is connected.", "dim")


def who(session: dict[str, Any]) -> str:
    if not session.get("plays"):
        return str(session["name"])
    return f"watches {session['plays']}" if session["inbound"] else f"{session['name']}: carries {session['plays']}"
