"""WebRTC: aiortc does SDP, ICE and DTLS, the engine does the media."""
