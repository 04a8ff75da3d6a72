"""LeNet-5 in the shape of Caffe (20-50-800-500) for train_step.py: the same step, and the same inference, in npkd,
PyTorch and JAX.

Each maker takes the size of a batch and returns (step, inference), two functions without arguments that do not return
before the work is done; a step returns its loss. PyTorch comes in its default layout and in channels-last. Pictures are
given to each library in the layout that it works in.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable
from typing import Any

Jobs = tuple[Callable[[], float], Callable[[], object]]

RATE = 0.001
"""With 0.01 the loss on this noise is infinite within thirty steps, and npkd's step, which then leaves the network
alone, is half a step."""


def data(batch: int) -> Any:
    """Pictures of noise (batch, 784) and labels, the same for everybody."""
    import numpy as np

    rng = np.random.default_rng(0)
    return rng.standard_normal((batch, 784)).astype("float32"), rng.integers(0, 10, batch)


def npkd_update(network: Any, batch: Any, optimiser: Any) -> tuple[Callable[[], float], Callable[[Any], object]]:
    """One update of ``train`` on a batch, without penalties and clipping, and the forward half of its workspace."""
    from npkd.nn.fast.workspace import Workspace
    from npkd.nn.training import classification

    workspace = Workspace(network, len(batch["x"]))
    state = workspace.begin(optimiser, separate=False)

    def step() -> float:
        with workspace.blas:
            value, sensitivities = classification(workspace.forward(batch["x"]), batch)
            workspace.backward(sensitivities)
            state.update(workspace.parameters, workspace.gradient, optimiser.learning_rate)
            return value

    return step, workspace.forward


def npkd_jobs(batch: int, threads: int) -> Jobs:
    """The update that ``npkd.nn.training.train`` makes, and the forward half of its workspace, which ``predict`` is."""
    import numpy as np

    from npkd.nn.architectures import lenet5
    from npkd.nn.optimisers import SGD

    x, y = data(batch)
    step, forward = npkd_update(lenet5(np.random.default_rng(0)), {"x": x, "y": y}, SGD(RATE, 0.9))
    return step, lambda: forward(x)


def torch_jobs(batch: int, threads: int, last: bool = False) -> Jobs:
    """PyTorch, eager, with its fused SGD; ``last``: channels-last."""
    import torch

    torch.set_num_threads(threads)
    layout = torch.channels_last if last else torch.contiguous_format
    nn = torch.nn
    net: Any = nn.Sequential(nn.Conv2d(1, 20, 5), nn.MaxPool2d(2), nn.Conv2d(20, 50, 5), nn.MaxPool2d(2), nn.Flatten(),
                             nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, 10))
    net = net.to(memory_format=layout)
    optimiser = torch.optim.SGD(net.parameters(), lr=RATE, momentum=0.9, fused=True)
    x, y = map(torch.from_numpy, data(batch))
    x = x.reshape(batch, 1, 28, 28).contiguous(memory_format=layout)

    def step() -> float:
        optimiser.zero_grad(set_to_none=True)
        loss: Any = torch.nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimiser.step()
        return float(loss.detach())

    def inference() -> None:
        with torch.inference_mode():
            net(x)

    return step, inference


def jax_jobs(batch: int, threads: int) -> Jobs:
    """JAX, jit, with its buffers donated; channels last, as XLA likes it on a CPU."""
    import jax
    import jax.numpy as jnp

    x, y = (jnp.asarray(a) for a in data(batch))
    x = x.reshape(batch, 28, 28, 1)
    sizes = [(5, 5, 1, 20), (5, 5, 20, 50), (800, 500), (500, 10)]
    keys = jax.random.split(jax.random.key(0), len(sizes))
    params = [(jax.random.normal(k, s) * (2 / (s[0] if len(s) == 2 else 25 * s[2])) ** 0.5, jnp.zeros(s[-1]))
              for k, s in zip(keys, sizes, strict=True)]
    velocity = jax.tree.map(jnp.zeros_like, params)

    def logits(params: Any, x: Any) -> Any:
        for w, b in params[:2]:
            x = jax.lax.conv_general_dilated(x, w, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")) + b
            x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        (w, b), (v, c) = params[2:]
        return jax.nn.relu(x.reshape(batch, -1) @ w + b) @ v + c

    def loss(params: Any, x: Any, y: Any) -> Any:
        return -jnp.take_along_axis(jax.nn.log_softmax(logits(params, x)), y[:, None], 1).mean()

    def update(params: Any, velocity: Any, x: Any, y: Any) -> Any:
        value, g = jax.value_and_grad(loss)(params, x, y)
        velocity = jax.tree.map(lambda v, d: 0.9 * v + d, velocity, g)
        return jax.tree.map(lambda p, v: p - RATE * v, params, velocity), velocity, value

    jitted, predict, held = jax.jit(update, donate_argnums=(0, 1)), jax.jit(logits), [params, velocity]

    def step() -> float:
        held[0], held[1], value = jitted(held[0], held[1], x, y)
        return float(value)

    return step, lambda: predict(held[0], x).block_until_ready()


MAKERS: dict[str, Callable[[int, int], Jobs]] = {
    "npkd": npkd_jobs, "torch": torch_jobs, "torch-last": lambda batch, threads: torch_jobs(batch, threads, last=True),
    "jax": jax_jobs,
}


def peak() -> float:
    """The most memory that this process has held so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def memory(library: str, batch: int, threads: int) -> float:
    """By how many MB steps of ``batch`` examples raise the peak above that of steps of 16: the library itself and its
    pools are in both.

    Both libraries are held against the size of what they allocate; whatever was allocated before must have been
    smaller.
    """
    for _ in range(3):
        MAKERS[library](16, threads)[0]()
    before = peak()
    step = MAKERS[library](batch, threads)[0]
    for _ in range(5):
        step()
    return peak() - before
