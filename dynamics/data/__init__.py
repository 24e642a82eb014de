"""Problems: laws of the inputs, targets, views. Importing any part of it registers the suite's own laws."""

from dynamics.data import isotropic, mixtures, modular, own_arrays, patchwise, pictures  # noqa: F401
