"""Pictures that are being converted to H.264: who sees which, within ``media.max_video_transcodes``."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from orbridge.codecs.media import H264, VideoLimit
from orbridge.gateway.rooms.return_path import Picture
from orbridge.gateway.transcode.shared import Conversions
from orbridge.gateway.transcode.video import Bounds, VideoConverter

if TYPE_CHECKING:
    from orbridge.codecs._engine import Engine

QUEUE_MS = 2_000
USUAL_FPS = 30
LINGER_S = 4.0

# Source track, its codec's name (which may change while it runs), and what the encoded picture must keep to.
Wanted = tuple[int, str, Bounds]


class PictureTranscoders:
    """One picture as H.264 without reordering, shared by everybody who wants it within the same bounds."""

    def __init__(self, engine: Engine, limit: int, max_kbps: int) -> None:
        self._max_kbps = max_kbps
        self.conversions = Conversions(engine, limit, queue_ms=QUEUE_MS, wake_ms=0, linger_s=LINGER_S)

    def on_change(self, changed: Callable[[int], None]) -> None:
        """Call with a source track's id when its conversion failed, may be tried again or has something to say."""
        self.conversions.changed = changed

    def wanted(self, picture: Picture, limit: VideoLimit | None) -> Wanted:
        """What a viewer with this limit needs. A limit that the picture keeps as it is, is no limit."""
        kbps = self._max_kbps
        if limit is not None and 0 < limit.max_kbps < kbps:
            kbps = limit.max_kbps
        width, height = (picture.width, picture.height) if picture.width else self._size(picture.track)
        # In steps, because what is measured goes up and down and a conversion shall not begin anew for it.
        rate = USUAL_FPS if picture.fps <= USUAL_FPS * 1.3 else 2 * USUAL_FPS
        if limit is not None and width and limit.admits(width, height, rate):
            limit = None
        elif limit is not None:
            limit = VideoLimit(limit.max_fs, limit.max_mbps)
        return picture.track, picture.codec.name, Bounds(kbps, limit)

    def _size(self, track: int) -> tuple[int, int]:
        """What a running conversion of the track has found out; the bus doesn't know every codec's sizes."""
        for facts in self.conversions.facts():
            if facts["source"] == track and facts["source_width"]:
                return facts["source_width"], facts["source_height"]
        return 0, 0

    def use(self, user: str, wanted: Wanted, picture: Picture) -> int:
        """The track to show; released by ``release(user)``. Raises LocalError with a sentence."""
        job = self.conversions.use(
            user,
            wanted,
            picture.track,
            picture.codec,
            H264,
            lambda: VideoConverter(picture.codec, wanted[-1]),
            full=lambda: self._full(picture.name),
        )
        return job.track_id

    def release(self, user: str, *, keep: Collection[Wanted] = ()) -> None:
        """``user`` needs none any more but those of ``keep``."""
        self.conversions.release(user, keep=keep)

    def source_of(self, track: int) -> int:
        """The track that this one is made from; itself when it isn't made here."""
        job = self.conversions.of_track(track)
        return track if job is None else job.source

    def note_of(self, track: int) -> str:
        """What people should know of how this conversion goes."""
        job = self.conversions.of_track(track)
        return "" if job is None else job.note

    def want_keyframe(self, track: int) -> bool:
        """Somebody wants a key frame of this track. False when it isn't made here."""
        job = self.conversions.of_track(track)
        if job is not None:
            job.want_keyframe()
        return job is not None

    def facts(self) -> list[dict[str, Any]]:
        """As ``Conversions.facts``."""
        return self.conversions.facts()

    def close(self) -> None:
        self.conversions.close()

    def _full(self, sender: str) -> str:
        limit = self.conversions.limit
        advice = f"raise media.max_video_transcodes where the processor has room, or let {sender} send H264"
        if limit == 0:
            return f"converting pictures is switched off: {advice} without B-pictures"
        are = "picture is" if limit == 1 else "pictures are"
        return f"{limit} {are} being converted already, the most that is allowed: {advice} without B-pictures"
