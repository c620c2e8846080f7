from .engine import ProbeConfig as ProbeConfig
from .engine import Probes as Probes
from .engine import predict as predict
from .engine import train_probes as train_probes
