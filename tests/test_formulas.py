"""The displayed formulas of docs/ are true: each is read from its page, evaluated on random numbers, and compared with
what a naive definition gives. And every sign counts: with a plus for a minus, or a relation turned round, it is false.
"""

import math
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize, minimize_scalar
from scipy.special import gammaln, ndtr

from npkd.distillation.objective import distillation
from npkd.nn import cost
from npkd.nn.network import perceptron
from reference.definitions.compression import integer as whole
from reference.definitions.compression import quantization as levels
from reference.definitions.compression import unstructured
from reference.definitions.distillation import relations
from reference.definitions.distillation import scheme_losses as schemes
from reference.definitions.distillation.cka import centred_kernel_alignment
from reference.definitions.distillation.factors import factor_transfer
from reference.definitions.distillation.features import (
    activation_boundaries,
    attention_transfer,
    flow,
    neuron_selectivity,
)
from reference.definitions.distillation.response import (
    decoupled,
    dist,
    logit_matching,
    soft_targets,
    standardised_logits,
)
from reference.definitions.distillation.singular_vectors import singular_vectors
from reference.definitions.distillation.variational import variational_information
from reference.definitions.nn.clipped import clipped_quadratic
from reference.definitions.nn.losses import cross_entropy, squared_error
from reference.definitions.sparsity.nuclear import nuclear
from reference.definitions.sparsity.pseudo_norm import l1_l2
from tests.latex import holds

DOCS = Path(__file__).resolve().parent.parent / "docs"
DISPLAYS = {tag: display for page in sorted(DOCS.rglob("*.md"))
            for display in page.read_text(encoding="utf-8").split("$$")[1::2]
            for tag in re.findall(r"\\tag\*\{\((\w+)\)\}", display)}
SIGN = re.compile(r"[+<]|-(?!1\})|\\le(?![a-z])")
TURNED = {"+": "-", "-": "+", "<": r"\ge", r"\le": r"\ge"}
N, D, M = 40, 4, 3


def clauses(tag):
    """The statements of a display, without words: what stands between wide spaces, up to the first text."""
    plain = re.sub(r"\\tag\*.*", "", DISPLAYS[tag]).replace(":=", "=")
    plain = re.sub(r"(?<![\\A-Za-z])d([a-z])(?=_|\s*=)", r"\\mathrm{d\1}", plain)
    return [re.sub(r"(\\quad|\\ |[,.\s])*(\\text.*)?$", "", part) for part in plain.split(r"\qquad")]


# --- numbers: each function gives what the names of a formula stand for, the left side by a naive definition
# ----------------------------------------------------------------------------------------------------------------


def slopes(function, x, h=1e-6):
    """Central differences."""
    unit = np.eye(x.size).reshape(x.size, *x.shape)
    return np.array([(function(x + h * e) - function(x - h * e)) / (2 * h) for e in unit]).reshape(x.shape)


def least(function, start):
    """Where a function with a kink at zero alone is least: there, or what a general minimiser finds."""
    found = minimize(function, start, method="BFGS", jac="3-point", options={"gtol": 1e-10}).x
    return found if function(found) < function(0 * start) - 1e-12 else 0 * start


def layer(rng):
    """Raw data of a layer, its statistics as means over the examples, weights, and costs of neurons."""
    h = rng.standard_normal((N, D)) @ (np.eye(D) + 0.3 * rng.standard_normal((D, D))) + 1
    w = rng.standard_normal((M, D))
    z = h @ rng.standard_normal((D, M)) + rng.standard_normal((N, M))
    both = np.cov(np.hstack([h, z]).T, bias=True)
    return {"h": h, "z": z, r"\bar{h}": h.mean(0), r"\bar{z}": z.mean(0), "H": h - h.mean(0), "Z": z - z.mean(0),
            "A": both[:D, :D], "C": both[:D, D:], "t": np.trace(both[D:, D:]), "W": w, "c": rng.uniform(1, 2, D),
            "N": N, "n": range(N), "j": range(D), "R": z - z.mean(0) - (h - h.mean(0)) @ w.T, r"\lambda": 0.4}


def primal(data, w):
    """(W1) on raw data, column by column."""
    return squared_error(data["H"] @ w.T, data["Z"]) + data[r"\lambda"] * sum(
        c * np.sqrt((w[:, j] ** 2).sum()) for j, c in enumerate(data["c"]))


def dual(data, residual):
    """D(Θ) of chapter 8 at Θ = s R, and the best s of those that are feasible."""
    bound = min(data[r"\lambda"] * N * data["c"] / np.linalg.norm(residual.T @ data["H"], axis=0))

    def value(s):
        return (s * residual * data["Z"]).sum() / N - squared_error(s * residual, 0 * residual)

    inside = minimize_scalar(lambda s: -value(s), bounds=(-bound, bound), method="bounded", options={"xatol": 1e-12}).x
    return max((-bound, bound, inside), key=value), value


def sums(rng):
    data = layer(rng)
    return data | {name: N * data[name] for name in ("A", "C", "t")}


def merged(rng):
    h, cut = layer(rng)["h"], 15
    scatter = [len(x) * np.cov(x.T, bias=True) for x in (h, h[:cut], h[cut:])]
    return {"A": scatter[0], "A_1": scatter[1], "A_2": scatter[2], "N": N, "N_1": cut, "N_2": N - cut,
            r"\delta": h[cut:].mean(0) - h[:cut].mean(0)}


def fitted(rng):
    data = layer(rng)
    fit = np.linalg.lstsq(np.column_stack([data["h"], np.ones(N)]), data["z"], rcond=None)[0]
    return data | {"b": fit[-1], "W": fit[:-1].T}


def residual(rng):
    data = layer(rng)
    G = data["H"].T @ data["R"] / N
    return data | {"r": np.linalg.norm(data["R"]) / np.sqrt(N), "r_y": (data["R"] * data["Z"]).sum() / N, "G": G}


def singular(rng):
    """A matrix and its singular values, by the naive definition, and by eigenvalues."""
    w = layer(rng)["W"]
    values = np.sqrt(np.linalg.eigvalsh(w @ w.T))
    return {"W": w, r"\Omega": lambda w: nuclear(w, 0.4), r"\sigma": values, r"\lambda": 0.4, "k": range(M)}


def reduced(rng):
    """Best maps of rank 2 with a ridge, by singular values of the data with further examples; N, not means."""
    data, rho, w0 = layer(rng), 3.0, rng.standard_normal((M, D))
    inputs, targets = (np.vstack([data[a], np.sqrt(rho) * b]) for a, b in (("H", np.eye(D)), ("Z", w0.T)))
    w = np.linalg.lstsq(inputs, targets, rcond=None)[0].T
    _, s, v = np.linalg.svd(inputs @ w.T, full_matrices=False)
    near = v[:2].T @ v[:2] @ w
    e = ((data["Z"] - data["H"] @ near.T) ** 2).sum() / (data["Z"] ** 2).sum()
    return {"A": N * data["A"], "C": N * data["C"], "t": N * data["t"], r"\rho": rho, "W_0": w0, "W": w, "I": np.eye(D),
            "V": v.T, r"\kappa": s ** 2, "v": v, "k": range(2), "e_r": e}


def stated(rng):
    data = layer(rng)
    return data | {"P": lambda w: primal(data, w),
                   "r": lambda w: np.sqrt(2 * squared_error(data["H"] @ w.T, data["Z"]))}


def emptied(rng):
    data = layer(rng)
    steepest = np.linalg.norm(slopes(lambda w: primal(data | {r"\lambda": 0}, w), 0 * data["W"]), axis=0)
    return data | {r"\lambda_{\max}": max(steepest / data["c"])}


def certified(rng):
    data = residual(rng) | {r"\lambda": rng.choice([0.1, 2.0, 50.0])}
    (s, value), P = dual(data, data["R"]), primal(data, data["W"])
    return data | {"s": s, "D": value(s), "P": P, r"\mathrm{gap}": P - value(s)}


def screened(rng):
    """A point on the way to the solution, which a long plain descent finds."""
    data = layer(rng)
    data[r"\lambda"] = lam = rng.choice([0.2, 0.5]) * max(np.linalg.norm(data["C"], axis=1) / data["c"])
    w, step, points = 0 * data["W"], 1 / np.linalg.eigvalsh(data["A"])[-1], []
    for _ in range(5000):
        points.append(w)
        w = w + step * (data["Z"] - data["H"] @ w.T).T @ data["H"] / N
        w = w * np.maximum(1 - step * lam * data["c"] / np.linalg.norm(w, axis=0), 0)
    at = points[rng.choice([5, 50, 500])]
    rest = data["Z"] - data["H"] @ at.T
    s, value = dual(data, rest)
    gap = max(primal(data, at) - value(s), 0) + 1e-12
    return data | {"W^*": w, "s": s, "G": data["H"].T @ rest / N, r"\mathrm{gap}": gap}


def refitted(rng):
    data, kept = layer(rng), [0, 2, 3]
    ridge = np.sqrt(N * 0.1 * sum(data["A"][k, k] for k in kept) / 3) * np.eye(3)
    rows, targets = np.vstack([data["H"][:, kept], ridge]), np.vstack([data["Z"], np.zeros((3, M))])
    return data | {"S": kept, r"\rho": 0.1, "I": np.eye(3), "W_S": np.linalg.lstsq(rows, targets, rcond=None)[0].T}


def swept(rng):
    data = layer(rng)
    data |= {"H": data["H"] / data["H"].std(0), "c": np.eye(D)[1], r"\lambda": rng.choice([0.2, 1.0, 20.0])}
    v = data["W"].T / 4
    G = data["H"].T @ (data["Z"] - data["H"] @ v) / N
    row = least(lambda row: primal(data, np.vstack([v[:1], row, v[2:]]).T), v[1] + G[1])
    return {"v": v, "v_j": row, "G": G, "u_j": v[1] + G[1], r"\kappa_j": data[r"\lambda"]}


def majorised(rng):
    """f(ω) and v(ω): least squares on the data with √(N/ω) e_j as further rows."""
    data, kappa, omega = layer(rng), rng.uniform(0.1, 1, D), rng.uniform(0.1, 2, D)
    rows = np.vstack([data["H"], np.diag(np.sqrt(N / omega))])
    targets = np.vstack([data["Z"], np.zeros((D, M))])
    v = np.linalg.lstsq(rows, targets, rcond=None)[0]
    least_value = ((targets - rows @ v) ** 2).sum() / (2 * N) - data["t"] / 2
    return data | {r"\kappa": kappa, r"\omega": omega, "v": lambda omega: v, "f": lambda omega: least_value + (
        kappa ** 2 * omega).sum() / 2}


def without(rng):
    """What least squares lose without a neuron, by fitting again; weights and inverse of what is left."""
    data, new, inverse = layer(rng), np.zeros((M, D)), np.zeros((D, D))

    def fit(columns):
        found = np.linalg.lstsq(data["H"][:, columns], data["Z"], rcond=None)[0]
        return found, squared_error(data["H"][:, columns] @ found, data["Z"])

    w, error = fit(range(D))
    E = np.array([fit([k for k in range(D) if k != j])[1] - error for j in range(D)])
    left = [0, 1, 3]
    new[:, left], inverse[np.ix_(left, left)] = fit(left)[0].T, np.linalg.inv(data["A"][np.ix_(left, left)])
    full = np.linalg.inv(data["A"])
    return data | {"W": w.T, "E": E, "c": max(E) / E, "i": range(D), "q": 2, "new": (new, inverse), "old": (w.T, full)}


def compensated(rng):
    data = without(rng)
    return data | {"W": data["new"][0], "old W": data["old"][0]}


def eliminated(rng):
    data = without(rng)
    return data | {"A^{-1}": data["new"][1], "old A^{-1}": data["old"][1]}


def rounded_by_columns(rng):
    """The first column is rounded; those behind it are the least squares anew."""
    h, v = rng.standard_normal((N, D)), rng.standard_normal((M, D))
    A, new, w = h.T @ h, v.copy(), np.rint(v)
    new[:, 1:] -= np.outer(w[:, 0] - v[:, 0], np.linalg.solve(A[1:, 1:], A[1:, 0]))
    U = np.linalg.cholesky(np.linalg.inv(A)).T
    return {"v": new, "old v": v, r"\hat{w}": w, "U": U, "j": 0, "k": range(1, D), "o": range(M)}


def mean_kept(rng):
    """The bias with which the mean of every output is that before the rounding."""
    h, w, b = rng.standard_normal((N, D)) + 1, rng.standard_normal((M, D)), rng.standard_normal(M)
    new = [np.mean([b[o] + sum(w[o] * row) - sum(np.rint(w[o]) * row) for row in h]) for o in range(M)]
    return {"b": np.array(new), "old b": b, "w": w, r"\hat{w}": np.rint(w), r"\bar{h}": h.mean(axis=0), "o": range(M),
            "j": range(D)}


def of_two_signs(rng):
    w = rng.standard_normal(D)
    return {r"\alpha": abs(levels.scaled(w, (-1, 1))[0]), "w": w, "d": D, "i": range(D)}


def accumulated(rng):
    h, q, k = (rng.integers(-9, 10, size) for size in (D, (M, D), M))
    return {"a": np.array(whole.dense(h.tolist(), q.tolist(), k.tolist())), "h": h, "q": q, "k": k, "o": range(M),
            "i": range(D)}


def behind(rng):
    """A linear network and a student; errors, norms and bounds by their definitions, stage by stage."""
    L, x = 4, rng.standard_normal((50, 3))
    teacher = rng.standard_normal((L + 1, 3, 3))
    student, z, zs, eps, E, norms = teacher + 0.3 * rng.standard_normal((L + 1, 3, 3)), x, x, [0.0], [0.0], [1.0]
    for t, s in zip(teacher[1:], student[1:], strict=True):
        eps.append(np.linalg.norm(z @ t.T - z @ s.T) / np.sqrt(50))
        z, zs = z @ t.T, zs @ s.T
        E.append(np.linalg.norm(z - zs) / np.sqrt(50))
        norms.append(np.sqrt(np.linalg.eigvalsh(s.T @ s)[-1]))
    B = np.array(E)
    for k in range(L + 1):
        for j in range(k + 1, L + 1):
            B[k] = eps[j] + norms[j] * B[k]
    return {"E": np.array(E), "B": B, r"\varepsilon": np.array(eps), r"\Lambda": np.array(norms), "L": L,
            "k": range(L + 1), "l": range(L + 1), "j": range(L + 1)}


def soft_threshold(rng):
    v, t = rng.uniform(-3, 3, 6), 0.7
    near = [least(lambda u, x=x: (u[0] - x) ** 2 / 2 + t * abs(u[0]), np.array([x]))[0] for x in v]
    return {"v": v, "t": t, "S_t": lambda v: np.array(near)}


def shrunk(rng):
    v, kappa, t = rng.standard_normal((3, 4)), rng.uniform(0.2, 3, 3), 0.9
    p = [least(lambda u, x=x, k=k: ((u - x) ** 2).sum() / 2 + t * k * np.linalg.norm(u), x)
         for x, k in zip(v, kappa, strict=True)]
    return {"v": v, r"\kappa": kappa, "t": t, "p": np.array(p), "j": range(3)}


def in_a_metric(rng):
    v, t = 3 * rng.standard_normal(4), rng.uniform(0.1, 1, 4)
    p = least(lambda u: ((u - v) ** 2 / t).sum() / 2 + 0.8 * np.linalg.norm(u), v)
    return {"v": v, "t": t, r"\kappa_j": 0.8, "p": p, r"\theta": np.linalg.norm(p), "i": range(4), "h": lambda theta: 1}


def norms(rng):
    w, c = rng.standard_normal((3, 4)), rng.uniform(1, 2, 3)
    value = 0.3 * sum(c[j] * sum(x * x for x in w[j]) ** 0.5 for j in range(3))
    return {"w": w, "c": c, r"\lambda": 0.3, "j": range(3), r"\Omega": lambda w: value}


def singles(rng):
    w = rng.standard_normal(5)
    return {"w": w, r"\lambda": 0.3, "i": range(5), r"\Omega": lambda w: 0.3 * sum(max(x, -x) for x in w)}


def filters(rng):
    """Filters w (4, 3), the pseudo-norm of them and of their norms, its slope by differences."""
    w = rng.standard_normal((4, 3))
    v = np.array([np.sqrt((row ** 2).sum()) for row in w])
    return {"w": w, "v": v, r"\lambda": 0.3, "j": range(4), "i": range(4), r"\Omega": lambda w: l1_l2(w, 0.3),
            "g": slopes(lambda v: l1_l2(v[:, None], 0.3), v)}


def turned(rng, squared=False):
    """The best direction q in the plane of v and 1, found on a grid of angles and polished; κ so small that q > 0."""
    v, kappa = rng.uniform(1, 3, 4), rng.uniform(0.02, 0.1)
    m, d = v.mean(), np.linalg.norm(v - v.mean())

    def loss(theta):
        q = np.cos(theta) / 2 + np.sin(theta) * (v - m) / d
        return kappa * l1_l2(q[:, None], 1.0, squared=squared) - (q @ v) ** 2 / 2

    angles = np.linspace(0, 1, 1001)
    best = angles[np.argmin([loss(theta) for theta in angles])]
    theta = minimize_scalar(loss, bounds=(best - 2e-3, best + 2e-3), method="bounded", options={"xatol": 1e-12}).x
    return {"k": 4, "m": m, "d": d, "R": np.linalg.norm(v), r"\varphi": np.arccos(2 * m / np.linalg.norm(v)),
            r"\kappa": kappa, r"\theta": theta}


def turned_squared(rng):
    return turned(rng, True)


def batch(rng, loss, target, **others):
    """A loss of logits z (5, 3) with its definition and its differences."""
    z = rng.standard_normal((5, 3))
    return {"N": 5, "n": range(5), "c": range(3), "o": range(3), "z": z, "L": loss(z, target),
            r"\mathrm{dz}": slopes(lambda z: loss(z, target), z), **others}


def squares(rng):
    t = rng.standard_normal((5, 3))
    found = batch(rng, squared_error, t, t=t)
    return found | {"p": found["z"], r"\mathrm{dp}": found[r"\mathrm{dz}"]}


def softmax(z):
    return np.exp(z) / np.exp(z).sum(1, keepdims=True)


def crossed(rng):
    t = rng.dirichlet(np.ones(3), 5)
    found = batch(rng, cross_entropy, t, t=t)
    return found | {"p": softmax(found["z"])}


def softened(rng):
    v, T = 4 * rng.standard_normal((5, 3)), 3.0
    found = batch(rng, lambda z, v: soft_targets(z, v, T), v, T=T)
    return found | {"q": softmax(v / T), "p": softmax(found["z"] / T)}


def matched(rng):
    v = rng.standard_normal((5, 3))
    found = batch(rng, logit_matching, v, v=v)
    return found | {r"\bar{z}": found["z"].mean(1), r"\bar{v}": v.mean(1)}


def standardised(rng):
    """Scores by NumPy's moments; g by differences at the scores."""
    v, T, eps = rng.standard_normal((5, 3)), 2.0, 0.2
    found = batch(rng, lambda z, v: standardised_logits(z, v, T, eps, 1), v)
    hat = [(a - a.mean(1, keepdims=True)) / (a.std(1, ddof=1, keepdims=True) + eps) for a in (found["z"], v)]
    g = slopes(lambda x: soft_targets(x, hat[1], T), hat[0])
    return found | {r"\hat{z}": hat[0], r"\bar{z}": found["z"].mean(1), r"\sigma": found["z"].std(1, ddof=1), "C": 3,
                    "m": 1, r"\varepsilon": eps, "g": g, "k": range(3)}


def two_parts(rng):
    """Two parts: the label and all others in one, and the others; labels are the first class."""
    z, v, T = *rng.standard_normal((2, 5, 4)), 3.0
    u, w = (np.stack([a[:, 0], T * np.log(np.exp(a[:, 1:] / T).sum(1))], axis=1) for a in (z, v))
    return {"L": decoupled(z, v, np.zeros(5, int), 0.7, 2.0, T), r"\alpha": 0.7, r"\beta": 2.0, "T": T, "u": u, "w": w,
            "r": z[:, 1:], "s": v[:, 1:], r"\mathrm{soft}": soft_targets}


def correlated(rng):
    z, v, T = *rng.standard_normal((2, 5, 3)), 3.0
    p, q = softmax(z / T), softmax(v / T)
    rows, columns = (np.array([np.corrcoef(a, b)[0, 1] for a, b in zip(*pair, strict=True)]) for pair in ((p, q), (
        p.T, q.T)))
    return {"L": dist(z, v, 0.7, 2.0, T, 1e-30), "T": T, r"\beta": 0.7, r"\gamma": 2.0, "N": 5, "C": 3, "n": range(5),
            "c": range(3), r"\rho": rows, r"\varrho": columns}


def through_softmax(rng):
    z, g, T = *rng.standard_normal((2, 5, 3)), 3.0
    return {r"\mathrm{dz}": slopes(lambda z: (g * softmax(z / T)).sum(), z), "T": T, "g": g, "p": softmax(z / T),
            "n": range(5), "c": range(3), "k": range(3)}
def believed(rng):
    mu, t, alpha = *rng.standard_normal((2, 3, 2, 4)), rng.standard_normal(4)
    return {"N": 3, "n": range(3), "p": range(2), "c": range(4), r"\mu": mu, "t": t, "e": np.e, r"\varepsilon": 1e-5,
            "v": np.log(1 + np.exp(alpha)) + 1e-5, "L": variational_information(mu, t, alpha)}


def begun(rng):
    alpha = rng.standard_normal()
    return {"e": np.e, r"\varepsilon": 1e-5, "v": np.log(1 + np.exp(alpha)) + 1e-5, r"\alpha": alpha}


def cut_off(rng):
    """The means of the negative values, by sums over a fine grid."""
    gamma, beta = rng.uniform(0.5, 2, 3), rng.standard_normal(3)
    y = np.linspace(-30, 0, 200_001)[:, None]
    weight = np.exp(-((y - beta) / gamma) ** 2 / 2)
    weight[[0, -1]] /= 2
    return {"c": range(3), r"\beta": beta, r"\gamma": -gamma, "r": beta / gamma, r"\Phi": ndtr,
            r"\varphi": lambda r: np.exp(-r ** 2 / 2) / np.sqrt(2 * np.pi), "m": (y * weight).sum(0) / weight.sum(0)}


def transferred(rng):
    s, t = rng.standard_normal((2, 3, 4))
    u, v = (f / np.sqrt((f ** 2).sum(1, keepdims=True)) for f in (s, t))
    return {"N": 3, "n": range(3), "i": range(4), "u": u, "v": v, "L": factor_transfer(s, t, None)}


def related(rng):
    """One position, so that a singular vector is a direction, that of the teacher with its largest entry positive."""
    maps = [(rng.standard_normal((2, 1, 1, 3)), rng.standard_normal((2, 1, 1, 2))) for _ in range(2)]
    (v, w), (v_bar, w_bar) = [[f[:, 0, 0] / np.linalg.norm(f[:, 0, 0], axis=1, keepdims=True) for f in pair]
                              for pair in maps]
    v_bar, w_bar = (a * np.sign(a[np.arange(2), np.abs(a).argmax(1)])[:, None] for a in (v_bar, w_bar))
    v, w = (a * np.sign((a * b).sum(1, keepdims=True)) for a, b in ((v, v_bar), (w, w_bar)))
    R, R_bar = (np.array([[[math.exp(-(b[n, c] - a[n, d]) ** 2 / 8) for d in range(3)] for c in range(2)]
                          for n in range(2)]) for a, b in ((v, w), (v_bar, w_bar)))
    return {"N": 2, "n": range(2), "c": range(2), "d": range(3), "v": v, "w": w, "e": np.e, "R": R, r"\bar{R}": R_bar,
            "L": singular_vectors(*maps)}


def together(rng):
    """The objective of the library, and the terms by their definitions."""
    activations, hints = rng.standard_normal((3, 5, 3)), rng.standard_normal((3, 5, 3))
    v, y, weights = rng.standard_normal((5, 3)), rng.integers(0, 3, 5), np.array([0.5, 0.2, 0.0])
    objective = distillation(0.3, 0.8, 2.5, {0: 0.5, 1: 0.2})
    value, _ = objective(list(activations), {"y": y, "teacher": v, "hint0": hints[0], "hint1": hints[1]})
    return {"L": value, "a": 0.3, "b": 0.8, "c": weights, "h": range(3), "x": activations, r"\mathrm{hint}": hints,
            "z": activations[2], "v": v, "T": 2.5, "y": y, r"\mathrm{CE}": cross_entropy, r"\mathrm{SE}": squared_error,
            r"\mathrm{soft}": soft_targets}


def peers(rng):
    """Outputs of four examples, which learn by weights; the derivatives with what the others say held constant."""
    z, y, weights, T = rng.standard_normal((3, 4, 3)), rng.integers(0, 3, 4), rng.uniform(0, 1, (3, 3)), 2.0
    parts = [[cross_entropy(z[k], y) if k == j else soft_targets(z[k], z[j], T) for j in range(3)] for k in range(3)]

    def value(z, held=tuple(z)):
        return schemes.mutual_learning(tuple(z), y, weights, T, held)

    return {"A": weights, r"\ell": np.array(parts), "L": value(z), "T": T, "N": 4, "k": range(3), "l": range(3),
            "n": range(4), "c": range(3), "t": np.eye(3)[y], "p": np.array([softmax(a) for a in z]),
            "q": np.array([softmax(a / T) for a in z]), r"\mathrm{dz}": slopes(value, z)}


def told_apart(rng):
    z, v, fixed = rng.standard_normal((3, 5, 3))
    parts, held = ([rng.standard_normal(shape) for shape in ((4, 3), 4, (1, 4), 1)] for _ in range(2))
    return {"L": schemes.adversarial_logits(z, v, *parts, held=(fixed, *held)), "z": z, "v": v, r"\hat{z}": fixed,
            "n": range(5), "N": 5, r"\rho": lambda u: np.log(1 + np.exp(u)),
            r"\hat{D}": lambda z: schemes.discriminator(z, *held), "D": lambda z: schemes.discriminator(z, *parts)}


def neighbours(rng):
    """Three nearest of five others; the derivative in u of what the edges cost."""
    student, teacher = rng.standard_normal((2, 6, 4))
    u, t = (a / np.linalg.norm(a, axis=1, keepdims=True) for a in (student, teacher))
    bar = np.array([[schemes.cosine(a, b) for b in teacher] for a in teacher])
    edges = np.array([[float(i != j and sum(bar[i, k] > bar[i, j] for k in range(6) if k != i) < 3) for j in range(6)]
                      for i in range(6)])

    def value(u):
        return sum(edges[i, j] * (u[i] @ u[j] - bar[i, j]) ** 2 for i in range(6) for j in range(6)) / 18

    assert np.allclose(bar, t @ t.T)
    return {"u": u, "c": np.array([[schemes.cosine(a, b) for b in student] for a in student]), r"\bar{c}": bar,
            "E": edges, "N": 6, "k": 3, "i": range(6), "j": range(6), r"\mathrm{du}": slopes(value, u),
            "L": schemes.neighbour_graph(student, teacher, 3)}


def observed(rng):
    x, m, spread = rng.standard_normal((5, 3)), rng.standard_normal(3), rng.uniform(0.5, 2, 3)
    return {"x": x, "m": m, "s": spread, r"\mu": x.mean(0), r"\sigma": x.std(0), "N": 5, "n": range(5), "j": range(3),
            "L": schemes.moment_matching(x, (m, spread)),
            r"\mathrm{dx}": slopes(lambda x: schemes.moment_matching(x, (m, spread)), x)}


def dense(rng):
    x, w, b, s = (rng.standard_normal(shape) for shape in ((5, 3), (2, 3), 2, (5, 2)))

    def value(x, w, b):
        return float((s * np.array([[b[o] + sum(w[o] * x[n]) for o in range(2)] for n in range(5)])).sum())

    return {"x": x, "w": w, "b": b, "y": x @ w.T + b, "n": range(5), "i": range(3), "o": range(2), r"\mathrm{dy}": s,
            r"\mathrm{dx}": slopes(lambda x: value(x, w, b), x), r"\mathrm{dw}": slopes(lambda w: value(x, w, b), w),
            r"\mathrm{db}": slopes(lambda b: value(x, w, b), b)}


def counted(rng):
    sizes = [int(k) for k in rng.integers(2, 9, 4)]
    network = perceptron(sizes, rng)
    weights = [layer.params[0].size for layer in network.layers if layer.params]
    biases = [layer.params[1].size for layer in network.layers if layer.params]
    assert cost.of(network).macs == sum(weights)
    return {"I": np.array(sizes[:-1]), "O": np.array(sizes[1:]), "P": np.ones(3), "K": np.ones(3), "l": range(3),
            r"\mathrm{macs}": sum(weights), r"\mathrm{parameters}": sum(weights) + sum(biases)}


def folded(rng):
    w, x, b, m = (rng.standard_normal(shape) for shape in ((2, 3), 3, 2, 2))
    return {"w": w, "x": x, "b": b, "m": m, "s": 1.7, "t": -0.4, "j": range(3)}


def directions(rng):
    """Rows v, their directions u, and what the slopes of a linear function of these say."""
    v, w = rng.standard_normal((2, 4, 3))

    def unit(v):
        return v / np.sqrt((v ** 2).sum(1, keepdims=True))

    return {"n": range(4), "v": v, "u": unit(v), r"\mathrm{du}": w,
            r"\mathrm{dv}": slopes(lambda v: (w * unit(v)).sum(), v)}


def attended(rng):
    """Unit vectors of nonnegative entries, as maps of one channel with p = 1 have them; 2 by 3 positions."""
    u, ubar = (a / np.linalg.norm(a, axis=1, keepdims=True) for a in rng.uniform(0, 1, (2, 5, 6)))
    maps = [a.reshape(5, 2, 3, 1) for a in (u, ubar)]
    return {"n": range(5), "N": 5, "P": 6, "u": u, r"\bar{u}": ubar, "maps": maps}


def attended_paper(rng):
    data = attended(rng)
    return data | {"L": attention_transfer(*data["maps"], 1.0)}


def attended_code(rng):
    data = attended(rng)
    return data | {"L": attention_transfer(*data["maps"], 1.0, "code")}


def selected(rng):
    """Three channels beside two, vectors of length one over 2 by 2 positions, and the slopes without the lengths."""
    s, t = (a / np.linalg.norm(a, axis=2, keepdims=True) for a in (rng.standard_normal((5, c, 4)) for c in (3, 2)))

    def value(s):
        squares = [np.einsum("ncp,ndp->ncd", a, b) ** 2 for a, b in ((s, s), (t, t), (s, t))]
        return (squares[0].mean((1, 2)) + squares[1].mean((1, 2)) - 2 * squares[2].mean((1, 2))).mean()

    maps = [a.swapaxes(1, 2).reshape(5, 2, 2, -1) for a in (s, t)]
    return {"n": range(5), "N": 5, "C": 3, "D": 2, "c": range(3), "e": range(3), "d": range(2), "g": range(2), "s": s,
            "t": t, "k": lambda a, b: float(a @ b) ** 2, "L": neuron_selectivity(*maps),
            r"\mathrm{ds}": slopes(value, s)}


def flowing(rng):
    """Two layers of 3 positions, of 2 and of 4 channels."""
    a, b = (rng.standard_normal((5, 1, 3, c)) for c in (2, 4))
    teacher = tuple(rng.standard_normal((5, 1, 3, c)) for c in (2, 4))
    G, other = (np.einsum("nhkc,nhkd->ncd", *pair) / 3 for pair in ((a, b), teacher))
    return {"n": range(5), "N": 5, "P": 3, "c": range(2), "d": range(4), "k": range(3), "a": a[:, 0], "b": b[:, 0],
            "G": G, r"\bar{G}": other, "L": flow((a, b), teacher),
            r"\mathrm{da}": slopes(lambda a: flow((a, b), teacher), a)[:, 0],
            r"\mathrm{db}": slopes(lambda b: flow((a, b), teacher), b)[:, 0]}


def bounded(rng):
    t = rng.standard_normal((5, 3))
    found = batch(rng, lambda s, t: activation_boundaries(s, t, 0.7), t, m=0.7, y=np.where(t > 0, 1, -1), f=range(3))
    return found | {"s": found["z"], r"\mathrm{ds}": found[r"\mathrm{dz}"]}


def aligned(rng):
    x, y = rng.standard_normal((6, 3)) + 1, rng.standard_normal((6, 2))
    return {"X": x - x.mean(0), "Y": y - y.mean(0), "L": centred_kernel_alignment(x, y)}


def ridged(rng):
    """By least squares on the data with √ρ I as further rows."""
    data = sums(rng)
    rows, targets = np.vstack([data["H"], np.sqrt(3.0) * np.eye(D)]), np.vstack([data["Z"], np.zeros((D, M))])
    return data | {r"\rho": 3.0, "I": np.eye(D), "W": np.linalg.lstsq(rows, targets, rcond=None)[0].T}
def distances(x):
    return np.array([[sum((a - b) ** 2) for b in x] for a in x])


def huber(u):
    return sum(relations.huber(v) for v in np.ravel(u))


def distant(rng):
    """Examples, their squared distances, and slopes in these of a function that takes D_ij and D_ji for two."""
    x, g = rng.standard_normal((4, 3)), rng.standard_normal((4, 4))
    return {"i": range(4), "j": range(4), "f": range(3), "x": x, "g": g, "D": distances(x),
            r"\mathrm{dx}": slopes(lambda x: (g * distances(x)).sum(), x)}


def parts_of_a_mean(rng):
    """Distances as parts of their mean, of student and teacher; slopes for i = 0 and j > 0, where D is no zero."""
    x, t = rng.standard_normal((4, 3)), rng.standard_normal((4, 2)) ** 3

    def parts(squared):
        d = np.sqrt(np.abs(squared)) * (1 - np.eye(4))
        return d / (d.sum() / 12)

    d, u = np.sqrt(distances(x)), parts(distances(x)) - parts(distances(t))
    return {"i": range(1), "j": range(1, 4), "k": range(4), "l": range(4), "N": 4, "d": d, r"\mu": d.sum() / 12,
            "s": parts(distances(x)), r"\bar{s}": parts(distances(t)), "c": np.clip(u, -1, 1), "h": relations.huber,
            "L": relations.relational_distance(x, t),
            "g": slopes(lambda squared: huber(parts(squared) - parts(distances(t))) / 16, distances(x))}


def whole_batch(rng):
    """The same, for sums over all pairs."""
    return parts_of_a_mean(rng) | {"i": range(4), "j": range(4)}


def cosines(x):
    directions = [[np.array(relations.direction(list(b - a))) for b in x] for a in x]
    return np.array([[[u @ v for v in row] for u in row] for row in directions])


def seen_from_one(rng):
    """The others as the first sees them."""
    x, t = rng.standard_normal((4, 3)), rng.standard_normal((4, 1))
    D = distances(x)
    a, r, q, b = cosines(x)[0, 1:, 1:], D[0, 1:], D[1:, 1:], cosines(t)[0, 1:, 1:]
    c = np.clip(a - b, -1, 1) / 64

    def value(r, q):
        return huber((r + r[:, None] - q) / 2 / np.sqrt(r * r[:, None]) - b) / 64

    return {"j": range(3), "k": range(3), "a": a, "c": c, "r": r, "q": q, "w": c / np.sqrt(r * r[:, None]),
            r"\mathrm{dr}": slopes(lambda r: value(r, q), r), r"\mathrm{dq}": slopes(lambda q: value(r, q), q)}


def angles(rng):
    x, t = rng.standard_normal((4, 3)), rng.standard_normal((4, 1))
    return {"i": range(4), "j": range(4), "k": range(4), "N": 4, "a": cosines(x), r"\bar{a}": cosines(t),
            "h": relations.huber, "L": relations.relational_angle(x, t)}


def seen_from_the_first(rng):
    x = rng.standard_normal((4, 3))
    return {"i": range(1), "j": range(1, 4), "k": range(1, 4), "x": x, "D": distances(x), "a": cosines(x)}


def unit(v):
    return np.array([relations.direction(list(row)) for row in v])


def similar(rng):
    """Rows of inner products, of length one; and slopes in x of a function that takes G_ij and G_ji for two."""
    x, t, g = rng.standard_normal((4, 3)), rng.standard_normal((4, 2)), rng.standard_normal((4, 4))
    return {"i": range(4), "j": range(4), "f": range(3), "N": 4, "u": unit(x @ x.T), r"\bar{u}": unit(t @ t.T), "x": x,
            "g": g, r"\mathrm{dx}": slopes(lambda x: (g * (x @ x.T)).sum(), x),
            "L": relations.similarity_preserving(x, t)}


def kernels(rng):
    """Two orders of the series, gamma 0.7; the slopes of the value in the cosines, as if each were free, and in u."""
    u, t = unit(rng.standard_normal((4, 3))), unit(rng.standard_normal((4, 2)))

    def k(c):
        return np.exp(-1.4) * (1 + 1.4 * c + 0.98 * c ** 2)

    def value(c):
        return ((k(c) - k(t @ t.T)) ** 2).sum() / 16

    return {"i": range(4), "j": range(4), "f": range(3), "N": 4, "c": u @ u.T, r"\bar{c}": t @ t.T, "k": k, "u": u,
            "m": lambda c: (k(c + 1e-6) - k(c - 1e-6)) / 2e-6, "g": slopes(value, u @ u.T),
            r"\mathrm{du}": slopes(lambda u: value(u @ u.T), u), "L": relations.correlation_congruence(u, t, 0.7, 2)}


def chances(rng):
    """As (Q17) says in words, and slopes of the value in the inner products, as if each were free, and in u."""
    u, t = unit(rng.standard_normal((4, 3))), unit(rng.standard_normal((4, 2)))

    def picked(c):
        return np.array([(1 + row) / sum(1 + row) for row in c])

    def value(c):
        q = picked(t @ t.T)
        return (q * np.log(q / picked(c))).sum() / 4

    return {"i": range(4), "j": range(4), "k": range(4), "f": range(3), "N": 4, "u": u, "s": (1 + u @ u.T) / 2,
            "p": picked(u @ u.T), r"\bar{p}": picked(t @ t.T), "g": slopes(value, u @ u.T),
            r"\mathrm{du}": slopes(lambda u: value(u @ u.T), u), "L": relations.probabilistic_transfer(u, t, True)}


def single_weights(rng):
    """The least squares of each output, and what the removal of a weight costs, by two fits; schedules at a moment."""
    h, z = rng.standard_normal((N, D)) @ (np.eye(D) + 0.3 * rng.standard_normal((D, D))), rng.standard_normal((N, M))
    A = np.cov(h.T, bias=True)
    E = [[unstructured.removal_cost(h, column, 0.0, range(D), q) for q in range(D)] for column in z.T]
    p, end, k = rng.uniform(0, 0.9), 0.6, np.array([40, 70])
    moving = np.array([unstructured.moving(n, 0.3, end, p) if p < end else n * 0.15 * (1 + math.cos(math.pi * p / end))
                       for n in k])
    return {"E": np.array(E), "A": A, "w": np.linalg.solve(A, (h - h.mean(0)).T @ (z - z.mean(0)) / N).T, "o": range(M),
            "q": range(D), "k_f": 60, "k_0": 2_000, "p_1": end, "p": p, "r": p / end if p < end else 1.0,
            "k": lambda p: unstructured.cubic(2_000, 60, 0.0, end, p), "n": moving, "l": range(2), r"\alpha": 0.3,
            r"\cos": np.cos, r"\min": np.minimum, r"\pi": math.pi}


def moved(rng):
    """The same, with the weights of each layer."""
    return single_weights(rng) | {"k": np.array([40, 70])}
def on_a_grid(rng):
    """Two rows of weights on four levels, in output space on raw data; what one weight becomes, all levels tried."""
    data, grid, rho = layer(rng), np.array([-1.0, -0.5, 0.25, 1.0]), 0.3
    H, Z, W = data["H"], data["Z"], data["W"]
    T, o, j = rng.choice(grid, (M, D)), int(rng.integers(M)), int(rng.integers(D))

    def value(t):
        return ((Z - H @ t.T) ** 2).sum() / N + rho * ((W - t) ** 2).sum()

    changed = {d: np.where((np.arange(M)[:, None] == o) & (np.arange(D) == j), d, T) for d in grid}
    A, c = H.T @ H / N + rho * np.eye(D), Z.T @ H / N + rho * W
    return {"H": H, "Z": Z, "W": W, "T": T, "N": N, r"\rho": rho, "A": A, "c": c, "k": value(0 * T), "o": o, "j": j,
            "t": changed[min(grid, key=lambda d: value(changed[d]))], "old t": T, "g": -slopes(value, T) / 2,
            r"\operatorname{nearest}": lambda v: min(grid, key=lambda d: abs(d - v))}


def clipped(rng):
    x, k = 3 * rng.standard_normal(), int(rng.integers(-1, 3))
    return {"x": x, "k": k, "y": float(clipped_quadratic(np.array([x]), k)[0]), "u": min(abs(x) / 2 ** k, 1),
            r"\min": min, r"\operatorname{sign}": np.sign}


def met(rng):
    """Symbols by the lengths of their ideal words; decisions by the ratio of the probabilities of two sequences where
    that of a 0 is drawn from the arcsine law: Γ(n_0 + ½) Γ(n_1 + ½) / (π n!)."""
    n = rng.integers(1, 30, 5)
    several = [gammaln(a + 0.5) + gammaln(n[1] + 0.5) - gammaln(a + n[1] + 1) for a in (n[0], n[0] + 1)]
    return {"s": range(5), "n": n, "0": 0, "1": 1, "N": n.sum(), "p": math.exp(several[1] - several[0]),
            "H": sum(k * math.log2(sum(n) / k) for k in n.tolist()) / sum(n)}


CASES = [
    ("N80", 0, met), ("N82", 0, met),
    ("A19", 0, clipped), ("A19", 1, clipped), ("N24", 0, on_a_grid), ("N24", 1, on_a_grid),
    ("N25", 0, on_a_grid),
    ("S1", 0, sums), ("S1", 1, sums), ("S1", 2, sums), ("S2", 0, merged), ("S3", 0, fitted), ("S4", 0, residual),
    ("W2", 0, stated), ("W3", 0, emptied), ("W4", 0, certified), ("W4", 1, certified), ("W4", 2, certified),
    ("W5", 0, residual), ("W5", 1, residual), ("W6", 0, screened), ("W7", 0, refitted), ("W8", 0, swept),
    ("W9", 0, majorised), ("W9", 1, majorised), ("W15", 0, without), ("W16", 0, without), ("I10", 0, compensated),
    ("I11", 0, eliminated), ("R3", 0, behind), ("P1", 0, soft_threshold), ("P2", 0, singles), ("P4", 0, norms),
    ("P5", 0, shrunk), ("P28", 0, filters), ("P29", 0, filters), ("P32", 0, turned), ("P33", 0, turned_squared),
    ("P10", 0, in_a_metric), ("P10", 1, in_a_metric), ("L1", 0, squares), ("L2", 0, squares),
    ("L4", 0, crossed), ("L5", 0, crossed), ("K1", 0, softened), ("K2", 0, softened), ("K3", 0, matched),
    ("K4", 0, matched), ("K5", 0, together), ("K9", 0, standardised), ("K9", 1, standardised), ("K10", 0, standardised),
    ("K12", 0, two_parts), ("K15", 0, correlated), ("K17", 0, through_softmax), ("D1", 0, dense), ("D2", 0, dense),
    ("D3", 0, dense), ("D4", 0, dense), ("C1", 0, counted), ("C1", 1, counted), ("U7", 0, folded),
    ("X2", 0, directions), ("X4", 0, attended_paper),
    ("X5", 0, attended_code), ("X7", 0, selected), ("X8", 0, selected), ("X9", 0, flowing), ("X10", 0, flowing),
    ("X11", 0, flowing), ("X11", 1, flowing), ("X12", 0, bounded), ("X13", 0, bounded), ("X14", 0, aligned),
    ("X16", 0, ridged), ("Y2", 0, begun), ("Y3", 0, believed), ("Y12", 0, cut_off), ("Y15", 0, transferred),
    ("Y22", 0, related), ("Y23", 0, related),
    ("Q1", 0, distant), ("Q2", 0, distant), ("Q4", 0, whole_batch), ("Q4", 1, whole_batch), ("Q5", 0, whole_batch),
    ("Q6", 0, parts_of_a_mean), ("Q7", 0, seen_from_the_first), ("Q8", 0, angles), ("Q9", 0, seen_from_one),
    ("Q9", 1, seen_from_one), ("Q9", 2, seen_from_one), ("Q10", 0, similar), ("Q11", 0, similar),
    ("Q13", 0, kernels), ("Q14", 0, kernels), ("Q14", 1, kernels), ("Q17", 0, chances), ("Q17", 1, chances),
    ("Q18", 0, chances), ("Q19", 0, chances), ("Q19", 1, chances),
    ("Z1", 0, peers), ("Z2", 0, peers), ("Z5", 0, told_apart), ("Z7", 0, neighbours),
    ("Z7", 1, neighbours), ("Z8", 0, neighbours), ("Z9", 0, observed), ("Z10", 0, observed),
    ("N64", 0, single_weights), ("N66", 0, single_weights), ("N66", 1, single_weights), ("N67", 0, moved),
    ("N1", 0, singular), ("N8", 0, reduced), ("N8", 1, reduced), ("N10", 0, reduced),
    ("N45", 1, of_two_signs), ("N47", 0, rounded_by_columns), ("N48", 0, mean_kept), ("N53", 0, accumulated)]
"""(tag, which statement of the display, numbers)."""

FREE = {("S1", 0), ("S1", 1)}
"""Statements any sign of which may turn alone: deviations from a mean sum to zero, so (h + h̄)(h − h̄)ᵀ has the same
sum."""


@cache
def drawn(numbers):
    """The same for all formulas that they are put into."""
    return [numbers(np.random.default_rng(seed)) for seed in range(8)]


@pytest.mark.parametrize(("tag", "number", "numbers"), CASES, ids=lambda value: getattr(value, "__name__", str(value)))
def test_a_formula_is_true_and_every_sign_of_it_counts(tag, number, numbers):
    formula = clauses(tag)[number]
    for env in drawn(numbers):
        assert holds(formula, env), formula
    for sign in () if (tag, number) in FREE else SIGN.finditer(formula):
        turned = formula[:sign.start()] + TURNED[sign[0]] + formula[sign.end():]
        assert not all(holds(turned, env) for env in drawn(numbers)), f"true with another sign, too: {turned}"


def test_the_reader_of_formulas_computes():
    """By hand; and what it does not know is an error, not true."""
    a, b = np.array([1.0, 2.0, 3.0]), np.array([[1.0, 2.0], [3.0, 4.0]])
    env = {"a": a, "B": b, "i": range(3), "k": range(2), "j": 1, r"\bar{a}": 2.0, "f": lambda x: 3 * x}
    true = [r"\sum_i a_i = 6", r"\sum_i a_i^2 - 1 = 13", r"\frac12\sum_i a_i + 1 = 4", r"\lVert B_{:,j}\rVert^2 = 20",
            r"B^{-1}B_{:,j} = 1 - \frac{B_{kk}}{B_{kk}} + B^{-1}B_{:,j}", r"\max_i a_i - \bar a = 1", r"f^2(2) = 36",
            r"\sum_i\sum_k a_i = 12", r"\max(a_j - 5, 0) = 0", r"\langle a, a\rangle = a^{\mathsf T}a = 14", r"a_j < 3",
            r"a_j \le 2 < 3", r"\prod_{i>j} a_i = 3", r"a_j > 2 \Longrightarrow 1 = 2".replace(">", "<"), r"-a_j = -2",
            r"(aa^{\mathsf T})_{jk} = a_j a_k", r"2\,(B - 1)_{jk} = 2B_{jk} - 2"]
    for formula in true:
        assert holds(formula, env), formula
    for formula in (r"\sum_i a_i = 7", r"a_j < 2", r"a_j \le 1", r"1 = 1 = 2", r"a_j < 3 \Longrightarrow 1 = 2"):
        assert not holds(formula, env), formula
    for formula in (r"c = 1", r"a_j = 2 \cap 3"):
        with pytest.raises((KeyError, AssertionError)):
            holds(formula, env)
