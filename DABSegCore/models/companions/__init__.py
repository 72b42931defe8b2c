"""Companions: published methods that stand beside DABSeg, each as the network its source describes."""
