"""From study to use: a classifier for noisy labels, the rows whose labels are wrong, and reasons for both."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
