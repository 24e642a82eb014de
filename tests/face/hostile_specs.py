"""Hostile arguments for the constructors of specs: what is called, and how the one line that refuses it begins."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import dynamics as dyn

NAN, INF = float("nan"), float("inf")
Y = np.random.default_rng(0).normal(size=5)


def of(name, /, **table):
    """Return the cases of a public name: what is done, and how the message begins."""
    return {f"{name} {what.replace('_', ' ')}": case for what, case in table.items()}


SPECS = {
    **of(
        "Data",
        name=(lambda: dyn.Data(law="uniform_bal"), "data.law = 'uniform_bal': choose one of"),
        number=(lambda: dyn.Data(law=3), "data.law = 3: must be a name"),
        unhashable=(lambda: dyn.Data(law=["sphere"]), "data.law = ['sphere']: must be a name"),
        path_as_name=(lambda: dyn.Data(law=Path("sphere")), "data.law = PosixPath('sphere')"),
        abbreviation=(lambda: dyn.Data(d=3), "data.d = 3: no such field (did you mean 'input_dim'?)"),
        fraction=(lambda: dyn.Data(num_samples=1.5), "data.num_samples = 1.5: must be an integer"),
        none=(lambda: dyn.Data(num_samples=None), "data.num_samples = None: must be an integer"),
        flag=(lambda: dyn.Data(num_samples=True), "data.num_samples = True: must be an integer"),
        zero=(lambda: dyn.Data(num_samples=0), "data.num_samples = 0: must be an integer from 1"),
        huge=(lambda: dyn.Data(num_samples=2**40), "data.num_samples = 1099511627776: must be an integer from 1"),
        nan=(lambda: dyn.Data(noise_std=NAN), "data.noise_std = nan: must be a number"),
        infinite=(lambda: dyn.Data(noise_std=INF), "data.noise_std = inf: must be a number, at least 0"),
        text=(lambda: dyn.Data(noise_std="1"), "data.noise_std = '1': must be a number"),
        array=(lambda: dyn.Data(noise_std=Y), "data.noise_std = ["),
        complex=(lambda: dyn.Data(noise_std=1j), "data.noise_std = 1j: must be"),
        no_flag=(lambda: dyn.Data(shuffle_parts=1), "data.shuffle_parts = 1: must be true or false"),
    ),
    **of(
        "Target",
        name=(lambda: dyn.Target(kind="liner"), "target.kind = 'liner': choose one of"),
        field=(lambda: dyn.Target(degre=3), "target.degre = 3: no such field (did you mean 'degree'?)"),
        text=(lambda: dyn.Target(degree="four"), "target.degree = 'four': must be an integer"),
        views=(lambda: dyn.Target(views="sliding"), "target.views = 'sliding': must be a ViewSpec"),
    ),
    **of(
        "Model",
        name=(lambda: dyn.Model(kind="twolayer"), "model.kind = 'twolayer': choose one of"),
        field=(lambda: dyn.Model(hidden=3), "model.hidden = 3: no such field (did you mean 'width'?)"),
        activation=(lambda: dyn.Model(activation="rellu"), "model.activation = 'rellu': choose one of"),
        init=(lambda: dyn.Model(init="xavier"), "model.init = 'xavier': choose one of"),
        width=(lambda: dyn.Model(width="4m"), "model.width = '4m': must be a whole number"),
        no_width=(lambda: dyn.Model(width=0), "model.width = 0: must be a whole number"),
        width_list=(lambda: dyn.Model(width=[4]), "model.width = [4]: must be an integer or a text"),
        endless=(lambda: dyn.Model(init_scale=INF), "model.init_scale = inf"),
        views=(lambda: dyn.Model(views={"scheme": "sliding"}), "model.views = {'scheme': 'sliding'}: must be a ViewSpec"),
    ),
    **of(
        "Views",
        name=(lambda: dyn.Views(scheme="slide"), "views.scheme = 'slide': choose one of"),
        joined=(lambda: dyn.Views(scheme="sliding+slide"), "views.scheme = 'slide': choose one of"),
        negative=(lambda: dyn.Views(size=-1), "views.size = -1: must be an integer from 0"),
        fraction=(lambda: dyn.Views(stride=0.5), "views.stride = 0.5: must be an integer"),
    ),
    **of(
        "Loss",
        name=(lambda: dyn.Loss(kind="hinge"), "loss.kind = 'hinge': choose one of cross_entropy, squared"),
        field=(lambda: dyn.Loss(reduction="mean"), "loss.reduction = 'mean': no such field"),
        normalization=(lambda: dyn.Loss(normalization=None), "loss.normalization = None: must be a name"),
    ),
    **of(
        "Optimizer",
        name=(lambda: dyn.Optimizer(kind="sdg"), "optimizer.kind = 'sdg': choose one of"),
        abbreviation=(lambda: dyn.Optimizer(lr=0.1), "optimizer.lr = 0.1: no such field (did you mean 'learning_rate'?)"),
        zero=(lambda: dyn.Optimizer(learning_rate=0), "optimizer.learning_rate = 0.0: must be a number above 0"),
        list=(lambda: dyn.Optimizer(learning_rate=[0.1, 0.2]), "optimizer.learning_rate = [0.1, 0.2]: must be a number"),
        flag=(lambda: dyn.Optimizer(learning_rate=True), "optimizer.learning_rate = True: must be a number"),
        decay=(lambda: dyn.Optimizer(decay=0.1), "optimizer.decay = 0.1: must be a name"),
        schedule=(lambda: dyn.Optimizer(schedule="cosine"), "optimizer.schedule = 'cosine': must be a ScheduleSpec"),
    ),
    **of(
        "Schedule",
        name=(lambda: dyn.Schedule(kind="cosin"), "optimizer.schedule.kind = 'cosin': choose one of"),
        share=(
            lambda: dyn.Schedule(final_fraction=2),
            "optimizer.schedule.final_fraction = 2.0: must be a number at least 0 and",
        ),
    ),
    **of(
        "Record",
        name=(lambda: dyn.Record(spacing="cubic"), "record.spacing = 'cubic': choose one of linear, log"),
        negative=(lambda: dyn.Record(at=[-1]), "record.at = [-1]"),
        fraction=(lambda: dyn.Record(at=[0.5]), "record.at = 0.5: must be an integer"),
        number=(lambda: dyn.Record(at=5), "record.at = 5: must be a list"),
        text=(lambda: dyn.Record(at="12"), "record.at = '12': must be a list"),
    ),
    **of(
        "Training",
        part=(lambda: dyn.Training(data={"law": "sphere"}), "data = {'law': 'sphere'}: must be a DataSpec"),
        other_part=(lambda: dyn.Training(model=dyn.Data()), "model = DataSpec("),
        field=(lambda: dyn.Training(epochs=3), "epochs = 3: no such field (did you mean 'steps'?)"),
        measures=(lambda: dyn.Training(measures=["sharpnes"]), "measures = ['sharpnes']: choose one of"),
        one_measure=(lambda: dyn.Training(measures="sharpness"), "measures = 'sharpness': must be a list"),
        seed=(lambda: dyn.Training(seed=-1), "seed = -1: must be an integer from 0"),
        precision=(lambda: dyn.Training(precision="float16"), "precision = 'float16': choose one of float32, float64"),
    ),
    **of(
        "RunSpec",
        steps=(lambda: dyn.RunSpec(steps=0), "steps = 0: must be an integer from 1"),
        record=(lambda: dyn.RunSpec(record=(0, 1)), "record = (0, 1): must be a RecordSpec"),
    ),
}
