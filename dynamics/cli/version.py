"""`dynamics --version`: the versions that a result depends on, and the device that it would be computed on."""

from __future__ import annotations

import platform

from dynamics.core import devices
from dynamics.core.provenance import version


def describe_versions() -> str:
    """Return one line each for the suite, Python, JAX and the device."""
    devices.prepare()
    import jax

    device, number = jax.local_devices()[0], jax.local_device_count()
    return (
        f"learning-dynamics {version('learning-dynamics')}\n"
        f"Python {platform.python_version()}\n"
        f"JAX {version('jax')}, jaxlib {version('jaxlib')}\n"
        f"device: {number} x {device.device_kind} ({device.platform})"
    )
