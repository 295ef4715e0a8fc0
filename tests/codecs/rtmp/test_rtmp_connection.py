"""Server and client against each other in memory, what the server refuses, and what real programs sent."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbridge.codecs import amf0, flv
from orbridge.codecs.errors import LocalError
from orbridge.codecs.rtmp.chunk import Message, serialise
from orbridge.codecs.rtmp.connection import (
    ClientConnection,
    Closed,
    Connected,
    Connection,
    ConnectRequested,
    Event,
    Failed,
    Limits,
    Media,
    PlayPaused,
    PlayRequested,
    PlayStarted,
    PublishRequested,
    PublishStarted,
    Rejected,
    ServerConnection,
    Status,
    StreamClosed,
    StreamReady,
    serialise_media,
)
from orbridge.codecs.rtmp.message import MessageType, UserControl, control, user_control

DATA = Path(__file__).parents[2] / "data" / "rtmp"


class Pair:
    """A client and a server joined without a network; events are kept by side."""

    def __init__(self, *, digest: bool = False, step: int = 1 << 20, limits: Limits | None = None) -> None:
        self.client, self.server = ClientConnection(digest=digest), ServerConnection(limits)
        self.step = step
        self.now_ms = 0

    def pump(self) -> tuple[list[Event], list[Event]]:
        """Carry bytes until nobody has any: what the client and what the server saw."""
        seen: tuple[list[Event], list[Event]] = ([], [])
        while True:
            moved = False
            for sender, receiver, events in ((self.client, self.server, seen[1]), (self.server, self.client, seen[0])):
                data = b"".join(sender.data_to_send())
                moved |= bool(data)
                for at in range(0, len(data), self.step):
                    receiver.receive_data(data[at : at + self.step], self.now_ms)
                events += receiver.events()
            if not moved:
                return seen

    def connect(self, app: str = "live", four_ccs: tuple[str, ...] = ()) -> ConnectRequested:
        self.client.connect(app, f"rtmp://gateway/{app}", four_ccs)
        _, (asked,) = self.pump()
        assert isinstance(asked, ConnectRequested)
        self.server.accept_connect()
        (answer,), _ = self.pump()
        assert isinstance(answer, Connected)
        return asked


@pytest.mark.parametrize(("digest", "step"), [(False, 1 << 20), (True, 7), (False, 1)])
def test_publishing(digest: bool, step: int) -> None:
    pair = Pair(digest=digest, step=step)
    asked = pair.connect("live?site=3")
    assert (asked.app, asked.query, asked.object_encoding) == ("live", {"site": "3"}, 0)
    pair.client.publish("endoscope-1?key=secret&site=4")
    client, server = pair.pump()
    assert client == [StreamReady(1)]
    assert server == [PublishRequested(1, "endoscope-1", {"site": "4", "key": "secret"}, "live")]
    pair.server.accept_publish(1)
    assert pair.pump() == ([PublishStarted(1)], [])
    video = bytes(range(256)) * 1000
    pair.client.send_media(1, "video", 20, video)
    pair.client.send_media(1, "audio", 21, b"a" * 300)
    pair.client.send_media(1, "data", 22, flv.serialise_metadata({"width": 640.0}, set_data_frame=True))
    _, media = pair.pump()
    assert media[:2] == [Media(1, "video", 20, video), Media(1, "audio", 21, b"a" * 300)]
    assert isinstance(media[2], Media)
    assert flv.parse_metadata(media[2].payload) == {"width": 640.0}
    pair.client.close()
    client, server = pair.pump()
    assert client == [Closed(expected=True)]
    assert server == [StreamClosed(1)]
    assert pair.client.ended
    pair.server.receive_eof()
    assert pair.server.events() == [Closed(expected=True)]


def test_playing_and_what_players_ask_for() -> None:
    pair = Pair()
    pair.connect()
    pair.client.play("or-3/main?token=t")
    client, server = pair.pump()
    assert client == [StreamReady(1)]
    assert server == [PlayRequested(1, "or-3/main", {"token": "t"}, -2000.0, -1000.0)]
    pair.server.accept_play(1)
    client, _ = pair.pump()
    assert client[0] == Status(1, "status", "NetStream.Play.Reset", "playing")
    assert client[1] == PlayStarted(1)
    assert amf0.parse(client[2].payload) == ["|RtmpSampleAccess", True, True]  # type: ignore[union-attr]
    pair.server.send_raw(serialise_media(1, "audio", 3 << 30, b"x", pair.server.chunk_size))
    assert pair.pump()[0] == [Media(1, "audio", 3 << 30, b"x")]
    for name, argument, events, code in (
        ("pause", True, [PlayPaused(1, True)], "NetStream.Pause.Notify"),
        ("pause", False, [PlayPaused(1, False)], "NetStream.Unpause.Notify"),
        ("seek", 5000.0, [], "NetStream.Seek.Failed"),
    ):
        pair.client._send_command(1, name, 0.0, None, argument)
        client, server = pair.pump()
        assert server == events
        assert [seen.code for seen in client if isinstance(seen, Status)] == [code]
    pair.client._send_command(1, "receiveAudio", 0.0, None, False)
    assert pair.pump() == ([], [])
    pair.client._send_command(1, "play2", 0.0, None, {"streamName": "or-4/main"})
    assert pair.pump()[1] == [StreamClosed(1), PlayRequested(1, "or-4/main", {}, -2000.0, -1000.0)]
    pair.server.accept_play(1)
    pair.server.finish(1, "NetStream.Play.UnpublishNotify")
    codes = [seen.code for seen in pair.pump()[0] if isinstance(seen, Status)]
    assert codes[-2:] == ["NetStream.Play.UnpublishNotify", "NetStream.Play.Stop"]


def test_refusals_reach_the_client_in_words() -> None:
    pair = Pair()
    pair.client.connect("nowhere", "rtmp://gateway/nowhere")
    pair.pump()
    pair.server.reject_connect(description="no application nowhere")
    client, server = pair.pump()
    assert client == [Rejected("NetConnection.Connect.Rejected", "no application nowhere"), Closed(expected=False)]
    assert server == [Closed(expected=True)]
    for ask, reject in (("publish", "reject_publish"), ("play", "reject_play")):
        pair = Pair()
        pair.connect()
        getattr(pair.client, ask)("x")
        pair.pump()
        getattr(pair.server, reject)(1, "NetStream.Some.Code", "the key is wrong")
        assert pair.pump()[0] == [Rejected("NetStream.Some.Code", "the key is wrong", 1)]


def test_enhanced_clients_are_told_what_we_take() -> None:
    pair = Pair()
    assert pair.connect(four_ccs=("hvc1", "Opus")).four_ccs == {"hvc1", "Opus"}
    pair = Pair()
    pair.client.connect("live", "rtmp://gateway/live", ["hvc1"])
    pair.pump()
    pair.server.accept_connect(["hvc1", "Opus"])
    assert pair.pump()[0] == [Connected(frozenset({"hvc1", "Opus"}))]


def test_the_commands_around_are_answered() -> None:
    pair = Pair()
    pair.connect()
    answers: list[tuple[str, float]] = []
    pair.client._on_command = lambda _, command: answers.append((command.name, command.transaction))  # type: ignore[method-assign]
    names = ["releaseStream", "FCPublish", "FCUnpublish", "getStreamLength", "_checkbw", "FCSubscribe", "mystery"]
    for number, name in enumerate(names, 10):
        pair.client._send_command(0, name, float(number), None, "x")
    pair.pump()
    assert {number: name for name, number in answers if number} == dict.fromkeys(range(10, 16), "_result") | {
        16: "_error"
    }
    assert {name for name, number in answers if not number} == {"onFCPublish", "onFCUnpublish", "onFCSubscribe"}


def test_a_client_in_a_hurry_is_served_after_connect() -> None:
    pair = Pair()
    pair.client.connect("live", "rtmp://gateway/live")
    pair.pump()
    pair.client._send_command(0, "createStream", 2.0, None)
    pair.client._send_command(1, "publish", 0.0, None, "x", "live")
    pair.client.send_media(1, "audio", 0, b"early")
    assert pair.pump()[1] == []
    pair.server.accept_connect()
    assert pair.server.events() == [PublishRequested(1, "x", {}, "live"), Media(1, "audio", 0, b"early")]


def test_amf3_wrapper_and_aggregates() -> None:
    pair = Pair()
    pair.connect()
    send = pair.client._send
    body = b"\0" + amf0.serialise("createStream", 5.0, None)
    send(Message(MessageType.COMMAND_AMF3, 0, 0, body))
    send(Message(MessageType.COMMAND_AMF3, 1, 0, b"\0" + amf0.serialise("publish", 0.0, None, "x", "live")))
    pair.pump()
    pair.server.accept_publish(1)

    def tag(kind: int, time: int, payload: bytes) -> bytes:
        head = bytes((kind,)) + len(payload).to_bytes(3, "big") + (time & 0xFFFFFF).to_bytes(3, "big")
        return head + bytes((time >> 24,)) + bytes(3) + payload + (11 + len(payload)).to_bytes(4, "big")

    parts = tag(8, 0x1000005, b"a") + tag(9, 0x1000025, b"v") + tag(8, 0x1000000, b"b")
    send(Message(MessageType.AGGREGATE, 1, 700, parts))
    send(Message(MessageType.DATA_AMF3, 1, 800, b"\0" + amf0.serialise("onCuePoint")))
    assert pair.pump()[1] == [
        Media(1, "audio", 700, b"a"),
        Media(1, "video", 732, b"v"),
        Media(1, "audio", 695, b"b"),
        Media(1, "data", 800, amf0.serialise("onCuePoint")),
    ]
    send(Message(MessageType.AGGREGATE, 1, 900, parts[:-21]))
    (failed,) = [event for event in pair.pump()[1] if isinstance(event, Failed)]
    assert "cut off" in str(failed.error)


def test_pings_windows_and_bandwidth() -> None:
    pair = Pair()
    pair.connect()
    pair.now_ms = 1000
    pair.server.ping(1000)
    data = b"".join(pair.server.data_to_send())
    pair.client.receive_data(data, 1000)
    pair.server.receive_data(b"".join(pair.client.data_to_send()), 1025)
    assert pair.server.round_trip_ms == 25
    assert pair.server.last_received_ms == 1025
    pair.client.publish("x")
    pair.pump()
    pair.server.accept_publish(1)
    pair.server._send(control(MessageType.WINDOW_ACK_SIZE, 5000))
    pair.client._send(control(MessageType.WINDOW_ACK_SIZE, 5000))
    pair.pump()
    pair.client.send_media(1, "video", 0, b"v" * 20_000)
    pair.pump()
    assert pair.client.bytes_acknowledged == pair.server.bytes_received == pair.client.bytes_sent


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ([("createStream", 1.0, None)], "rtmp: command createStream: it came before connect"),
        ([("connect", 1.0, None)], "rtmp: connect: it has no command object"),
        ([("connect", 1.0, {"app": "x" * 5000})], "rtmp: app: 5000 characters, at most 4096 are taken"),
        ([("connect", 1.0, {}), ("connect", 1.0, {})], "rtmp: connect: it came a second time"),
        (
            [("connect", 1.0, {}), ("publish", 0.0, None, "x")],
            "rtmp: publish: on message stream 1, which was not created",
        ),
        ([("connect", 1.0, {}), ("play", 0.0, None, "x")], "rtmp: play: on message stream 1, which was not created"),
        ([("connect", 1.0, {}), ("pause", 0.0, None, True)], "rtmp: pause: on message stream 1, where nothing plays"),
        (
            [("connect", 1.0, {}), *[("createStream", 2.0, None)] * 17],
            "rtmp: createStream: more than 16 message streams",
        ),
        (
            [("connect", 1.0, {}), ("createStream", 2.0, None), *[("publish", 0.0, None, "x")] * 2],
            "rtmp: publish: on message stream 1, which is publish asked",
        ),
        ([(1.0, 2.0)], "rtmp: command: it doesn't begin with a name"),
        ([("connect", "one")], "rtmp: command connect: its transaction isn't a number"),
    ],
)
def test_a_client_that_breaks_the_rules_ends_its_connection(
    messages: list[tuple[amf0.Value, ...]], problem: str
) -> None:
    server = ServerConnection()
    server.receive_data(b"\x03" + bytes(2 * 1536), 0)
    for values in messages:
        server.receive_data(serialise(Message(20, 1, 0, amf0.serialise(*values)), 3, 128), 0)
        if any(isinstance(event, ConnectRequested) for event in server.events()) and not server.ended:
            server.accept_connect()
    server.receive_data(b"more", 0)
    assert server.ended
    assert server.ended
    server.accept_connect()
    assert server.events() == []
    # The same once more, to see the sentence.
    server = ServerConnection()
    server.receive_data(b"\x03" + bytes(2 * 1536), 0)
    seen: list[Event] = []
    for values in messages:
        server.receive_data(serialise(Message(20, 1, 0, amf0.serialise(*values)), 3, 128), 0)
        events = server.events()
        seen += events
        if any(isinstance(event, ConnectRequested) for event in events):
            server.accept_connect()
    assert isinstance(seen[-1], Failed)
    assert str(seen[-1].error) == problem


def test_an_answer_to_what_was_closed_meanwhile_does_nothing() -> None:
    pair = Pair()
    pair.connect()
    pair.client.publish("x")
    pair.pump()
    pair.client._send_command(0, "deleteStream", 0.0, None, 1.0)
    assert pair.pump()[1] == [StreamClosed(1)]
    pair.server.accept_publish(1)
    assert pair.server.data_to_send() == []
    pair.client.send_media(1, "audio", 0, b"x")
    assert pair.pump()[1] == []


def test_no_answer_is_taken_for_that_to_another_request() -> None:
    pair = Pair()
    pair.connect()
    pair.client.publish("allowed")
    pair.pump()
    pair.client._send_command(1, "closeStream", 0.0, None)
    pair.client._send_command(1, "publish", 0.0, None, "forbidden", "live")
    events = pair.pump()[1]
    assert events[0] == StreamClosed(1)
    assert isinstance(events[1], Failed)
    assert "before the last request there was answered" in str(events[1].error)


def test_our_own_mistakes_are_ours() -> None:
    pair = Pair()
    with pytest.raises(LocalError, match="no connect to accept"):
        pair.server.accept_connect()
    with pytest.raises(LocalError, match="publish before the server took the connection"):
        pair.client.publish("x")
    pair.connect()
    with pytest.raises(LocalError, match="accept_play on message stream 1, where nothing was asked"):
        pair.server.accept_play(1)
    pair.server.close()
    pair.server.accept_play(1)  # ended: what crosses the end does nothing
    pair.server.send_media(1, "audio", 0, b"x")


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=400), st.booleans(), st.integers(1, 100))
def test_arbitrary_bytes_after_the_handshake_never_raise(data: bytes, client: bool, step: int) -> None:
    ends: list[list[Event]] = []
    for size in (step, 1 << 20):
        connection: Connection = ClientConnection() if client else ServerConnection()
        connection.receive_data(b"\x03" + bytes(2 * 1536), 0)
        for at in range(0, len(data), size):
            connection.receive_data(data[at : at + size], 0)
        connection.receive_eof()
        ends.append(connection.events())
        assert connection.ended
        assert isinstance(ends[-1][-1], Closed | Failed)
    assert repr(ends[0]) == repr(ends[1])


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_recording_never_raises(data: st.DataObject) -> None:
    recording = bytearray((DATA / "ffmpeg_5_1_publish.bin").read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        recording[data.draw(st.integers(3073, len(recording) - 1))] = data.draw(st.integers(0, 255))
    events = replay(bytes(recording), 4096)
    assert isinstance(events[-1], Closed | Failed)


def replay(recording: bytes, step: int) -> list[Event]:
    """What our server makes of what a program sent, accepting everything."""
    server, seen = ServerConnection(), []
    for at in range(0, len(recording), step):
        server.receive_data(recording[at : at + step], at)
        while events := server.events():
            seen += events
            for event in events:
                if isinstance(event, ConnectRequested):
                    server.accept_connect()
                elif isinstance(event, PublishRequested):
                    server.accept_publish(event.stream_id)
                elif isinstance(event, PlayRequested):
                    server.accept_play(event.stream_id)
    server.receive_eof()
    return seen + server.events()


@pytest.mark.parametrize(
    ("name", "connect", "publish", "video", "audio"),
    [
        ("ffmpeg_5_1_publish", {}, ("a5", {"key": "k1"}), ("H264", 20), ("AAC", 95)),
        ("ffmpeg_9_publish_hevc_opus", {"key": "k9"}, ("h265", {"key": "k9"}), ("H265", 20), ("OPUS", 101)),
        ("gstreamer_1_22_publish", {}, ("gst", {"key": "k3"}), ("H264", 15), None),
    ],
)
@pytest.mark.parametrize("step", [1, 300, 1000])
def test_what_publishers_sent(
    name: str,
    connect: dict[str, str],
    publish: tuple[str, dict[str, str]],
    video: tuple[str, int],
    audio: tuple[str, int] | None,
    step: int,
) -> None:
    events = replay((DATA / f"{name}.bin").read_bytes(), step)
    asked, wanted = events[0], events[1]
    assert isinstance(asked, ConnectRequested)
    assert (asked.app, asked.query) == ("live", connect)
    assert wanted == PublishRequested(1, *publish, "live")
    media = [event for event in events if isinstance(event, Media)]
    pictures = [flv.parse_video(event.payload) for event in media if event.kind == "video"]
    frames = [tag for tag in pictures if tag.packet == "coded_frames"]
    assert {tag.codec for tag in pictures} == {video[0]}
    assert len(frames) == video[1]
    assert frames[0].keyframe
    assert sum(tag.packet == "sequence_header" for tag in pictures) == 1
    sounds = [flv.parse_audio(event.payload) for event in media if event.kind == "audio"]
    assert {tag.codec for tag in sounds} == ({audio[0]} if audio else set())
    assert sum(tag.packet == "frames" for tag in sounds) == (audio[1] if audio else 0)
    metadata = flv.parse_metadata(next(event.payload for event in media if event.kind == "data"))
    assert metadata is not None
    assert (metadata["width"], metadata["height"]) == (96.0, 64.0)
    assert flv.video_codec_named(metadata["videocodecid"]) == video[0]
    times = [event.timestamp_ms for event in media if event.kind == "video"]
    assert times == sorted(times)
    assert StreamClosed(1) in events
    assert isinstance(events[-1], Closed)


@pytest.mark.parametrize(("name", "start"), [("rtmpdump_play", -1000.0), ("gstreamer_1_22_play", -2.0)])
@pytest.mark.parametrize("step", [1, 1 << 20])
def test_what_players_sent(name: str, start: float, step: int) -> None:
    events = replay((DATA / f"{name}.bin").read_bytes(), step)
    (wanted,) = [event for event in events if isinstance(event, PlayRequested)]
    assert (wanted.name, wanted.start) == ("a5", start)


@pytest.mark.parametrize("step", [1, 1 << 20])
def test_what_nginx_rtmp_sent(step: int) -> None:
    client = ClientConnection()
    client.connect("live", "rtmp://127.0.0.1:19360/live")
    recording, seen = (DATA / "nginx_rtmp_1_2_serve.bin").read_bytes(), []
    for at in range(0, len(recording), step):
        client.receive_data(recording[at : at + step], at)
        events = client.events()
        seen += events
        if any(isinstance(event, Connected) for event in events):
            client.play("n1")
    # nginx-rtmp's answer to createStream is in the same block when the recording comes in one.
    if step == 1:
        assert StreamReady(1) in seen
        assert PlayStarted(1) in seen
        media = [event for event in seen if isinstance(event, Media)]
        assert flv.parse_video(next(m.payload for m in media if m.kind == "video")).packet == "sequence_header"
        assert len([m for m in media if m.kind == "audio"]) > 20
    assert not any(isinstance(event, Failed) for event in seen)


def test_stream_end_from_the_server_is_told() -> None:
    pair = Pair()
    pair.connect()
    pair.client.play("x")
    pair.pump()
    pair.server._send(user_control(UserControl.STREAM_EOF, 1))
    (status,) = pair.pump()[0]
    assert isinstance(status, Status)
    assert status.code == "NetStream.Play.Stop"
