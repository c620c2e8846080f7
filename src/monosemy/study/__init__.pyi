from .engine import StudyKind as StudyKind
from .engine import run_study as run_study
from .probing.plan import ProbingPlan as ProbingPlan
from .registry import read_plan as read_plan
from .registry import read_study as read_study
from .registry import study_kind as study_kind
