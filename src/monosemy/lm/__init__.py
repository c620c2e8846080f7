"""Monosemantic finetuning of language models, inside PEFT and TRL.

MonoLoRA is known to PEFT once ``monosemy.lm.MonoLoraModel`` (or ``MonoLoraConfig``) has been imported.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
