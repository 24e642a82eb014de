"""Update rules, schedules, averages. Importing any part of it registers the suite's own rules."""

from dynamics.optimizers import label_noise, langevin, rules, sam  # noqa: F401
