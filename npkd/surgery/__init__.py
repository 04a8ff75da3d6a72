"""Dependency groups, redundancy, exact removal and folding of neurons and channels."""
