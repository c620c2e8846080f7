from .classifiers.linear_probe import LinearProbe as LinearProbe
from .corruptions.labels import symmetric_noise as symmetric_noise
from .data.check import check_data as check_data
from .data.digits import digit_pairs as digit_pairs
from .data.load import load_data as load_data
from .encoders.contrastive import pretrain as pretrain
from .encoders.image import load_encoder as load_encoder
from .encoders.text import TextEncoder as TextEncoder
from .errors import InputError as InputError, MissingExtraError as MissingExtraError, ResourceError as ResourceError
from .metrics.explanations import explain as explain
from .metrics.measurement import measure as measure
from .sae.estimators import SparseAutoencoder as SparseAutoencoder
from .sae.streaming import train_on_stream as train_on_stream
from .study.probing.study import Study as Study

__version__: str
