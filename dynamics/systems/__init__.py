"""Every dynamics a config may name. A new one is a file with a `RunSpec` subclass, and a line here."""

from dynamics.core.spec import RunSpec
from dynamics.systems.cap_packing import CapsSpec
from dynamics.systems.catapult import CatapultSpec
from dynamics.systems.depth_search import DepthSpec
from dynamics.systems.deviation_search import ConcentrationSpec
from dynamics.systems.flat_search import FlatSearchSpec
from dynamics.systems.interpolator_descent import InterpolationSpec
from dynamics.systems.training import TrainingSpec

SYSTEMS: dict[str, type[RunSpec]] = {
    cls.system: cls
    for cls in (TrainingSpec, CapsSpec, CatapultSpec, ConcentrationSpec, DepthSpec, FlatSearchSpec, InterpolationSpec)
}
