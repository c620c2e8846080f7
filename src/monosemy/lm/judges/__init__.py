"""Judges: how likely is an answer to be unsafe or toxic?"""

from monosemy.lm.judges.choice import JudgeConfig, JudgeKind, judge_config, make_judge
from monosemy.lm.judges.classifiers import BeaverTailsJudge, ClassifierJudge
from monosemy.lm.judges.guards import LlamaGuardJudge, ShieldGemmaJudge
from monosemy.lm.judges.judge import CallableJudge, Judge, Judgement, callable_judge, judge_answers
from monosemy.lm.judges.toxicity import ToxicityJudge, fit_toxicity_judge, toxicity_judge

__all__ = [
    "BeaverTailsJudge",
    "CallableJudge",
    "ClassifierJudge",
    "Judge",
    "JudgeConfig",
    "JudgeKind",
    "Judgement",
    "LlamaGuardJudge",
    "ShieldGemmaJudge",
    "ToxicityJudge",
    "callable_judge",
    "fit_toxicity_judge",
    "judge_answers",
    "judge_config",
    "make_judge",
    "toxicity_judge",
]
