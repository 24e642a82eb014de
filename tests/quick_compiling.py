"""Flags of XLA for tests and smoke runs, which compile far more than they compute.

Without optimised machine code a smoke run is a quarter quicker; without the fusion emitters, which lower each fusion by
itself, compiling takes 0.6 times as long again; in one piece rather than many it takes 0.8 times as long.
"""

QUICK_TO_COMPILE = (
    "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
)
