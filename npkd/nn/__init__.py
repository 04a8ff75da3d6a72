"""Networks by hand: layers, losses, the network, its training."""
