"""Sound that has to be decoded: one mixer a room, one conversion a track and codec, kept while somebody listens.

The engine mixes and converts what rooms speak; AAC is converted by ``transcode`` in worker threads, because the engine
neither decodes nor encodes it. Here is who needs which output, and that none outlives its last listener.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast

from orbridge.codecs.errors import LocalError
from orbridge.codecs.media import Codec
from orbridge.gateway.transcode.audio import AudioConverter
from orbridge.gateway.transcode.shared import Conversions

if TYPE_CHECKING:
    from collections.abc import Callable

    from orbridge.codecs._engine import Engine, Mixer, MixerOutput

MixCodec = Literal["OPUS", "G722", "PCMA", "PCMU"]
MIX_CODECS = frozenset({"OPUS", "G722", "PCMA", "PCMU"})
# Opus for ears, and Opus that is only the way to another codec.
LISTENING_BPS = 32_000
CARRYING_BPS = 96_000
# Conversions of AAC at a time: each takes 10 to 25 ms of CPU a second.
CONVERSIONS_LIMIT = 24
# Encoders begin with some seconds at once.
QUEUE_MS = 5_000
WAKE_MS = 10
LINGER_S = 1.0


def mix_codec(codec: Codec) -> MixCodec:
    """Raises LocalError for a codec that the mixer doesn't encode."""
    if codec.name not in MIX_CODECS:
        raise LocalError(f"sound can't be encoded as {codec.name}, only as {', '.join(sorted(MIX_CODECS))}")
    return cast(MixCodec, codec.name)


_Output = tuple[str, frozenset[int], int]


@dataclass(slots=True)
class RoomSound:
    """The mix of a room, made when somebody needs it first.

    ``use`` names an output for this round; ``settle`` ends a round and closes what nobody named in it.
    """

    engine: Engine
    room: str
    _mixer: Mixer | None = None
    _inputs: tuple[int, ...] = ()
    _outputs: dict[_Output, MixerOutput] = field(default_factory=dict)
    _used: set[_Output] = field(default_factory=set)
    _made: int = 0

    @property
    def mixer_id(self) -> int | None:
        return self._mixer.id if self._mixer is not None else None

    def use(self, codec: Codec, exclude: frozenset[int], *, bitrate_bps: int = LISTENING_BPS) -> int:
        """Track with everybody's sound but the excluded tracks', in this codec. Raises LocalError (codec)."""
        key = (mix_codec(codec), exclude, bitrate_bps)
        self._used.add(key)
        output = self._outputs.get(key)
        if output is None:
            self._made += 1
            name = f"{self.room}/mix/{self._made}"
            output = self._outputs[key] = self._ensure().add_output(
                name, key[0], exclude=sorted(exclude), bitrate_bps=bitrate_bps
            )
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


# Source track, its codec (which may change while it runs), and that of what comes out, by name.
Wanted = tuple[int, str, str]


def wanted(track: int, source: Codec, codec: Codec) -> Wanted:
    return track, source.name, codec.name


class Transcoders:
    """One track in another codec, shared by everybody who wants it so."""

    def __init__(self, engine: Engine, limit: int = CONVERSIONS_LIMIT) -> None:
        self._engine = engine
        self._running: dict[Wanted, _Transcoder] = {}
        self._made = 0
        self.conversions = Conversions(engine, limit, queue_ms=QUEUE_MS, wake_ms=WAKE_MS, linger_s=LINGER_S)

    def on_change(self, changed: Callable[[int], None]) -> None:
        """Call with a source track's id when its conversion failed or may be tried again."""
        self.conversions.changed = changed

    def use(self, user: str, track: int, source: Codec, codec: Codec) -> int:
        """The track's sound in this codec; released by ``release(user)``. Raises LocalError with a sentence."""
        key = wanted(track, source, codec)
        if source.name not in MIX_CODECS or codec.name not in MIX_CODECS:
            job = self.conversions.use(
                user,
                key,
                track,
                source,
                # Opus is announced as stereo whatever it carries; AAC that is made here always is.
                Codec(codec.name, 48_000, 2),
                lambda: AudioConverter(source, Codec(codec.name, 48_000, 2)),
                full=lambda: (
                    f"{self.conversions.limit} sounds are being converted from or to AAC already, "
                    "the most that this gateway does at a time: let fewer devices send AAC"
                ),
            )
            return job.track_id
        running = self._running.get(key)
        if running is None:
            self._made += 1
            mixer = self._engine.open_mixer(label=f"transcode-{track}")
            mixer.set_inputs([track])
            name = f"transcoded/{track}/{codec.name.lower()}-mixed-{self._made}"
            running = self._running[key] = _Transcoder(mixer, mixer.add_output(name, mix_codec(codec)))
        running.users.add(user)
        return running.output.track_id

    def release(self, user: str, *, keep: Collection[Wanted] = ()) -> None:
        """``user`` needs none any more but those in ``keep``."""
        self.conversions.release(user, keep=keep)
        for key in [key for key, running in self._running.items() if user in running.users and key not in keep]:
            running = self._running[key]
            running.users.discard(user)
            if not running.users:
                del self._running[key]
                running.output.close()
                running.mixer.close()

    def facts(self) -> list[dict[str, Any]]:
        """Conversions in worker threads, as ``Conversions.facts``."""
        return self.conversions.facts()

    def close(self) -> None:
        self.conversions.close()
        for running in self._running.values():
            running.output.close()
            running.mixer.close()
        self._running.clear()
