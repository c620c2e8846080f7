from .audit import LabelErrors as LabelErrors, find_label_errors as find_label_errors
from .robust import RobustClassifier as RobustClassifier
