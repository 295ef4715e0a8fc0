"""RTMP without sockets, clocks or tasks (Adobe's Real Time Messaging Protocol 1.0, 2012; Enhanced RTMP v2).

``connection.py`` is what others use: ``ServerConnection`` and ``ClientConnection`` turn bytes into events and commands
into bytes. Below it ``handshake.py``, ``chunk.py`` (chunk streams, the hot path), ``message.py`` (what messages say)
and ``names.py`` (names and keys in addresses). What is inside audio and video messages is ``codecs/flv.py``'s.

Deliberately not implemented: RTMPE and RTMPTE (encryption without authentication; RTMPS does it), RTMPT (tunnelled in
HTTP), shared objects (types 16 and 19: counted and dropped), AMF3 values (we answer ``objectEncoding`` 0, so that only
AMF3's wrapper around AMF0 occurs), calling procedures of ours (``_error``), recorded streams (seek is refused, lengths
are 0), limits set by Set Peer Bandwidth (TCP does it), multitrack and reconnect requests of enhanced RTMP, Adobe's
``authmod`` challenge.
"""
