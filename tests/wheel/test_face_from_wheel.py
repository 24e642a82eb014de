"""The public face from an installed wheel, in an empty folder with an empty home: experiments, specs, plain triples."""

import json

SCRIPT = """
import json, sys
import jax.numpy as jnp
import dynamics as dyn

assert dyn.__file__.startswith(sys.argv[1]), dyn.__file__
few = {"input_dim": 2, "num_samples": 8, "num_test": 20}
tiny = {"steps": 20, "record.at": [], "record.num": 4, "measures": ["train_loss"], "model.width": 8}
tiny |= {f"data.{name}": value for name, value in few.items()}

first = dyn.run("stable_minima/rates", tiny, size="smoke", seed=range(2))

training = dyn.Training(data=dyn.Data(**few), model=dyn.Model(width="4n"), steps=20, measures=("train_loss",))
second = dyn.sweep(training, {"optimizer.learning_rate": dyn.logspace(0.01, 0.8, 3), "seed": range(2)})

halve = dyn.Dynamics(lambda key, h: (h, jnp.ones(())), lambda x, h, key: h["rate"] * x, lambda x, h: {"x": x})
third = dyn.sweep(halve, {"rate": [0.5, 0.25]}, seeds=2, schedule=(0, 1, 2))

told = {
    "first": [sorted(first.runs["status"].unique()), first.values("seed")],
    "second": [len(second.runs), second.runs["model.width"].unique().to_list(), sorted(second.runs["status"].unique())],
    "third": third.select(rate=0.5, seed=0).records["x"].to_list(),
    "experiments": len(dyn.list_experiments()),
}
print(json.dumps(told))
"""


def test_the_three_ways_to_run(python, installed, tmp_path):
    done = python(tmp_path, "-c", SCRIPT, str(installed))
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told.pop("experiments") >= 35
    assert told == {"first": [["ok"], [0, 1]], "second": [6, [32], ["ok"]], "third": [1.0, 0.5, 0.25]}
