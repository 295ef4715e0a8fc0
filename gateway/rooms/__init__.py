"""Rooms: who is in, the backend contract, the embedded room, what goes back to a device."""
