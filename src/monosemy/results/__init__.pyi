from .result import StudyResult as StudyResult, Verdict as Verdict
from .statistics import mean_interval as mean_interval, summarise as summarise
