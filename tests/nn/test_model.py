"""A network in a file: it comes back as it was, byte for byte; what is not whole, or not a network, is refused."""

import io
import json
import pickle
import zipfile

import numpy as np
import pytest

from npkd.core.files import VERSION, write_npz
from npkd.core.validation import InputError
from npkd.nn.cost import input_shape
from npkd.nn.model import Model, load, save
from npkd.nn.model import load as load_model
from npkd.nn.network import ACTIVATIONS, Layer, Network, perceptron
from npkd.nn.ops import OPS
from npkd.nn.scaling import Scaling

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def everything(dtype=np.float32):
    """A network with every op that a perceptron may be made of."""
    layers = [
        Layer("select", options={"kept": [4, 0, 2]}), Layer("dropout", options={"rate": 0.25}), Layer("flatten"),
        Layer("dense", (normal(6, 3), normal(6))),
        Layer("batch_norm", (normal(6), normal(6)), {"eps": 0.01}, (normal(6), normal(6) ** 2)),
        Layer("relu"), Layer("maxout", options={"pieces": 2}), Layer("gate", (normal(3),)),
        Layer("dense", (normal(4, 3), normal(4))),
        Layer("tanh"), Layer("batch_norm", (normal(4), normal(4))), Layer("dense", (normal(2, 4), normal(2))),
        *map(Layer, ACTIVATIONS), Layer("quantize", options={"step": 0.1, "zero": 7, "low": -3, "high": 90}),
    ]
    return Network(layers).astype(dtype)


def with_maps(dtype=np.float32):
    """A network with every op that maps need, and takes as many values."""
    return Network([
        Layer("unflatten", options={"shape": [5, 1, 1]}),
        Layer("conv2d", (normal(3, 3, 1, 1), normal(3)), {"padding": [1, 0]}),
        Layer("offset", (normal(5, 1, 3),)), Layer("conv2d", (normal(3, 1, 1, 3), normal(3))),
        Layer("add", options={"back": 1}), Layer("recall", options={"back": 2}),
        Layer("depthwise_conv2d", (normal(2, 1, 3), normal(3)), {"padding": [1, 0], "dilation": 2}),
        Layer("average_pool", options={"size": [2, 1], "stride": 1}), Layer("max_pool", options={"size": [2, 1]}),
        Layer("global_average_pool"), Layer("dense", (normal(2, 3), normal(2))),
    ]).astype(dtype)


def same(one, other):
    assert len(one.layers) == len(other.layers)
    for a, b in zip(one.layers, other.layers, strict=True):
        assert a.op == b.op
        assert dict(a.options) == dict(b.options)
        for p, q in zip((*a.params, *a.running), (*b.params, *b.running), strict=True):
            assert p.dtype == q.dtype
            assert p.shape == q.shape
            assert p.tobytes() == q.tobytes()


def runnable(network):
    """Without the batch norm that has no running moments: one example has none of its own."""
    return Network([layer for layer in network.layers if layer.op != "batch_norm" or layer.running])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("made", [everything, with_maps])
def test_every_op_comes_back(tmp_path, dtype, made):
    network = runnable(made(dtype))
    assert {layer.op for layer in everything().layers + with_maps().layers} == set(OPS)
    about = {"data": "digits", "seed": 3, "nested": {"ä": [1, 2.5, None, True]}}
    scaling = Scaling(normal(5), np.abs(normal(5)) + np.float32(0.1))
    save(tmp_path / "a.npz", Model(network, scaling, about))
    model = load(tmp_path / "a.npz")
    same(network, model.network)
    assert model.about == about
    assert model.scaling is not None
    assert model.scaling.offset.tobytes() == scaling.offset.tobytes()
    assert model.scaling.factor.tobytes() == scaling.factor.tobytes()
    x = RNG.standard_normal((7, 5))
    assert np.array_equal(model.logits(x), Model(network, scaling).logits(x))
    np.testing.assert_allclose(model.logits(x), network.predict(((x - scaling.offset) * scaling.factor).astype(dtype)),
                               atol=1e-4)


def test_batch_norm_without_running_moments(tmp_path):
    """A network that has not been trained yet can be stored too."""
    network = everything()
    save(tmp_path / "a.npz", Model(network))
    same(network, load(tmp_path / "a.npz").network)


def test_a_network_without_dense_layers(tmp_path):
    """Saved is saved: what ``save`` takes ``load`` gives back."""
    network = Network([Layer("gate", (normal(3),)), Layer("relu")])
    save(tmp_path / "a.npz", Model(network))
    same(network, load(tmp_path / "a.npz").network)


def test_the_same_model_gives_the_same_bytes(tmp_path):
    network = runnable(everything())
    save(tmp_path / "a.npz", Model(network, None, {"a": 1, "b": 2}))
    save(tmp_path / "b.npz", Model(network.copy(), None, {"b": 2, "a": 1}))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    save(tmp_path / "c.npz", load(tmp_path / "a.npz"))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "c.npz").read_bytes()
    network.layers[3].params[0][0, 0] += 1
    save(tmp_path / "d.npz", Model(network, None, {"a": 1, "b": 2}))
    assert (tmp_path / "a.npz").read_bytes() != (tmp_path / "d.npz").read_bytes()


def test_other_layouts_in_memory_give_the_same_file(tmp_path):
    network = perceptron([5, 4, 3], RNG)
    turned = Network([Layer(layer.op, tuple(np.asfortranarray(p) for p in layer.params)) for layer in network.layers])
    save(tmp_path / "a.npz", Model(network))
    save(tmp_path / "b.npz", Model(turned))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_logits_take_raw_inputs_of_any_kind():
    network, scaling = perceptron([4, 3], RNG), Scaling.range(0, 255, 4)
    pictures = RNG.integers(0, 256, (6, 2, 2))
    expected = network.predict((pictures.reshape(6, 4) / 255).astype(np.float32))
    for dtype in (np.uint8, np.int64, np.float64, np.float32):
        logits = Model(network, scaling).logits(pictures.astype(dtype))
        assert logits.dtype == np.float32
        np.testing.assert_allclose(logits, expected, atol=1e-5)
    plain = (pictures.reshape(6, 4) / 255).astype(np.float64)
    np.testing.assert_allclose(Model(network).logits(plain), expected, atol=1e-5)


@pytest.mark.parametrize(("x", "words"), [
    (np.zeros((0, 4)), r"x has shape \(0, 4\); it must be \(N, ...\)"),
    ([[0.0, 1.0, 2.0]], r"x has shape \(1, 3\) and w has shape \(3, 4\)"),
    (np.full((2, 4), np.nan), r"x holds nan at \(0, 0\)"),
    (np.full((2, 4), 1e39), r"x holds inf at \(0, 0\)"),
    (np.full((2, 4), "a"), "integers or floating-point"),
])
def test_inputs_that_logits_refuse(x, words):
    with pytest.raises(InputError, match=words):
        Model(perceptron([4, 3], RNG)).logits(x)


def refused(path, *words):
    with pytest.raises(InputError) as caught:
        load(path)
    sentence = str(caught.value)
    assert sentence.startswith("read: ")
    assert str(path) in sentence
    assert "\n" not in sentence
    for word in words:
        assert word in sentence


def test_a_file_cut_short_anywhere(tmp_path):
    save(tmp_path / "whole.npz", Model(runnable(everything())))
    whole, path = (tmp_path / "whole.npz").read_bytes(), tmp_path / "cut.npz"
    for length in [*range(0, len(whole), 61), *range(len(whole) - 40, len(whole))]:
        path.write_bytes(whole[:length])
        refused(path)


def test_files_of_other_people(tmp_path):
    path = tmp_path / "x.npz"
    refused(path)                                                # missing
    refused(tmp_path)                                            # a folder
    for content in (b"", b"hello", b"PK\x03\x04", bytes(1000), pickle.dumps({"w": 1})):
        path.write_bytes(content)
        refused(path)
    np.savez(path, a=np.ones(3))
    refused(path, "no npkd header")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    refused(path)
    write_npz(path, {"format": "npkd-other", "version": VERSION}, {})
    refused(path, "npkd-network")
    for header in ([], "x", 3, None, {"format": "npkd-network"}, {"format": "npkd-network", "version": VERSION + 1}):
        np.savez(path, header=np.frombuffer(json.dumps(header).encode(), np.uint8))
        refused(path)


class Bomb:
    exploded = False

    def __reduce__(self):
        return setattr, (Bomb, "exploded", True)


def test_nothing_in_it_is_executed(tmp_path):
    save(tmp_path / "a.npz", Model(perceptron([3, 2], RNG)))
    stored = dict(np.load(tmp_path / "a.npz"))
    stored["0.w"] = np.array([Bomb()])
    np.savez(tmp_path / "b.npz", **stored)
    refused(tmp_path / "b.npz", "objects")
    assert not Bomb.exploded
    pickle.load(io.BytesIO(pickle.dumps(Bomb())))
    assert Bomb.exploded                                          # the bomb would have gone off


def written(path, layers, arrays, **more):
    write_npz(path, {"format": "npkd-network", "version": VERSION, "layers": layers, "about": {}, **more}, arrays)
    return path


def entry(op, options=None, running=0):
    return {"op": op, "options": options or {}, "running": running}


W, B, B3 = np.ones((2, 3), np.float32), np.zeros(2, np.float32), np.zeros(3, np.float32)
DENSE = {"0.w": W, "0.b": B}


@pytest.mark.parametrize(("layers", "arrays"), [
    # 2 outputs into 3 inputs
    ([entry("dense"), entry("dense")], {**DENSE, "1.w": np.ones((2, 3), np.float32), "1.b": B}),
    ([entry("dense")], {"0.w": W, "0.b": np.zeros(3, np.float32)}),
    ([entry("dense")], {"0.w": np.ones(3, np.float32), "0.b": B}),
    ([entry("dense")], {"0.w": np.ones((2, 3), int), "0.b": B}),
    ([entry("dense")], {"0.w": W * np.nan, "0.b": B}),
    ([entry("dense")], {"0.w": W, "0.b": B, "surplus": np.array([np.inf])}),
    ([entry("dense")], {"0.w": W}),
    ([entry("dense", {"bias": False})], DENSE),
    ([entry("dense"), entry("magic")], DENSE),
    ([entry("dense"), entry("maxout", {"pieces": 3})], DENSE),
    ([entry("dense"), entry("maxout", {"pieces": 0})], DENSE),
    ([entry("dense"), entry("maxout", {"pieces": "2"})], DENSE),
    ([entry("dense"), entry("dropout", {"rate": 1.5})], DENSE),
    ([entry("dense"), entry("dropout", {"rate": "much"})], DENSE),
    ([entry("dense"), entry("batch_norm", {}, 2)],
     {**DENSE, "1.gamma": B, "1.beta": B, "1.running0": B, "1.running1": B3}),
    ([entry("dense"), entry("batch_norm", {}, 1)], {**DENSE, "1.gamma": B, "1.beta": B, "1.running0": B}),
    ([entry("dense"), entry("batch_norm", {}, "2")], {**DENSE, "1.gamma": B, "1.beta": B}),
    ([entry("select", {"kept": [0, 0, 1]}), entry("dense")], {"1.w": W, "1.b": B}),
    ([entry("select", {"kept": [0, 1]}), entry("dense")], {"1.w": W, "1.b": B}),
    ([entry("select", {"kept": []}), entry("dense")], {"1.w": W, "1.b": B}),
    ([entry("select", {"kept": "abc"}), entry("dense")], {"1.w": W, "1.b": B}),
    ([entry("select", {"kept": [0, 1, -2]}), entry("dense")], {"1.w": W, "1.b": B}),
    ([entry("select", {"kept": 5}), entry("dense")], {"1.w": W, "1.b": B}),
    ([entry("relu")], {}),
    ([], {}),
    ({}, {}),
    (None, {}),
    ("dense", DENSE),
    ([3], {}),
    ([["dense"]], DENSE),
    ([{"op": "dense"}], DENSE),
    ([{"op": ["dense"], "options": {}, "running": 0}], DENSE),
    ([entry("dense", 5)], DENSE),
    ([entry("dense", "ab")], DENSE),
    # scales 4 of 3 inputs
    ([entry("dense")], {**DENSE, "offset": np.zeros(4, np.float32), "factor": np.ones(4, np.float32)}),
    ([entry("dense")], {**DENSE, "offset": np.zeros(3), "factor": np.ones(3)}),
    ([entry("dense")], {**DENSE, "offset": np.zeros(3, np.float32)}),
    ([entry("dense")], {**DENSE, "offset": np.zeros(3, np.float32), "factor": np.zeros(3, np.float32)}),
])
def test_what_is_no_network_that_can_run(tmp_path, layers, arrays):
    refused(written(tmp_path / "x.npz", layers, arrays), "does not hold a network")


def test_a_header_without_its_parts(tmp_path):
    path = tmp_path / "x.npz"
    write_npz(path, {"format": "npkd-network", "version": VERSION, "about": {}}, DENSE)
    refused(path, "does not hold a network")
    write_npz(path, {"format": "npkd-network", "version": VERSION, "layers": [entry("dense")]}, DENSE)
    refused(path)


def test_the_check_of_these_files_can_fail(tmp_path):
    """The sound one of their kind is read."""
    assert load(written(tmp_path / "x.npz", [entry("dense"), entry("relu")], DENSE)).network.widths == [3, 2]


CONV = {"0.w": np.ones((2, 3, 3, 1), np.float32), "0.b": B}


@pytest.mark.parametrize(("layers", "arrays", "words"), [
    ([entry("conv2d", {"padding": 10 ** 9})], CONV, "at most 256 wide"),
    ([entry("conv2d", {"padding": [0, 10 ** 9]})], CONV, "at most 256 wide"),
    ([entry("conv2d", {"padding": -1})], CONV, "padding is -1"),
    ([entry("conv2d", {"stride": "2"})], CONV, "stride is '2'"),
    ([entry("conv2d")], {**CONV, "0.w": np.ones((2, 3, 3), np.float32)}, "needs w (O, kh, kw, I), b (O)"),
    ([entry("conv2d")], {**CONV, "0.b": B3}, "needs w (O, kh, kw, I), b (O)"),
    ([entry("conv2d"), entry("max_pool", {"size": 10 ** 9, "padding": 5 * 10 ** 8})], CONV, "at most 256"),
    ([entry("conv2d"), entry("max_pool", {"kernel": 2})], CONV, "no option 'kernel'; it has size, stride, padding"),
    ([entry("conv2d"), entry("conv2d")], {**CONV, "1.w": CONV["0.w"], "1.b": B}, "w has shape (2, 3, 3, 1)"),
    ([entry("unflatten", {"shape": [3, 3, 1]}), entry("conv2d", {}), entry("flatten"), entry("dense")],
     {"1.w": CONV["0.w"], "1.b": B, "3.w": W, "3.b": B}, "x has shape (0, 2) and w has shape (2, 3)"),
    ([entry("dense"), entry("batch_norm", {"eps": "x"})], {**DENSE, "1.gamma": B, "1.beta": B}, "not supported"),
    ([entry("dense"), entry("batch_norm", {"eps": -1})], {**DENSE, "1.gamma": B, "1.beta": B}, "eps is -1"),
    ([entry("dense"), entry("batch_norm", {}, 2)],
     {**DENSE, "1.gamma": B, "1.beta": B, "1.running0": B, "1.running1": B - 1}, "variance is -1"),
    ([entry("dense")], {**DENSE, "surplus": B}, "array surplus belongs to no layer"),
    ([entry("dense")], {"0.w": np.ones((2, 0), np.float32), "0.b": B}, "array 0.w is empty"),
    ([entry("select", {"kept": [10 ** 400]}), entry("dense")], {"1.w": W[:, :1], "1.b": B}, "Error"),
    ([entry("dense")] + 10_000 * [entry("relu")], DENSE, "10001 layers; at most 10000"),
], ids=str)
def test_networks_made_to_do_harm(tmp_path, layers, arrays, words):
    refused(written(tmp_path / "x.npz", layers, arrays), "does not hold a network", words)


def test_convolutional_networks_that_name_no_size(tmp_path):
    """What the check of shapes takes apart is read as it was: with and without flatten, with an offset, with a skip."""
    select = Layer("select", options={"kept": [0, 3]})
    for tail in ([Layer("flatten"), select, Layer("dense", (normal(2, 2), normal(2)))],
                 [Layer("global_average_pool"), Layer("dense", (normal(2, 3), normal(2)))]):
        network = Network([
            Layer("conv2d", (normal(3, 3, 3, 2), normal(3)), {"padding": 1}), Layer("offset", (normal(4, 5, 3),)),
            Layer("relu"), Layer("conv2d", (normal(3, 1, 1, 3), normal(3))), Layer("add", options={"back": 1}),
            Layer("max_pool", options={"size": 2}), *tail])
        save(tmp_path / "a.npz", Model(network))
        same(network, load(tmp_path / "a.npz").network)


def test_other_kinds_of_files_are_named(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, w0=W, b0=B)
    refused(path, "an archive with w0, b0", "no npkd header", "make one with", "npkd.compress as they are")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"")
    refused(path, "no npkd header; it must be", "it is a PyTorch file; load it", "npkd.compress(module, x)")
    for content, words in ((b"a,b\n1,2\n", "a table in text (CSV)"), (b"\x08\x07\x12\x04onnx", "an ONNX model"),
                           (b"\x89HDF\r\n\x1a\n", "an HDF5 file"), (pickle.dumps({}), "a pickle"), (b"", "empty"),
                           (b'{"w": 1}', "JSON"), (b"\x1c\0\0\0TFL3", "a TensorFlow Lite"), (b"PAR1", "a Parquet")):
        path.write_bytes(content)
        refused(path, f"is {words}")


@pytest.mark.parametrize("first", [Layer("unflatten", options={"shape": [8, 8, 3]}), None], ids=["unflatten", "maps"])
def test_channels_come_last(first):
    rest = [Layer("conv2d", (normal(4, 3, 3, 3), normal(4))), Layer("global_average_pool"),
            Layer("dense", (normal(2, 4), normal(2)))]
    model = Model(Network([first, *rest] if first else rest))
    x = RNG.standard_normal((5, 3, 8, 8)).astype(np.float32)
    with pytest.raises(InputError, match=r"has the shape \(3, 8, 8\); channels come last: give np\.moveaxis"):
        model.logits(x)
    moved = np.moveaxis(x, 1, -1)
    assert model.logits(moved).shape == (5, 2)
    if first:
        np.testing.assert_array_equal(model.logits(moved.reshape(5, -1)), model.logits(moved))
        with pytest.raises(InputError, match=r"reads maps \(8, 8, 3\), and an example has the shape \(4, 16, 3\)$"):
            model.logits(moved.reshape(5, 4, 16, 3))


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        save(tmp_path / "nowhere" / "a.npz", Model(perceptron([3, 2], RNG)))
    assert not list(tmp_path.iterdir())


def test_what_json_has_no_word_for(tmp_path):
    with pytest.raises(InputError):
        save(tmp_path / "a.npz", Model(perceptron([3, 2], RNG), None, {"x": np.ones(3)}))
    assert not list(tmp_path.iterdir())


def test_input_shape():
    assert input_shape(perceptron([7, 2], RNG)) == (7,)
    assert input_shape(everything()) == (5,)
    assert load_model.__doc__
