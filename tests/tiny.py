"""What tests share: data that is learnt in a moment, watches, and a plain descent."""

from dataclasses import replace

import numpy as np

from npkd.cli.main import main
from npkd.nn import cost
from npkd.nn.network import Network
from npkd.pipeline.recipe import Recipe
from npkd.report import figures

FIXED = Recipe(teacher_epochs=60, rounds=5, round_epochs=10, epochs=60, batch_size=128, learning_rate=0.1,
               weight_decay=1e-4, temperature=4.0, label_weight=0.0, student_learning_rate=0.1, clip=10.0,
               noise_std=0.0, mixup_alpha=0.0, max_shift=0, balance_exponent=0.0, statistics=0)


def fixed(**numbers):
    """A complete recipe, whatever the data: nothing is augmented, labels weigh nothing."""
    return replace(FIXED, **numbers)


def arrays(seed=0, shape=(4, 4), examples=120, tests=40):
    """Three classes of little pictures of bytes, told apart by where they are bright."""
    rng = np.random.default_rng(seed)
    y = np.arange(examples + tests) % 3
    x = rng.integers(0, 120, (examples + tests, *shape)).astype(np.uint8)
    flat = x.reshape(len(x), -1)
    for n, label in enumerate(y):
        flat[n, label * 4:label * 4 + 4] += 120
    return {"x_train": x[:examples], "y_train": y[:examples], "x_test": x[examples:], "y_test": y[examples:]}


def stored(path, changed=None, **options):
    """An .npz with the arrays, some of them replaced (None: left out); returns its path as a word."""
    content = arrays(**options) | (changed or {})
    np.savez(path, **{key: a for key, a in content.items() if a is not None})
    return str(path)


def words(folder, *more, command="compress", data=None):
    """Arguments of a quick run."""
    data = data or stored(folder / "data.npz")
    return [command, "--data", data, "--hidden", "8,6", "--epochs", "1", "--out", str(folder / "out"), "--quiet",
            "--target", "macs=40%"][
        :None if command == "compress" else -2] + list(more)


def quick(folder, *more, command="compress", data=None):
    """A quick run; the exit code."""
    return main(words(folder, *more, command=command, data=data))


def counted(widths, kind):
    """What a target of a kind counts of a perceptron with these widths, outputs included."""
    return sum(widths[:-1]) if kind == "neurons" else getattr(cost.of_widths(widths), kind)


def undrawn(patch):
    """Words in place of pictures: drawing is most of the time of a quick run. tests/cli/test_run.py lays out those of
    all its runs, tests/report looks at them."""
    for name in ("training", "path", "size", "examples"):
        patch.setattr(figures, name, lambda *given: None)
    patch.setattr(figures, "png", lambda figure: b"npkd, a picture")
    patch.setattr(figures, "curve", lambda *given: "")


def rounding(network, x):
    """(N, C): how far two orders of summation may be apart in the logits of a float32 network of dense layers,
    convolutions, relus and gates.

    Each sum of k products is off by at most γ_k = ku/(1 − ku) times the sum of the absolute products, u = 2⁻²⁴ (Higham
    2002, section 3.1); behind several layers the k add up, and the network of absolute values bounds the rest.
    """
    terms = sum(p[0].size + 1 if p.ndim > 1 else 1 for layer in network.layers for p in layer.params)
    gamma = terms * 2.0 ** -24 / (1 - terms * 2.0 ** -24)
    absolute = Network([replace(layer, params=tuple(np.abs(p).astype(np.float64) for p in layer.params))
                        for layer in network.layers])
    return 2 * gamma * absolute.predict(np.abs(x).astype(np.float64))


def tree(folder):
    """Every file below a folder with its content."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))}


class Stop:
    """A progress that interrupts: at the so-manieth step of a stage whose name begins so (0: when it begins)."""

    def __init__(self, stage, step):
        self.wanted, self.left, self.on = stage, step, False

    def begin(self, stage, steps):
        self.on = stage.startswith(self.wanted)
        if self.on and self.left == 0:
            raise KeyboardInterrupt

    def step(self, note, record=None):
        if self.on:
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt


def ista(h, z, lam, cost, steps=20_000):
    """The exact solution by plain proximal gradient descent on centred raw data; nothing of npkd."""
    h, z, n = h - h.mean(axis=0), z - z.mean(axis=0), len(h)
    step, w = n / np.linalg.norm(h, 2) ** 2, np.zeros((z.shape[1], h.shape[1]))
    for _ in range(steps):
        u = w - step * (w @ h.T - z.T) @ h / n
        new = u * np.maximum(1 - step * lam * cost / np.maximum(np.linalg.norm(u, axis=0), 1e-300), 0)
        if np.abs(new - w).max() < 1e-15:
            break
        w = new
    return w
