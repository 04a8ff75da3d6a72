"""Sparsity: penalties and their proximal steps, the certified layer-wise problem, exact removal of neurons."""
