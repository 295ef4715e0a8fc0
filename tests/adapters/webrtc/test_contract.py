"""What we rely on in aiortc and aioice without their promise, held to the installed versions.

When this fails after a bump, read the difference of the two files named in ``ice.py`` and ``dtls.py``.
"""

import ast
import importlib.metadata
import inspect
import textwrap
from pathlib import Path
from types import ModuleType

import aioice
import pytest
from aioice.ice import StunProtocol
from aiortc.rtcdtlstransport import RTCCertificate, RTCDtlsTransport
from meta_sources import imports

from orbridge.adapters.webrtc import dtls, ice


def test_versions() -> None:
    assert importlib.metadata.version("aiortc").startswith("1.16.")
    assert importlib.metadata.version("aioice").startswith("0.13.")


async def test_names() -> None:
    connection = aioice.Connection(ice_controlling=False)
    assert [name for name in ice.PRIVATE["Connection"] if not hasattr(connection, name)] == []
    protocol = StunProtocol(connection)
    assert [name for name in ice.PRIVATE["StunProtocol"] if not hasattr(protocol, name)] == []
    assert [name for name in dtls.PRIVATE["RTCCertificate"] if not hasattr(RTCCertificate, name)] == []


async def test_dtls_names() -> None:
    transport = RTCDtlsTransport(dtls.Link(), [object()])  # type: ignore[arg-type, list-item]
    assert [name for name in dtls.PRIVATE["RTCDtlsTransport"] if not hasattr(transport, name)] == []


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("get_component_candidates", ["self", "component", "addresses", "timeout"]),
        ("data_received", ["self", "data", "component"]),
        ("check_complete", ["self", "pair"]),
        ("check_incoming", ["self", "message", "addr", "protocol"]),
        ("query_consent", ["self"]),
        ("gather_candidates", ["self"]),
        ("build_request", ["self", "pair", "nominate"]),
    ],
)
def test_what_we_override_has_the_same_form(method: str, parameters: list[str]) -> None:
    assert list(inspect.signature(getattr(aioice.Connection, method)).parameters) == parameters
    overridden = getattr(ice.Generation, method)
    assert list(inspect.signature(overridden).parameters) == parameters


def test_dtls_uses_three_members_of_its_transport() -> None:
    tree = ast.parse(textwrap.dedent(inspect.getsource(RTCDtlsTransport)))
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Attribute)
        and node.value.attr in ("transport", "_transport")
    }
    assert used == set(dtls.PRIVATE["transport"])
    assert all(hasattr(dtls.Link(), name) for name in used)


def test_connect_starts_our_consent_checks_and_stops_when_told() -> None:
    source = inspect.getsource(aioice.Connection.connect)
    assert "self.query_consent()" in source
    assert "_query_consent_task" in inspect.getsource(aioice.Connection.close)


@pytest.mark.parametrize("module", [ice, dtls])
def test_private_names_of_other_objects_are_listed(module: ModuleType) -> None:
    listed = {name for names in module.PRIVATE.values() for name in names}
    found = {
        node.attr
        for node in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not (isinstance(node.value, ast.Name) and node.value.id in ("self", "each"))
        and not isinstance(node.value, ast.Call)
    }
    assert found <= listed


def test_each_library_is_known_to_one_file() -> None:
    for library, home in (("aioice", "ice.py"), ("aiortc", "dtls.py")):
        users = {
            path.name
            for path in Path(inspect.getfile(ice)).parent.glob("*.py")
            if any(name.split(".")[0] == library for name in imports(path))
        }
        assert users == {home}
