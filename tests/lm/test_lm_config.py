"""Settings that the command line reads without the libraries that use them."""

import subprocess
import sys
from typing import get_args

from pydantic import BaseModel

from monosemy.encoders.text import MINILM
from monosemy.functional import lora, losses
from monosemy.lm import config
from monosemy.lm.judge import GUIDELINES

MODELS = [
    model
    for model in vars(config).values()
    if isinstance(model, type) and issubclass(model, BaseModel) and model.__module__ == config.__name__
]


def test_settings_are_read_without_the_heavy_libraries() -> None:
    code = (
        "import sys, monosemy.lm.config; "
        "heavy = ('torch', 'transformers', 'peft', 'trl', 'pandas', 'scipy', 'numpy'); "
        "print([name for name in heavy if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_every_setting_has_a_help_text() -> None:
    for model in MODELS:
        for name, setting in model.model_fields.items():
            assert setting.description, f"{model.__name__}.{name}"


def test_names_agree_with_the_equations_that_they_choose() -> None:
    assert get_args(config.Placement) == get_args(lora.Placement) == lora.PLACEMENTS
    assert get_args(config.NonNegative) == get_args(losses.NonNegative) == tuple(losses.NON_NEGATIVE)
    assert get_args(config.Policy) == tuple(GUIDELINES)
    assert config.JudgeConfig(kind="toxicity").encoder == MINILM
