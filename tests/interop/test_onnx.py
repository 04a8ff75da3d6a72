"""ONNX models are read, compressed and written: held against onnxruntime."""

import functools
import shutil

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper
from scipy import special
from skl2onnx import to_onnx
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

import npkd
from npkd.cli.main import main
from npkd.compression.integer import IntegerNetwork
from npkd.compression.quantization import quantized
from npkd.core.validation import InputError
from npkd.data.datasets import load
from npkd.interop import onnx_out
from npkd.interop.onnx import read
from npkd.nn.architectures import lenet5
from npkd.nn.model import Model
from npkd.nn.network import Layer, Network, dense_layer, perceptron
from npkd.nn.optimisers import SGD
from npkd.nn.training import TrainingSettings, train
from npkd.pipeline.recipe import Recipe
from tests.interop.onnx_models import KERAS, TORCH, drawn, exported, make, model

HEADS = {"": lambda z: z, "softmax": lambda z: special.softmax(z, 1), "sigmoid": special.expit,
         "log_softmax": lambda z: special.log_softmax(z, 1)}
CALM = Recipe(epochs=1, rounds=1, round_epochs=0, validation=0.2)

exported = functools.cache(exported)


def run(proto, x, name=None):
    """What onnxruntime makes of examples: one output, by default the first."""
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run([name or session.get_outputs()[0].name], {session.get_inputs()[0].name: x})[0]


def same(proto, name=None, outputs=3):
    """A model, read, gives what onnxruntime gives on other examples than it was compared on; so does it written."""
    teacher = read(proto)
    x = drawn(11, *teacher.entry.shape, seed=9)
    z, given = teacher.model.logits(teacher.entry(x)), run(proto, x, name)
    assert (z.dtype, z.shape) == (np.float32, (11, outputs))
    np.testing.assert_allclose(HEADS[teacher.head](z), given[:, -outputs:] if given.ndim > 1 else given[:, None],
                               atol=1e-5)
    back = onnx_out.proto_of(teacher.model, teacher.entry, teacher.head)
    np.testing.assert_allclose(run(back, x), HEADS[teacher.head](z), atol=1e-5)
    assert read(back).entry.shape == teacher.entry.shape
    return teacher


@pytest.mark.parametrize("dynamo", [False, True])
@pytest.mark.parametrize("name", TORCH)
def test_what_pytorch_exports_is_read(name, dynamo):
    teacher = same(exported(name, dynamo))
    assert "differ from those of onnxruntime by at most" in teacher.checked
    assert not {"offset", "gate"} & {layer.op for layer in teacher.model.network.layers}


@pytest.mark.parametrize("name", KERAS)
def test_the_shapes_that_keras_writes_are_read(name):
    teacher = same(KERAS[name]())
    assert not {"offset", "gate"} & {layer.op for layer in teacher.model.network.layers}


X, Y = drawn(90, 5), np.arange(90) % 3
SKLEARN = {
    "relu": (MLPClassifier((6,), max_iter=3), Y, "softmax", {}),
    "tanh": (MLPClassifier((6,), max_iter=3, activation="tanh"), Y, "softmax", {"zipmap": False}),
    "logistic, scaled": (make_pipeline(StandardScaler(), MLPClassifier((6, 4), max_iter=3, activation="logistic")), Y,
                         "softmax", {}),
    "identity, strings": (make_pipeline(MinMaxScaler(), MLPClassifier((6,), max_iter=3, activation="identity")),
                          np.array(["a", "b", "c"])[Y], "softmax", {}),
    "strings, no dictionaries": (make_pipeline(StandardScaler(), MLPClassifier((6,), max_iter=3)),
                                 np.array(["a", "b", "c"])[Y], "softmax", {"zipmap": False}),
    "two labels": (MLPClassifier((6,), max_iter=3), np.stack([Y > 0, Y > 1], 1).astype(int), "sigmoid", {}),
    "binary": (MLPClassifier((6,), max_iter=3), Y > 0, "sigmoid", {}),
    "regression": (MLPRegressor(hidden_layer_sizes=(6,), max_iter=3), Y.astype(float), "", {}),
    "logistic regression": (make_pipeline(StandardScaler(), LogisticRegression()), Y, "softmax", {}),
    "binary logistic regression": (LogisticRegression(), Y > 0, "softmax", {}),
    "linear regression": (LinearRegression(), Y.astype(float), "", {})}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SKLEARN)
def test_what_skl2onnx_writes_is_read(name):
    estimator, y, head, options = SKLEARN[name]
    estimator.fit(X, y)
    teacher = read(to_onnx(estimator, X[:1], options={id(estimator): options} if options else None))
    out = HEADS[teacher.head](teacher.model.logits(teacher.entry(X)))
    theirs = estimator.predict_proba(X) if head else estimator.predict(X).reshape(len(X), -1)
    assert teacher.head == head
    np.testing.assert_allclose(out, theirs[:, -out.shape[1]:], atol=1e-5)


def erf(order="x z"):
    """GELU as older exporters write it."""
    return model([make("Gemm", "x w b", "x1"), make("Div", "x1 root", "s"), make("Erf", "s", "e"),
                  make("Add", "e one", "z1"), make("Mul", "x1 z1" if order == "x z" else "half x1", "p"),
                  make("Mul", "p half" if order == "x z" else "p z1", "g"), make("Gemm", "g v k", "y")], (5,),
                 {"w": drawn(5, 6), "b": drawn(6), "root": np.float32(2 ** 0.5), "one": np.float32([1]),
                  "half": np.float32(0.5), "v": drawn(6, 3), "k": drawn(3)})


RELUS = {"Clip": (["x", "low"], {"low": np.float32(0)}), "Clip, no high": (["x", "low", ""], {"low": np.float32(0)}),
         "Max": (["low", "x"], {"low": np.zeros((1, 6), np.float32)}), "Clip, attribute": (["x"], {})}


@pytest.mark.parametrize("name", RELUS)
def test_a_maximum_with_zero_is_a_relu_and_sums_are_additions(name):
    inputs, constants = RELUS[name]
    inner = helper.make_node(name.partition(",")[0], [k.replace("x", "s") for k in inputs], ["r"], "the_node",
                             **({} if constants else {"min": 0.0}))
    proto = model([make("MatMul", "x w", "a"), make("MatMul", "x v", "b"), make("Sum", "a b a", "s"), inner,
                   make("MatMul", "r u", "y")], (5,), {"w": drawn(5, 6), "v": drawn(5, 6, seed=1), "u": drawn(6, 3)}
                  | constants, opset=17 if constants else 10)
    assert [layer.op for layer in same(proto).model.network.layers].count("relu") == 1


@pytest.mark.parametrize("pad", ["SAME_UPPER", "SAME_LOWER"])
def test_more_padding_on_one_side_is_a_wider_kernel(pad):
    proto = model([make("Conv", "x w b", "c", auto_pad=pad, strides=[2, 2]), make("Relu", "c", "r"),
                   make("Conv", "r u", "q", pads=[0, 1, 2, 0]), make("GlobalAveragePool", "q", "g"),
                   make("Flatten", "g", "f"), make("Gemm", "f v", "y")], (2, 6, 8),
                  {"w": drawn(4, 2, 3, 3), "b": drawn(4), "u": drawn(4, 4, 3, 2), "v": drawn(4, 3)})
    assert [layer.params[0].shape[1:3] for layer in same(proto).model.network.layers if layer.op == "conv2d"] == [
        (4, 4), (5, 3)]


def test_floats_of_16_bits_and_outputs_without_a_shape(tmp_path):
    arrays = {"w": drawn(64, 50), "b": drawn(50), "v": drawn(50, 3), "k": drawn(3)}
    proto = model([make("Gemm", "x w b", "a"), make("Relu", "a", "r"), make("Gemm", "r v k", "y")], (64,),
                  {name: a.astype(np.float16) for name, a in arrays.items()})
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    assert "of 16-bit floats" in read(proto).checked
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    onnx.save_model(proto, tmp_path / "a.onnx")
    assert read(tmp_path / "a.onnx").entry.shape == (64,)


@pytest.mark.parametrize("order", ["x z", "z x"])
def test_gelu_in_five_nodes_is_one_layer(order):
    assert [layer.op for layer in same(erf(order=order)).model.network.layers] == ["dense", "gelu", "dense"]


def test_constants_of_layers_go_into_weights_and_others_stay():
    gate = model([make("Gemm", "x w", "a"), make("Relu", "a", "r"), make("Mul", "r g", "m"), make("Sub", "one m", "s"),
                  make("Gemm", "s v", "z"), make("Mul", "z g3", "t"), make("Add", "t g3", "y")], (5,),
                 {"w": drawn(5, 6), "g": drawn(6), "one": np.float32(1), "v": drawn(6, 3), "g3": drawn(3)})
    assert [layer.op for layer in same(gate).model.network.layers] == ["dense", "relu", "gate", "offset", "dense"]
    negative = model([make("Mul", "x g", "m"), make("Gemm", "m v", "y")], (5,), {"g": -np.ones(5, np.float32),
                                                                              "v": drawn(5, 3)})
    assert same(negative).model.scaling is None                       # scalings have positive factors


def test_rows_that_a_model_makes_maps_of_are_read():
    proto = model([make("Reshape", "x to", "m"), make("Conv", "m w", "c"), make("GlobalAveragePool", "c", "p"),
                   make("Squeeze", "p axes", "s"), make("Gemm", "s v", "y")], (72,),
                  {"to": np.array([-1, 2, 6, 6]), "w": drawn(4, 2, 3, 3), "axes": np.array([2, 3]), "v": drawn(4, 3)})
    assert same(proto).entry.inner == (2, 6, 6)


def test_a_model_of_batches_of_one_is_read():
    proto = exported("conv", False)
    fixed = onnx.ModelProto()
    fixed.CopyFrom(proto)
    fixed.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    assert read(fixed).checked.endswith("on 1 examples")


def layer(op, inputs="x", constants=(), shape=(5,), **attributes):
    """A model of one node."""
    return model([helper.make_node(op, inputs.split(" "), ["y"], name="the_node", **attributes)], shape, constants)


PICTURES = (2, 6, 6)
REFUSED = {
    "Concat": layer("Concat", "x x", axis=1), "HardSwish": layer("HardSwish"), "Exp": layer("Exp"),
    "Clip": layer("Clip", "x low high", {"low": np.float32(0), "high": np.float32(6)}),
    "PRelu": layer("PRelu", "x s", {"s": drawn(5)}), "Selu": layer("Selu"), "Softplus": layer("Softplus"),
    "LayerNormalization": layer("LayerNormalization", "x s", {"s": drawn(5)}),
    "Gather": layer("Gather", "x i", {"i": np.array([0, 2])}, axis=1), "Pow": layer("Pow", "x two", {"two": drawn()}),
    "Slice": layer("Slice", "x a b c", {"a": np.array([0]), "b": np.array([3]), "c": np.array([1])}),
    "Mul": layer("Mul", "x x"), "Sub": layer("Sub", "x x"), "Div": layer("Div", "one x", {"one": np.float32(1)}),
    "MatMul": model([helper.make_node("MatMul", ["w", "x"], ["y"], "the_node")], (3,), {"w": drawn(8, 8)}),
    "Cast": model([helper.make_node("Cast", ["x"], ["h"], "the_node", to=6), make("Cast", "h", "r", to=1),
                   make("Gemm", "r v", "y")], (5,), {"v": drawn(5, 3)}),
    "Transpose": layer("Transpose", perm=[1, 0]), "Softmax": layer("Softmax", axis=0),
    "Erf": layer("Erf"), "GlobalMaxPool": layer("GlobalMaxPool", shape=PICTURES),
    "Resize": layer("Resize", "x  s", {"s": np.float32([1, 1, 2, 2])}, PICTURES),
    "Pad": layer("Pad", "x p", {"p": np.array([0, 0, 1, 1, 0, 0, 1, 1])}, PICTURES),
    "ConvTranspose": layer("ConvTranspose", "x w", {"w": drawn(2, 4, 3, 3)}, PICTURES),
    "InstanceNormalization": layer("InstanceNormalization", "x s s", {"s": drawn(2)}, PICTURES),
    "Conv": layer("Conv", "x w", {"w": drawn(4, 2, 3, 3)}, PICTURES, pads=[0, 0, 1, 1], dilations=[2, 2]),
    "MaxPool": layer("MaxPool", shape=PICTURES, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
    "AveragePool": layer("AveragePool", shape=PICTURES, kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    "ReduceMean": layer("ReduceMean", shape=PICTURES, axes=[1, 2]), "Add": layer("Add", "x w", {"w": drawn(8, 5)}),
    "Reshape": layer("Reshape", "x to", {"to": np.array([-1, 2, 6, 3, 2])}, PICTURES)}


@pytest.mark.parametrize("op", REFUSED)
def test_what_cannot_be_read_is_refused_by_node_and_op(op):
    proto = REFUSED[op]
    if op in ("HardSwish", "LayerNormalization"):
        proto.opset_import[0].version = 17
    with pytest.raises(InputError) as refused:
        read(proto)
    assert f"the_node ({op}) " in str(refused.value).splitlines()[-1]


def test_ends_and_heads_that_are_not_networks():
    two = model([make("Gemm", "x v", "y"), make("Relu", "y", "z")], (5,), {"v": drawn(5, 3)}, outputs=("y", "z"))
    with pytest.raises(InputError, match=r"gives 2 outputs of numbers \(y, z\)"):
        read(two)
    inside = model([make("Softmax", "x", "s"), make("Gemm", "s v", "y")], (5,), {"v": drawn(5, 3)})
    with pytest.raises(InputError, match=r"the s \(softmax\) is behind the network"):
        read(inside)
    foreign = model([helper.make_node("Swirl", ["x"], ["y"], "the_node", domain="swirls")], (5,))
    foreign.opset_import.append(helper.make_opsetid("swirls", 1))
    with pytest.raises(InputError, match=r"the_node \(Swirl\)"):
        read(foreign)
    scaled_twice = model([make("Mul", "x g", "a"), make("Gemm", "a v", "b"), make("Mul", "x h", "c"),
                          make("Gemm", "c v", "d"), make("Add", "b d", "y")], (5,),
                         {"g": np.float32(2), "h": np.float32(3), "v": drawn(5, 3)})
    with pytest.raises(InputError, match="scaled in another way"):
        read(scaled_twice)
    sized = model([make("GlobalAveragePool", "x", "p"), make("Flatten", "p", "f"), make("Gemm", "f v", "y")],
                  (3, "height", "width"), {"v": drawn(3, 3)})
    with pytest.raises(InputError, match=r"\(batch, 3, height, width\); give examples"):
        read(sized)
    assert read(sized, drawn(4, 3, 6, 5)).entry.shape == (3, 6, 5)
    with pytest.raises(InputError, match=r"and x \(4, 4, 6, 5\); they must agree"):
        read(sized, drawn(4, 4, 6, 5))


def test_a_network_that_is_read_wrong_is_refused(monkeypatch):
    monkeypatch.setattr("npkd.interop.graph.flat_order", lambda shape: None)
    with pytest.raises(InputError, match="outputs that differ by"):
        read(exported("conv", False))


def test_weights_lie_below_the_folder_of_their_model(tmp_path):
    proto = onnx.ModelProto()
    proto.CopyFrom(exported("relu", False))
    (tmp_path / "model").mkdir()
    onnx.save_model(proto, tmp_path / "model" / "a.onnx", save_as_external_data=True, location="a.data",
                    size_threshold=0)
    assert read(tmp_path / "model" / "a.onnx").entry.shape == (5,)
    shutil.move(tmp_path / "model" / "a.data", tmp_path / "a.data")
    with pytest.raises(InputError, match="must be a file below the folder of the model"):
        read(tmp_path / "model" / "a.onnx")
    (tmp_path / "model" / "a.data").symlink_to(tmp_path / "a.data")
    with pytest.raises(InputError, match="must be a file below the folder of the model"):
        read(tmp_path / "model" / "a.onnx")


def test_a_file_of_another_kind_is_named(tmp_path):
    (tmp_path / "a.onnx").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match=r"is a table in text \(CSV\)"):
        read(tmp_path / "a.onnx")
    with open(tmp_path / "b.onnx", "wb") as file:
        np.savez(file, x=np.zeros(3))
    with pytest.raises(InputError, match="is an archive with x"):
        read(tmp_path / "b.onnx")
    with pytest.raises(InputError, match="No such file"):
        read(tmp_path / "c.onnx")
    (tmp_path / "d.onnx").write_bytes(exported("relu", False).SerializeToString()[:-40])
    with pytest.raises(InputError, match=r"d\.onnx must be a valid ONNX model \([^()]*\)$"):
        read(tmp_path / "d.onnx")


def trained(network, data, x):
    """A network after some steps of training, and in bytes."""
    *_, last = train(network, {"x": x, "y": data.y_train}, optimiser=SGD(0.05), settings=TrainingSettings(3),
                     rng=np.random.default_rng(0))
    return quantized(last.network, x[:500])


def small(rng):
    """A convolutional network of the digits, with each kind of layer that counts in bytes."""
    conv = Layer("conv2d", (rng.standard_normal((6, 3, 3, 1)).astype(np.float32) / 2, np.zeros(6, np.float32)),
                 {"padding": 1})
    return Network([Layer("unflatten", options={"shape": [8, 8, 1]}), conv, Layer("relu"),
                    Layer("max_pool", options={"size": 2}), Layer("flatten"), dense_layer(96, 10, rng)])


@pytest.mark.parametrize("name", ["rows", "maps"])
def test_students_in_bytes_are_written_so_and_give_the_same_classes(name):
    data, rng = load("digits", seed=0), np.random.default_rng(0)
    student = trained(perceptron([64, 30, 20, 10], rng) if name == "rows" else small(rng), data, data.x_train)
    proto, x = onnx_out.proto_of(Model(student), (1, 8, 8)), data.x_test.reshape(-1, 1, 8, 8)
    simulation = IntegerNetwork.of(student).simulation
    z, given = simulation(data.x_test.astype(np.float64))[0][-1], run(proto, x)
    assert (z.argmax(axis=1) != given.argmax(axis=1)).sum() <= 1
    assert (z.argmax(axis=1) == data.y_test).mean() > 0.8
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in proto.graph.initializer}
    of_weights = [n for n in proto.graph.node if n.op_type == "DequantizeLinear" and n.input[0].endswith("w.whole")]
    assert len(of_weights) == len(student.weight_layers)
    for node, i in zip(of_weights, student.weight_layers, strict=True):
        q, step, w = stored[node.input[0]], stored[node.input[1]], student.layers[i].params[0]
        assert (q.dtype, step.shape, helper.get_node_attr_value(node, "axis")) == (np.int8, (len(w),), 0)
        np.testing.assert_allclose(abs(q.reshape(len(q), -1) * step[:, None]).sum(1), abs(w).reshape(len(w), -1).sum(1),
                                   rtol=1e-6)
    kinds = [n.op_type for n in proto.graph.node]
    assert kinds.count("QuantizeLinear") == sum(layer.op == "quantize" for layer in student.layers)
    assert all(a.dtype == np.int32 for name, a in stored.items() if name.endswith("b.whole"))


def test_what_onnx_has_no_op_for_is_not_written(tmp_path):
    rng = np.random.default_rng(0)
    network = Network([dense_layer(5, 6, rng), Layer("clipped_linear", options={"shift": 1}), dense_layer(6, 3, rng)])
    with pytest.raises(InputError, match="is clipped_linear, for which ONNX has no op"):
        onnx_out.write(tmp_path / "a.onnx", Model(network), (5,))
    assert not list(tmp_path.iterdir())


def test_an_onnx_teacher_is_compressed_and_its_student_written(tmp_path):
    for proto in (exported("residual", False), exported("projected", False), KERAS["keras_convolutional"](),
                  exported("sequence", False)):
        shape = read(proto).entry.shape
        x = drawn(120, *shape)
        onnx.save_model(proto, tmp_path / "teacher.onnx")
        result = npkd.compress(tmp_path / "teacher.onnx", x, "macs=70%", recipe=CALM)
        assert result.macs[1] <= 0.7 * result.macs[0]
        result.to_onnx(tmp_path / "student.onnx")
        z = run(onnx.load(tmp_path / "student.onnx"), x)
        np.testing.assert_allclose(z, result.logits(result.entry(x)), atol=1e-5)
    with pytest.raises(InputError, match=r"the input x has the shape \(n, 2, 8\), and x \(120, 8, 2\)"):
        npkd.compress(proto, x.transpose(0, 2, 1), recipe=CALM)


def test_students_of_networks_of_npkd_take_examples_as_they_were_given(tmp_path):
    rng = np.random.default_rng(0)
    for teacher, x in ((perceptron([12, 8, 3], rng), drawn(99, 2, 3, 2)),
                       (lenet5(rng), drawn(60, 28, 28)),
                       (Network([Layer("conv2d", (drawn(4, 3, 3, 2), drawn(4))), Layer("relu"), Layer("flatten"),
                                 dense_layer(4 * 4 * 4, 3, rng)]), drawn(99, 6, 6, 2))):
        result = npkd.compress(teacher, x, "macs=70%", recipe=CALM)
        result.to_onnx(tmp_path / "student.onnx")
        np.testing.assert_allclose(run(onnx.load(tmp_path / "student.onnx"), x), result.logits(x), atol=1e-4)


def test_examples_for_an_onnx_model_come_in_all_forms(tmp_path):
    proto, x, y = exported("max pool", False), drawn(90, 2, 8, 8), np.arange(90) % 3
    for k in range(2):
        np.savez(tmp_path / f"{k}.npz", x=x[45 * k:45 * k + 45])
    recipe = Recipe(epochs=0, validation=(x[:20], None))
    z = npkd.compress(proto, x, "macs=70%", recipe=recipe).logits(x)
    for form in ([x[:50], x[50:]], iter([x[:0], x[:50], x[50:]]), lambda: iter([x[:50], x[50:]]), tmp_path):
        np.testing.assert_allclose(npkd.compress(proto, form, "macs=70%", recipe=recipe).logits(x), z, atol=1e-5)
    assert npkd.compress(proto, lambda: [(x, y)], "macs=70%", recipe=Recipe(epochs=0)).labelled
    with pytest.raises(InputError, match="x has no examples"):
        npkd.compress(proto, x[:0])
    with pytest.raises(InputError, match="x gives NoneType"):
        npkd.compress(proto, None)
    with pytest.raises(InputError, match="and x"):
        read(proto, x[:0])
    with pytest.raises(InputError, match="holds nan in example 1, feature 3"):
        npkd.compress(proto, np.where(np.arange(x.size).reshape(x.shape) == 131, np.nan, x).astype(np.float32))


@pytest.mark.parametrize("kind", ["x", "four", "x and y", "npy"])
def test_the_command_reads_a_teacher_and_writes_the_student_beside_the_others(tmp_path, kind):
    x, out = drawn(150, 2, 8, 8), tmp_path / "out"
    y = np.arange(150) % 3
    onnx.save_model(exported("max pool", False), tmp_path / "model.onnx")
    arrays = {"x": {"x": x}, "x and y": {"x": x, "y": y}, "npy": {},
              "four": {"x_train": x[:120], "y_train": y[:120], "x_test": x[120:], "y_test": y[120:]}}[kind]
    file = tmp_path / ("calibration.npy" if kind == "npy" else "calibration.npz")
    if kind == "npy":
        np.save(file, x)
    else:
        np.savez(file, **arrays)
    assert main(["compress", "--teacher", str(tmp_path / "model.onnx"), "--data", str(file),
                 "--target", "macs=60%", "--epochs", "1", "--out", str(out), "--quiet"]) == 0
    student, text = npkd.load(out / "student.npz"), (out / "summary.json").read_text()
    assert ("labelled by the teacher" in text) == (kind in ("x", "npy"))
    np.testing.assert_allclose(run(onnx.load(out / "student.onnx"), x), student.logits(x.transpose(0, 2, 3, 1)),
                               atol=1e-5)
    np.testing.assert_allclose(run(exported("max pool", False), x),
                               npkd.load(out / "teacher.npz").logits(x.transpose(0, 2, 3, 1)), atol=1e-5)


def test_the_command_refuses_data_that_do_not_fit(tmp_path, capsys):
    onnx.save_model(exported("max pool", False), tmp_path / "model.onnx")
    for arrays, words in (({"x": drawn(9, 2, 8, 8)}, "has 9 examples; it must have at least 10"),
                          ({"x": drawn(30, 8, 8, 2)}, "has the shape (8, 8, 2); the teacher takes (2, 8, 8)"),
                          ({"x": drawn(30, 2, 8, 8), "y": np.arange(29)}, "has 30 examples and y (29,)"),
                          ({"a": drawn(3), "b": drawn(3)}, "holds a, b; it must hold x, or x_train")):
        np.savez(tmp_path / "d.npz", **arrays)
        assert main(["compress", "--teacher", str(tmp_path / "model.onnx"), "--data", str(tmp_path / "d.npz"), "--out",
                     str(tmp_path / "out")]) == 2
        assert words in capsys.readouterr().err
