"""Networks of PyTorch: read, compressed and given back with equal outputs; what npkd does not have, refused by name."""

import copy
import importlib.util

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import npkd
from npkd.core.validation import InputError
from npkd.interop.torch import export, read, to_torch, write_safetensors
from npkd.nn.fast.workspace import predict
from npkd.nn.scaling import Scaling

PIXELS, SOUND, ROWS = (2, 8, 6), (3, 20), (10,)


def conv(*more, last=4 * 8 * 6, shape=PIXELS):
    kind = nn.Conv2d if len(shape) == 3 else nn.Conv1d
    return nn.Sequential(kind(shape[0], 4, 3, padding=1), *more, nn.Flatten(), nn.Linear(last, 3))


class Residual(nn.Module):
    """Additions of all kinds, in place too, behind one another."""

    def __init__(self):
        super().__init__()
        self.stem, self.one, self.two = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1)
        self.norm, self.act, self.head = nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Linear(4, 3)

    def forward(self, x):
        x = self.act(self.norm(self.stem(x)))
        x = self.act(torch.add(self.one(x), x))
        y = self.two(x)
        y += x
        return self.head(y.relu_().mean((2, 3)))


class Functional(nn.Module):
    """Functions and methods instead of modules."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4 * 3 * 2, 8)
        self.w, self.drop = nn.Parameter(torch.randn(3, 8) / 3), nn.Dropout2d(0.3)

    def forward(self, x, scale=None):
        x = F.max_pool2d(F.leaky_relu(self.a(x), 0.2), 2)
        x = torch.tanh(self.drop(self.b(x))).contiguous()
        x = x.view(x.size(0), -1).reshape(x.shape[0], -1)
        x = F.dropout(F.elu(self.c(x), alpha=0.5), 0.2, self.training)
        return F.log_softmax(F.linear(x, self.w), dim=-1)


class Nested(nn.Module):
    """Modules in modules, and 1x1 convolutions behind a global mean."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([nn.Sequential(nn.Conv2d(2 + 2 * k, 4, 3, padding=1), nn.SiLU()) for k in range(2)])
        self.end = nn.Sequential(nn.AdaptiveAvgPool2d((1, 1)), nn.Conv2d(4, 3, 1))

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return self.end(x).squeeze()


NETWORKS = {
    **{f"mlp {a}": (lambda a=a: nn.Sequential(nn.Linear(10, 12), getattr(nn, a)(), nn.Linear(12, 8), getattr(nn, a)(),
                                              nn.Linear(8, 3)), ROWS)
       for a in ("ReLU", "LeakyReLU", "GELU", "ELU", "SiLU", "Tanh", "Sigmoid")},
    "mlp, softmax, of maps": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(96, 9), nn.ReLU(), nn.Dropout(), nn.Identity(),
                                                    nn.Linear(9, 3), nn.Softmax(dim=1)), PIXELS),
    "mlp, norm": (lambda: nn.Sequential(nn.Linear(10, 9, bias=False), nn.BatchNorm1d(9, affine=False), nn.ReLU(),
                                        nn.Linear(9, 3), nn.LogSoftmax(-1)), ROWS),
    "conv": (lambda: conv(nn.ReLU()), PIXELS),
    "conv, sigmoid at the end": (lambda: nn.Sequential(conv(nn.ReLU()), nn.Sigmoid()), PIXELS),
    "conv, same, dilated": (lambda: nn.Sequential(
        nn.Conv2d(2, 4, (3, 5), padding="same", dilation=(2, 1)), nn.ReLU(),
        nn.Conv2d(4, 4, 3, stride=(2, 1), padding="valid"), nn.ReLU(), nn.Flatten(), nn.Linear(48, 3)), PIXELS),
    "conv, norm": (lambda: conv(nn.BatchNorm2d(4), nn.ReLU()), PIXELS),
    "max pool": (lambda: conv(nn.ReLU(), nn.MaxPool2d(2), last=48), PIXELS),
    "max pool, padded": (lambda: conv(nn.ReLU(), nn.MaxPool2d(3, 2, 1), last=48), PIXELS),
    "average pool": (lambda: conv(nn.ReLU(), nn.AvgPool2d((2, 3)), last=32), PIXELS),
    "average pool, ceil that changes nothing": (lambda: conv(nn.AvgPool2d(2, ceil_mode=True), last=48), PIXELS),
    "global pool": (lambda: conv(nn.ReLU(), nn.AdaptiveAvgPool2d(1), last=4), PIXELS),
    "adaptive pool": (lambda: conv(nn.ReLU(), nn.AdaptiveAvgPool2d((4, 3)), last=48), PIXELS),
    "residual": (Residual, PIXELS), "functional": (Functional, PIXELS), "nested": (Nested, PIXELS),
    "conv1d": (lambda: conv(nn.BatchNorm1d(4), nn.ReLU(), nn.MaxPool1d(2), nn.Conv1d(4, 5, 3, stride=2), nn.GELU(),
                            nn.AvgPool1d(2), last=10, shape=SOUND), SOUND),
    "conv1d, global": (lambda: conv(nn.ReLU(), nn.AdaptiveAvgPool1d(1), last=4, shape=SOUND), SOUND),
    "rows as maps": (lambda: nn.Sequential(nn.Unflatten(1, (2, 5, 1)), nn.Conv2d(2, 4, (3, 1)), nn.ReLU(), nn.Flatten(),
                                           nn.Linear(12, 3)), ROWS),
    "rows as sound": (lambda: nn.Sequential(nn.Unflatten(1, (1, 10)), nn.Conv1d(1, 4, 3), nn.ReLU(), nn.Flatten(),
                                            nn.Linear(32, 3)), ROWS)}
"""Networks by name, each with the shape of an example, channels first."""


def example(shape, n=80, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, *shape)).astype(np.float32))


def teacher(name):
    """A network with moments, in training mode as a user may leave it."""
    torch.manual_seed(1)
    make, shape = NETWORKS[name]
    module = make()
    for _ in range(3):
        module(2 * example(shape, seed=5) + 1)
    return module, shape


def outputs(module, x):
    with torch.no_grad():
        return copy.deepcopy(module).eval()(x).numpy()


def headed(logits, head):
    z = torch.from_numpy(np.array(logits))
    return {"": z, "softmax": z.softmax(1), "log_softmax": z.log_softmax(1), "sigmoid": z.sigmoid()}[head].numpy()


def relative(a, b):
    assert a.shape == b.shape
    return np.abs(a - b).max() / np.abs(b).max()


def channels_last(x, shape):
    """By hand: (n, C, H, W) -> (n, H, W, C), (n, C, L) -> (n, 1, L, C)."""
    a = x.numpy()
    return {1: lambda: a, 2: lambda: a.transpose(0, 2, 1)[:, None], 3: lambda: a.transpose(0, 2, 3, 1)}[len(shape)]()


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_read_and_given_back_with_equal_outputs(name):
    module, shape = teacher(name)
    got = read(module, example(shape, 8))
    x = example(shape, 20, seed=3)                                            # others than it was read on
    ours = headed(predict(got.network, np.ascontiguousarray(channels_last(x, shape))), got.head)
    assert relative(ours, outputs(module, x)) < 1e-5 and got.difference < 1e-5
    back = to_torch(got.network, shape, got.head)
    assert relative(outputs(back, x), outputs(module, x)) < 1e-5
    assert all(type(m).__module__.startswith(("torch.nn.", "torch.fx.")) for m in back.modules())
    again = read(back, x)                                                     # and what is given can be read
    assert relative(predict(again.network, np.ascontiguousarray(channels_last(x, shape))),
                    predict(got.network, np.ascontiguousarray(channels_last(x, shape)))) < 1e-5


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_compressed_and_runs_in_torch_with_equal_outputs(name, tmp_path):
    module, shape = teacher(name)
    result = npkd.compress(module, example(shape), "macs=60%", recipe=npkd.Recipe(epochs=0))
    x = example(shape, 20, seed=3)
    student = result.to_torch()
    assert result.macs[1] <= 0.6 * result.macs[0]
    assert relative(outputs(student, x), headed(result.logits(x.numpy()), result.origin.head)) < 1e-5
    inner = np.ascontiguousarray(channels_last(x, shape))
    np.testing.assert_array_equal(result.logits(x.numpy()), predict(result.student, inner.reshape(20, -1)))
    if "conv1d" in name:
        assert any(isinstance(m, nn.Conv1d) for m in student.modules())
    names = export(result.model(), tmp_path, shape, result.origin.head)
    assert names == ["student.safetensors", "student_torch.py"]
    source = importlib.util.spec_from_file_location("student_torch", tmp_path / names[1])
    made = importlib.util.module_from_spec(source)
    source.loader.exec_module(made)
    assert relative(outputs(made.student(), x), outputs(student, x)) < 1e-6
    assert "npkd" not in (tmp_path / names[1]).read_text().partition("import")[2]


class Calls(nn.Module):
    """A convolution, something else, and a dense layer."""

    def __init__(self, call, last=4 * 8 * 6):
        super().__init__()
        self.conv, self.fc, self.call = nn.Conv2d(2, 4, 3, padding=1), nn.Linear(last, 3), call

    def forward(self, x):
        return self.fc(torch.flatten(self.call(self.conv(x)), 1))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.fc = nn.LSTM(20, 4, batch_first=True), nn.Linear(4, 3)

    def forward(self, x):
        return self.fc(self.lstm(x)[0][:, -1])


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.look, self.fc = nn.MultiheadAttention(20, 2, batch_first=True), nn.Linear(60, 3)

    def forward(self, x):
        return self.fc(self.look(x, x, x)[0].flatten(1))


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(10, 3)

    def forward(self, x):
        return self.fc(x) if x.sum() > 0 else -self.fc(x)


class Several(nn.Module):
    def __init__(self, kind=dict):
        super().__init__()
        self.fc, self.kind = nn.Linear(10, 3), kind

    def forward(self, x):
        return {"logits": self.fc(x)} if self.kind is dict else (self.fc(x), x)


class Deep(nn.Module):
    """What is refused stands deep in it."""

    def __init__(self):
        super().__init__()
        self.body = nn.ModuleDict({"block": Calls(lambda x: torch.cat([x, x], 1), last=8 * 8 * 6)})

    def forward(self, x):
        return self.body["block"](x)


REFUSED = {
    "cat": (Deep, PIXELS, r"forward of body.block \(cat\)"),
    "lstm": (Recurrent, SOUND, r"lstm \(LSTM\)"), "attention": (Attention, SOUND, r"look \(MultiheadAttention\)"),
    "gru": (lambda: nn.GRU(20, 4), SOUND, r"the module \(GRU\)"),
    "transposed": (lambda: conv(nn.ConvTranspose2d(4, 4, 1)), PIXELS, r"1 \(ConvTranspose2d\)"),
    "layer norm": (lambda: nn.Sequential(nn.Linear(10, 5), nn.LayerNorm(5)), ROWS, r"1 \(LayerNorm\)"),
    "group norm": (lambda: conv(nn.GroupNorm(2, 4)), PIXELS, r"1 \(GroupNorm\)"),
    "instance norm": (lambda: conv(nn.InstanceNorm2d(4)), PIXELS, r"1 \(InstanceNorm2d\)"),
    "embedding": (lambda: nn.Sequential(nn.Embedding(9, 5), nn.Flatten(), nn.Linear(50, 3)), ROWS, r"0 \(Embedding\)"),
    "prelu": (lambda: nn.Sequential(nn.Linear(10, 5), nn.PReLU(), nn.Linear(5, 3)), ROWS, r"1 \(PReLU\)"),
    "softplus": (lambda: nn.Sequential(nn.Linear(10, 5), nn.Softplus(), nn.Linear(5, 3)), ROWS, r"1 \(Softplus\)"),
    "tanh gelu": (lambda: nn.Sequential(nn.Linear(10, 5), nn.GELU("tanh"), nn.Linear(5, 3)), ROWS, r"1 \(GELU\).*tanh"),
    "softmax inside": (lambda: nn.Sequential(nn.Linear(10, 5), nn.Softmax(1), nn.Linear(5, 3)), ROWS, r"1 \(Softmax\)"),
    "conv3d": (lambda: Calls(lambda x: F.conv3d(x[:, :, None], torch.ones(4, 4, 1, 1, 1))), PIXELS, r"getitem|conv3d"),
    "even same": (lambda: nn.Sequential(nn.Conv2d(2, 4, 2, padding="same"), nn.Flatten(), nn.Linear(192, 3)), PIXELS,
                  r"0 \(Conv2d\).*padding='same'"),
    "circular": (lambda: nn.Sequential(nn.Conv2d(2, 4, 3, padding=1, padding_mode="circular"), nn.Flatten(),
                                       nn.Linear(192, 3)), PIXELS, r"0 \(Conv2d\).*circular"),
    "ceil mode": (lambda: conv(nn.MaxPool2d(3, ceil_mode=True), last=24), PIXELS, r"1 \(MaxPool2d\).*ceil_mode"),
    "padding left out": (lambda: conv(nn.AvgPool2d(3, 1, 1, count_include_pad=False)), PIXELS, "count_include_pad"),
    "divisor": (lambda: conv(nn.AvgPool2d(2, divisor_override=3), last=48), PIXELS, "divisor_override"),
    "dilated pool": (lambda: conv(nn.MaxPool2d(2, 1, dilation=2), last=96), PIXELS, r"1 \(MaxPool2d\).*dilation"),
    "uneven adaptive": (lambda: conv(nn.AdaptiveAvgPool2d(5), last=100), PIXELS, r"1 \(AdaptiveAvgPool2d\)"),
    "batch moments": (lambda: conv(nn.BatchNorm2d(4, track_running_stats=False)), PIXELS, r"1 \(BatchNorm2d\).*moments"),
    "attention gates": (lambda: Calls(lambda x: x * x.mean((2, 3), keepdim=True)), PIXELS, r"forward \(mul\)"),
    "permute": (lambda: Calls(lambda x: x.permute(0, 2, 3, 1)), PIXELS, r"forward \(permute\)"),
    "mean over channels": (lambda: Calls(lambda x: x.mean(1), last=48), PIXELS, r"forward \(mean\)"),
    "a multiple": (lambda: Calls(lambda x: torch.add(x, x, alpha=2)), PIXELS, r"forward \(add\).*multiple"),
    "a constant": (lambda: Calls(lambda x: x + 1), PIXELS, r"forward \(add\)"),
    "dropout always": (lambda: Calls(lambda x: F.dropout(x)), PIXELS, r"forward \(dropout\).*training=True"),
    "control flow": (Branching, ROWS, "torch.fx cannot trace Branching.*control flow"),
    "a dictionary": (Several, ROWS, "gives dict"), "a tuple": (lambda: Several(tuple), ROWS, "gives tuple"),
    "two axes": (lambda: nn.Linear(20, 3), SOUND, r"Linear"),
    "other examples": (lambda: nn.Linear(9, 3), ROWS, r"the module \(Linear\).*shapes cannot be multiplied"),
    "no row of outputs": (lambda: nn.Conv2d(2, 3, 3), PIXELS, "row of outputs"),
    "no tensor in": (lambda: nn.Bilinear(3, 3, 3), ROWS, "cannot trace Bilinear|Bilinear")}


@pytest.mark.parametrize("name", REFUSED)
def test_what_npkd_does_not_have_is_refused_by_path_and_name(name):
    make, shape, words = REFUSED[name]
    with pytest.raises(InputError, match=words) as error:
        read(make().eval(), example(shape, 4))
    assert "\n" not in str(error.value)


def test_a_module_that_changes_values_behind_the_trace_is_refused():
    module = nn.Sequential(nn.Linear(10, 4), nn.ReLU(), nn.Linear(4, 3))
    module[0].register_forward_hook(lambda m, given, out: 2 * out)
    with pytest.raises(InputError, match="differ by"):
        read(nn.ModuleList([module])[0] if False else HookedOutside(module), example(ROWS))


class HookedOutside(nn.Module):
    """Its own hook is not in the trace."""

    def __init__(self, module):
        super().__init__()
        self.module = module
        self.register_forward_hook(lambda m, given, out: out + 1)

    def forward(self, x):
        return self.module(x)
