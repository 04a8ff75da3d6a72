"""The same numbers as the plain form of npkd.nn, in buffers: what training and prediction run on.

The one door is ``workspace.Workspace`` (``predict`` is its forward half over many batches). It is tested equal to
``network(x)`` and its ``backward``, and what its ``begin`` makes of SGD to ``optimisers.SGDState``.
"""
