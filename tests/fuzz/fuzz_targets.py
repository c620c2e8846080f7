"""Every reader there is."""

from fuzz_data import DATA_TARGETS, EXCEL_TARGETS
from fuzz_lm import LM_TARGETS
from fuzz_models import MODEL_TARGETS

TARGETS = DATA_TARGETS | MODEL_TARGETS
"""What needs the core alone."""
ALL = TARGETS | LM_TARGETS | EXCEL_TARGETS
