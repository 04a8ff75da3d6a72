"""Distillation losses in PyTorch, written from their formulas: trained."""

from __future__ import annotations

from reference.peers.distillation import Peer

PEERS: dict[str, Peer] = {}
