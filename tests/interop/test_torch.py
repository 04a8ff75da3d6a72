"""Networks of PyTorch: read, compressed and given back with equal outputs; what npkd does not have, refused by name."""

import copy
import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from safetensors.torch import load_file, save
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import npkd
from npkd.core.validation import InputError
from npkd.data.datasets import load
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
        return F.log_softmax(F.linear(x, self.w * 2), dim=-1)


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


class Projected(nn.Module):
    """A residual block whose shortcut is a convolution, with depthwise and grouped convolutions, before activation."""

    def __init__(self):
        super().__init__()
        self.norm, self.one, self.two = nn.BatchNorm2d(4), nn.Conv2d(4, 6, 3, 2, 1, groups=2), nn.Conv2d(6, 6, 3, 1, 1)
        self.stem, self.short = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 6, 1, stride=2, bias=False)
        self.deep, self.wide, self.head = nn.Conv2d(6, 6, 3, padding=1, groups=6), nn.Conv2d(6, 8, 1), nn.Linear(8, 3)

    def forward(self, x):
        x = F.relu(self.norm(self.stem(x)))
        x = self.two(F.relu(self.one(x))) + self.short(x)
        return self.head(F.adaptive_avg_pool2d(F.silu(self.wide(F.relu(self.deep(x)))), 1).flatten(1))


class Made(nn.Module):
    """Modules, and a forward that a test gives."""

    def __init__(self, forward, **modules):
        super().__init__()
        self.call = forward
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, x):
        return self.call(self, x)


def signed(norm):
    """A batch norm with a factor below zero."""
    nn.init.uniform_(norm.weight, 0.5, 2).data[0] *= -1
    nn.init.uniform_(norm.bias)
    return norm


NETWORKS = {
    "mlp, projected": (lambda: Made(lambda m, x: m.c(F.relu(m.b(F.relu(m.a(x))) + m.short(x))), a=nn.Linear(10, 12),
                                    b=nn.Linear(12, 8), short=nn.Linear(10, 8), c=nn.Linear(8, 3)), ROWS),
    **{f"mlp {a}": (lambda a=a: nn.Sequential(nn.Linear(10, 12), getattr(nn, a)(), nn.Linear(12, 8), getattr(nn, a)(),
                                              nn.Linear(8, 3)), ROWS)
       for a in ("ReLU", "LeakyReLU", "GELU", "ELU", "SiLU", "Tanh", "Sigmoid")},
    "mlp, softmax, of maps": (lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(96, 9), nn.ReLU(), nn.Dropout(), nn.Identity(), nn.Linear(9, 3), nn.Softmax(1)),
        PIXELS),
    "mlp, norm": (lambda: nn.Sequential(nn.Linear(10, 9, bias=False), nn.BatchNorm1d(9, affine=False), nn.ReLU(),
                                        nn.Linear(9, 3), nn.LogSoftmax(-1)), ROWS),
    "norm in front": (lambda: nn.Sequential(signed(nn.BatchNorm1d(10)), nn.Linear(10, 9), nn.ReLU(), nn.Linear(9, 3)),
                      ROWS),
    "norm in front of maps": (lambda: nn.Sequential(signed(nn.BatchNorm2d(2)), conv(nn.ReLU())), PIXELS),
    "norm in front, flat": (lambda: nn.Sequential(nn.Flatten(), signed(nn.BatchNorm1d(96)), nn.Linear(96, 9), nn.ReLU(),
                                                  nn.Linear(9, 3)), PIXELS),
    "norm in front of sound": (lambda: nn.Sequential(signed(nn.BatchNorm1d(3)), conv(nn.ReLU(), last=80, shape=SOUND)),
                               SOUND),
    "conv": (lambda: conv(nn.ReLU()), PIXELS),
    "conv, sigmoid at the end": (lambda: nn.Sequential(conv(nn.ReLU()), nn.Sigmoid()), PIXELS),
    "conv, same, dilated": (lambda: nn.Sequential(
        nn.Conv2d(2, 4, (3, 5), padding="same", dilation=(2, 1)), nn.ReLU(),
        nn.Conv2d(4, 4, 3, stride=(2, 1), padding="valid"), nn.ReLU(), nn.Flatten(), nn.Linear(48, 3)), PIXELS),
    "conv, same, even": (lambda: nn.Sequential(nn.Conv2d(2, 4, (2, 4), padding="same"), nn.ReLU(), nn.Flatten(),
                                               nn.Linear(192, 3)), PIXELS),
    "pooled by index": (lambda: Made(lambda m, x: m.fc(F.adaptive_avg_pool2d(m.conv(x), 1)[:, :, 0, 0]),
                                     conv=nn.Conv2d(2, 4, 3), fc=nn.Linear(4, 3)), PIXELS),
    "sum": (lambda: Made(lambda m, x: m.c(F.relu(sum([m.a(x), m.b(x)]))), a=nn.Linear(10, 8), b=nn.Linear(10, 8),
                         c=nn.Linear(8, 3)), ROWS),
    "conv, norm": (lambda: conv(nn.BatchNorm2d(4), nn.ReLU()), PIXELS),
    "max pool": (lambda: conv(nn.ReLU(), nn.MaxPool2d(2), last=48), PIXELS),
    "max pool, padded": (lambda: conv(nn.ReLU(), nn.MaxPool2d(3, 2, 1), last=48), PIXELS),
    "average pool": (lambda: conv(nn.ReLU(), nn.AvgPool2d((2, 3)), last=32), PIXELS),
    "average pool, ceil that changes nothing": (lambda: conv(nn.AvgPool2d(2, ceil_mode=True), last=48), PIXELS),
    "global pool": (lambda: conv(nn.ReLU(), nn.AdaptiveAvgPool2d(1), last=4), PIXELS),
    "adaptive pool": (lambda: conv(nn.ReLU(), nn.AdaptiveAvgPool2d((4, 3)), last=48), PIXELS),
    "depthwise": (lambda: conv(nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False), nn.BatchNorm2d(4),
                               nn.ReLU(), nn.Conv2d(4, 5, 1), nn.ReLU(), last=240), PIXELS),
    **{f"grouped {f}, {g}": (lambda f=f, g=g: nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, f, 3, groups=g), nn.ReLU(), nn.Flatten(),
        nn.Linear(24 * f, 40), nn.ReLU(), nn.Linear(40, 3)), PIXELS) for f, g in ((8, 4), (6, 2))},
    "projected": (Projected, PIXELS), "residual": (Residual, PIXELS),
    "functional": (Functional, PIXELS), "nested": (Nested, PIXELS),
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


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_read_and_given_back_with_equal_outputs(name):
    module, shape = teacher(name)
    got = read(module, example(shape, 8))
    x = example(shape, 20, seed=3)                                            # others than it was read on
    ours = headed(got.model.logits(np.ascontiguousarray(channels_last(x, shape))), got.head)
    assert relative(ours, outputs(module, x)) < 1e-5
    assert got.difference < 1e-5
    back = to_torch(got.model, shape, got.head)
    assert relative(outputs(back, x), outputs(module, x)) < 1e-5
    assert (got.scaling is not None) == ("in front" in name)
    assert all(type(m).__module__.startswith(("torch.nn.", "torch.fx.")) for m in back.modules())
    again = read(back if got.scaling is None else module, x)                  # and what is given can be read
    assert relative(again.model.logits(np.ascontiguousarray(channels_last(x, shape))),
                    got.model.logits(np.ascontiguousarray(channels_last(x, shape)))) < 1e-5


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_compressed_and_runs_in_torch_with_equal_outputs(name, tmp_path):
    module, shape = teacher(name)
    result = npkd.compress(module, example(shape), "macs=60%", recipe=npkd.Recipe(epochs=0))
    x = example(shape, 20, seed=3)
    student = result.to_torch()
    assert result.macs[1] <= 0.6 * result.macs[0]
    assert relative(outputs(student, x), headed(result.logits(x.numpy()), result.head)) < 1e-5
    inner = np.ascontiguousarray(channels_last(x, shape))
    np.testing.assert_array_equal(result.logits(x.numpy()), result.model().logits(inner))
    save(student.state_dict())                                                # contiguous arrays
    if "conv1d" in name:
        assert any(isinstance(m, nn.Conv1d) for m in student.modules())
    names = export(result.model(), tmp_path, shape, result.head)
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
    "circular": (lambda: nn.Sequential(nn.Conv2d(2, 4, 3, padding=1, padding_mode="circular"), nn.Flatten(),
                                       nn.Linear(192, 3)), PIXELS, r"0 \(Conv2d\).*circular"),
    "ceil mode": (lambda: conv(nn.MaxPool2d(3, ceil_mode=True), last=24), PIXELS, r"1 \(MaxPool2d\).*ceil_mode"),
    "padding left out": (lambda: conv(nn.AvgPool2d(3, 1, 1, count_include_pad=False)), PIXELS, "count_include_pad"),
    "divisor": (lambda: conv(nn.AvgPool2d(2, divisor_override=3), last=48), PIXELS, "divisor_override"),
    "dilated pool": (lambda: conv(nn.MaxPool2d(2, 1, dilation=2), last=96), PIXELS, r"1 \(MaxPool2d\).*dilation"),
    "uneven adaptive": (lambda: conv(nn.AdaptiveAvgPool2d(5), last=100), PIXELS, r"1 \(AdaptiveAvgPool2d\)"),
    "batch moments": (lambda: conv(nn.BatchNorm2d(4, track_running_stats=False)), PIXELS, r"1 \(BatchNorm2d\).*batch"),
    "attention gates": (lambda: Calls(lambda x: x * x.mean((2, 3), keepdim=True)), PIXELS, r"forward \(mul\)"),
    "permute": (lambda: Calls(lambda x: x.permute(0, 2, 3, 1)), PIXELS, r"forward \(permute\)"),
    "mean over channels": (lambda: Calls(lambda x: x.mean(1), last=48), PIXELS, r"forward \(mean\)"),
    "a multiple": (lambda: Calls(lambda x: torch.add(x, x, alpha=2)), PIXELS, r"forward \(add\).*multiple"),
    "a constant": (lambda: Calls(lambda x: x + 1), PIXELS, r"forward \(add\)"),
    "dropout always": (lambda: Calls(lambda x: F.dropout(x)), PIXELS, r"forward \(dropout\).*training=True"),
    "control flow": (lambda: nn.Sequential(nn.ReLU(), nn.Sequential(Branching())), ROWS,
                     r"cannot trace 1.0 \(Branching\).*control flow"),
    "half inside": (lambda: Made(lambda m, x: m.a(x).bfloat16().float(), a=nn.Linear(10, 3)), ROWS,
                    r"forward \(bfloat16\)"),
    "half by to": (lambda: Made(lambda m, x: m.a(x.to(torch.float16).to(torch.float32)), a=nn.Linear(10, 3)), ROWS,
                   r"forward \(to\) makes torch.float16"),
    "one of three": (lambda: Made(lambda m, x: m.a(x)[:, 1], a=nn.Linear(10, 3)), ROWS, r"forward \(getitem\) selects"),
    "reversed": (lambda: Made(lambda m, x: m.a(x)[:, [2, 1, 0]], a=nn.Linear(10, 3)), ROWS, r"forward \(getitem\) sel"),
    "no channel axis": (lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(50, 3)), (8, 6),
                        r"add a channel axis, x\[:, None\]"),
    "a dictionary": (Several, ROWS, r"gives \w*dict"),
    "a tuple": (lambda: Several(tuple), ROWS, r"gives \w*tuple|gives list"),
    "two axes": (lambda: nn.Linear(20, 3), SOUND, r"Linear"),
    "other examples": (lambda: nn.Linear(9, 3), ROWS, r"the module \(Linear\).*shapes cannot be multiplied"),
    "matmul": (lambda: Calls(lambda x: x @ x.mT, last=4 * 8 * 8), PIXELS, "forward"),
    "no row of outputs": (lambda: nn.Conv2d(2, 3, 3), PIXELS, "row of outputs"),
    "no tensor in": (lambda: nn.Bilinear(3, 3, 3), ROWS, "cannot trace Bilinear|Bilinear")}


@pytest.mark.parametrize("name", REFUSED)
def test_what_npkd_does_not_have_is_refused_by_path_and_name(name):
    make, shape, words = REFUSED[name]
    with pytest.raises(InputError, match=words) as error:
        read(make().eval(), example(shape, 4))
    assert "\n" not in str(error.value)


def test_what_hooks_change_is_not_read():
    module = nn.Sequential(nn.Linear(10, 4), nn.ReLU(), nn.Linear(4, 3))
    module[0].register_forward_hook(lambda m, given, out: 2 * out)
    with pytest.raises(InputError, match="differ by"):
        read(module, example(ROWS))


def state_of(module):
    return {"modes": [m.training for m in module.modules()], "names": list(module.state_dict()),
            "arrays": [a.detach().clone() for a in module.state_dict().values()],
            "grads": [None if p.grad is None else p.grad.clone() for p in module.parameters()],
            "kinds": [(p.dtype, p.device, p.requires_grad) for p in module.parameters()]}


@pytest.mark.parametrize("fine", [True, False])
def test_a_module_is_left_as_it_was(fine):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(),
                           nn.Linear(4 * 24, 3), *[] if fine else [nn.Softplus()]).double().train()
    module[1].eval()
    module[0].weight.requires_grad_(False)
    module(example(PIXELS).double()).sum().backward()
    before, mode = state_of(module), torch.is_grad_enabled()
    if fine:
        npkd.compress(module, example(PIXELS), "macs=70%", recipe=npkd.Recipe(epochs=1)).to_torch()
    else:
        with pytest.raises(InputError, match="Softplus"):
            npkd.compress(module, example(PIXELS), "macs=70%")
    after = state_of(module)
    for name in ("modes", "names", "kinds"):
        assert before[name] == after[name]
    for a, b in zip(before["arrays"] + before["grads"], after["arrays"] + after["grads"], strict=True):
        assert (a is None and b is None) or torch.equal(a, b)
    assert torch.is_grad_enabled() == mode
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in module.modules())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_modules_of_other_dtypes_are_read_through_float32(dtype):
    module = teacher("conv, norm")[0].to(dtype)
    got, x = read(module, example(PIXELS, 8)), example(PIXELS, 8)
    assert {a.dtype for layer in got.network.layers for a in layer.params} == {np.dtype(np.float32)}
    assert next(module.parameters()).dtype == dtype
    assert relative(got.answers(x.numpy()), outputs(copy.deepcopy(module).float(), x)) < 1e-6


def test_a_deep_network_is_checked_in_float64_where_float32_rounds_apart():
    torch.manual_seed(0)
    layers = [m for _ in range(12) for m in (nn.Linear(64, 64), nn.Tanh())]
    for layer in layers[::2]:
        nn.init.normal_(layer.weight, std=1.0)                      # chaotic: differences grow
    got = read(nn.Sequential(*layers, nn.Linear(64, 3)), example((64,), 64))
    assert got.difference > 1e-5
    exact = copy.deepcopy(nn.Sequential(*layers)).double()
    x = example((64,), 5, seed=2).double()
    assert relative(predict(npkd.Network(got.network.astype(np.float64).layers[:-1]), x.numpy()),
                    outputs(exact, x)) < 1e-7


def test_in_place_changes_and_names_of_values():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(10, 10), nn.Linear(10, 3)

        def forward(self, x):
            y = self.a(x)
            z = y.relu_()                                            # y is what z is from here on
            return self.b(y.add_(z)) if z is not None else x

    module = Shared()
    got = read(module, example(ROWS, 4))
    assert [layer.op for layer in got.network.layers] == ["dense", "relu", "gate", "dense"]
    x = example(ROWS, 6, seed=4)
    assert relative(predict(got.network, x.numpy()), outputs(module, x)) < 1e-5


FORMS = {"tensor": lambda x, y: x, "array": lambda x, y: x.numpy(), "half": lambda x, y: x.bfloat16(),
         "batches": lambda x, y: [x[:50], x[50:]], "iterator": lambda x, y: iter([x[:50], x[50:].numpy()]),
         "function": lambda x, y: lambda: iter([(x[:50], y[:50]), (x[50:], y[50:])]),
         "shuffled loader": lambda x, y: DataLoader(TensorDataset(x), batch_size=32, shuffle=True),
         "loader with labels": lambda x, y: DataLoader(TensorDataset(x, y), batch_size=32)}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["max pool", "conv1d, global"])
def test_examples_in_all_forms_are_moved_to_channels_last(form, name):
    module, shape = teacher(name)
    x = example(shape).bfloat16().float()
    result = npkd.compress(module, FORMS[form](x, torch.arange(80) % 3), "macs=70%", recipe=npkd.Recipe(epochs=0))
    assert result.labelled == (form in ("function", "loader with labels"))
    assert relative(outputs(result.to_torch(), x), headed(result.logits(x), result.head)) < 1e-5
    if form != "shuffled loader":
        expected = npkd.compress(module, x.numpy(), "macs=70%", recipe=npkd.Recipe(epochs=0),
                                 labels=np.arange(80) % 3 if result.labelled else None)
        assert relative(result.logits(x), expected.logits(x)) < 1e-6


def test_a_folder_of_shards_with_channels_first(tmp_path):
    module, shape = teacher("conv")
    x = example(shape)
    for k in range(2):
        np.savez(tmp_path / f"{k}.npz", x=x[40 * k:40 * k + 40].numpy())
    short = npkd.Recipe(epochs=0)
    again = npkd.compress(module, x, "macs=70%", recipe=short)
    for data in (tmp_path, npkd.Shards(tmp_path)):
        assert relative(npkd.compress(module, data, "macs=70%", recipe=short).logits(x), again.logits(x)) < 1e-6
    again.to_onnx(tmp_path / "m.onnx")
    one, other = (npkd.compress(tmp_path / "m.onnx", data, "macs=70%", recipe=short)
                  for data in (x, npkd.Shards(tmp_path)))
    assert relative(one.logits(x), other.logits(x)) < 1e-6


def test_the_student_learns_the_answers_of_the_module_itself():
    module, shape = teacher("mlp, softmax, of maps")
    got, x = read(module, example(shape, 8)), example(shape)
    z = got.answers(x.numpy())
    assert relative(headed(z, "softmax"), outputs(module, x)) < 1e-6          # logits, though the module gives softmax
    asked = []

    def better(x):
        asked.append(x.shape[1:])
        return 3 * (got.answers(x) - z.mean(axis=0))

    recipe = npkd.Recipe(epochs=30, student_learning_rate=0.05, distil_from=better)
    result = npkd.compress(module, x, "macs=90%", recipe=recipe)
    assert set(asked) == {shape}
    other = (result.logits(x).argmax(1) == better(x.numpy()).argmax(1)).mean()
    assert other > 0.7 > (result.logits(x).argmax(1) == z.argmax(1)).mean()
    plain = npkd.compress(module, x, "macs=90%", recipe=npkd.Recipe(epochs=30, validation=(x[:20], None)))
    assert plain.held_out == 20
    assert (plain.logits(x).argmax(1) == z.argmax(1)).mean() > 0.8


def test_pictures_of_one_channel_are_moved_by_pixels_as_those_of_npkd_are():
    torch.manual_seed(0)
    module, x = nn.Sequential(nn.Flatten(), nn.Linear(16 * 20, 9), nn.ReLU(), nn.Linear(9, 3)), example((1, 16, 20))
    recipe = npkd.Recipe(epochs=2, max_shift=1, noise_std=0.0)
    result = npkd.compress(module, x, "macs=70%", recipe=recipe)
    network = read(module, x).network
    same = npkd.compress(network, x[:, 0].numpy(), "macs=70%", recipe=recipe)
    assert relative(result.logits(x), same.logits(x[:, 0].numpy())) < 1e-3


def test_a_perceptron_of_a_data_set_and_one_output():
    digits = load("digits", seed=0)
    for front, width in ((nn.Sequential(), 64), (nn.Conv2d(1, 2, 3), 72)):
        module = nn.Sequential(front, nn.Flatten(), nn.Linear(width, 9), nn.ReLU(), nn.Linear(9, 10))
        result = npkd.compress(module, digits, "macs=80%", recipe=npkd.Recipe(epochs=0))
        x = digits.x_validation.reshape(-1, *result.entry.shape)
        assert relative(outputs(result.to_torch(), torch.from_numpy(x)), result.logits(x)) < 1e-5
    module = nn.Sequential(nn.Linear(10, 8), nn.ReLU(), nn.Linear(8, 1))
    numbers = npkd.compress(module, example(ROWS), "macs=60%", recipe=npkd.Recipe(epochs=0))
    assert numbers.regression
    module = nn.Sequential(module, nn.Sigmoid())
    classes = npkd.compress(module, example(ROWS), "macs=60%", recipe=npkd.Recipe(epochs=0))
    assert not classes.regression
    assert relative(outputs(classes.to_torch(), example(ROWS)), headed(classes.logits(example(ROWS)), "sigmoid")) < 1e-5


@pytest.mark.parametrize("end", [lambda z: z.squeeze(-1), lambda z: torch.sigmoid(z.squeeze(1)), lambda z: z[:, 0],
                                 lambda z: torch.sigmoid(z).flatten(), lambda z: z.view(-1)])
def test_one_output_may_be_a_number_an_example(end):
    x = example(ROWS)
    module = Made(lambda m, x: end(m.b(F.relu(m.a(x)))), a=nn.Linear(10, 9), b=nn.Linear(9, 1))
    got = read(module, x)
    assert relative(headed(got.model.logits(x.numpy()), got.head)[:, 0], outputs(module, x)) < 1e-5
    result = npkd.compress(module, x, "macs=70%", recipe=npkd.Recipe(epochs=2))
    assert result.regression == (got.head == "")
    assert outputs(result.to_torch(), x).shape == (80, 1)


def test_students_of_networks_of_npkd_run_in_torch():
    rng, x = np.random.default_rng(0), example((64,)).numpy()
    network = npkd.nn.network.perceptron([64, 20, 3], rng)
    scaling = Scaling(rng.standard_normal(64).astype(np.float32), np.full(64, 0.5, np.float32))
    result = npkd.compress(npkd.Model(network, scaling), x, "widths=20-6", recipe=npkd.Recipe(epochs=0))
    module = result.to_torch()
    assert relative(outputs(module, torch.from_numpy(x)), result.logits(x)) < 1e-5
    assert {"select", "offset", "multiply"} <= {name.rpartition("_")[0] for name in dict(module.named_buffers())}
    bare = npkd.compress(network, x, "widths=20-6", recipe=npkd.Recipe(epochs=0))
    assert relative(outputs(bare.to_torch(), torch.from_numpy(x)), bare.logits(x)) < 1e-5
    net = npkd.Network([*read(*[teacher("conv")[0], example(PIXELS)]).network.layers])
    maps = channels_last(example(PIXELS), PIXELS)
    result = npkd.compress(net, np.ascontiguousarray(maps), "macs=50%", recipe=npkd.Recipe(epochs=0))
    assert result.entry.channels_first == PIXELS
    assert relative(outputs(result.to_torch(), example(PIXELS)), result.logits(maps)) < 1e-5


def test_what_torch_does_not_have_is_not_exported(tmp_path):
    w = np.ones((4, 10), np.float32)
    network = npkd.Network([npkd.Layer("dense", (w, w[:, 0].copy())), npkd.Layer("maxout", options={"pieces": 2})])
    with pytest.raises(InputError, match="maxout is no layer of torch"):
        to_torch(network, ROWS)
    good = npkd.Model(npkd.Network(network.layers[:1]))
    export(good, tmp_path, ROWS)
    with pytest.raises(InputError, match="exists"):
        export(good, tmp_path, ROWS)


def test_a_target_that_groups_forbid_says_why():
    module, shape = teacher("grouped 6, 2")
    with pytest.raises(InputError, match=r"one neuron a layer, beside what stays: .* channels of groups"):
        npkd.compress(module, example(shape), "macs=1%")


def test_a_state_dict_goes_through_safetensors(tmp_path):
    module = teacher("conv, norm")[0]
    write_safetensors(tmp_path / "a.safetensors", module)
    back = load_file(tmp_path / "a.safetensors")
    assert back.keys() == module.state_dict().keys()
    assert all(torch.equal(back[name], a) for name, a in module.state_dict().items())


def test_a_module_runs_wrapped_and_with_one_example():
    module, shape = teacher("conv")
    assert read(nn.DataParallel(module), example(shape, 1)).difference < 1e-5
    with pytest.raises(InputError, match=r"needs a torch\.nn\.Module"):
        read(lambda x: x, example(shape))
    with pytest.raises(InputError, match="no examples"):
        npkd.compress(module, iter([]))
    with pytest.raises(InputError, match="x holds nan in example 1, feature 0"):
        npkd.compress(module, torch.stack([torch.ones(shape), torch.full(shape, torch.nan)]))


def test_random_networks_are_read_with_equal_outputs():
    rng = np.random.default_rng()
    seed = int(rng.integers(2 ** 31))
    print("seed", seed)
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    for _ in range(30):
        shape = tuple(int(n) for n in (rng.integers(1, 4), *rng.integers(6, 12, int(rng.integers(1, 3)))))
        d, layers, x = len(shape) - 1, list[nn.Module](), example(shape, 5, seed=int(rng.integers(99)))
        kind = {name: getattr(nn, f"{name}{d}d") for name in ("Conv", "BatchNorm", "MaxPool", "AvgPool", "Dropout")}
        for _ in range(int(rng.integers(1, 5))):
            c, small = nn.Sequential(*layers)(x).shape[1], min(nn.Sequential(*layers)(x).shape[2:])
            k = int(rng.integers(1, min(small, 4) + 1))
            groups = int(rng.choice([g for g in range(1, c) if c % g == 0] or [1]))
            layers += [[kind["Conv"](c, groups * int(rng.integers(1, 4)), k, stride=int(rng.integers(1, 3)),
                                     padding=int(rng.integers(0, k)), groups=groups, bias=bool(rng.integers(2)))],
                       [kind["BatchNorm"](c)], [kind["MaxPool"](k, stride=int(rng.integers(1, 3)), padding=k // 2)],
                       [kind["AvgPool"](k, padding=k // 2)], [kind["Dropout"](), nn.ReLU()], [nn.ELU(0.3)]
                       ][int(rng.integers(6))]
        layers.append(nn.Flatten())
        module = nn.Sequential(*layers, nn.Linear(nn.Sequential(*layers)(x).shape[1], 3))
        got = read(module, x)
        ours = got.model.logits(np.ascontiguousarray(channels_last(x, shape)))
        assert relative(ours, outputs(module, x)) < 1e-5
        assert relative(outputs(to_torch(got.model, shape), x), outputs(module, x)) < 1e-5


def test_the_session_of_the_readme(tmp_path, monkeypatch):
    """Five lines: a smaller module, its ONNX file, its report."""
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    code = next(block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "to_torch" in block)
    assert len(code.strip().splitlines()) == 5
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(),
                           nn.Linear(128, 4), nn.Softmax(1))
    names = {"module": module, "x": torch.randn(200, 3, 8, 8)}
    exec(code, names)
    assert names["small"](names["x"]).sum(1).sub(1).abs().max() < 1e-5
    assert names["result"].macs[1] <= 0.25 * names["result"].macs[0]
    assert {path.name for path in tmp_path.iterdir()} == {"student.onnx", "report.html"}
