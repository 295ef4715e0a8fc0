"""One daemon for all cases of a module; the devices that it knows are named in the module's ``DEVICES``."""

from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio
from device_sdp import room_system
from ports import free_port
from raw_device import RawDevice
from running_gateway import Gateway

ROOM = "theatre"
STUDIO_HZ, STUDIO = 700, 200
FAULTS = ("callback.failed", "handler.failed", "unparsed")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """``DEVICES``: name -> more keys of its configuration. ``SETTINGS``: more arguments of ``Gateway``."""
    settings = getattr(request.module, "SETTINGS", {})
    made = Gateway(tmp_path_factory.mktemp("gateway"), **settings)
    for name, more in {"studio": "", **request.module.DEVICES}.items():
        made.device(name, f"sip:{name}@127.0.0.1:{free_port()}", ROOM, f'rooms = ["*"]\n{more}')
    async with made:
        yield made
    assert [line for line in made.log_lines() if line.get("level") == "error" or line["event"] in FAULTS] == []


def port_of(gateway: Gateway, name: str) -> int:
    """Where the gateway's configuration says that a device is."""
    device = next(device for device in gateway.devices if device["name"] == name)
    return int(device["address"].rpartition(":")[2])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def studio(gateway: Gateway) -> AsyncIterator[RawDevice]:
    """The other side of the room: a device that is always there, sees and hears the one under test."""
    device = RawDevice(gateway, "studio", room_system(), who=STUDIO, hz=STUDIO_HZ, port=port_of(gateway, "studio"))
    async with device:
        await device.call(ROOM)
        yield device


@pytest.fixture
def device(gateway: Gateway) -> Callable[..., RawDevice]:
    """Makes one of the module's devices: ``device(name, sdp, ...)``."""

    def make(name: str, sdp: str = "", **more: object) -> RawDevice:
        return RawDevice(gateway, name, sdp or room_system(), port=port_of(gateway, name), **more)  # type: ignore[arg-type]

    return make
