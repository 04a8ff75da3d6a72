"""Exact removal of channels: everything that was planted is found, nothing else goes, and the network computes what it
computed."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npkd.core.validation import InputError
from npkd.nn.cost import shapes
from npkd.nn.network import Layer, Network
from npkd.nn.ops import OPS
from npkd.surgery.dependency import dependency_groups
from npkd.surgery.folding import fold, inserted, without
from npkd.surgery.removal import Removal, keep, remove
from tests.surgery.test_removal import agree, dense, nonzero

MANY = settings(max_examples=40)
SOME = settings(max_examples=25)


@dataclass
class Stream:
    """Channels and what is wrong with some of them: number -> (reason, whose copy it is). Arrays are made so that it is
    true."""

    width: int
    fates: dict = field(default_factory=dict)
    number: int | None = None

    def gone(self, *reasons):
        return [j for j, (reason, _) in self.fates.items() if reason in reasons]

    def copied(self, a, axis=0):
        """Channels that copy others get their numbers."""
        view = np.moveaxis(a, axis, 0)
        for j, (_, source) in self.fates.items():
            if source is not None:
                view[j] = view[source]
        return a


class Planted:
    """A random network, and what removal has to find in it: (dependency group, channel, position or None) -> (reason,
    who takes over)."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.layers, self.expected, self.count = [], {}, 0
        self.size, self.stream = None, None
        self.front()
        for _ in range(int(self.rng.integers(1, 3))):
            self.conv(self.new())
            self.decorate()
            while self.chance(0.4):
                self.residual()
            if self.chance(0.5):
                self.pool()
        self.end()
        self.network = Network(self.layers)

    def chance(self, p):
        return self.rng.random() < p

    def put(self, op, *params, running=(), **options):
        self.layers.append(Layer(op, params, options, running))

    def new(self, least=2):
        """A stream of at least two sound channels, and up to three that are not."""
        width = least + int(self.rng.integers(0, 4))
        order = [int(j) for j in self.rng.permutation(width)]
        fates = {}
        for j in order[2:]:
            reason = str(self.rng.choice(["sound", "dead", "constant", "shut", "duplicate", "dead copy"]))
            if reason in ("dead copy", "duplicate"):
                fates[j] = reason.split()[0], order[int(self.rng.integers(2))]
            elif reason != "sound":
                fates[j] = reason, None
        return Stream(width, fates)

    def read(self, stream):
        """A layer reads the stream: with the first one it gets its number, and what removal has to say of it is
        known."""
        if stream.number is None:
            stream.number, self.count = self.count, self.count + 1
            for j, (reason, source) in stream.fates.items():
                if reason == "duplicate":
                    group = [source, *(i for i, fate in stream.fates.items() if fate == ("duplicate", source))]
                    first = min(group)
                    self.expected.update({(stream.number, i, None): ("duplicate", first) for i in group if i != first})
                else:
                    self.expected[stream.number, j, None] = "constant" if reason == "shut" else reason, None

    def weights(self, made, *shape, pieces=1):
        """Weights (made, *shape) and biases: rows of zeros of what is constant, columns of zeros of what is dead."""
        w, b = nonzero(self.rng, made.width, pieces, *shape), nonzero(self.rng, made.width, pieces)
        w[made.gone("constant")] = 0
        made.copied(w), made.copied(b)
        return w.reshape(-1, *shape), b.ravel()

    def front(self):
        self.size = tuple(int(n) for n in self.rng.integers(4, 8, 2))
        self.stream = Stream(int(self.rng.integers(1, 4)))
        if self.stream.width > 1 and self.chance(0.5):
            self.stream.fates[int(self.rng.integers(self.stream.width))] = "dead", None
        self.inputs = numbers = self.size[0] * self.size[1] * self.stream.width
        if self.chance(0.3):
            self.inputs += 3
            self.put("select", kept=[int(i) for i in self.rng.permutation(self.inputs)[:numbers]])
        if self.chance(0.2):
            self.put("dropout", rate=0.2)
        self.put("unflatten", shape=[*self.size, self.stream.width])

    def conv(self, made, same=False):
        """A convolution, and what shuts channels; ``same``: with maps of the size that it reads."""
        while True:
            kernel = np.array([1, 3])[self.rng.integers(0, 2, 2)] if same else self.rng.integers(1, 4, 2)
            dilation = np.array([1, 1]) if same else self.rng.integers(1, 3, 2)
            stride = np.array([1, 1]) if same else self.rng.integers(1, 3, 2)
            padding = (kernel - 1) // 2 if same else self.rng.integers(0, 3, 2)
            room = np.array(self.size) + 2 * padding - dilation * (kernel - 1) - 1
            if (room >= 0).all():
                break
        self.read(self.stream)
        w, b = self.weights(made, *kernel, self.stream.width)
        w[..., self.stream.gone("dead")] = 0
        pairs = {"stride": stride, "padding": padding, "dilation": dilation}
        self.put("conv2d", w, b, **{name: [int(v) for v in value] for name, value in pairs.items()})
        self.size, self.stream = tuple(int(n) for n in room // stride + 1), made
        self.shut()

    def shut(self):
        """Behind every layer that makes channels of the stream: a gate or a batch norm that is zero where the stream
        says so."""
        if self.stream.gone("shut") or self.chance(0.3):
            g = self.stream.copied(nonzero(self.rng, self.stream.width))
            g[self.stream.gone("shut")] = 0
            if self.chance(0.5):
                self.put("gate", g)
            else:
                self.norm(g)

    def norm(self, gamma):
        beta, mean, variance = (self.stream.copied(a)
                                for a in (nonzero(self.rng, len(gamma)), nonzero(self.rng, len(gamma)),
                                                               self.rng.uniform(0.5, 2, len(gamma))))
        self.put("batch_norm", gamma, beta, running=(mean, variance), eps=0.1)

    def decorate(self):
        """Layers that treat every channel by itself, in random order."""
        for op in self.rng.permutation(["batch_norm", "offset", "dropout", "act"]):
            if op == "act":
                self.put(str(self.rng.choice(["relu", "tanh", "sigmoid"])))
            elif op == "dropout" and self.chance(0.2):
                self.put("dropout", rate=0.5)
            elif op == "batch_norm" and self.chance(0.3):
                self.norm(self.stream.copied(nonzero(self.rng, self.stream.width)))
            elif op == "offset" and self.chance(0.2):
                self.put("offset", self.stream.copied(nonzero(self.rng, *self.size, self.stream.width), -1))

    def residual(self):
        """x + f(x) with one or two convolutions in f; the last makes channels of the stream that the first reads."""
        trunk, before = self.stream, len(self.layers)
        if self.chance(0.5):
            self.conv(self.new(), same=True)
            self.decorate()
        self.conv(trunk, same=True)
        self.put("add", back=len(self.layers) - before)
        if self.chance(0.7):
            self.decorate()

    def pool(self):
        size = [int(n) for n in self.rng.integers(1, np.minimum(3, self.size) + 1)]
        padding = [int(self.rng.integers(0, n // 2 + 1)) for n in size]
        stride = int(self.rng.integers(1, 3))
        self.put(str(self.rng.choice(["max_pool", "average_pool"])), size=size, stride=stride, padding=padding)
        self.size = tuple((n + 2 * p - s) // stride + 1 for n, p, s in zip(self.size, padding, size, strict=True))

    def end(self):
        if self.chance(0.15):                      # the output is a mean over maps, tied to other layers by an addition
            self.conv(Stream(3))
            if self.chance(0.5):
                self.residual()
            self.put("global_average_pool")
            return
        channel, positions = np.arange(self.stream.width), np.zeros(self.stream.width, int)
        if self.chance(0.4):
            self.put("global_average_pool")
        else:
            channel, positions = self.flat()
        last = self.chance(0.3)
        made, pieces = (Stream(2), 1) if last else (self.new(), int(self.rng.integers(1, 3)))
        self.dense(made, channel, positions, pieces)
        if not last:
            self.put(str(self.rng.choice(["relu", "tanh"])))
            if pieces > 1:
                self.put("maxout", pieces=pieces)
            if made.gone("shut"):
                self.shut()
            self.dense(Stream(2), np.arange(made.width), np.zeros(made.width, int), 1)

    def flat(self):
        """flatten, and perhaps a select, which leaves something of every channel, the same of those that are equal."""
        area = self.size[0] * self.size[1]
        self.put("flatten")
        channel, position = (
            np.arange(area * self.stream.width) % self.stream.width,
            np.arange(area * self.stream.width) // self.stream.width
        )
        if self.chance(0.4):
            left = self.stream.copied(self.rng.random((self.stream.width, area)) < 0.6)
            left[:, 0] = True
            order = self.rng.permutation(area)                    # positions in any order, the same for every channel
            kept = np.array([p * self.stream.width + c for p in order for c in range(self.stream.width) if left[c, p]])
            self.put("select", kept=kept.tolist())
            channel, position = channel[kept], position[kept]
        if self.chance(0.3):
            g = nonzero(self.rng, self.stream.width, area)
            self.put("gate", self.stream.copied(g)[channel, position])
        return channel, position

    def dense(self, made, channel, position, pieces):
        stream = self.stream
        self.read(stream)
        w, b = self.weights(made, len(channel), pieces=pieces)
        sources = {source for _, source in stream.fates.values()}
        for c in set(range(stream.width)) - set(stream.fates) - sources:
            groups = np.flatnonzero(channel == c)
            for e in groups[1:]:                                # a position or more of a sound channel that is not read
                if self.chance(0.1):
                    w[:, e] = 0
                    self.expected[stream.number, c, int(position[e])] = "dead", None
        w[:, np.isin(channel, stream.gone("dead"))] = 0
        self.put("dense", w, b)
        self.stream = made


def found(removals):
    return {(r.group, r.neuron, r.position): (r.reason, r.into) for r in removals}


@MANY
@given(seed=st.integers(0, 10 ** 6))
def test_everything_planted_is_found_and_nothing_else(seed):
    case = Planted(seed)
    network, x = case.network, np.random.default_rng(seed).standard_normal((7, case.inputs))
    before = [a.copy() for layer in network.layers for a in (*layer.params, *layer.running)]
    smaller, removals = remove(network)
    assert found(removals) == case.expected
    assert len(removals) == len(case.expected), "each once"
    agree(network, smaller, x)
    for a, b in zip(before, [a for layer in network.layers for a in (*layer.params, *layer.running)], strict=True):
        assert np.array_equal(a, b)
    for k, (old, new) in enumerate(zip(dependency_groups(network), dependency_groups(smaller), strict=True)):
        assert new.width == old.width - sum(r.group == k and r.position is None for r in removals)
    again, more = remove(smaller)
    assert not more
    agree(smaller, again, x, 0)


@SOME
@given(seed=st.integers(0, 10 ** 6))
def test_single_precision(seed):
    case = Planted(seed)
    network = case.network.astype(np.float32)
    smaller, removals = remove(network)
    assert found(removals) == case.expected
    assert all(a.dtype == np.float32 for layer in smaller.layers for a in (*layer.params, *layer.running))
    agree(network, smaller, np.random.default_rng(seed).standard_normal((5, case.inputs)).astype(np.float32), 1e-3)


@SOME
@given(seed=st.integers(0, 10 ** 6))
def test_keep_is_the_network_without_their_weights(seed):
    """Cutting a channel is the same as nobody reading it."""
    case = Planted(seed)
    network, rng = case.network, np.random.default_rng(seed)
    for group in dependency_groups(network):
        if group.fixed or group.width < 2:
            continue
        kept = np.sort(rng.permutation(group.width)[:rng.integers(1, group.width)])
        deaf = network.copy()
        for i in group.consumers:
            for e, j in enumerate(group.units[i]):
                if j not in kept:
                    deaf.layers[i].params[0][..., e] = 0
        if all(np.isin(group.units[i], kept).any() for i in group.consumers):
            smaller = keep(network, group, kept)
            assert dependency_groups(smaller)[group.number].width == len(kept)
            agree(deaf, smaller, rng.standard_normal((5, case.inputs)))


# ---- constants under padding
# --------------------------------------------------------------------------------------------------------


def conv(w, b=None, **options):
    w = np.asarray(w, float)
    return Layer("conv2d", (w, np.zeros(len(w)) if b is None else np.asarray(b, float)), options)


def depthwise(w):
    return Layer("depthwise_conv2d", (w, np.zeros(w.shape[-1])))


def maps(*shape):
    return Layer("unflatten", options={"shape": list(shape)})


def added(w, value, size, stride, padding):
    """What a channel that is ``value`` everywhere adds to a convolution with weights w (F, kh, kw): those that meet the
    map, one by one."""
    F, kh, kw = w.shape
    P, Q = ((n + 2 * padding - k) // stride + 1 for n, k in zip(size, (kh, kw), strict=True))
    y = np.zeros((P, Q, F))
    for p, q, f, i, j in np.ndindex(P, Q, F, kh, kw):
        if 0 <= p * stride + i - padding < size[0] and 0 <= q * stride + j - padding < size[1]:
            y[p, q, f] += w[f, i, j] * value
    return y


@pytest.mark.parametrize("pointwise", [False, True], ids=["", "offset there"])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("padding", [0, 1, 2, 3])
def test_a_constant_channel_under_every_padding_and_stride(padding, stride, pointwise):
    """Without padding it goes into the bias; with it into a map, which differs near the borders alone."""
    rng, size = np.random.default_rng(padding), (7, 6)
    w, b = nonzero(rng, 3, 1, 1, 2), nonzero(rng, 3)
    w[1] = 0
    v, c = nonzero(rng, 4, 3, 2, 3), nonzero(rng, 4)
    expected = added(v[..., 1], np.tanh(b[1]), size, stride, padding)
    behind = [Layer("offset", (nonzero(rng, *expected.shape),))] if pointwise else []
    network = Network([maps(*size, 2), conv(w, b), Layer("tanh"), conv(v, c, stride=stride, padding=padding), *behind,
                       Layer("relu"), Layer("flatten"), dense(nonzero(rng, 2, expected.size))])
    smaller, removals = remove(network)
    assert removals == [Removal(1, 1, "constant")]
    agree(network, smaller, rng.standard_normal((5, 84)))
    maker, offsets = smaller.layers[3], [layer.params[0] for layer in smaller.layers if layer.op == "offset"]
    assert len(offsets) == (padding > 0 or pointwise)
    folded = maker.params[1] - c + (offsets[0] if offsets else 0) - (behind[0].params[0] if behind else 0)
    np.testing.assert_allclose(np.broadcast_to(folded, expected.shape), expected, rtol=0, atol=1e-13)
    if padding and not pointwise:
        assert len(np.unique(offsets[0].reshape(-1, 4), axis=0)) <= (2 * padding + 1) ** 2
        bare = Network([layer for layer in smaller.layers if layer.op != "offset"])
        assert np.abs(network.predict(np.ones((1, 84)))
                      - bare.predict(np.ones((1, 84)))).max() > 1e-3, "without the map it would be seen"


def test_a_constant_map_that_differs_from_place_to_place():
    """Averages over windows that reach into the padding are smaller at the borders; a convolution without padding then
    needs a map too."""
    rng = np.random.default_rng(0)
    w, b = nonzero(rng, 3, 1, 1, 1), nonzero(rng, 3)
    w[0] = 0
    network = Network([maps(6, 6, 1), conv(w, b), Layer("average_pool", options={"size": 2, "stride": 1, "padding": 1}),
                       conv(nonzero(rng, 2, 2, 2, 3)), Layer("global_average_pool")])
    smaller, removals = remove(network)
    assert removals == [Removal(1, 0, "constant")]
    assert [layer.op for layer in smaller.layers] == ["unflatten", "conv2d", "average_pool", "conv2d", "offset",
                                                      "global_average_pool"]
    agree(network, smaller, rng.standard_normal((4, 36)))


def test_an_addition_reads_what_stands_in_front_of_an_offset():
    """Then the map of a constant goes in front of it too."""
    rng = np.random.default_rng(12)
    w, b = nonzero(rng, 3, 1, 1, 1), nonzero(rng, 3)
    w[0] = 0
    network = Network([maps(4, 4, 1), conv(w, b), conv(nonzero(rng, 2, 3, 3, 3), padding=1),
                       Layer("offset", (nonzero(rng, 4, 4, 2),)),
                       Layer("relu"), Layer("add", options={"back": 2}), Layer("global_average_pool")])
    smaller, removals = remove(network)
    assert removals == [Removal(1, 0, "constant")]
    agree(network, smaller, rng.standard_normal((4, 16)))


# ---- additions
# ----------------------------------------------------------------------------------------------------------------------


def small_residual(rng, width=3):
    """unflatten, conv, relu, [conv, relu, conv] + skip, relu, mean, dense."""
    return Network([maps(5, 5, 1), conv(nonzero(rng, width, 3, 3, 1), nonzero(rng, width)), Layer("relu"),
                    conv(nonzero(rng, 4, 3, 3, width), nonzero(rng, 4), padding=1), Layer("relu"),
                    conv(nonzero(rng, width, 3, 3, 4), nonzero(rng, width), padding=1),
                    Layer("add", options={"back": 3}), Layer("relu"),
                    Layer("global_average_pool"), dense(nonzero(rng, 2, width), nonzero(rng, 2))])


def test_what_an_addition_ties():
    network = small_residual(np.random.default_rng(0))
    inputs, trunk, inner = dependency_groups(network)
    assert (inputs.producers, inputs.consumers, inputs.width) == ((), (1,), 1)
    assert (trunk.producers, trunk.consumers, trunk.width) == ((1, 5), (3, 9), 3)
    assert (inner.producers, inner.consumers, inner.width) == ((3,), (5,), 4)
    assert inner.producer == 3
    with pytest.raises(InputError, match=r"made by \[1, 5\]; it needs one layer"):
        _ = trunk.producer
    with pytest.raises(InputError, match=r"read by \[3, 9\]; it needs one layer"):
        _ = trunk.consumer


def test_one_path_alone_does_not_make_a_channel_constant():
    rng = np.random.default_rng(1)
    for spoiled in ((1,), (5,), (1, 5)):
        network = small_residual(rng)
        for i in spoiled:
            network.layers[i].params[0][2] = 0
        smaller, removals = remove(network)
        assert removals == ([Removal(1, 2, "constant")] if len(spoiled) == 2 else [])
        agree(network, smaller, rng.standard_normal((4, 25)))
    network = small_residual(rng)
    network.layers[3].params[0][..., 2] = 0                    # f does not read it, and adds a constant to it
    network.layers[5].params[0][2] = 0
    assert remove(network)[1] == []


def test_one_path_alone_does_not_make_a_copy():
    rng = np.random.default_rng(2)
    for spoiled in ((1,), (5,), (1, 5)):
        network = small_residual(rng)
        for i in spoiled:
            for p in network.layers[i].params:
                p[2] = p[0]
        smaller, removals = remove(network)
        assert removals == ([Removal(1, 2, "duplicate", 0)] if len(spoiled) == 2 else [])
        agree(network, smaller, rng.standard_normal((4, 25)))


def test_a_channel_that_only_hears_itself():
    """x + f(x): channel 1 is read by the row of f that makes channel 1, and by nobody else. Nothing of it is heard."""
    rng = np.random.default_rng(3)
    f, last = nonzero(rng, 3, 3, 3, 3), nonzero(rng, 2, 3)
    f[[0, 2], :, :, 1] = 0
    last[:, 1] = 0
    network = Network([maps(5, 5, 1), conv(nonzero(rng, 3, 1, 1, 1)), Layer("tanh"), conv(f, padding=1),
                       Layer("add", options={"back": 1}), Layer("tanh"), Layer("global_average_pool"), dense(last)])
    smaller, removals = remove(network)
    assert removals == [Removal(1, 1, "dead")]
    agree(network, smaller, rng.standard_normal((4, 25)))


def test_what_reaches_the_output_or_is_tied_to_the_inputs_stays():
    rng = np.random.default_rng(4)
    f = nonzero(rng, 2, 1, 1, 2)
    f[:, :, :, 0] = 0
    network = Network([maps(3, 3, 2), conv(f), Layer("add", options={"back": 1}), conv(np.zeros((2, 1, 1, 2)), [1, 2])])
    assert remove(network)[1] == []
    inputs, = dependency_groups(network)
    assert inputs.fixed
    with pytest.raises(InputError, match="keep: dependency group 0 is fixed"):
        keep(network, inputs, np.array([0]))
    assert keep(network, inputs, np.array([0, 1])) is network


@SOME
@given(seed=st.integers(0, 10 ** 6))
def test_layers_put_in_and_taken_out(seed):
    """A gate of ones anywhere changes nothing; without it the network is the old one, layer by layer."""
    case = Planted(seed)
    network, x = case.network, np.random.default_rng(seed).standard_normal((3, case.inputs))
    for at, shape in enumerate(shapes(network, (case.inputs,))):
        more = inserted(network, at, Layer("gate", (np.ones(shape[-1]),)))
        assert np.array_equal(more.predict(x), network.predict(x))
        assert [(layer.op, layer.options) for layer in without(more, at).layers] == [(layer.op, layer.options)
                                                                                     for layer in network.layers]


# ---- inputs and positions
# -----------------------------------------------------------------------------------------------------------


def test_a_colour_that_nobody_reads():
    rng = np.random.default_rng(5)
    w = nonzero(rng, 2, 3, 3, 3)
    w[..., 1] = 0
    network = Network([maps(4, 4, 3), conv(w), Layer("flatten"), dense(nonzero(rng, 2, 8))])
    smaller, removals = remove(network)
    assert removals == [Removal(0, 1, "dead")]
    assert smaller.layers[0].options["kept"] == [3 * p + c for p in range(16) for c in (0, 2)]
    assert smaller.layers[1].options["shape"] == [4, 4, 2]
    agree(network, smaller, rng.standard_normal((3, 48)))
    assert remove(network, inputs=False)[1] == []


def test_maps_without_unflatten():
    """Their size must be told, and their channels stay."""
    rng = np.random.default_rng(6)
    w, v = nonzero(rng, 3, 3, 3, 2), nonzero(rng, 2, 12)
    w[..., 0], w[2] = 0, 0
    network = Network([conv(w), Layer("flatten"), dense(v)])
    with pytest.raises(InputError, match="give the shape of one example"):
        remove(network)
    smaller, removals = remove(network, shape=(4, 4, 2))
    assert removals == [Removal(1, 2, "constant")]
    agree(network, smaller, rng.standard_normal((3, 4, 4, 2)))


def test_positions_that_nobody_reads():
    """They are left out behind the flatten, together with their gates; two channels (three, of which one goes) of four
    positions."""
    rng = np.random.default_rng(7)
    v = nonzero(rng, 2, 12)
    v[:, [0, 5]] = 0                                           # channel 0 at position 0, channel 2 at position 1
    v[:, 1::3] = 0                                             # channel 1 everywhere
    gate = Layer("gate", (nonzero(rng, 12),))
    network = Network([maps(2, 2, 1), conv(nonzero(rng, 3, 1, 1, 1)), Layer("flatten"), gate, Layer("relu"), dense(v)])
    smaller, removals = remove(network)
    assert removals == [Removal(1, 1, "dead"), Removal(1, 0, "dead", position=0), Removal(1, 2, "dead", position=1)]
    assert [layer.op for layer in smaller.layers] == ["unflatten", "conv2d", "flatten", "select", "gate", "relu",
                                                      "dense"]
    assert smaller.layers[3].options["kept"] == [1, 2, 4, 5, 6, 7]
    agree(network, smaller, rng.standard_normal((4, 4)))


def test_positions_that_an_addition_reads_are_left():
    """The dense layer behind flatten has a column of zeros, but its input also goes around it. Four rows of it are one
    channel."""
    rng = np.random.default_rng(13)
    v, last = nonzero(rng, 8, 8), nonzero(rng, 2, 8)
    v[:, 2] = 0
    layers = [maps(2, 2, 1), conv(nonzero(rng, 2, 1, 1, 1)), Layer("flatten"), dense(v),
              Layer("add", options={"back": 1}), Layer("tanh"), dense(last)]
    network = Network(layers)
    assert [(group.producers, group.width) for group in dependency_groups(network)] == [((), 1), ((1, 3), 2)]
    assert remove(network)[1] == []
    v[:, 1::2], last[:, 1::2] = 0, 0
    smaller, removals = remove(network)
    assert removals == [Removal(1, 1, "dead")]
    assert smaller.layers[3].params[0].shape == (4, 4)
    agree(network, smaller, rng.standard_normal((4, 4)))


def test_copies_read_at_other_positions_are_left():
    """Channel 1 computes what channel 0 computes, but the select leaves other positions of it."""
    rng = np.random.default_rng(8)
    for kept, copies in (([0, 2, 5], 0), ([0, 1, 4, 5], 1)):
        network = Network([maps(2, 2, 1), conv(np.ones((2, 1, 1, 1))), Layer("flatten"),
                           Layer("select", options={"kept": kept}), dense(nonzero(rng, 2, len(kept)))])
        smaller, removals = remove(network)
        assert removals == [Removal(1, 1, "duplicate", 0)] * copies
        agree(network, smaller, rng.standard_normal((4, 4)))


@pytest.mark.parametrize("reason", ["dead", "constant", "no position"])
def test_of_a_layer_that_dies_one_channel_stays(reason):
    rng = np.random.default_rng(9)
    w, v = nonzero(rng, 3, 2, 2, 1), nonzero(rng, 2, 27)
    if reason == "constant":
        w[:] = 0
    else:
        v[:] = 0
    layers = [maps(4, 4, 1), conv(w, nonzero(rng, 3)), Layer("flatten"), dense(v, nonzero(rng, 2))]
    network = Network(layers)
    smaller, _ = remove(network)
    assert len(smaller.layers[1].params[0]) == 1
    agree(network, smaller, rng.standard_normal((3, 16)))
    assert not remove(smaller)[1]


# ---- folding
# ----------------------------------------------------------------------------------------------------------------------
# -
# -


@SOME
@given(seed=st.integers(0, 10 ** 6))
def test_folding_changes_nothing_and_leaves_nothing(seed):
    case = Planted(seed)
    network, x = case.network, np.random.default_rng(seed).standard_normal((5, case.inputs))
    before = [a.copy() for layer in network.layers for a in (*layer.params, *layer.running)]
    folded = fold(network)
    agree(network, folded, x)
    for a, b in zip(before, [a for layer in network.layers for a in (*layer.params, *layer.running)], strict=True):
        assert np.array_equal(a, b)
    tied = {i - layer.back for i, layer in enumerate(folded.layers) if layer.back}
    for i, layer in enumerate(folded.layers):
        if layer.op in ("gate", "batch_norm") and i not in tied:
            assert folded.layers[i - 1].op not in ("dense", "conv2d")
        if layer.op == "gate" and i + 1 not in tied:
            assert folded.layers[i + 1].op not in ("dense", "conv2d")
    remove(folded)                                             # is still a network that removal knows


def test_what_a_gate_may_pass():
    """A negative factor passes averages and flatten, but no relu; a positive one passes both, and behind select each
    entry keeps its own."""
    rng = np.random.default_rng(10)
    for sign, ops in ((-1, ["gate", "relu"]), (1, ["relu"])):
        gate = Layer("gate", (sign * rng.uniform(0.5, 2, 2),))
        pool, select = Layer("max_pool", options={"size": 2}), Layer("select", options={"kept": [7, 0, 1]})
        network = Network([maps(4, 4, 1), conv(nonzero(rng, 2, 1, 1, 1)), Layer("tanh"), gate, Layer("relu"), pool,
                           Layer("flatten"), select, dense(nonzero(rng, 2, 3))])
        folded = fold(network)
        assert [layer.op for layer in folded.layers[3:3 + len(ops)]] == ops
        agree(network, folded, rng.standard_normal((5, 16)))
    norm = Layer("batch_norm", (np.ones(2), np.ones(2)))
    assert len(fold(Network([maps(4, 4, 1), conv(nonzero(rng, 2, 1, 1, 1)), norm])).layers) == 3, "no moments yet"


def test_what_an_addition_reads_is_not_folded():
    """In front of the gate, past it, or right behind it."""
    rng = np.random.default_rng(14)
    gate, pointwise = Layer("gate", (nonzero(rng, 2),)), conv(nonzero(rng, 2, 1, 1, 2), nonzero(rng, 2))
    first = [maps(3, 3, 1), conv(nonzero(rng, 2, 1, 1, 1), nonzero(rng, 2))]
    mean = Layer("global_average_pool")
    for layers, gates in (
        ([gate, Layer("tanh"), Layer("add", options={"back": 2})], 1),            # adds what the convolution makes
        # adds what the gate makes: it goes into the convolution
        ([gate, Layer("tanh"), Layer("add", options={"back": 1})], 0),
        ([Layer("tanh"), gate, pointwise, Layer("add", options={"back": 1})], 1),
        # adds what the gate takes: it goes into the next one
        ([Layer("tanh"), gate, pointwise, Layer("add", options={"back": 2})], 0),
    ):
        network = Network([*first, *layers, mean])
        folded = fold(network)
        assert sum(layer.op == "gate" for layer in folded.layers) == gates
        agree(network, folded, rng.standard_normal((4, 9)))


# ---- what is refused
# ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("layers", "words"), [
    ([maps(3, 3, 2), conv(np.ones((2, 1, 1, 1)), groups=2), Layer("flatten")], "no dense layer and no conv2d in one"),
    ([maps(3, 3, 2), depthwise(np.ones((1, 1, 2))), Layer("flatten"), dense(np.ones((2, 18)))],
     "layer 1 is depthwise_conv2d; before the first"),
    ([dense(np.eye(3)), Layer("relu"), Layer("recall", options={"back": 1}), dense(np.eye(3))],
     "layer 2 is recall, and nothing reads what is in front of it"),
    ([maps(3, 3, 1), Layer("relu"), conv(np.ones((2, 1, 1, 1)))], "layer 1 is relu; before the first"),
    ([maps(3, 3, 1), Layer("max_pool", options={"size": 2})], "no dense layer and no conv2d"),
    ([maps(3, 3, 1), conv(np.ones((2, 1, 1, 1))), Layer("batch_norm", (np.ones(2), np.ones(2)))],
     "no running moments yet"),
    ([Layer("dropout", options={"rate": 0.1}), Layer("flatten"), dense(np.eye(3)), Layer("add", options={"back": 2})],
     "layer 3 reads activation 1"),
])
def test_networks_that_removal_does_not_know(layers, words):
    with pytest.raises(InputError, match=f"surgery: .*{words}"):
        remove(Network(layers))


@pytest.mark.parametrize("kept", [[], [1, 0], [0, 0], [-1, 1], [0, 3]], ids=str)
def test_numbers_that_keep_refuses(kept):
    network = small_residual(np.random.default_rng(0))
    with pytest.raises(InputError, match=f"keep: got {len(kept)} neurons"):
        keep(network, dependency_groups(network)[1], np.array(kept))


def test_a_batch_norm_is_folded_with_the_default_eps():
    """ε is 1e-5 where nobody says another: with running variances of that size it decides half of the scale."""
    rng = np.random.default_rng(0)
    gamma, beta, mean, variance = rng.uniform(0.5, 2, (4, 3))
    variance *= 1e-5
    first, x = Layer("dense", (rng.standard_normal((3, 2)), rng.standard_normal(3))), rng.standard_normal((5, 2))
    folded = fold(Network([first, Layer("batch_norm", (gamma, beta), running=(mean, variance))]))
    assert [layer.op for layer in folded.layers] == ["dense"]
    w, b = first.params
    expected = gamma * (x @ w.T + b - mean) / np.sqrt(variance + 1e-5) + beta
    np.testing.assert_allclose(folded.predict(x), expected, rtol=1e-12)


def test_every_op_is_known():
    """An op of the table is either one of weights, or acts per neuron, or says which entries it hands on: so removal
    can trace them all."""
    assert all(op.weights + op.per_neuron + op.recalls + (op.entries is not None and not op.per_neuron) == 1
               for op in OPS.values())


def test_a_residual_perceptron():
    """The additions of perceptrons tie neurons as those of maps tie channels."""
    rng = np.random.default_rng(11)
    w, f, last = nonzero(rng, 4, 3), nonzero(rng, 4, 4), nonzero(rng, 2, 4)
    f[:, 1], last[:, 1] = 0, 0
    w[3], f[3] = 0, 0
    network = Network([dense(w, nonzero(rng, 4)), Layer("relu"), dense(f, nonzero(rng, 4)),
                       Layer("add", options={"back": 1}), Layer("tanh"), dense(last)])
    smaller, removals = remove(network)
    assert removals == [Removal(1, 1, "dead"), Removal(1, 3, "constant")]
    agree(network, smaller, rng.standard_normal((4, 3)))
