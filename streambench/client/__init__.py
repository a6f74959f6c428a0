"""Sends one attempt: the gateway's SDK client, the request, the transport below the SDK, and the attempt's record."""
