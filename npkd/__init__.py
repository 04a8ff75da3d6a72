"""npkd: sparse neural networks by knowledge distillation, written by hand in NumPy."""

__version__ = "0.1.0"
