"""Every dynamics that a config may name. Importing any part of it registers the suite's own."""

from dynamics.core.system_table import SYSTEMS
from dynamics.systems import (  # noqa: F401
    cap_packing,
    coordinate_check,
    depth_search,
    deviation_search,
    flat_search,
    interpolator_descent,
    one_sample_descent,
    training,
)

__all__ = ["SYSTEMS"]
