"""Settings that must be in place before TensorFlow and matplotlib are imported."""

import os

os.environ.setdefault("MPLBACKEND", "Agg")
