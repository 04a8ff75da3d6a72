"""The same numbers as the plain form of npkd.nn, in buffers: what training and prediction run on."""
