"""npkd.pipeline.library: every word makes terms that can be learnt, or says in a sentence why not."""

import math
import re
from functools import partial

import numpy as np
import pytest

from npkd.core.validation import InputError
from npkd.distillation import schemes
from npkd.distillation.objective import Terms
from npkd.nn.architectures import conv_layer
from npkd.nn.losses import squared_error
from npkd.nn.network import Layer, Network, dense_layer, perceptron
from npkd.nn.optimisers import Adam
from npkd.nn.training import TrainingSettings, train
from npkd.pipeline.distil import own
from npkd.pipeline.library import LOSSES, SCHEMES, listed, terms_of
from npkd.pipeline.pairing import Pair

pytestmark = pytest.mark.filterwarnings("ignore::npkd.nn.dead.DeadNeuronsWarning")     # networks of a few neurons

MAPS = {"at", "nst", "ft", "kdsvd", "review"}


def rng():
    return np.random.default_rng(0)


def convolutional(channels, hidden, rng):
    """Maps 8×8 behind the first relu, 4×4 behind the pooling and the second."""
    return Network([Layer("unflatten", options={"shape": [8, 8, 1]}), conv_layer(1, channels, 3, rng, padding=1),
                    Layer("relu"), Layer("max_pool", options={"size": 2}),
                    conv_layer(channels, 2 * channels, 3, rng, padding=1), Layer("relu"), Layer("flatten"),
                    dense_layer(32 * channels, hidden, rng), Layer("relu"), dense_layer(hidden, 3, rng)])


@pytest.fixture(scope="module")
def taught():
    """Pictures 8×8 of three classes, and a trained teacher with a fresh student of each kind."""
    draw = rng()
    y = np.arange(60) % 3
    x = draw.random((60, 64)).astype(np.float32) / 2
    x[np.arange(60)[:, None], 20 * y[:, None] + np.arange(20)] += 0.5
    found = {}
    for kind, teacher, student in (("rows", perceptron([64, 24, 16, 3], draw), perceptron([64, 12, 8, 3], draw)),
                                   ("maps", convolutional(4, 16, draw), convolutional(2, 8, draw))):
        *_, last = train(teacher, {"x": x, "y": y}, settings=TrainingSettings(10, 20), optimiser=Adam(0.01), rng=draw)
        found[kind] = partial(Pair, student, last.network, x, y)
    return found


def learnt(pair, terms, epochs=1):
    """The records of a training on terms alone."""
    data = {"x": pair.x, "y": pair.y, **pair.arrays}
    return [*schemes.offline(pair.student, pair.teacher, data, terms, optimiser=Adam(0.003), rng=rng(),
                             settings=TrainingSettings(epochs, 20, clip=1.0))]


@pytest.mark.parametrize("kind", ["rows", "maps"])
@pytest.mark.parametrize("word", [*LOSSES])
def test_every_loss_is_learnt(taught, word, kind):
    """Its own value falls, its gradient is none, and it is not a multiple of that of the labels."""
    pair = taught[kind](rng())
    if kind == "rows" and word in MAPS:
        with pytest.raises(InputError, match=f"{word}: it compares maps, and the student has none"):
            terms_of(word, pair)
        return
    terms = terms_of(word, pair)
    labels = Terms([*terms, *terms_of("smoothing", pair)])
    records = learnt(pair, labels)
    for name, first in list(records[0].terms.items())[:len(terms)]:
        assert first["gradient_norm"] > 1e-4
        assert word == "smoothing" or abs(first["cosine"]) < 0.999
        assert any(name.startswith(term.name) for term in terms)
    losses = [record.loss for record in learnt(pair, Terms(terms_of(word, pair)), 5)]
    assert losses[-1] < losses[0]
    assert np.isfinite(losses).all()


def test_a_weight_takes_the_place_of_the_one_that_a_loss_has(taught):
    pair = taught["rows"](rng())
    for word in ("rkd", "hint"):
        own = [term.weight for term in terms_of(word, pair)]
        assert own[0] == LOSSES[word].weight
        assert own[1:] == [2 * own[0]] * (word == "rkd")        # angles weigh twice what distances do
        assert [term.weight for term in terms_of(word, pair, 3.0)] == [3.0 * w / own[0] for w in own]
    place, = terms_of((2, 4), pair, 0.5)
    assert (place.student, place.teacher, place.weight, place.loss) == (2, 4, 0.5, squared_error)
    assert place.connector.layers[0].params[0].shape == (16, 12)
    same, = terms_of((5, 5), pair)
    assert same.connector is None


def test_the_temperature_reaches_the_losses_that_have_one(taught):
    for word in LOSSES:
        pair = taught["maps"](rng(), temperature=7.0)
        found = {term.options.get("temperature") for term in terms_of(word, pair)}
        assert found == ({7.0} if word in ("soft", "standardised", "dkd", "dist") else {None})


def test_where_losses_read(taught):
    """The last hidden activation, the last maps, or what the last activation reads; both ends for two layers."""
    pair = taught["maps"](rng())
    assert [(t.student, t.teacher) for t in terms_of("rkd", pair)] == [(9, 9)] * 2
    assert terms_of("at", pair)[0].student == 6
    assert terms_of("ofd", pair)[0].student == terms_of("ab", pair)[0].teacher == 8
    assert terms_of("fsp", pair)[0].student == (3, 6)
    assert terms_of("fsp", taught["rows"](rng()))[0].student == (2, 4)
    flat = Network([*pair.student.layers[:7], dense_layer(64, 3, rng())])          # its last hidden activation is maps
    crd, = terms_of("crd", Pair(flat, pair.teacher, pair.x, pair.y, rng()))
    assert (crd.student, crd.teacher) == (7, 9)
    assert [part.shape[1] for part in crd.parts] == [64 + 1, 16 + 1]


@pytest.mark.parametrize("kind", ["rows", "maps"])
def test_layers_of_any_kind_learn_from_the_deepest(taught, kind):
    pair = taught[kind](rng())
    training = own("own-layers", pair, {"x": pair.x, "y": pair.y})
    *_, record = training(pair.student, settings=TrainingSettings(1, 20))
    shapes = [math.prod(pair.shapes[0][i]) for i, _ in pair.places("own-layers")]
    assert [head.layers[-1].params[0].shape for head in record.beside] == [(3, size) for size in shapes]


def test_what_cannot_be_compared_is_refused_in_a_sentence(taught):
    maps, rows = taught["maps"](rng()), taught["rows"](rng())
    mixed = Pair(rows.student, maps.teacher, maps.x, maps.y, rng())
    linear = Pair(perceptron([64, 3], rng()), rows.teacher, rows.x, rows.y, rng())
    shallow = Pair(perceptron([64, 8, 3], rng()), rows.teacher, rows.x, rows.y, rng())
    network = Network([Layer("unflatten", options={"shape": [2, 2, 1]}), conv_layer(1, 3, 2, rng()), Layer("flatten")])
    last_maps = Pair(network, network, rows.x[:, :4], rows.y, rng())
    for pair, word, words in ((mixed, "at", "the student has none"), (linear, "rkd", "hidden activations, and"),
                              (shallow, "fsp", "but one"), (last_maps, "crd", "both must be rows"),
                              (mixed, (2, 3), "activation 2 of the student, 3 of the teacher"),
                              (rows, (0, 2), "1 … 5"), (rows, (2, 6), "1 … 5"), (rows, "other", "one of soft")):
        with pytest.raises(InputError, match=re.escape(words)):
            terms_of(word, pair)


def test_the_table():
    rows = listed()
    assert [row[0] for row in rows] == [*LOSSES, *SCHEMES]
    assert len({*LOSSES} | {*SCHEMES}) == len(rows)
    assert all(row[0] == row[0].lower() and " " not in row[0] for row in rows)
    assert all(cell and "  " not in cell for row in rows for cell in row)
    assert all(word == entry.word for word, entry in (LOSSES | SCHEMES).items())


@pytest.mark.parametrize("word", [*LOSSES])
def test_the_normaliser_of_the_table_is_that_of_the_docstring(taught, word):
    parts = LOSSES[word].normaliser.split(" and ") if word == "rkd" else [LOSSES[word].normaliser]
    for part, term in zip(parts, terms_of(word, taught["maps"](rng())), strict=True):
        said, told = part.replace(",", " ").split()[0], " ".join(term.loss.__doc__.split())
        assert re.search(rf"[Dd]ivided by (all of its entries|{said}\b)|1/\(2N\)|1/{said}|1/\({part}\)", told)
