"""Turns response bytes into facts: server-sent events, chunks, whole bodies and error bodies of each API."""
