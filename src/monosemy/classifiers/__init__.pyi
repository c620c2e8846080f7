from .engine import ProbeConfig as ProbeConfig, Probes as Probes, predict as predict, train_probes as train_probes
