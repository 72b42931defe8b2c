"""Process: the child process that computes, its folder, its end, and what it says."""
