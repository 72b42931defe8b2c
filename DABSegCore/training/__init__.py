"""Training: cases and motion in, weights out; torch and numpy are all it needs."""
