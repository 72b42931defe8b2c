"""Training: cases and motion in, weights out; needs torch and numpy only, pictures and virtual patients a little more."""
