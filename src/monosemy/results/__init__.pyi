from .result import StudyResult as StudyResult
from .result import Verdict as Verdict
from .statistics import mean_interval as mean_interval
from .statistics import summarise as summarise
