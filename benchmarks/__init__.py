"""Benchmarks: each prints a table of ratios or differences measured in one run. Never part of the tests."""
