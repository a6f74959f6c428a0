"""The use cases: run, resume, compare, check. `streambench` exports `calls` and `result`; `cli` uses the steps below
them."""
