from .activation_cache import cache_activations as cache_activations
from .config import (
    PRESETS as PRESETS,
    BackboneConfig as BackboneConfig,
    FinetuneConfig as FinetuneConfig,
    HeadConfig as HeadConfig,
    PretrainConfig as PretrainConfig,
)
from .contrastive_heads import ContrastiveHead as ContrastiveHead
from .finetuning import finetune as finetune
from .image import ImageEncoder as ImageEncoder, embed as embed, save_encoder as save_encoder
