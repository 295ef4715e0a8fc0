"""What happens again and again is said now and then, with how often."""

from orbridge.gateway.throttle import Throttle


def test_a_burst_and_then_one_a_second() -> None:
    now_s = 0.0
    limit = Throttle(lambda: now_s, burst=10)
    assert [limit.take() for _ in range(15)] == [1] * 10 + [0] * 5
    now_s = 1.0
    assert [limit.take() for _ in range(3)] == [6, 0, 0]
    now_s = 3.5
    assert [limit.take() for _ in range(3)] == [3, 1, 0]


def test_one_at_a_time_unless_told() -> None:
    now_s = 100.0
    limit = Throttle(lambda: now_s, every_s=5.0)
    assert [limit.take() for _ in range(4)] == [1, 0, 0, 0]
    now_s = 104.9
    assert limit.take() == 0
    now_s = 105.0
    assert [limit.take(), limit.take()] == [5, 0]
