"""Distillation: losses that make a student imitate a teacher, and the objective that mixes them with labels and
hints."""
