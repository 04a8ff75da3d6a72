"""Compression end to end: teacher, target, recipe, rounds of removal and distillation."""
