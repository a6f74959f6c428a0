"""The HTTP transports below the SDK. They record what arrived and when.

`direct.DirectTransport` is streambench's own, with kernel timestamps; `standard.StandardTransport` is the SDK's HTTP
stack, for proxies and HTTP/2.
"""
