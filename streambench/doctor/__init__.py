"""Finds what would break a run before it starts. Each check says how to fix the problem.

`machine` checks the local machine, `gateways` checks the gateways' model lists, and `trial_requests` sends tiny
requests through the client that a run uses.
"""
