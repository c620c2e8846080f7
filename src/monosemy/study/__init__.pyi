from .engine import StudyKind as StudyKind, run_study as run_study
from .probing import ProbingPlan as ProbingPlan
from .registry import read_plan as read_plan, read_study as read_study, study_kind as study_kind
