"""Everything that an experiment's page is written with, under one name: `import dynamics.analysis.words as an`."""

from dynamics.analysis.activation_pages import *
from dynamics.analysis.bounds import *
from dynamics.analysis.cap_statistics import *
from dynamics.analysis.captions import *
from dynamics.analysis.claims import *
from dynamics.analysis.controls import *
from dynamics.analysis.curves import *
from dynamics.analysis.depth_curves import *
from dynamics.analysis.depth_index import *
from dynamics.analysis.drawing import *
from dynamics.analysis.figures import *
from dynamics.analysis.gaps import *
from dynamics.analysis.intervals import *
from dynamics.analysis.kernel_curves import *
from dynamics.analysis.loss_slices import *
from dynamics.analysis.neuron_tables import *
from dynamics.analysis.overlays import *
from dynamics.analysis.rate_claims import *
from dynamics.analysis.rate_figures import *
from dynamics.analysis.rate_pages import *
from dynamics.analysis.seed_values import *
from dynamics.analysis.slope_groups import *
from dynamics.analysis.slopes import *
from dynamics.analysis.stability_claims import *
from dynamics.study.tables import *
from dynamics.theory.order_parameters import *
