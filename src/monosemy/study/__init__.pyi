from .probing.plan import Plan as Plan
from .probing.plan import read_plan as read_plan
from .probing.run import StudyResult as StudyResult
from .probing.run import run_study as run_study
