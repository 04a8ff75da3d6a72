"""Optimisers against their papers' formulas, written as plain loops over single numbers; schedules at points that are
known."""

import math

import numpy as np
import pytest

from npkd.core.validation import InputError
from npkd.nn.optimisers import SGD, Adam, AdamW
from npkd.nn.schedules import cosine, steps

START = np.array([1.0, -2.0, 0.5, 3.0])
SCALES = np.array([1.0, 4.0, 0.3, 2.0])
RATES = [0.1, 0.05, 0.2, 0.1, 0.01, 0.1, 0.15, 0.1]


def slope(theta):
    """Gradient of a quadratic with a sine on top, so that nothing is linear."""
    return SCALES * theta + np.sin(theta)


def run(optimiser, dtype=np.float64):
    """The trajectory of an optimiser: parameters after each update, and the step sizes it names."""
    parameters = START.astype(dtype)
    state = optimiser.begin(parameters)
    trajectory, sizes = [], []
    for rate in RATES:
        size = state.update(parameters, slope(parameters).astype(dtype), rate)
        trajectory.append(parameters.copy())
        sizes.append(np.array(size, copy=True))
    return np.array(trajectory), sizes


def sgd(theta, momentum, nesterov, decay):
    """(T1), (T2), (T3) of one parameter, a number at a time, in PyTorch's form; Polyak 1964, Sutskever et al. 2013."""
    trajectory = []
    v = [0.0] * 4
    theta = list(theta)
    for rate in RATES:
        gradient = slope(np.array(theta))
        for i in range(4):
            g = gradient[i] + decay * theta[i]                                               # (T1)
            v[i] = momentum * v[i] + g                                                       # (T2)
            theta[i] -= rate * (g + momentum * v[i] if nesterov else v[i])                   # (T3)
        trajectory.append(list(theta))
    return np.array(trajectory)


def adam(theta, beta1, beta2, eps, decay, decoupled):
    """Kingma & Ba 2015, algorithm 1; Loshchilov & Hutter 2019, algorithm 2: (T4), (T5), (T6) a number at a time."""
    trajectory, sizes = [], []
    m, s, theta = [0.0] * 4, [0.0] * 4, list(theta)
    for t, rate in enumerate(RATES, 1):
        gradient = slope(np.array(theta))
        sizes.append([0.0] * 4)
        for i in range(4):
            g = gradient[i] if decoupled else gradient[i] + decay * theta[i]                 # (T6)
            m[i] = beta1 * m[i] + (1 - beta1) * g                                            # (T4)
            s[i] = beta2 * s[i] + (1 - beta2) * g * g                                        # (T4)
            metric = math.sqrt(s[i] / (1 - beta2 ** t)) + eps                                # (T5)
            shrunk = theta[i] * (1 - rate * decay) if decoupled else theta[i]                # (T6)
            theta[i] = shrunk - rate * m[i] / (1 - beta1 ** t) / metric                      # (T5)
            sizes[-1][i] = rate / metric
        trajectory.append(list(theta))
    return np.array(trajectory), np.array(sizes)


@pytest.mark.parametrize("decay", [0.0, 0.03])
@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True), (0.0, True), (0.5, True)])
def test_sgd(momentum, nesterov, decay):
    got, sizes = run(SGD(0.1, momentum, nesterov, decay))
    np.testing.assert_allclose(got, sgd(START, momentum, nesterov, decay), rtol=1e-12, atol=1e-13)
    # what the parameters move by, all told
    np.testing.assert_allclose(sizes, np.array(RATES) / (1 - momentum), rtol=1e-15)


@pytest.mark.parametrize("decoupled", [False, True], ids=["Adam", "AdamW"])
@pytest.mark.parametrize("decay", [0.0, 0.03])
@pytest.mark.parametrize(("beta1", "beta2", "eps"),
                         [(0.9, 0.999, 1e-8), (0.0, 0.5, 1e-8), (0.5, 0.9, 0.1), (0.5, 0.0, 1e-3)])
def test_adam(beta1, beta2, eps, decay, decoupled):
    got, sizes = run(Adam(0.1, beta1, beta2, eps, decay, decoupled))
    expected, expected_sizes = adam(START, beta1, beta2, eps, decay, decoupled)
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(sizes, expected_sizes, rtol=1e-12)


def test_adamw_is_adam_with_decoupled_decay():
    assert AdamW(0.01, 0.2) == Adam(0.01, weight_decay=0.2, decoupled=True)


def test_the_default_decay_of_adamw_shrinks_a_weight_without_a_gradient():
    """λ = 0.01 as in PyTorch's AdamW: with g = 0 an update is θ ← (1 − η λ) θ (T6), here by 1 − 0.5 · 0.01."""
    theta = np.array([2.0, -4.0])
    AdamW(0.5).begin(theta).update(theta, np.zeros(2), 0.5)
    np.testing.assert_allclose(theta, [2 * 0.995, -4 * 0.995], rtol=1e-15)
    assert AdamW().learning_rate == 1e-3


@pytest.mark.parametrize("optimiser",
                         [SGD(0.1, 0.9, weight_decay=0.01), SGD(0.1, 0.9, True), Adam(0.1), AdamW(0.1, 0.1)])
def test_single_precision_stays_single_and_near(optimiser):
    single, _ = run(optimiser, np.float32)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, run(optimiser)[0], rtol=1e-4, atol=1e-4)


def test_runs_are_independent_of_each_other():
    optimiser = Adam(0.1)
    np.testing.assert_array_equal(run(optimiser)[0], run(optimiser)[0])


@pytest.mark.parametrize(("momentum", "curvature", "rate"), [(0.0, 1.0, 0.3), (0.81, 1.0, 0.04), (0.25, 4.0, 0.2)])
def test_on_a_quadratic_the_error_falls_by_the_spectral_radius(momentum, curvature, rate):
    """θ⁺ = θ − η v⁺, v⁺ = μ v + a θ is a linear map of (θ, v); its spectral radius is the rate at which the error
    falls."""
    matrix = np.array([[1 - rate * curvature, -rate * momentum], [curvature, momentum]])
    radius = np.abs(np.linalg.eigvals(matrix)).max()
    theta = np.array([1.0])
    state = SGD(rate, momentum).begin(theta)
    sizes = []
    for _ in range(400):
        state.update(theta, curvature * theta, rate)
        sizes.append(float(np.hypot(theta[0], state.velocity[0])))
    lowest = next((k for k, size in enumerate(sizes) if size < 1e-140), 400)
    k = min(lowest, 399)
    assert (sizes[k] / sizes[k // 2]) ** (1 / (k - k // 2)) == pytest.approx(radius, rel=0.03)


def test_the_first_step_of_adam_has_the_size_of_the_rate():
    """Kingma & Ba, section 2.1: |Δθ| ≈ η whatever the scale of the gradient."""
    for scale in (1e-3, 1.0, 1e5):
        theta = np.zeros(3)
        Adam(0.01).begin(theta).update(theta, scale * np.array([1.0, -2.0, 0.5]), 0.01)
        np.testing.assert_allclose(theta, [-0.01, 0.01, -0.01], rtol=1e-4)


@pytest.mark.parametrize(("make", "words"), [
    (lambda: SGD(0.0), ("SGD", "learning_rate is 0", "positive")),
    (lambda: SGD(-1.0), ("SGD", "learning_rate is -1", "positive")),
    (lambda: SGD(float("nan")), ("SGD", "learning_rate is nan")),
    (lambda: SGD(0.1, 1.0), ("SGD", "momentum is 1.0", "below 1")),
    (lambda: SGD(0.1, -0.1), ("SGD", "momentum is -0.1", "at least 0")),
    (lambda: SGD(0.1, weight_decay=-1.0), ("SGD", "weight_decay is -1", "not negative")),
    (lambda: Adam(0.0), ("Adam", "learning_rate is 0", "positive")),
    (lambda: Adam(eps=0.0), ("Adam", "eps is 0", "positive")),
    (lambda: Adam(beta1=1.0), ("Adam", "beta1 is 1.0", "below 1")),
    (lambda: Adam(beta2=-0.5), ("Adam", "beta2 is -0.5", "at least 0")),
    (lambda: AdamW(0.1, -0.1), ("Adam", "weight_decay is -0.1", "not negative")),
    (lambda: cosine(warm_up=1.0), ("cosine", "warm_up is 1.0", "below 1")),
    (lambda: cosine(warm_up=-0.1), ("cosine", "warm_up is -0.1", "at least 0")),
    (lambda: steps((0.5, 1.5)), ("steps", "(0.5, 1.5)", "between 0 and 1")),
    (lambda: steps((0.5,), warm_up=-0.1), ("steps", "warm_up is -0.1")),
])
def test_settings_that_make_no_sense_are_refused(make, words):
    with pytest.raises(InputError) as error:
        make()
    for word in words:
        assert word in str(error.value)


def test_schedules_at_known_points():
    assert [steps(())(p) for p in (0.0, 0.3, 1.0)] == [1.0, 1.0, 1.0]
    plain = cosine()
    assert [plain(p) for p in (0.0, 0.5, 1.0)] == pytest.approx([1.0, 0.5, 0.0])
    assert plain(1 / 3) == pytest.approx(0.75)                                               # cos 60° = 1/2
    warm = cosine(warm_up=0.2, floor=0.1)
    assert [warm(p) for p in (0.0, 0.1, 0.2, 0.6, 1.0)] == pytest.approx([0.0, 0.5, 1.0, 0.55, 0.1])
    stairs = steps((0.5, 0.75), 0.1)
    assert [stairs(p) for p in (0.0, 0.49, 0.5, 0.74, 0.75, 1.0)] == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    rising = steps((0.5,), 0.5, warm_up=0.25)
    assert [rising(p) for p in (0.0, 0.125, 0.25, 0.4, 0.5)] == pytest.approx([0.0, 0.5, 1.0, 1.0, 0.5])


def test_cosine_falls_and_never_jumps():
    for schedule in (cosine(), cosine(warm_up=0.1), cosine(warm_up=0.3, floor=0.2)):
        values = np.array([schedule(p) for p in np.linspace(0, 1, 2001)])
        assert np.abs(np.diff(values)).max() < 0.006
        top = int(values.argmax())
        assert (np.diff(values[:top]) > 0).all()
        assert (np.diff(values[top:]) <= 0).all()
