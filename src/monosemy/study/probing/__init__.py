"""Feature sets under linear probes."""
