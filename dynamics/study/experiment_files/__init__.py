"""The files of experiments as modules: `dynamics.study.experiment_files.mine.first` is `experiments/mine/first.py`.

The folder may be one's own or the suite's. Another process that unpickles a class of such a file finds it by this name;
what `extensions.py` registers is then known there, too.
"""

from dynamics.study.own_code import import_own_code, package_path

__path__ = package_path()
import_own_code()
