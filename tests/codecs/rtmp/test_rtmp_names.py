"""Names and parameters of RTMP addresses, as encoders write them."""

import pytest

from orbridge.codecs.rtmp.names import address_query, split_query, stream_name


@pytest.mark.parametrize(
    ("text", "name", "query"),
    [
        ("tower?key=ab+c/=", "tower", {"key": "ab+c/="}),
        ("tower?key=a%2Bb%20c", "tower", {"key": "a+b c"}),
        ("/tower/?key=", "tower", {"key": ""}),
        ("tower?key=one&key=two", "tower", {"key": "one"}),
        ("tower?flag&key=k?token=t", "tower", {"flag": "", "key": "k", "token": "t"}),
        ("tower?", "tower", {}),
        ("tower", "tower", {}),
    ],
)
def test_a_query(text: str, name: str, query: dict[str, str]) -> None:
    assert split_query(text) == (name, query)


def test_a_container_in_front_of_a_name_means_nothing() -> None:
    assert stream_name("mp4:or%2D3/tower/main?token=t") == ("or-3/tower/main", {"token": "t"})


def test_parameters_are_bounded() -> None:
    assert len(address_query("rtmp://host/live?" + "&".join(f"p{n}=1" for n in range(1000)))) == 64
