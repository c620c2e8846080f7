"""Plan, run and judge a robustness study."""

from monosemy.study.api import Study
from monosemy.study.plan import Plan, default_features, parse_plan, read_plan
from monosemy.study.run import StudyResult, run_study
from monosemy.study.verdict import Verdict

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
