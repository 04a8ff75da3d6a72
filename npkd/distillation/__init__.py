"""Distillation: losses that make a student imitate a teacher, and their sum with labels and hints."""
