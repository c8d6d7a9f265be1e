"""What Prometheus is told: counts, sums and how long things took; nothing of what was said."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from gemma_edge.engine.protocol import Finished

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)


class Metrics:
    """The numbers of one server."""

    def __init__(self, active: Callable[[], float], waiting: Callable[[], float]) -> None:
        self._registry = CollectorRegistry()
        name = "gemma_edge"
        self.requests = Counter(
            f"{name}_requests", "Requests by path and status.", ["path", "status"],
            registry=self._registry,
        )  # fmt: skip
        self.seconds = Histogram(
            f"{name}_request_seconds", "From a request to the end of its answer.", ["path"],
            buckets=_SECONDS, registry=self._registry,
        )  # fmt: skip
        self.first_token = Histogram(
            f"{name}_first_token_seconds", "From a place to the first token.", buckets=_SECONDS,
            registry=self._registry,
        )  # fmt: skip
        self.tokens = Counter(
            f"{name}_tokens", "Tokens: of prompts, out of the cache, generated.", ["kind"],
            registry=self._registry,
        )  # fmt: skip
        self.left = Counter(
            f"{name}_clients_left", "Clients that went away before their answer.",
            registry=self._registry,
        )  # fmt: skip
        for what, text, value in (
            ("active_requests", "Requests that are being answered.", active),
            ("waiting_requests", "Requests that wait.", waiting),
        ):
            Gauge(f"{name}_{what}", text, registry=self._registry).set_function(value)

    def finished(self, event: Finished) -> None:
        """An answer of the engine is over."""
        usage = event.usage
        self.tokens.labels("prompt").inc(usage.prompt_tokens)
        self.tokens.labels("cached").inc(usage.cached_tokens)
        self.tokens.labels("generated").inc(usage.generated_tokens)
        self.first_token.observe(event.timings.first_token_seconds)

    def render(self) -> bytes:
        """In Prometheus's text format."""
        return generate_latest(self._registry)
