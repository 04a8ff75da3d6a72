"""The same numbers as the plain form of npkd.nn, in buffers: what training and prediction run on. The one door is
``workspace.Workspace`` (``predict`` is its forward half), tested equal to ``network(x)`` and to optimisers.SGDState."""
