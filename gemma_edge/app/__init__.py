"""The use cases that all interfaces share: plain values in, a ``Runtime`` to reach the outside."""
