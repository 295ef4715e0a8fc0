"""Sound that has to be decoded: one mixer a room, one transcoder a track and codec, kept while somebody listens.

The decoding itself is the engine's; here is who needs which output, and that none outlives its last listener.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, cast

from orbridge.codecs.errors import LocalError
from orbridge.codecs.media import Codec

if TYPE_CHECKING:
    from orbridge.codecs._engine import Engine, Mixer, MixerOutput

MixCodec = Literal["OPUS", "G722", "PCMA", "PCMU"]
MIX_CODECS = frozenset({"OPUS", "G722", "PCMA", "PCMU"})


def mix_codec(codec: Codec) -> MixCodec:
    """Raises LocalError for a codec that nothing here encodes."""
    if codec.name not in MIX_CODECS:
        raise LocalError(f"sound can't be encoded as {codec.name}, only as {', '.join(sorted(MIX_CODECS))}")
    return cast(MixCodec, codec.name)


@dataclass(slots=True)
class RoomSound:
    """The mix of a room, made when somebody needs it first.

    ``use`` names an output for this round; ``settle`` ends a round and closes what nobody named in it.
    """

    engine: Engine
    room: str
    _mixer: Mixer | None = None
    _inputs: tuple[int, ...] = ()
    _outputs: dict[tuple[str, frozenset[int]], MixerOutput] = field(default_factory=dict)
    _used: set[tuple[str, frozenset[int]]] = field(default_factory=set)
    _made: int = 0

    @property
    def mixer_id(self) -> int | None:
        return self._mixer.id if self._mixer is not None else None

    def use(self, codec: Codec, exclude: frozenset[int]) -> int:
        """Track with everybody's sound but the excluded tracks', in this codec. Raises LocalError (codec)."""
        key = (mix_codec(codec), exclude)
        self._used.add(key)
        output = self._outputs.get(key)
        if output is None:
            self._made += 1
            name = f"{self.room}/mix/{self._made}"
            output = self._outputs[key] = self._ensure().add_output(name, key[0], exclude=sorted(exclude))
        return output.track_id

    def settle(self, inputs: Iterable[int], *, listen: bool) -> None:
        """End of a round. ``listen``: keep the mixer for its levels though nobody needs the mix."""
        for key in [key for key in self._outputs if key not in self._used]:
            self._outputs.pop(key).close()
        self._used.clear()
        wanted = tuple(sorted(inputs))
        if not self._outputs and not listen:
            self.close()
        elif wanted != self._inputs or self._mixer is None:
            self._ensure().set_inputs(wanted)
            self._inputs = wanted

    def close(self) -> None:
        for output in self._outputs.values():
            output.close()
        self._outputs.clear()
        if self._mixer is not None:
            self._mixer.close()
        self._mixer, self._inputs = None, ()

    def _ensure(self) -> Mixer:
        if self._mixer is None:
            self._mixer = self.engine.open_mixer(label=self.room)
        return self._mixer


@dataclass(slots=True)
class _Transcoder:
    mixer: Mixer
    output: MixerOutput
    users: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Transcoders:
    """One track in another codec, shared by everybody who wants it so."""

    engine: Engine
    _running: dict[tuple[int, str], _Transcoder] = field(default_factory=dict)
    _made: int = 0

    def use(self, user: str, track: int, codec: Codec) -> int:
        """The track's sound in this codec; released by ``release(user)``. Raises LocalError (codec)."""
        key = (track, mix_codec(codec))
        running = self._running.get(key)
        if running is None:
            self._made += 1
            mixer = self.engine.open_mixer(label=f"transcode-{track}")
            mixer.set_inputs([track])
            output = mixer.add_output(f"transcoded/{track}/{key[1].lower()}-{self._made}", key[1])
            running = self._running[key] = _Transcoder(mixer, output)
        running.users.add(user)
        return running.output.track_id

    def release(self, user: str, *, but: tuple[int, str] | None = None) -> None:
        """``user`` needs none any more but the one of (track, codec name) ``but``."""
        for key in [key for key, running in self._running.items() if user in running.users and key != but]:
            running = self._running[key]
            running.users.discard(user)
            if not running.users:
                del self._running[key]
                running.output.close()
                running.mixer.close()

    def close(self) -> None:
        for running in self._running.values():
            running.output.close()
            running.mixer.close()
        self._running.clear()
