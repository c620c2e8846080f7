from .adapter_training import load_adapter as load_adapter, train_adapter as train_adapter
from .adapter_units import adapter_activations as adapter_activations, describe_adapter as describe_adapter
from .config import (
    AdapterConfig as AdapterConfig,
    AlignmentConfig as AlignmentConfig,
    Decoding as Decoding,
    InstructionConfig as InstructionConfig,
    JudgeConfig as JudgeConfig,
    Objective as Objective,
    PreferenceConfig as PreferenceConfig,
)
from .decpo import DecPOConfig as DecPOConfig, DecPOTrainer as DecPOTrainer
from .dpo_training import align as align
from .evaluation import measure_perplexity as measure_perplexity
from .generation import generate as generate
from .instructions import load_instructions as load_instructions
from .judge import callable_judge as callable_judge, judge_answers as judge_answers, make_judge as make_judge
from .layers import measure_layers as measure_layers
from .models import load_causal_model as load_causal_model, load_classifier as load_classifier
from .monolora import MonoLoraConfig as MonoLoraConfig
from .preferences import load_preferences as load_preferences
