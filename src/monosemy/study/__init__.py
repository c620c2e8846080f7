"""Plan, run and judge a robustness study."""

from monosemy.study.probing.plan import Plan, default_features, parse_plan, read_plan
from monosemy.study.probing.run import StudyResult, run_study
from monosemy.study.probing.study import Study
from monosemy.study.probing.verdict import Verdict

__all__ = [
    "Plan",
    "Study",
    "StudyResult",
    "Verdict",
    "default_features",
    "parse_plan",
    "read_plan",
    "run_study",
]
