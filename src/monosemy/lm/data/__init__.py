"""Data for language models: instructions, preferences and labelled texts in TRL's formats."""

from monosemy.lm.data.classification import (
    classification_datasets,
    label_words,
    load_classification,
    prompt_splits,
    with_few_labels,
    with_label_noise,
)
from monosemy.lm.data.context import Fitted, fit_context
from monosemy.lm.data.forms import Form, Row
from monosemy.lm.data.instructions import InstructionConfig, InstructionFormat, load_instructions
from monosemy.lm.data.preferences import PreferenceConfig, PreferenceFormat, load_preferences
from monosemy.lm.data.rows import TextData

__all__ = [
    "Fitted",
    "Form",
    "InstructionConfig",
    "InstructionFormat",
    "PreferenceConfig",
    "PreferenceFormat",
    "Row",
    "TextData",
    "classification_datasets",
    "fit_context",
    "label_words",
    "load_classification",
    "load_instructions",
    "load_preferences",
    "prompt_splits",
    "with_few_labels",
    "with_label_noise",
]
