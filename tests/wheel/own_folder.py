"""The files of a theorist's folder: pieces of every kind, a system, data of one's own, each used by an experiment."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

DRAWN = """

def figure(study):
    from dynamics.analysis.figures import Page, new_figure

    return Page(new_figure(2, 2), "A page of my own.")


def claims(study):
    return []
"""

EXTENSIONS = '''
"""A measure that all my experiments may use."""

import jax.numpy as jnp

import dynamics as dyn


@dyn.register.measure(fields={"floor": dyn.option(0.0, at_least=0)})
def largest_parameter(view):
    return jnp.maximum(jnp.max(jnp.abs(view.params)), view.hyper["measure_options.floor"])
'''

PIECES = '''
"""A law, target, view scheme, model, loss and rule of my own, each with a field of its own."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import dynamics as dyn
from dynamics.data.views import list_views
from dynamics.models.base import plain_model


@dyn.register.law(fields={"skew": dyn.option(0.5, above=0)})
def skewed(key, data, hyper, dtype):
    return lambda key: jax.random.uniform(key, (data.input_dim,), dtype) ** hyper["data.skew"]


@dyn.register.target(fields={"bend": dyn.option(2.0, at_least=0)})
def bent(key, setting):
    return lambda inputs, parts: inputs[:, 0] + setting.hyper["target.bend"] * inputs[:, 1] ** 2


@dyn.register.views(fields={"gap": dyn.option(1, at_least=1)})
def spread(frame, rng):
    starts = np.arange(0, frame.pixels - frame.size + 1, frame.options.gap)
    return starts[:, None] + np.arange(frame.size)


@dyn.register.model(fields={"power": dyn.option(1.0, above=0)}, uses=("views",), patches=True)
def powers(spec, grid, dtype, outputs):
    seen = list_views(spec.views, grid)

    def init(key, hyper):
        return jax.random.normal(key, (seen.shape[1],), dtype)

    return plain_model(init, lambda params, inputs: (jnp.abs(inputs[:, seen]) ** spec.power @ params).mean(axis=1))


@dyn.register.loss(fields={"delta": dyn.option(1.0, above=0)})
def huber(prediction, labels, spec):
    return optax.losses.huber_loss(prediction, labels, delta=spec.delta)


@dyn.register.optimizer(fields={"mix": dyn.option(0.99, at_least=0, below=1)})
def heavy_ball(spec, hyper, mask):
    return optax.trace(decay=spec.mix)
'''

PIECES_CONFIG = """# @package _global_
defaults: [/system/training, _self_]
data: {law: skewed, input_dim: 4, num_samples: 8, num_test: 8, noise_std: 0.0}
target: {kind: bent}
model: {kind: powers, views: {scheme: spread, size: 2, gap: 2}}
loss: {kind: huber}
optimizer: {kind: heavy_ball, learning_rate: 0.1}
measures: [train_loss, largest_parameter]
steps: 10
record: {num: 2}
panels:  # a number of each piece's own, the others as they are
  law: {data.skew: [0.5, 1.0]}
  target: {target.bend: [1.0, 3.0]}
  views: {model.views.gap: [1, 2]}
  model: {model.power: [1.5, 2.5]}
  loss: {loss.delta: [0.25, 0.5]}
  optimizer: {optimizer.mix: [0.1, 0.7]}
  measure: {measure_options.floor: [50.0, 60.0]}
sizes: {smoke: {}}
"""

SYSTEM = '''
"""A pendulum: a system that lives in the file of its experiment."""

from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp

import dynamics as dyn


@dyn.register.system
@dataclass(frozen=True)
class Pendulum(dyn.RunSpec):
    damping: float = dyn.option(0.1, at_least=0)
    system: ClassVar[str] = "pendulum"

    def dynamics(self):
        def step(state, hyper, key):
            position, speed = state
            return position + 0.1 * speed, speed - 0.1 * (position + hyper["damping"] * speed)

        return dyn.Dynamics(
            lambda key, hyper: (hyper, (jnp.ones(()), jnp.zeros(()))), step, lambda state, hyper: {"position": state[0]}
        )
'''

SYSTEM_CONFIG = """# @package _global_
defaults: [/system/pendulum, _self_]
steps: 10
sweep: {damping: [0.0, 0.5]}
sizes: {smoke: {}}
"""

DATA_CONFIG = """# @package _global_
defaults: [/system/training, _self_]
data: {input_dim: 0, num_samples: 12, num_test: 4, noise_std: 0.0}
model: {width: 4}
measures: [train_loss]
steps: 10
record: {num: 2}
panels:
  numbers: {data: {law: arrays, file: mine.npz}, target: {kind: labels}}
  pictures: {data: {law: images, root: animals}, target: {kind: part_index}}
sizes: {smoke: {}}
"""


def write_folder(folder: Path) -> None:
    """Write the experiments `mine/pieces`, `mine/pendulum` and `mine/data`, and the data of the last."""
    files = {
        "extensions.py": EXTENSIONS,
        "configs/experiment/mine/pieces.yaml": PIECES_CONFIG,
        "experiments/mine/pieces.py": PIECES + DRAWN,
        "configs/experiment/mine/pendulum.yaml": SYSTEM_CONFIG,
        "experiments/mine/pendulum.py": SYSTEM + DRAWN,
        "configs/experiment/mine/data.yaml": DATA_CONFIG,
        "experiments/mine/data.py": DRAWN,
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(16, 3))
    np.savez(folder / "mine.npz", inputs=x, labels=x @ [1.0, 2.0, 3.0])
    for number in range(16):
        file = folder / "animals" / ("cat" if number % 2 else "dog") / f"{number:02}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        content = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (3, 3, 3), dtype=np.uint8)).save(content, "PNG")
        file.write_bytes(content.getvalue())
