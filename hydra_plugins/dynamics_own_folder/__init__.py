"""Plugin of Hydra's: configs of one's own folder are found beside the suite's, and before them.

It does nothing to programs other than `dynamics`: only where the suite's configs are the main ones.
"""

from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin


class OwnFolder(SearchPathPlugin):
    """Puts `configs/` of the working folder, if it has experiments, before the suite's."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        main = [part.path.removeprefix("file://") for part in search_path.get_path() if part.provider == "main" and part.path]
        if not any(Path(path).name == "configs" for path in main):
            return
        from dynamics.study.folders import home, own_folder

        own, suite = own_folder(), home() / "configs"
        if own is not None and any(Path(path).resolve() == suite for path in main):
            search_path.prepend("dynamics", f"file://{own / 'configs'}", "main")
