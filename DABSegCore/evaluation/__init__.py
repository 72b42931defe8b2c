"""Evaluation: how well a network, or predictions on disk, agree with references, with numbers, tables and a report."""
