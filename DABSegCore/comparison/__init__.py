"""Comparison: several methods trained and judged under one protocol, with tests, costs and one report."""
