"""Every dynamics a config may name. A new one is a file with a `RunSpec` subclass, and a line here."""

from dynamics.spec import RunSpec
from dynamics.systems.catapult import CatapultSpec
from dynamics.training import TrainingSpec

SYSTEMS: dict[str, type[RunSpec]] = {cls.system: cls for cls in (TrainingSpec, CatapultSpec)}
