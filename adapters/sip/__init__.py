"""SIP: pjsua2 does the signalling, the engine does the media."""
