"""The load tests do what they say; nothing here is timed."""
