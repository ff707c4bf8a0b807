"""Benchmarks: figures as ratios beside a peer that runs in the same window. Run with `make bench`."""
