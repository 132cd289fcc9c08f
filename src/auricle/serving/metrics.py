"""What a server counts, for Prometheus."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS = (0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600)


class Metrics:
    """The counters of one app, in a registry of its own."""

    def __init__(self, waiting: Callable[[], float], store_bytes: Callable[[], float]) -> None:
        """Takes what is read when it is asked for: requests that wait, and bytes in the store."""
        self._registry = registry = CollectorRegistry()
        self.requests = Counter("auricle_requests", "Requests.", ("endpoint", "status"), registry=registry)
        self.seconds = Histogram(
            "auricle_step_seconds",
            "Time of each step of an answer.",
            ("step",),
            buckets=_BUCKETS,
            registry=registry,
        )
        self.cache = Counter(
            "auricle_cache", "Tokens and memories looked for in the store.", ("kind", "result"), registry=registry
        )
        self.unkept = Counter("auricle_cache_write_failures", "Files that could not be kept.", registry=registry)
        self.tokens = Counter(
            "auricle_tokens", "Speech tokens, those read, and tokens written.", ("kind",), registry=registry
        )
        Gauge("auricle_queue_length", "Requests that wait.", registry=registry).set_function(waiting)
        Gauge("auricle_cache_bytes", "Bytes in the store.", registry=registry).set_function(store_bytes)

    def text(self) -> bytes:
        """All of them, as Prometheus reads them."""
        return generate_latest(self._registry)
