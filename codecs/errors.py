"""What can be wrong with bytes, by whose fault it is.

An error keeps the facts as fields and builds its sentence in ``__str__``: lower case, no full stop, no dumped bytes.
"Not enough bytes yet" is not an error. ``assert`` states our own invariants and never checks input.
"""

from __future__ import annotations


class OrbridgeError(Exception):
    """Root of everything that orbridge raises on purpose."""


class RemoteError(OrbridgeError):
    """The other side broke its protocol. Ends at most the session that it came in on."""


class LocalError(OrbridgeError):
    """We, or who configured us, asked for something that cannot be done."""


class ParseError(RemoteError):
    """Text or bytes from outside that no rule of their format admits.

    Attributes:
        what: the format, e.g. ``sdp``.
        where: line, field or offset.
        problem: what is wrong there.
    """

    def __init__(self, what: str, where: str, problem: str) -> None:
        super().__init__(what, where, problem)
        self.what, self.where, self.problem = what, where, problem

    def __str__(self) -> str:
        return f"{self.what}: {self.where}: {self.problem}"
