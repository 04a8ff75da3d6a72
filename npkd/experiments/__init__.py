"""Experiments: the published tables again, and the methods of others on the same trainer, at equal cost."""
