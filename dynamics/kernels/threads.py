"""How many threads a kernel may use while a program is traced."""

from contextvars import ContextVar

cores_per_device = ContextVar("cores_per_device", default=1)
