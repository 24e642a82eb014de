"""Every dynamics a config may name. A new one is a file with a `RunSpec` subclass, and a line here."""

from dynamics.spec import RunSpec
from dynamics.systems.caps import CapsSpec
from dynamics.systems.catapult import CatapultSpec
from dynamics.systems.concentration import ConcentrationSpec
from dynamics.systems.depth import DepthSpec
from dynamics.systems.flat_search import FlatSearchSpec
from dynamics.systems.interpolation import InterpolationSpec
from dynamics.training import TrainingSpec

SYSTEMS: dict[str, type[RunSpec]] = {
    cls.system: cls
    for cls in (TrainingSpec, CapsSpec, CatapultSpec, ConcentrationSpec, DepthSpec, FlatSearchSpec, InterpolationSpec)
}
