"""Adapters of language models whose updates are monosemantic."""

from monosemy.lm.adapters.config import MonoLoraConfig, MonoLoraType
from monosemy.lm.adapters.model import MonoLoraModel, register

register()

__all__ = ["MonoLoraConfig", "MonoLoraModel", "MonoLoraType"]
