"""Networks. Importing any part of it registers the suite's own kinds."""

from dynamics.models import kinds  # noqa: F401
