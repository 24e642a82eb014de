"""Errors of input in one line: the field, the value, what is allowed, and what was probably meant."""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any

LONGEST_VALUE = 200  # characters of a value in a message
POSIX = os.name == "posix"

# What else the field calls a field of ours. A name with a dot means one field,
# a name without one any field that ends so.
ABBREVIATIONS = {
    **dict.fromkeys(("lr", "eta", "step_size", "stepsize"), "learning_rate"),
    **dict.fromkeys(("wd", "l2", "lam", "lambda", "lambda_", "ridge"), "weight_decay"),
    **dict.fromkeys(("n", "n_samples", "n_train", "num_train", "sample_size"), "num_samples"),
    **dict.fromkeys(("n_test", "test_size"), "num_test"),
    **dict.fromkeys(("d", "dim", "in_dim", "input_size", "n_features", "num_features"), "input_dim"),
    **dict.fromkeys(("m", "h", "hidden", "hidden_size", "hidden_dim", "num_hidden", "n_hidden", "neurons"), "width"),
    **dict.fromkeys(("l", "layers", "n_layers", "num_layers"), "depth"),
    **dict.fromkeys(("bs", "batch", "batchsize", "minibatch"), "batch_size"),
    **dict.fromkeys(("sigma", "noise", "noise_level", "label_noise"), "noise_std"),
    **dict.fromkeys(("t", "epochs", "iters", "iterations", "num_steps", "n_steps", "max_steps"), "steps"),
    **dict.fromkeys(("beta", "mu"), "momentum"),
    **dict.fromkeys(("clip", "grad_clip", "max_norm", "max_grad_norm"), "clip_norm"),
    **dict.fromkeys(("act", "act_fn", "nonlinearity", "phi"), "activation"),
    **dict.fromkeys(("opt", "optim", "optimiser"), "optimizer.kind"),
    **dict.fromkeys(("arch", "architecture", "net", "network"), "model.kind"),
    **dict.fromkeys(("criterion", "loss_fn", "loss_function"), "loss.kind"),
    **dict.fromkeys(("dataset", "distribution"), "data.law"),
    **dict.fromkeys(("teacher", "ground_truth"), "target.kind"),
    **dict.fromkeys(("rng", "random_seed", "random_state"), "seed"),
    **dict.fromkeys(("dtype", "float_type"), "precision"),
    **dict.fromkeys(("metrics", "observables"), "measures"),
    "eps": "epsilon",
}


class InputError(ValueError):
    """Bad input, told in one line before anything is computed; the command line turns it into exit code 2.

    field: what is wrong; value: as it was given; allowed: what would do

    >>> import dynamics as dyn
    >>> dyn.logspace(0, 1, 5)
    Traceback (most recent call last):
    dynamics.errors.InputError: logspace = {'logspace': [0, 1, 5]}: must run between positive numbers
    """

    def __init__(self, field: str, value: Any, allowed: str):
        self.field, self.value, self.allowed = field, value, allowed
        super().__init__(f"{field} = {_shown(value)}: {allowed}".replace("\n", " "))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.field, self.value, self.allowed)


def _shown(value: Any) -> str:
    """Return a value as Python writes it, on one line and of at most 200 characters."""
    text = repr(value)
    text = " ".join(text.split()) if "\n" in text else text
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]} ..."


def suggest(name: str, known: Iterable[str]) -> str:
    """Return ` (did you mean 'x'?)` for the known name that was probably meant, or nothing."""
    meant = closest(str(name), sorted(map(str, known)))
    return f" (did you mean {meant!r}?)" if meant else ""


def closest(name: str, known: list[str]) -> str | None:
    """Return the known name that `name` abbreviates, ends like, or is spelt most like; None if there is none."""
    group, _, last = name.rpartition(".")
    for field in (ABBREVIATIONS.get(last.lower()), last):
        fits = [k for k in known if field and k != name and (k == field or k.endswith(f".{field}"))]
        if fits:
            return min(fits, key=lambda k: (not k.startswith(f"{group}."), len(k)))
    return next(iter(difflib.get_close_matches(name, known, n=1, cutoff=0.5)), None)


def choose(field: str, name: str, table: Mapping[str, Any]) -> Any:
    """Return `table[name]`; raise an `InputError` that lists the choices and the closest of them for another name."""
    if not isinstance(name, str) or name not in table:
        raise InputError(field, name, f"choose one of {', '.join(sorted(table))}{suggest(name, table)}")
    return table[name]


def require(condition: bool, field: str, value: Any, allowed: str) -> None:
    """Raise `InputError(field, value, allowed)` unless `condition` holds."""
    if not condition:
        raise InputError(field, value, allowed)


def require_posix(what: str) -> None:
    """Raise an `InputError` where this is no POSIX system, which `what` needs:
    for file locks that die with their process."""
    allowed = f"{what} needs Linux or macOS (or WSL on Windows); stored results can be read here"
    require(POSIX, "operating system", sys.platform, allowed)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out, of the host or of a device."""
    return isinstance(error, MemoryError) or bool(re.search(r"RESOURCE_EXHAUSTED|[Oo]ut of memory", str(error)))
