"""Diagnosis: what `doctor` looks at. Only `kernels` and `probe` load torch, in a process of their own."""
