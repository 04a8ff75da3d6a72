"""Networks of other libraries as ONNX models, for tests: exported by PyTorch, and Keras's shapes by hand."""

import functools
import io
import warnings

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.onnx._internal.exporter import _registration as registration

registration.ONNXRegistry.from_torchlib = staticmethod(
    functools.cache(registration.ONNXRegistry.from_torchlib))
"""Where PyTorch's newer exporter looks operators up: it takes seconds to make, and is the same for all modules."""


class Residual(nn.Module):
    """Two convolutions around which the map is added."""

    def __init__(self):
        super().__init__()
        self.front, self.inner = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.norm, self.last = nn.BatchNorm2d(4), nn.Linear(4, 3)

    def forward(self, x):
        x = torch.relu(self.front(x))
        return self.last(torch.relu(x + self.norm(self.inner(x))).mean((2, 3)))


class Projected(nn.Module):
    """A block whose shortcut is a convolution of its own, behind a depthwise convolution."""

    def __init__(self):
        super().__init__()
        self.front, self.deep = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.main, self.short = nn.Conv2d(4, 4, 3, stride=2, padding=1), nn.Conv2d(4, 4, 1, stride=2)
        self.last = nn.Linear(4, 3)

    def forward(self, x):
        x = torch.relu(self.deep(torch.relu(self.front(x))))
        return self.last(torch.relu(self.main(x) + self.short(x)).mean((2, 3)))


class Viewed(nn.Module):
    """Rows by ``view`` with a size that is asked for; the input is scaled; the end is a log-softmax."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(72, 6), nn.ReLU(), nn.Linear(6, 3))

    def forward(self, x):
        return torch.log_softmax(self.layers(((x - 0.5) / 0.25).view(x.size(0), -1)), 1)


class ResidualRows(nn.Module):
    """A perceptron with a skip connection and a division of what a layer gives."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(5, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        x = torch.tanh(self.a(x))
        return self.c(torch.tanh(self.b(x) / 2) + x)


def rows(activation):
    return nn.Sequential(nn.Linear(5, 6), activation, nn.Linear(6, 3)), (5,)


def maps(*layers, size=(2, 8, 8), outputs):
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(outputs, 3)), size


TORCH = {
    "relu": lambda: rows(nn.ReLU()), "leaky_relu": lambda: rows(nn.LeakyReLU(0.2)), "elu": lambda: rows(nn.ELU(0.7)),
    "gelu": lambda: rows(nn.GELU()), "silu": lambda: rows(nn.SiLU()), "tanh": lambda: rows(nn.Tanh()),
    "sigmoid": lambda: rows(nn.Sigmoid()),
    "softmax": lambda: (nn.Sequential(nn.Linear(5, 3, bias=False), nn.Softmax(1)), (5,)),
    "batch_norm": lambda: (nn.Sequential(nn.BatchNorm1d(5), nn.Linear(5, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(),
                                         nn.Linear(6, 3)), (5,)),
    "no bias": lambda: (nn.Sequential(nn.Linear(5, 6, bias=False), nn.ReLU(), nn.Linear(6, 3, bias=False)), (5,)),
    "residual rows": lambda: (ResidualRows(), (5,)),
    "viewed": lambda: (Viewed(), (2, 6, 6)),
    "residual": lambda: (Residual(), (1, 6, 6)),
    "projected": lambda: (Projected(), (2, 6, 6)),
    "batch_norm first": lambda: maps(nn.BatchNorm2d(2), nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), outputs=256),
    "conv": lambda: maps(nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.ReLU(), outputs=64),
    "oblong": lambda: maps(nn.Conv2d(2, 4, (3, 5), padding=(1, 2), dilation=(2, 1)), nn.ELU(), size=(2, 8, 7),
                           outputs=168),
    "groups": lambda: maps(nn.Conv2d(2, 4, 3, groups=2), nn.BatchNorm2d(4), nn.SiLU(), outputs=144),
    "max pool": lambda: maps(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.MaxPool2d(3, 2, padding=1), outputs=36),
    "average pool": lambda: maps(nn.Conv2d(2, 4, 3, padding=1), nn.GELU(), nn.AvgPool2d((2, 4), (2, 1)), outputs=80),
    "global pool": lambda: maps(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), outputs=4),
    "sequence": lambda: maps(nn.Conv1d(2, 4, 3, padding=1), nn.BatchNorm1d(4), nn.ReLU(), nn.MaxPool1d(2), size=(2, 8),
                             outputs=16)}
"""Name -> module and shape of an example."""


def exported(name, dynamo):
    """The bytes of a module's ONNX model, weights drawn, running moments too; of a batch of any size."""
    torch.manual_seed(len(name))
    module, shape = TORCH[name]()
    for layer in module.modules():
        if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
            for array, low in (
                    (layer.running_mean, -1), (layer.running_var, 0.5), (layer.weight, 0.5), (layer.bias, -1)):
                nn.init.uniform_(array, low, 2)
    x = torch.randn(2, *shape)
    with warnings.catch_warnings(action="ignore"):
        if dynamo:
            program = torch.onnx.export(module.eval(), (x,), dynamo=True, verbose=False,
                                        dynamic_shapes=({0: torch.export.Dim("batch")},))
            return program.model_proto
        file = io.BytesIO()
        torch.onnx.export(module.eval(), (x,), file, dynamo=False, input_names=["x"], dynamic_axes={"x": {0: "n"}})
    return onnx.load_model_from_string(file.getvalue())


def model(nodes, shape, constants=(), outputs=("y",), opset=17):
    """A ModelProto of nodes that read x (batch, ...)."""
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *shape])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * 2) for name in outputs],
        [numpy_helper.from_array(np.asarray(a), name) for name, a in dict(constants).items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset),
                                                   helper.make_opsetid("ai.onnx.ml", 3)], ir_version=8)


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32) / 2


def make(op, inputs, output, **attributes):
    return helper.make_node(op, inputs.split(), output.split(), name=f"the {output}", **attributes)


NHWC, NCHW = [0, 2, 3, 1], [0, 3, 1, 2]


def keras_dense():
    """Dense(6, relu), Dense(3, softmax)."""
    return model([make("MatMul", "x w", "a"), make("Add", "a b", "c"), make("Relu", "c", "d"),
                  make("MatMul", "d v", "e"), make("Add", "k e", "f"), make("Softmax", "f", "y")], (5,),
                 {"w": drawn(5, 6), "b": drawn(6), "v": drawn(6, 3, seed=1), "k": drawn(3)})


def keras_convolutional(channels=2):
    """Rescaling, Conv2D(4), MaxPooling2D, Flatten, Dense(3): maps come with channels last, and are flattened so."""
    return model([make("Div", "x scale", "s"), make("Sub", "s half", "t"), make("Transpose", "t", "a", perm=NCHW),
                  make("Conv", "a w b", "c", pads=[1, 1, 1, 1]), make("Relu", "c", "d"),
                  make("MaxPool", "d", "e", kernel_shape=[2, 2], strides=[2, 2]),
                  make("Transpose", "e", "f", perm=NHWC), make("Reshape", "f to", "g"),
                  make("Gemm", "g v k", "y")], (6, 8, channels),
                 {"scale": np.float32(2), "half": drawn(channels), "w": drawn(4, channels, 3, 3), "b": drawn(4),
                  "to": np.array([-1, 48]), "v": drawn(48, 3), "k": drawn(3)})


def keras_normalised():
    """Conv2D(4, same) without bias, BatchNormalization as Mul and Add, LeakyReLU, GlobalAveragePooling2D, Dense(3)."""
    return model([make("Transpose", "x", "a", perm=NCHW), make("Conv", "a w", "c", auto_pad="SAME_UPPER"),
                  make("Transpose", "c", "d", perm=NHWC), make("Mul", "d g", "e"), make("Add", "e h", "f"),
                  make("LeakyRelu", "f", "l", alpha=0.3), make("ReduceMean", "l", "m", axes=[1, 2], keepdims=0),
                  make("MatMul", "m v", "n"), make("Add", "n k", "y")], (6, 8, 2),
                 {"w": drawn(4, 2, 3, 3), "g": drawn(4) + 2, "h": drawn(1, 1, 1, 4, seed=2), "v": drawn(4, 3),
                  "k": drawn(3)})


def keras_sequence():
    """Conv1D(4), GlobalAveragePooling1D, Dense(3): as maps of height 1, channels last."""
    return model([make("Transpose", "x", "a", perm=[0, 2, 1]), make("Unsqueeze", "a two", "u"),
                  make("Conv", "u w b", "c"), make("Squeeze", "c two", "d"), make("Elu", "d", "e"),
                  make("Transpose", "e", "t", perm=[0, 2, 1]),
                  make("ReduceMean", "t", "m", axes=[1], keepdims=0), make("Gemm", "m v k", "y", alpha=0.5, beta=2.0)],
                 (9, 2), {"two": np.array([2]), "w": drawn(4, 2, 1, 3), "b": drawn(4), "v": drawn(4, 3), "k": drawn(3)})


def keras_one_channel():
    """A single channel, which is moved by a Reshape; SAME padding of a pool; swish; the dense layers read (h, w, c)."""
    return model([make("Reshape", "x front", "a"), make("Conv", "a w b", "c", auto_pad="VALID"),
                  make("Sigmoid", "c", "s"), make("Mul", "s c", "d"),
                  make("AveragePool", "d", "p", kernel_shape=[2, 2], strides=[2, 2], auto_pad="SAME_UPPER"),
                  make("Transpose", "p", "t", perm=NHWC), make("Flatten", "t", "f"), make("MatMul", "f v", "m"),
                  make("BatchNormalization", "m g k q r", "n"), make("Relu", "n", "o"), make("MatMul", "o z", "y")],
                 (6, 8, 1), {"front": np.array([-1, 1, 6, 8]), "w": drawn(4, 1, 3, 3), "b": drawn(4),
                             "v": drawn(24, 5), "g": drawn(5), "k": drawn(5), "q": drawn(5), "r": drawn(5) ** 2 + 1,
                             "z": drawn(5, 3)})


KERAS = {f.__name__: f for f in (keras_dense, keras_convolutional, keras_normalised, keras_sequence, keras_one_channel)}
