"""Hydra for the length of one composition: whatever a program had set up of its own is there again afterwards.

Hydra keeps what it is set up with in process-wide objects. A notebook, or a program that is run by Hydra itself, may
have set them up already; composing one of our configs neither trips over that nor leaves a trace.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import RLock

from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.version import VersionBase

OWN_NODES = ("study.yaml", "system")  # what `register` puts into Hydra's store
_LOCK = RLock()


@contextmanager
def hydra_at(folder: Path) -> Iterator[None]:
    """Have Hydra read configs from `folder`, one thread at a time, and put back what was there before."""
    with _LOCK:
        hydra, version, store = GlobalHydra.instance(), VersionBase.instance(), ConfigStore.instance()
        before = hydra.hydra, version.version_base
        nodes = {name: store.repo.get(name) for name in OWN_NODES}
        store.repo["system"] = dict(nodes["system"] or {})
        hydra.clear()
        try:
            with initialize_config_dir(str(folder.resolve()), version_base="1.3"):
                yield
        finally:
            hydra.hydra, version.version_base = before
            GlobalHydra.set_instance(hydra)
            for name, node in nodes.items():
                if node is None:
                    store.repo.pop(name, None)
                else:
                    store.repo[name] = node
