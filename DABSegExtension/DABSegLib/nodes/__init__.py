"""Nodes: volumes, segmentations and tables of the scene, to and from arrays and files."""
