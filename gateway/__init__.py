"""The heart: bus, routing, rooms, sessions, config, HTTP, command line, daemon. Knows no protocol by name."""
