"""The same jobs over HTTP: for programs that speak OpenAI's protocol, and for a browser."""
