"""Hostile arguments for the public functions: what is called, and how the one line that refuses it begins.

Nothing here computes: whatever passed would be seen as a test that fails.
"""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from hostile_specs import of

import dynamics as dyn

NAN, INF = float("nan"), float("inf")
HALVE = dyn.Dynamics(lambda key, h: (h, h["x0"]), lambda x, h, key: x / 2, lambda x, h: {"x": x})
RNG = np.random.default_rng(0)
NET = (RNG.normal(size=(3, 4)), RNG.normal(size=4), np.array(0.0))
X, Y = RNG.normal(size=(5, 2)), RNG.normal(size=5)
CLASSES = (RNG.normal(size=(2, 3)), lambda params, inputs: inputs @ params)
SMALL = dyn.Training(data=dyn.Data(num_samples=8), model=dyn.Model(width=4), steps=2)


def numbers():
    return (i for i in (0, 1.5))


def nothing(*args):
    return None


def simulate(schedule=(0, 1), key=0, hyper=None, dynamics=HALVE, **more):
    return dyn.simulate(dynamics, key, {"x0": 8.0} if hyper is None else hyper, schedule, **more)


def measure(**given):
    return dyn.measure(**{"net": NET, "inputs": X, "labels": Y, "measures": "train_loss", **given})


def plan(subject=SMALL, axes=None, **options):
    return dyn.plan(subject, axes, **options)


def rates(axes=None, **options):
    return dyn.plan("stable_minima/rates", axes, size="smoke", **options)


def triple(axes, **options):
    return dyn.plan(HALVE, axes, **{"schedule": (0, 1), **options})


CALLS = {
    **of(
        "simulate",
        falling=(lambda: simulate((0, 3, 1)), "schedule = (3, 1): must increase"),
        twice=(lambda: simulate((0, 1, 1)), "schedule = (1, 1): must increase"),
        negative=(lambda: simulate((-1, 2)), "schedule = -1: must be integers of at least 0"),
        empty=(lambda: simulate(()), "schedule = (): must list at least one step"),
        floats=(lambda: simulate((0, 1.0)), "schedule = 1.0: must be integers"),
        float_array=(lambda: simulate(np.array([0.0, 1.0])), "schedule = 0.0: must be integers"),
        generator_of_floats=(lambda: simulate(numbers()), "schedule = 1.5: must be integers"),
        flags=(lambda: simulate((False, True)), "schedule = False: must be integers"),
        number=(lambda: simulate(5), "schedule = 5: must list"),
        text=(lambda: simulate("01"), "schedule = '01': must list"),
        set=(lambda: simulate({0, 1}), "schedule = {0, 1}: must list"),
        huge=(lambda: simulate((0, 2**31)), "schedule = 2147483648: must be integers"),
        record=(lambda: simulate(dyn.Record()), "schedule = RecordSpec("),
        no_key=(lambda: simulate(key=None), "key = None: must be a seed"),
        float_key=(lambda: simulate(key=0.5), "key = 0.5: must be a seed"),
        keys=(lambda: simulate(key=jax.random.split(jax.random.key(0))), "key = Array("),
        no_hyper=(lambda: simulate(hyper=[8.0]), "hyper = [8.0]: must be a mapping"),
        text_hyper=(lambda: simulate(hyper={"x0": "8"}), "hyper x0 = '<U1': must be an array of real numbers"),
        none_hyper=(lambda: simulate(hyper={"x0": None}), "hyper x0 = None: must be a number"),
        nan_hyper=(lambda: simulate(hyper={"x0": NAN}), "hyper x0 = nan: must not be NaN"),
        complex_hyper=(lambda: simulate(hyper={"x0": 1j}), "hyper x0 = 'complex128': must be an array of real"),
        wide_hyper=(lambda: simulate(hyper={"x0": Y}), "hyper x0 = 'float64[5]': would be narrowed to float32"),
        huge_hyper=(lambda: simulate(hyper={"x0": 2**40}), "hyper x0 = 1099511627776: does not fit into int32"),
        missing_hyper=(lambda: simulate(hyper={"x1": 1.0}), "hyper = ['x1']: init asks for 'x0'"),
        no_dynamics=(lambda: simulate(dynamics=SMALL), "dynamics = 'TrainingSpec': must be a dyn.Dynamics"),
        precision=(lambda: simulate(precision="half"), "precision = 'half': choose one of float32, float64"),
        keyword=(lambda: simulate(seed=3), "simulate seed = 3: no such argument"),
    ),
    **of(
        "Stop",
        number=(lambda: dyn.Stop(measure=1), "stop.measure = 1: must be a name"),
        text=(lambda: dyn.Stop("x", below="low"), "stop.below = 'low': must be a number"),
        infinite=(lambda: dyn.Stop("x", below=INF), "stop.below = inf: must be a number"),
        checks=(lambda: dyn.Stop("x", checks=0), "stop.checks = 0: must be an integer from 1"),
        fraction=(lambda: dyn.Stop("x", every=0.5), "stop.every = 0.5: must be an integer"),
        keyword=(lambda: dyn.Stop("x", under=1.0), "stop.under = 1.0: no such field"),
        mapping=(lambda: simulate(stop={"measure": "x", "below": 1.0}), "stop = {'measure': 'x', 'below': 1.0}: must be a"),
    ),
    **of(
        "Dynamics",
        functions=(lambda: simulate(dynamics=dyn.Dynamics(1, 2, 3)), "dynamics.init = 1: must be a function"),
        state_alone=(lambda: simulate(dynamics=HALVE._replace(init=lambda key, h: h["x0"])), "init = 'ShapeDtypeStruct'"),
        no_state=(lambda: simulate(dynamics=HALVE._replace(step=nothing)), "step = '': must return a state"),
        no_names=(lambda: simulate(dynamics=HALVE._replace(observe=lambda x, h: x)), "observe = 'ShapeDtypeStruct'"),
        reserved=(lambda: simulate(dynamics=HALVE._replace(observe=lambda x, h: {"finite": x})), "observe = 'finite'"),
    ),
    **of(
        "measure",
        net=(lambda: measure(net=NET[:1]), "net = 'tuple': must be (hidden, readout, offset)"),
        text_net=(lambda: measure(net=("a", "b", "c")), "net hidden = '<U1': must be an array of real numbers"),
        complex_net=(lambda: measure(net=(NET[0] * 1j, *NET[1:])), "net hidden = 'complex128': must be an array of real"),
        nan_net=(lambda: measure(net=(NET[0] * NAN, *NET[1:])), "net hidden = [nan]: must be finite"),
        no_params=(lambda: measure(net=({}, lambda p, x: x[:, 0])), "net = {}: must be"),
        no_function=(lambda: measure(net=(NET, "apply")), "net = 'str': must be"),
        wrong_shape=(lambda: measure(net=(Y[:2], lambda p, x: x)), "net = 'float64[5, 2]': its predictions must be"),
        integers=(lambda: measure(net=(Y[:2], lambda p, x: (x @ p > 0).astype(int))), "net = 'int64[5]': its predictions"),
        dict_of_predictions=(lambda: measure(net=(Y[:2], lambda p, x: {"y": x @ p})), "net = 'dict': its predictions"),
        no_inputs=(lambda: measure(inputs=None), "inputs = 'object': must be an array of real numbers"),
        ragged=(lambda: measure(inputs=[[1.0], [1.0, 2.0]]), "inputs = 'list': must be an array"),
        empty=(lambda: measure(inputs=X[:0], labels=Y[:0]), "inputs = (0, 2): must have shape (n, d)"),
        text_labels=(lambda: measure(labels=["a"] * 5), "labels = '<U1': must be an array of real numbers"),
        complex_labels=(lambda: measure(labels=Y + 1j), "labels = 'complex128': must be an array of real"),
        nan_labels=(lambda: measure(labels=Y * NAN), "labels = [nan]: must be finite"),
        masked_labels=(lambda: measure(labels=np.ma.masked_less(Y, 9)), "labels = '5 masked values'"),
        column_of_labels=(lambda: measure(labels=Y[:, None]), "labels = (5, 1): must have shape (n,)"),
        long_double=(lambda: measure(labels=Y.astype(np.longdouble)), "precision = "),
        too_large=(lambda: measure(labels=Y * 1e300, precision="float32"), "labels = ["),
        inexact=(lambda: measure(labels=np.full(5, 2**24 + 1), precision="float32"), "labels = [16777217]: is no float32"),
        nan_clean=(lambda: measure(clean=Y * NAN), "clean = [nan]: must be finite"),
        scalar_clean=(lambda: measure(clean=0.0), "clean = (): must have the labels' shape"),
        test=(lambda: measure(test=X), "test = 'ndarray': must be (inputs, clean labels)"),
        test_column=(lambda: measure(test=(X, Y[:, None])), "test labels = (5, 1): must be like the labels but for n"),
        rate=(lambda: measure(learning_rate="0.1"), "learning_rate = '0.1': must be a number"),
        rates=(lambda: measure(learning_rate=Y), "learning_rate = ["),
        flag_rate=(lambda: measure(learning_rate=True), "learning_rate = True: must be a number"),
        noise=(lambda: measure(noise_std=-1), "noise_std = -1: must be a number, at least 0"),
        nan_noise=(lambda: measure(noise_std=NAN), "noise_std = nan: must be a number"),
        names=(lambda: measure(measures=[1]), "measures = [1]: must be a name or a list of names"),
        no_names=(lambda: measure(measures=None), "measures = None: must be a name"),
        unhashable=(lambda: measure(loss=["squared"]), "loss = ['squared']: choose one of"),
        entropy=(lambda: measure(loss="cross_entropy"), "loss = 'cross_entropy of labels (5,)': needs labels (n, C)"),
        no_classes=(
            lambda: measure(net=CLASSES, labels=np.ones((5, 3)), loss="cross_entropy"),
            "labels = [[1.0, 1.0, 1.0]]: must be",
        ),
        half_entropy=(
            lambda: measure(net=CLASSES, labels=np.eye(3)[[0] * 5], loss="cross_entropy", normalization="half"),
            "normalization = 'half': is not of loss = cross_entropy",
        ),
        activation=(
            lambda: measure(net=CLASSES, labels=np.zeros((5, 3)), activation="gelu"),
            "activation = 'gelu': is of a two-layer net",
        ),
        precision=(lambda: measure(precision=64), "precision = 64: choose one of float32, float64"),
        keyword=(lambda: measure(lr=0.1), "measure lr = 0.1: no such argument (did you mean 'learning_rate'?)"),
    ),
    **of(
        "plan",
        nothing=(lambda: plan(None), "subject = 'NoneType': must be a spec"),
        spec_class=(lambda: plan(dyn.Training), "subject = 'type': must be a spec"),
        path=(lambda: plan(Path("stable_minima/rates")), "subject = 'PosixPath': must be a spec"),
        name=(lambda: dyn.plan("stable_minima/rate"), "experiment = 'stable_minima/rate': choose one of"),
        size=(lambda: dyn.plan("stable_minima/rates", size=3), "size = "),
        output=(lambda: plan(output=3), "output = 3: must be the path of a folder"),
        output_bytes=(lambda: plan(output=b"here"), "output = b'here': must be the path of a folder"),
        progress=(lambda: plan(progress="yes"), "progress = 'yes': must be True or False"),
        setting=(lambda: plan(worker_count=2), "worker_count = 2: no such setting"),
        axes=(lambda: plan(SMALL, [1]), "axes = [1]: must be a mapping"),
        empty_axes=(lambda: plan(SMALL, []), "axes = []: must be a mapping"),
        axis_name=(lambda: plan(SMALL, {1: [1]}), "axes = {1: [1]}: must be a mapping from names"),
        axis_bytes=(lambda: plan(SMALL, {"seed": b"12"}), "seed = b'12': must be"),
        axis_texts=(lambda: plan(SMALL, {"optimizer.learning_rate": ["high"]}), "optimizer.learning_rate = 'high'"),
        panels=(lambda: rates(panels=[1]), "panels = [1]: must be a mapping of axes"),
        sweep=(lambda: rates(sweep="seed"), "sweep = 'seed': must be a mapping of axes"),
    ),
    **of(
        "run",
        list=(lambda: dyn.run(["stable_minima/rates"]), "experiment = ['stable_minima/rates']: choose one of"),
        path=(lambda: dyn.run(Path("stable_minima/rates")), "experiment = PosixPath("),
        spec=(lambda: dyn.run(SMALL), "experiment = TrainingSpec("),
        field=(lambda: dyn.run("stable_minima/rates", lr=0.1), "field = 'lr': no such field (did you mean"),
        progress=(lambda: dyn.run("stable_minima/rates", progress=1), "progress = 1: must be True or False"),
    ),
    **of(
        "open",
        triple=(lambda: dyn.open(HALVE), "dynamics = 'a plain triple': is not stored"),
        none=(lambda: dyn.open(None), "subject = 'NoneType': must be a spec"),
        empty=(lambda: dyn.open(SMALL, output="/nowhere"), "output = '/nowhere/results/sweeps/training': holds none of"),
    ),
    **of(
        "sweep",
        seeds=(lambda: dyn.sweep(SMALL, seeds=0), "seeds = 0: must be how many"),
        many_seeds=(lambda: dyn.sweep(SMALL, seeds=2**40), "seeds = 1099511627776: must be how many"),
        flag_seeds=(lambda: dyn.sweep(SMALL, seeds=True), "seeds = True: must be how many"),
        float_seeds=(lambda: dyn.sweep(SMALL, seeds=2.0), "seeds = 2.0: must be how many"),
        precision=(lambda: dyn.sweep(SMALL, precision="half"), "precision = 'half': choose one of"),
        name=(lambda: dyn.sweep(SMALL, name=3), "name = 3: must be a text"),
        place=(lambda: dyn.sweep(SMALL, name="../up"), "name = '../up': a sweep's name has letters"),
        schedule=(lambda: dyn.sweep(SMALL, schedule=(0, 3, 1)), "schedule = (3, 1): must increase"),
        schedule_and_steps=(
            lambda: dyn.sweep(SMALL, {"steps": 7}, schedule=(0, 3)),
            "steps = 7: has no effect beside schedule=",
        ),
        schedule_and_record=(
            lambda: dyn.sweep(SMALL, {"zip": [{"record.num": [3, 4], "data.noise_std": [0.5, 0.6]}]}, schedule=(0, 3)),
            "record.num = [{'record.num': [3, 4], 'data.noise_std': [0.5, 0.6]}]: has no effect beside schedule=",
        ),
        missing=(lambda: triple({}), "hyper = []: init asks for 'x0'"),
        unused=(lambda: triple({"x0": 1.0, "y": [1.0, 2.0]}), "hyper = 'y': is given, but nothing"),
        unhashable=(lambda: triple({"x0": 1.0}, precision=["float32"]), "precision = ['float32']: choose one of"),
    ),
    **of(
        "linspace",
        text=(lambda: dyn.linspace(0, "1", 3), "linspace = {'linspace': [0, '1', 3]}: must be"),
        nan=(lambda: dyn.linspace(NAN, 1, 3), "linspace = {'linspace': [nan, 1, 3]}: must be"),
        complex=(lambda: dyn.linspace(0, 1j, 3), "linspace = 1j: must be"),
        none=(lambda: dyn.linspace(0, 1, 0), "linspace = {'linspace': [0, 1, 0]}: must be"),
    ),
    **of(
        "logspace",
        negative=(lambda: dyn.logspace(-1, 1, 3), "logspace = {'logspace': [-1, 1, 3]}: must run between positive"),
        endless=(lambda: dyn.logspace(1, INF, 3), "logspace = {'logspace': [1, inf, 3]}: must be"),
        many=(lambda: dyn.logspace(1, 2, 2**40), "logspace = {'logspace': [1, 2, 1099511627776]}: must be"),
    ),
    **of("cite", text=(lambda: dyn.cite("stable_minima/rates"), "study = 'str': must be a Study")),
    **of(
        "prepare",
        text=(lambda: dyn.prepare(devices="2"), "prepare devices = '2': must be an integer"),
        negative=(lambda: dyn.prepare(devices=-1), "prepare devices = -1: must be from 0"),
        folder=(lambda: dyn.prepare(cache_folder=3), "prepare cache_folder = 3: must be a text or a path"),
        keyword=(lambda: dyn.prepare(device=2), "prepare device = 2: no such argument (did you mean 'devices'?)"),
    ),
    **of(
        "option",
        bound=(lambda: dyn.option(0.5, above=1), "option default = 0.5: must be a number above 1"),
        choice=(lambda: dyn.option("a", choices=("b", "c")), "option default = 'a': choose one of b, c"),
        choices=(lambda: dyn.option("a", choices="abc"), "option choices = 'abc': must be a list of names"),
        contradiction=(lambda: dyn.option(0.5, at_least=1, at_most=0), "option bounds = (1, 0): leave no number"),
        text_bound=(lambda: dyn.option(0.5, above="0"), "option above = '0': must be a number"),
        array=(lambda: dyn.option(Y), "option default = array("),
        nan=(lambda: dyn.option(NAN), "option default = nan: must be"),
        keyword=(lambda: dyn.option(0.5, atleast=0), "option atleast = 0: no such argument (did you mean 'at_least'?)"),
    ),
    **of(
        "register",
        no_parentheses=(lambda: dyn.register.law(nothing), "register.law = 'nothing': write the decorator with parentheses"),
        no_function=(lambda: dyn.register.law("mine")(3), "register.law = 3: decorates a function"),
        no_name=(lambda: dyn.register.target("")(nothing), "target = '': must be a name of letters"),
        lambda_=(lambda: dyn.register.target()(lambda: None), "target = '<lambda>': must be a name of letters"),
        fields=(lambda: dyn.register.model("mine", fields=["a"])(nothing), "register.model fields = ['a']: must be a mapping"),
        field=(lambda: dyn.register.loss("mine", fields={"a": 1.0})(nothing), "loss.a = 1.0: must be an option"),
        uses=(lambda: dyn.register.law("mine", uses="alpha")(nothing), "register.law uses = 'alpha': must be a list of names"),
        pads=(lambda: dyn.register.law("mine", pads="yes"), "register.law pads = 'yes': must be True or False"),
        grid=(lambda: dyn.register.law("mine", grid=(3,)), "register.law grid = (3,): must be a function"),
        sizes=(lambda: dyn.register.model("mine", pads=("width",))(nothing), "pads = 'width': choose among"),
        gradients=(lambda: dyn.register.optimizer("mine", gradients=0), "register.optimizer gradients = 0: must be"),
        schedule=(lambda: dyn.register.schedule(3), "register.schedule name = 3: must be a text"),
        cost=(lambda: dyn.register.measure("mine", cost=NAN), "register.measure cost = nan: must be a number"),
        need=(lambda: dyn.register.measure("mine", needs=("luck",))(nothing), "needs = 'luck': choose one of"),
        views=(lambda: dyn.register.views("mine", strides=1), "register.views strides = 1: must be True or False"),
        keyword=(lambda: dyn.register.law("mine", field={}), "register.law field = {}: no such argument (did you mean"),
        system=(lambda: dyn.register.system(int), "register.system = 'int': must be a frozen dataclass"),
    ),
}

SELECTED = {
    "seed": (7, "seed = 7: no such value in dynamics; there are 0, 1, 2"),
    "seed none": (None, "seed = None: no such value"),
    "seed flag": (True, "seed = True: no such value"),
    "seed text": ("0", "seed = '0': no such value"),
    "seed nan": (NAN, "seed = nan: no such value"),
    "seed complex": (1j, "seed = 1j: no such value"),
    "seed empty": ([], "seed = []: no such value"),
    "seed empty array": (np.array([]), "seed = array([], dtype=float64): no such value"),
    "seed table": (np.zeros((2, 2)), "seed = array([[0., 0.], [0., 0.]]): must be one value, a list"),
    "seed mapping": ({0: 1}, "seed = {0: 1}: must be one value, a list"),
    "seed function": (lambda seed: seed > 0, "seed = <function"),
    "seed slice of texts": (slice("a", "b"), "seed = slice('a', 'b', None): no such value"),
    "seed slice of both": (slice("a", 1), "seed = slice('a', 1, None): must be"),
    "seed slice with step": (slice(0, 3, 2), "seed = slice(0, 3, 2): must be"),
    "seed slice of arrays": (slice(jnp.arange(2), None), "seed = slice(Array("),
    "rate infinite": (INF, "rate = inf: no such value"),
    "step none": (None, "step = None: no such value"),
    "panel number": (0, "panel = 0: no such value in dynamics; there is main"),
    "sed misspelt": (0, "column = 'sed': no such column in dynamics (did you mean 'seed'?)"),
}
