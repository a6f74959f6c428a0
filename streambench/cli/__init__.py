"""The commands. Each parses its options, calls `api`, and prints.

A command imports what it needs inside its function, so that `streambench --help` loads only click and a command that
reads results does not load the SDK.
"""
