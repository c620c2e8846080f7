"""The toy model of superposition and separability under noise, in closed form and by simulation."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
