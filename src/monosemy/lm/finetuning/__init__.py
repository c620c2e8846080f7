"""Training of one adapter: LoRA, MonoLoRA, or a classifier's head alone."""

from monosemy.lm.finetuning.config import AdapterConfig, Task, adapter_settings
from monosemy.lm.finetuning.training import load_adapter, put_adapter, task_of, train_adapter

__all__ = ["AdapterConfig", "Task", "adapter_settings", "load_adapter", "put_adapter", "task_of", "train_adapter"]
