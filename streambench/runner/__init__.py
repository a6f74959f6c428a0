"""Decides when requests are sent: plan, rate limits, retries, budgets, scheduler, and the engine that runs a job."""
