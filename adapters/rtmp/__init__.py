"""RTMP: encoders publish, players play, and streams are pushed to and fetched from other servers."""
