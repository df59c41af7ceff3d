"""When: warm-up, delay and the profiled window. The clock is injected."""
