"""DecPO: preference optimisation by TRL with decorrelated features."""

from monosemy.lm.preference.config import DecPOConfig
from monosemy.lm.preference.trainer import DecPOTrainer

__all__ = ["DecPOConfig", "DecPOTrainer"]
