"""What to cite for a study: one table of sources, by the name that experiments and claims give them."""

from __future__ import annotations

import re

from dynamics.core.provenance import version
from dynamics.errors import require
from dynamics.study.experiments import experiment_file
from dynamics.study.tables import Study

SOURCES = {
    "Liang et al. 2025": """@inproceedings{liang2025stable,
  title = {Stable Minima of {ReLU} Neural Networks Suffer from the Curse of Dimensionality: The Neural Shattering Phenomenon},
  author = {Liang, T. and Qiao, D. and Wang, Y.-X. and Parhi, R.},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2025},
  eprint = {2506.20779},
  archivePrefix = {arXiv}
}""",
    "Liang et al. 2026": """@inproceedings{liang2026generalization,
  title = {Generalization Below the Edge of Stability: The Role of Data Geometry},
  author = {Liang, T. and Cloninger, A. and Parhi, R. and Wang, Y.-X.},
  booktitle = {International Conference on Learning Representations},
  year = {2026},
  eprint = {2510.18120},
  archivePrefix = {arXiv}
}""",
    "Liang et al. 2026b": """@misc{liang2026convolutional,
  title = {Does Sparse Connectivity Improve Generalization? Convolutional Networks Below the Edge of Stability},
  author = {Liang, T. and Singh, E. and Parhi, R. and Cloninger, A. and Wang, Y.-X.},
  year = {2026},
  eprint = {2603.04807},
  archivePrefix = {arXiv}
}""",
    "Cohen et al. 2021": """@inproceedings{cohen2021gradient,
  title = {Gradient Descent on Neural Networks Typically Occurs at the Edge of Stability},
  author = {Cohen, J. M. and Kaur, S. and Li, Y. and Kolter, J. Z. and Talwalkar, A.},
  booktitle = {International Conference on Learning Representations},
  year = {2021},
  eprint = {2103.00065},
  archivePrefix = {arXiv}
}""",
    "Lewkowycz et al. 2020": """@misc{lewkowycz2020large,
  title = {The Large Learning Rate Phase of Deep Learning: The Catapult Mechanism},
  author = {Lewkowycz, A. and Bahri, Y. and Dyer, E. and Sohl-Dickstein, J. and Gur-Ari, G.},
  year = {2020},
  eprint = {2003.02218},
  archivePrefix = {arXiv}
}""",
    "Mulayoff et al. 2021": """@inproceedings{mulayoff2021implicit,
  title = {The Implicit Bias of Minima Stability: A View from Function Space},
  author = {Mulayoff, R. and Michaeli, T. and Soudry, D.},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2021}
}""",
    "Qiao et al. 2024": """@inproceedings{qiao2024stable,
  title = {Stable Minima Cannot Overfit in Univariate {ReLU} Networks: Generalization by Large Step Sizes},
  author = {Qiao, D. and Zhang, K. and Singh, E. and Soudry, D. and Wang, Y.-X.},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2024},
  eprint = {2406.06838},
  archivePrefix = {arXiv}
}""",
}
PAPERS = {  # of a folder of experiments
    "stable_minima": "Liang et al. 2025",
    "data_geometry": "Liang et al. 2026",
    "convolution": "Liang et al. 2026b",
}


def cite(study: Study) -> str:
    """Return BibTeX of what a study rests on: this suite, the paper of its folder, and the papers that its file names.

    A sweep, or an experiment of one's own that names no paper of the table, cites the suite.

    >>> import dynamics as dyn
    >>> halve = dyn.Dynamics(lambda key, h: (h, h["x0"]), lambda x, h, key: x / 2, lambda x, h: {"x": x})
    >>> print(dyn.cite(dyn.sweep(halve, {"x0": 1.0}, schedule=(0, 1))))
    @software{learning_dynamics,
      title = {learning-dynamics: a simulation suite for the theory of how networks learn},
      version = {...}
    }
    """
    require(isinstance(study, Study), "study", type(study).__name__, "must be a Study, such as dyn.run returns")
    suite = f"""@software{{learning_dynamics,
  title = {{learning-dynamics: a simulation suite for the theory of how networks learn}},
  version = {{{version("learning-dynamics")}}}
}}"""
    named = _named_sources(study.name) if study.is_experiment else []
    return "\n\n".join([suite, *(SOURCES[name] for name in named)])


def _named_sources(experiment: str) -> list[str]:
    """Return the sources that an experiment's folder stands for and those that its file names."""
    text = experiment_file(experiment).read_text(encoding="utf-8")
    folder = PAPERS.get(experiment.partition("/")[0])
    return [name for name in SOURCES if name == folder or _is_named(name, text)]


def _is_named(source: str, text: str) -> bool:
    """Return whether a text names `Author et al. 2026`, also as the second of two years:
    `Author et al. 2025 and 2026`."""
    authors, _, year = source.rpartition(" ")
    return re.search(rf"{re.escape(authors)}( \d{{4}}[a-z]?,? and)? {year}\b", text) is not None
