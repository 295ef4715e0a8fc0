"""Devices with auto_dial are called, called again, and not hammered."""

import asyncio

import pytest

from orbridge.gateway import backoff
from orbridge.gateway.adapter import Refused
from orbridge.gateway.config import Device
from orbridge.gateway.dialler import LONGEST_S, Dialler
from orbridge.gateway.session import CloseReason, Session, State

OR3 = Device(name="or-3", adapter="sip", address="sip:or3@x", room="or-3", auto_dial=True)
OR4 = Device(name="or-4", adapter="sip", address="sip:or4@x", room="or-4")


def a_call() -> Session:
    session = Session("s", name="or-3", room="or-3", remote="", inbound=False, opened_ns=0, device="or-3")
    session.move(State.CONNECTING)
    return session


def test_waits_grow_and_are_bounded_and_jittered() -> None:
    waits = backoff.Backoff(LONGEST_S, lambda: 1.0)
    assert [waits.wait_s() for _ in range(8)] == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, LONGEST_S, LONGEST_S]
    assert [waits.wait_s(lasted) for lasted in (29.9, 30.0, 0.0)] == [LONGEST_S, 1.0, 2.0]
    assert backoff.Backoff(LONGEST_S, lambda: 0.0).wait_s() == 0.5


async def test_it_calls_and_calls_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "FIRST_S", 0.01)
    calls: list[Session] = []
    dialled = asyncio.Queue[str]()

    async def dial(name: str, room: str) -> Session:
        assert room == ""
        calls.append(a_call())
        dialled.put_nowait(name)
        return calls[-1]

    keeper = Dialler(dial, lambda device: None)
    keeper.configure([OR3, OR4])
    assert await asyncio.wait_for(dialled.get(), 2) == "or-3"
    await asyncio.sleep(0.1)
    assert len(calls) == 1, "a call that lives is left alone"
    calls[0].ended(CloseReason.REMOTE_HANGUP)
    assert await asyncio.wait_for(dialled.get(), 2) == "or-3"
    await keeper.close()


async def test_a_device_that_called_by_itself_is_not_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "FIRST_S", 0.01)
    there = a_call()
    dialled = asyncio.Event()

    async def dial(name: str, room: str) -> Session:
        dialled.set()
        return a_call()

    keeper = Dialler(dial, lambda device: there if there.state is not State.CLOSED else None)
    keeper.configure([OR3])
    await asyncio.sleep(0.05)
    assert not dialled.is_set()
    there.ended(CloseReason.REMOTE_HANGUP)
    await asyncio.wait_for(dialled.wait(), 2)
    await keeper.close()


async def test_refusals_are_survived_and_a_reload_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "FIRST_S", 0.001)
    attempts = 0

    async def dial(name: str, room: str) -> Session:
        nonlocal attempts
        attempts += 1
        raise Refused(CloseReason.UNREACHABLE, "no route")

    keeper = Dialler(dial, lambda device: None)
    keeper.configure([OR3])
    await asyncio.sleep(0.1)
    assert attempts >= 3
    keeper.configure([OR4])
    before = attempts
    await asyncio.sleep(0.1)
    assert attempts == before
    await keeper.close()
