"""What lmkit costs, measured: ``python -m benchmarks``."""
