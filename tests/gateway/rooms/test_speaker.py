"""The active speaker changes when it should and at no cough."""

from orbridge.gateway.rooms.speaker import HOLD_MS, ActiveSpeaker


def run(speaker: ActiveSpeaker, start_ms: int, length_ms: int, **levels: int) -> list[str | None]:
    """Feed constant levels every 100 ms; a level above -60 counts as voice."""
    return [
        speaker.current
        for now in range(start_ms, start_ms + length_ms, 100)
        if speaker.feed([(owner, level, level > -60) for owner, level in levels.items()], now)
    ]


def test_the_first_voice_takes_over_at_once() -> None:
    assert run(ActiveSpeaker(), 0, 200, a=-80, b=-30) == ["b"]


def test_silence_changes_nothing() -> None:
    speaker = ActiveSpeaker()
    run(speaker, 0, 200, a=-30, b=-80)
    assert run(speaker, 5000, 3000, a=-80, b=-80) == []
    assert speaker.current == "a"


def test_a_cough_does_not_switch() -> None:
    speaker = ActiveSpeaker()
    run(speaker, 0, 3000, a=-30, b=-80)
    assert run(speaker, 3000, 300, a=-80, b=-20) == []
    assert run(speaker, 3300, 2000, a=-30, b=-80) == []


def test_a_new_voice_takes_over_when_the_old_is_silent() -> None:
    speaker = ActiveSpeaker()
    run(speaker, 0, 3000, a=-30, b=-80)
    assert run(speaker, 3000, 1500, a=-80, b=-30) == ["b"]


def test_over_a_talking_speaker_only_a_louder_one_wins() -> None:
    speaker = ActiveSpeaker()
    run(speaker, 0, 3000, a=-30, b=-80)
    assert run(speaker, 3000, 3000, a=-30, b=-27) == []
    assert run(speaker, 6000, 3000, a=-30, b=-20) == ["b"]


def test_no_two_changes_within_the_hold_time() -> None:
    speaker = ActiveSpeaker()
    run(speaker, 0, 100, a=-30, b=-80)
    assert run(speaker, 100, HOLD_MS - 200, a=-80, b=-10) == []


def test_who_left_is_not_the_speaker() -> None:
    speaker = ActiveSpeaker()
    run(speaker, 0, 100, a=-30)
    speaker.forget("a")
    assert speaker.current is None
    assert run(speaker, 200, 100, b=-30) == ["b"]
