"""Two groups of catapult runs, how work on them is started, and what it tells."""

from __future__ import annotations

from fault_bench import WHEN

from dynamics.core import spec as specs
from dynamics.core.recording import RecordSpec
from dynamics.engine.execute import Executor
from dynamics.engine.interrupt import Interrupt
from dynamics.engine.plan import make_plan
from dynamics.engine.worker import ExecutionOptions, ProgressReporter, work_on_plan
from dynamics.store.store import Store
from dynamics.systems.one_sample_descent import CatapultSpec


class Diary(ProgressReporter):
    """Writes down what it is told."""

    def __init__(self):
        self.told, self.begun, self.at = [], [], []

    def watch(self, group, runs):
        self.begun.append((group.static.width, len(runs)))
        return lambda step, record: self.at.append(step)

    def tell(self, line):
        self.told.append(line)


def runs_of(seeds=range(6), width=20, form="map", **values):
    base = CatapultSpec(0, 400, RecordSpec(num=0, at=[1, 100, 200, 300]), "float32", form=form, width=width)
    runs = [specs.put(base, {"seed": seed, "edge_ratio": 0.5 + 0.4 * seed, **values}) for seed in seeds]
    return [specs.freeze(run.resolve()) for run in runs]


TWO_GROUPS = [*runs_of(), *runs_of(form="net", width=4)]


def plan_of(runs, there=frozenset(), workers=1, **machine):
    plan = make_plan(runs, stored=there, workers=workers)
    return make_plan(runs, plan.machine._replace(**machine), there, workers)


def do(folder, runs, how=None, interrupt=None, executor=None, **machine):
    """Work on these runs as far as the folder does not have them; (store, diary, failures)."""
    store, diary, how = Store(folder), Diary(), how or ExecutionOptions()
    plan = plan_of(runs, store.finished(with_final=how.save_final), how.workers, **machine)
    failures = work_on_plan(plan, store, how, interrupt or Interrupt(), diary, executor or Executor(plan.machine.memory))
    return store, diary, failures


def same(one, other, ids):
    """Bit for bit, but for what tells when and how long."""
    for own, expected in zip(Store(one).read(ids), Store(other).read(ids), strict=True):
        own, expected = (t.drop([c for c in (*WHEN, "group") if c in t.columns]) for t in (own, expected))
        order = [c for c in ("run", "step") if c in own.columns]
        assert own.sort(order).equals(expected.sort(order).select(own.columns))


def ids_of(runs):
    return [specs.run_id(run) for run in runs]
