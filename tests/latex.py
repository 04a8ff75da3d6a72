"""Evaluates the LaTeX of displayed formulas on numbers given by name.

    holds(r"a_j = \\frac12\\sum_i b_{ij}", {"a": a, "b": b, "i": range(3), "j": range(2)})

A name whose value is a range is an index: bound by a sum or a maximum, or else the formula is meant for all its values.
Neighbours are multiplied, as numbers or as matrices; a vector is a column, with ^T a row.
"""

import re
from itertools import product

import numpy as np

SPACE = re.compile(r"\\(?:[,;! ]|(?:q?quad|[bB]igg?[lr]?|cdot|pm)(?![A-Za-z]))|\s")
RELATIONS = {"=": np.allclose, r"\leftarrow": np.allclose, "<": lambda a, b: np.all(a < b),
             r"\le": lambda a, b: np.all(a <= b + 1e-9), r"\ge": lambda a, b: np.all(a >= b - 1e-9)}
CLOSING = {"(": ")", "[": "]", "{": "}", r"\lVert": r"\rVert", r"\lvert": r"\rvert", r"\langle": r"\rangle"}
WITHIN = {r"\lVert": np.linalg.norm, r"\lvert": lambda x: len(x) if np.ndim(x) else abs(x), r"\langle": np.vdot}
BINDERS = {r"\sum": sum, r"\prod": np.prod, r"\max": max, r"\min": min}
KNOWN = {r"\max": np.maximum, r"\log": np.log, r"\sqrt": np.sqrt, r"\sin": np.sin, r"\cos": np.cos,
         r"\operatorname{tr}": np.trace, "I": 1.0, r"\operatorname{diag}": np.diag,
         r"\operatorname{clip}": lambda x, b: np.clip(x, -b, b)}
ENDS = {*RELATIONS, *CLOSING.values(), "+", "-", ",", ";", r"\Longrightarrow", ""}


def times(a, b):
    if np.ndim(a) == 0 or np.ndim(b) == 0:
        return a * b
    out = np.outer(a, b[0]) if np.ndim(a) < np.ndim(b) else np.matmul(a, b)
    return out[0] if out.shape == (1,) else out


class Reader:
    """Goes through tokens once, from left to right, and computes."""

    def __init__(self, tokens, env):
        self.rest, self.env = [*tokens], env

    def peek(self, ahead=0):
        return self.rest[ahead] if len(self.rest) > ahead else ""

    def group(self):
        """The next token, or the tokens between braces."""
        taken, depth = [self.rest.pop(0)], 1
        while taken[0] == "{" and depth:
            taken.append(self.rest.pop(0))
            depth += {"{": 1, "}": -1}.get(taken[-1], 0)
        return taken[1:-1] if taken[0] == "{" else taken

    def inside(self):
        """The values, with commas between them, from an opening sign to its closing one."""
        opening, values = self.rest.pop(0), []
        while not values or self.peek() in (",", ";"):
            del self.rest[:bool(values)]
            values.append(self.sum())
        assert self.rest.pop(0) == CLOSING[opening]
        return values

    def sum(self):
        value = 0.0 if self.peek() in ("+", "-") else self.term()
        while self.peek() in ("+", "-"):
            value = value + (1 if self.rest.pop(0) == "+" else -1) * self.term()
        return value

    def term(self):
        value = self.factor()
        while self.peek() not in ENDS:
            if self.peek() == "/":
                self.rest.pop(0)
                value = value / self.factor()
            else:
                value = times(value, self.factor())
        return value

    def factor(self):
        """A number, a fraction, what stands between signs, or a name, with what is attached to it."""
        token = self.peek()
        if token in BINDERS and self.peek(1) == "_":
            return self.bound()
        if token in CLOSING:
            value = WITHIN.get(token, lambda x: x)(*self.inside())
        elif token == r"\frac":
            above, below = [(self.rest.pop(0), self.group())[1], self.group()]
            value = Reader(above, self.env).sum() / Reader(below, self.env).sum()
        elif token.isdigit():
            value = 0
            while self.peek().isdigit():
                value = 10 * value + int(self.rest.pop(0))
        else:
            value = self.named()
        while self.peek() in ("_", "^"):
            value = self.attached(value, self.rest.pop(0), self.group())
        return value

    def bound(self):
        """Sum, product, largest or smallest of the term that follows, over all of an index, or as j > k says."""
        sign, (index, *above) = (self.rest.pop(0), self.rest.pop(0))[0], self.group()
        rest, env, found = self.rest, self.env, []
        for k in env[index]:
            self.rest, self.env = [*rest], env | {index: k}
            value = self.term()
            found += [value] if above[:1] != [">"] or k > env[above[1]] else []
        self.env = env
        return BINDERS[sign](found)

    def named(self):
        """What a name stands for: with a bar, a star or an index if that is a name of its own; applied to arguments."""
        name = self.rest.pop(0)
        if name in (r"\mathrm", r"\operatorname", r"\bar", r"\hat"):
            name += "{" + "".join(self.group()) + "}"
        for length in (5, 4, 2):
            if name + "".join(self.rest[:length]) in self.env and self.peek() in ("_", "^"):
                name += "".join(self.rest[:length])
                del self.rest[:length]
        value = self.env[name] if name in self.env else KNOWN[name]
        if not callable(value):
            return value
        power = Reader((self.rest.pop(0), self.group())[1], self.env).sum() if self.peek() == "^" else 1
        return value(*(self.inside() if self.peek() in ("(", "{") else [self.factor()])) ** power

    def attached(self, value, sign, tokens):
        """An index (of a matrix, A_{q,:} is a row), a transpose, an inverse or a power."""
        if sign == "_":
            index = [slice(None) if t == ":" else self.env[t] for t in tokens if t != ","]
            found = value[np.ix_(*index)] if all(map(np.ndim, index)) and len(index) > 1 else value[tuple(index)]
            return found[None] if tokens[1:] == [",", ":"] else found
        if tokens == [r"\mathsf", "T"]:
            return value[None] if np.ndim(value) == 1 else value.T
        inverse = np.ndim(value) == 2 and tokens == ["-", "1"]
        return np.linalg.inv(value) if inverse else value ** Reader(tokens, self.env).sum()


def chain(reader, old):
    """Whether each relation of a chain holds. Right of an arrow stand old values, under names with "old " before."""
    value, true = reader.sum(), True
    while reader.peek() in RELATIONS:
        sign, before = reader.rest.pop(0), value
        reader.env |= old if sign == r"\leftarrow" else {}
        value = reader.sum()
        true = true and bool(RELATIONS[sign](before, value))
    if reader.peek() == r"\Longrightarrow":
        return not true or chain(Reader(reader.rest[1:], reader.env), old)
    assert not reader.rest, f"not understood: {reader.rest}"
    return true


def holds(formula, env):
    """Whether a formula is true for all values of the indices that nothing binds."""
    tokens = re.findall(r"\\[A-Za-z]+|\S", SPACE.sub(" ", formula.replace(r"\tfrac", r"\frac")))
    bound = set(re.findall(r"\\(?:sum|prod|max|min)_\{?(\w)", formula))
    free = [k for k, v in env.items() if isinstance(v, range) and k in tokens and k not in bound]
    old = {k[4:]: v for k, v in env.items() if k.startswith("old ")}
    return all(chain(Reader(tokens, env | dict(zip(free, v, strict=True))), old)
               for v in product(*(env[k] for k in free)))
