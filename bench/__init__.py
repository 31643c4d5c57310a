"""Benchmarks: each prints a table of ratios."""
