from .explanations import Explanations as Explanations
from .measurement import Measurement as Measurement
from .names import LatentNames as LatentNames, name_latents as name_latents
from .stability import activation_stability as activation_stability, decoder_stability as decoder_stability
from .streaming import (
    ClassPurity as ClassPurity,
    EffectiveRank as EffectiveRank,
    FeatureDecorrelation as FeatureDecorrelation,
    Firing as Firing,
    MonoScore as MonoScore,
    Reconstruction as Reconstruction,
    SemanticConsistency as SemanticConsistency,
    TopActivating as TopActivating,
)
