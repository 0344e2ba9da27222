"""Benchmarks: pytest-benchmark suites, one file a kernel family. `python -m pytest bench --benchmark-enable`."""
