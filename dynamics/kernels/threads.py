"""The number of threads that a kernel may use, set while a program is traced."""

from contextvars import ContextVar

cores_per_device = ContextVar("cores_per_device", default=1)
