"""The stand-ins are what we think they are: two baresips call each other without us."""

import asyncio
from pathlib import Path

import pytest
from peer_baresip import Baresip

pytestmark = pytest.mark.e2e


async def test_two_baresips_see_and_hear_each_other(tmp_path: Path) -> None:
    async with (
        Baresip(tmp_path / "a", user="a", tone=440) as one,
        Baresip(tmp_path / "b", user="b", tone=1000) as other,
    ):
        await one.dial(other.uri)
        await one.event("CALL_ESTABLISHED")
        await asyncio.sleep(3)
        await one.command("hangup")
        await other.event("CALL_CLOSED")
        await asyncio.sleep(0.5)
        assert other.decoded_video()["keyframes"] >= 1
        tone, level = other.heard()
        assert tone == pytest.approx(440, abs=3)
        assert level > -40
        assert one.heard()[0] == pytest.approx(1000, abs=5)
