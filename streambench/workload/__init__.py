"""What is sent: suites, prompts, conversations, request parameters and the request formats of the APIs."""
