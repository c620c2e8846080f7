from .config import SaeConfig as SaeConfig
from .dictionary_learning import (
    from_dictionary_learning as from_dictionary_learning,
    to_dictionary_learning as to_dictionary_learning,
)
from .estimators import RandomDictionary as RandomDictionary
from .evaluation import evaluate as evaluate
from .hub import (
    from_pretrained as from_pretrained,
    load_autoencoder as load_autoencoder,
    push_to_hub as push_to_hub,
    save_pretrained as save_pretrained,
)
from .module import Autoencoder as Autoencoder
from .saelens import from_saelens as from_saelens, to_saelens as to_saelens
