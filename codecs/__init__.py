"""Bytes to meaning and back, sans-IO: no socket, no clock, no task, no log."""
