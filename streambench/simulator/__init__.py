"""The simulator: an OpenAI-compatible gateway with seeded delays, named faults, and a log of its own write times.

It runs in a separate process (`process.SimulatorProcess`), so that its CPU time does not delay the client. A request
passes through these modules in order: app, answer, chat_events, faults, script, pacer, playback, connection.
"""
