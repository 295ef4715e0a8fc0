"""The HTTP side: server, tokens, JSON API, pages."""
