"""Settings of training, decoding, evaluation and judging of language models.

Study plans embed these models and the command line derives its options from them: the docstring of a field is its help
text. The chapter therefore imports neither torch nor transformers.
"""

from typing import Annotated, Literal, get_args

from annotated_types import Ge, Gt, Le, Len, Lt
from pydantic import model_validator

from monosemy.core.config import Config
from monosemy.data.config import OnBadRow
from monosemy.encoders.config import NonNegative
from monosemy.errors import InputError
from monosemy.lm.prompts import PromptTemplate

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
"""`auto` is the type that the model's files have."""
Placement = Literal["output", "hidden", "both", "weights"]
"""Equal to :data:`monosemy.functional.lora.Placement`, which needs torch."""
Task = Literal["classification", "generation"]
Tokens = Literal["all", "completion", "last"]
"""Tokens of a batch whose activations count: all but padding, those of the answers, or the last one of each row."""
OnLong = Literal["drop", "truncate"]
"""Treatment of rows that exceed the context; `truncate` keeps the end of the prompt."""
Regularizer = Literal["decorrelation", "l1", "dropout"]
Loss = Literal[
    "sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot", "aot_unpaired",
    "apo_zero", "apo_down", "discopop", "sft", "sigmoid_norm",
]  # fmt: skip
"""TRL's losses of preference pairs; `sigmoid` is DPO's."""
JudgeKind = Literal["toxicity", "classifier", "shieldgemma", "llama-guard", "beavertails"]
Policy = Literal["dangerous", "harassment", "hate", "sexual"]


class AdapterConfig(Config):
    """Settings of one adapter. The defaults are the paper's (arXiv 2410.21331, section 4.3 and appendix)."""

    method: Literal["head", "lora", "monolora"] = "lora"
    """Trained part of the model; `head` trains the head of a classifier alone."""
    placement: Placement = "output"
    """Placement of the non-negative map s+ of MonoLoRA: on the update, the hidden units, both, or the weights."""
    non_negative: NonNegative = "relu"
    """Non-negative map s+ of MonoLoRA; `rep_relu` has the gradient of GELU."""
    rank: Annotated[int, Ge(1)] = 8
    """Rank of the adapter."""
    alpha: Annotated[float, Gt(0)] = 4
    """Scaling of the adapter: its update is multiplied by alpha / rank."""
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.1
    """Dropout rate of the adapter's input."""
    target_modules: Annotated[tuple[str, ...], Len(1)] | None = None
    """Last names of the layers that get an adapter, or `all-linear`; default: PEFT's choice for the architecture."""
    lr: Annotated[float, Gt(0)] = 1e-4
    """Initial learning rate of AdamW; it decreases linearly to 0."""
    weight_decay: Annotated[float, Ge(0)] = 0.0
    """Weight decay of AdamW."""
    batch_size: Annotated[int, Ge(1)] = 16
    """Rows per step, over all processes."""
    accumulation: Annotated[int, Ge(1)] = 1
    """Parts into which a step's rows are divided to save memory."""
    epochs: Annotated[int, Ge(1)] = 20
    """Passes over the rows."""
    min_steps: Annotated[int, Ge(0)] = 0
    """Minimal number of steps; small data is passed over more often."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass to save memory."""
    max_tokens: Annotated[int, Ge(2)] | None = None
    """Maximal number of tokens per row; longer rows are truncated. Default: the model's context."""
    seed: Annotated[int, Ge(0)] = 0
    """Seed of the first weights, the order of the rows and dropout."""


class Objective(Config):
    """A loss of preference pairs with an optional regulariser."""

    loss: Loss = "sigmoid"
    """Loss of TRL's DPOTrainer; `sigmoid` is DPO's."""
    regularizer: Regularizer | None = None
    """Regulariser on activations, which DecPOTrainer adds; without one TRL's own DPOTrainer trains."""
    weight: Annotated[float, Ge(0)] = 0.0
    """Weight of the regulariser; for `dropout` the dropout rate."""

    @model_validator(mode="after")
    def _check_dropout_rate(self) -> "Objective":
        if self.regularizer == "dropout" and self.weight >= 1:
            raise ValueError("weight is the rate of dropout, which must be below 1")
        return self

    @property
    def label_smoothing(self) -> float:
        """Label smoothing of TRL's loss: its usual value where the loss is undefined without one."""
        return {"exo_pair": 1e-3, "robust": 0.1}.get(self.loss, 0.0)


class AlignmentConfig(Config):
    """Settings of a training from preferences, the same for every objective."""

    method: Literal["full", "lora", "monolora"] = "full"
    """Trained part of the model: all weights, or a LoRA or MonoLoRA adapter."""
    rank: Annotated[int, Ge(1)] = 8
    """Rank of the adapter."""
    alpha: Annotated[float, Gt(0)] = 16
    """Scaling of the adapter: its update is multiplied by alpha / rank."""
    placement: Placement = "output"
    """Placement of the non-negative map s+ of MonoLoRA: on the update, the hidden units, both, or the weights."""
    target_modules: Annotated[tuple[str, ...], Len(1)] | None = None
    """Last names of the layers that get an adapter, or `all-linear`; default: PEFT's choice for the architecture."""
    layers: Annotated[tuple[str, ...], Len(1)] | None = None
    """Layers that are regularised and measured: module names, or layer numbers for the up-projections of their MLPs.
    Default: the middle layer."""
    tokens: Tokens = "all"
    """Tokens whose activations are regularised."""
    beta: Annotated[float, Gt(0)] = 0.1
    """Strength beta of the KL penalty in the loss and in the rewards."""
    lr: Annotated[float, Gt(0)] = 1e-5
    """Peak learning rate of AdamW, after a warm-up of 10 % of the steps; it then decreases linearly to 0."""
    epochs: Annotated[int, Ge(1)] = 1
    """Passes over the pairs."""
    batch_size: Annotated[int, Ge(1)] = 16
    """Pairs per step."""
    accumulation: Annotated[int, Ge(1)] = 1
    """Equal parts into which a step's pairs are divided to save memory."""
    max_tokens: Annotated[int, Ge(8)] | None = None
    """Maximal number of tokens of a prompt with its longer answer. Default: the model's context."""
    on_long: OnLong = "drop"
    """Treatment of longer pairs: drop them, or truncate the beginning of the prompt."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of the forward pass; with bfloat16 (autocast) the weights stay float32."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass to save memory."""

    @model_validator(mode="after")
    def _check_accumulation(self) -> "AlignmentConfig":
        if self.batch_size % self.accumulation:
            raise ValueError(
                f"batch_size={self.batch_size} is not divisible by accumulation={self.accumulation}; choose a multiple"
            )
        return self


class WarmUp(Config):
    """Supervised training on prompts with their chosen answers, before preferences are learned."""

    pairs: Annotated[int, Ge(1)] | None = None
    """Maximal number of pairs, drawn at random. Default: all."""
    epochs: Annotated[int, Ge(1)] = 1
    """Passes over the pairs."""
    lr: Annotated[float, Gt(0)] = 1e-3
    """Peak learning rate of AdamW."""
    batch_size: Annotated[int, Ge(1)] = 16
    """Pairs per step."""


class Decoding(Config):
    """Settings of generation. The model's own generation settings are ignored: they differ from model to model."""

    max_new_tokens: Annotated[int, Gt(0)] = 64
    """Maximal number of tokens of an answer."""
    temperature: Annotated[float, Ge(0)] = 0.0
    """Sampling temperature; 0 decodes greedily."""
    top_p: Annotated[float, Gt(0), Le(1)] = 1.0
    """Nucleus sampling: draw from the most likely tokens whose probabilities sum to this value."""


class MeasureConfig(Config):
    """Settings of the evaluation of a model that was trained from preferences."""

    answers: Annotated[int, Ge(2)] = 100
    """Maximal number of test prompts that the model answers."""
    max_new_tokens: Annotated[int, Gt(0)] = 32
    """Maximal number of tokens of an answer."""
    temperature: Annotated[float, Ge(0)] = 1.0
    """Sampling temperature; at 1 the divergence on the answers estimates that of the model's own distribution."""
    top_p: Annotated[float, Gt(0), Le(1)] = 1.0
    """Nucleus sampling: draw from the most likely tokens whose probabilities sum to this value."""
    batch_size: Annotated[int, Ge(1)] = 16
    """Texts per forward pass."""


class JudgeConfig(Config):
    """A judge of answers and the model that it uses."""

    kind: JudgeKind
    """Kind of judge."""
    model: str | None = None
    """Folder or name of the model; for `toxicity` the ParaDetox pairs to fit it on, or the file of a fitted judge."""
    label: str | None = None
    """Label of a `classifier` that means unsafe. Default: the first usual name, such as `toxic`."""
    policies: tuple[Policy, ...] = get_args(Policy)
    """Policies that `shieldgemma` checks."""
    encoder: str = "all-MiniLM-L6-v2"
    """Text encoder of `toxicity`."""
    dtype: Dtype = "auto"
    """Type of the model's weights; `auto` is the type in its files."""
    device: str | None = None
    """Device of the model. Default: the GPU if there is one."""
    batch_size: Annotated[int, Gt(0)] = 8
    """Texts per forward pass."""


def parse_judge(text: str) -> JudgeConfig:
    """Return the settings that `KIND`, `KIND:MODEL` or `classifier:MODEL@LABEL` stands for.

    Raises:
        InputError: the kind is unknown.
    """
    kind, _, model = text.partition(":")
    if kind not in get_args(JudgeKind):
        raise InputError(
            f"The judge {text!r} has an unknown kind; write one of {', '.join(get_args(JudgeKind))}, a colon, and the "
            f"model's folder or name."
        )
    name, _, label = model.rpartition("@") if kind == "classifier" and "@" in model else (model, "", "")
    return JudgeConfig.model_validate({"kind": kind, "model": name or None, "label": label or None})


PreferenceFormat = Literal["hh-rlhf", "paradetox", "sycophancy", "pku-saferlhf", "trl"]


class PreferenceConfig(Config):
    """The source of preference data and how it is read."""

    source: str
    """Table (JSON lines, JSON, CSV, parquet; gzip too), pattern of such files, or name of a Hugging Face data set."""
    format: PreferenceFormat | None = None
    """Format of the source. By default it is recognised by its columns."""
    template: PromptTemplate = "plain"
    """Prompt template: plain text, or the chat template of the tokenizer; alpaca is the same as plain here."""
    safer: bool = True
    """PKU-SafeRLHF: prefer the safer answer (safer_response_id) instead of the better one."""
    sycophantic: bool = False
    """Sycophancy questions: prefer the answer that agrees with the user instead of the other one."""
    rewrites: Literal["all", "first"] = "all"
    """ParaDetox: a pair for all neutral rewrites of a sentence, or only for the first."""
    test_fraction: Annotated[float, Ge(0), Lt(1)] = 0.1
    """Fraction of the prompts that is split off as test, where the source has no test split."""
    validation_fraction: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Fraction of the prompts that is split off as validation, where the source has no validation split."""
    max_rows: Annotated[int, Gt(0)] | None = None
    """Maximum number of train pairs, drawn by the seed."""


InstructionFormat = Literal["dolly", "alpaca", "messages", "prompt-completion", "classification", "text"]


class InstructionConfig(Config):
    """The source of instruction data and how it is read."""

    source: str
    """Table (JSON lines, JSON, CSV, parquet; gzip too), pattern of such files, or name of a Hugging Face data set."""
    format: InstructionFormat | None = None
    """Format of the source. By default it is recognised by its columns."""
    template: PromptTemplate = "plain"
    """Prompt template: plain text, alpaca, or the chat template of the tokenizer."""
    prompt_column: str = "prompt"
    """Column of the prompts of prompt-completion data."""
    completion_column: str = "completion"
    """Column of the completions of prompt-completion data."""
    text_column: str = "text"
    """Column of plain texts."""
    on_bad_row: OnBadRow = "stop"
    """Stop at labelled texts without a label or a text, or leave them out and report them."""
    label_words: tuple[str, ...] | None = None
    """Word that stands for each class in an answer, in the order of the classes; for labelled texts."""
    test_fraction: Annotated[float, Ge(0), Lt(1)] = 0.1
    """Fraction of the prompts that is split off as test, where the source has no test split."""
    validation_fraction: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Fraction of the prompts that is split off as validation, where the source has no validation split."""
    max_rows: Annotated[int, Gt(0)] | None = None
    """Maximum number of train rows, drawn by the seed."""
