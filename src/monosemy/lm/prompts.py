"""Prompt templates: a question and its answer as text or messages for a language model."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from monosemy.errors import InputError

PromptTemplate = Literal["plain", "alpaca", "chat"]
"""A prompt template: `plain` is bare text, `alpaca` the published template of Stanford Alpaca, `chat` lists of messages
for models whose tokenizer has a chat template."""
Message = dict[str, str]
Text = str | list[Message]
"""A prompt or a completion: a string, or messages with a role and a content each."""
Row = dict[str, Any]

HUMAN, ASSISTANT = "\n\nHuman:", "\n\nAssistant:"
ROLES = ("system", "user", "assistant")
_SHARE_GPT = {"system": "system", "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant"}

_ALPACA = (
    "Below is an instruction that describes a task{paired}. Write a response that appropriately completes the request."
    "\n\n### Instruction:\n{instruction}\n\n{context}### Response:\n"
)
_PAIRED = ", paired with an input that provides further context"


def instruction_row(instruction: str, context: str, response: str, template: PromptTemplate) -> Row:
    """Return `prompt` and `completion` of an instruction, its context ("" for none), and its answer.

    Source of the template `alpaca`: Taori et al., "Stanford Alpaca" (2023), the template of its training data.
    """
    if template == "chat":
        question = f"{instruction}\n\n{context}" if context else instruction
        return {"prompt": [_message("user", question)], "completion": [_message("assistant", response)]}
    if template == "alpaca":
        paired, extra = (_PAIRED, f"### Input:\n{context}\n\n") if context else ("", "")
        prompt = _ALPACA.format(paired=paired, instruction=instruction, context=extra)
    else:
        prompt = f"{instruction}\n\n{context}\n\n" if context else f"{instruction}\n\n"
    return {"prompt": prompt, "completion": response}


def pair_row(template: PromptTemplate, prompt: Text, **answers: Text) -> Row:
    """Return `prompt` and its answers by name: strings become messages for a chat, messages become text otherwise."""
    if template == "chat":
        return {"prompt": as_messages(prompt, "user")} | {
            name: as_messages(answer, "assistant") for name, answer in answers.items()
        }
    if isinstance(prompt, str) and all(isinstance(answer, str) for answer in answers.values()):
        return {"prompt": prompt} | answers
    texts = {name: f" {content_text(answer).strip()}" for name, answer in answers.items()}
    return {"prompt": dialogue_prompt(as_messages(prompt, "user"))} | texts


def dialogue_prompt(messages: Sequence[Message]) -> str:
    """Return turns as a text to be continued by the assistant; the turns are marked as in hh-rlhf."""
    marks = {"system": "", "user": f"{HUMAN} ", "assistant": f"{ASSISTANT} "}
    return "".join(marks[message["role"]] + message["content"] for message in messages) + ASSISTANT


def dialogue_messages(text: str) -> list[Message]:
    """Return the turns of a dialogue with hh-rlhf's marks; text before the first mark is the system's."""
    messages = []
    for i, part in enumerate(text.split(HUMAN)):
        turn, *answers = part.split(ASSISTANT)
        if i or turn.strip():
            messages.append(_message("user" if i else "system", turn.strip()))
        messages += [_message("assistant", answer.strip()) for answer in answers if answer.strip()]
    return messages


def as_messages(text: Text, role: str) -> list[Message]:
    """Return messages unchanged, and a string as one message of the role, without the space around it."""
    return [_message(role, text.strip())] if isinstance(text, str) else text


def content_text(text: Text) -> str:
    """Return the text of a prompt or completion, whether string or messages."""
    return text if isinstance(text, str) else "\n\n".join(message["content"] for message in text)


def checked_text(value: Any, where: str) -> Text:
    """Return a cell as a string or as messages with the roles system, user and assistant; "" where it is missing.

    Messages with the keys `from` and `value` (ShareGPT's) are read too.
    """
    if value is None or isinstance(value, str) or (isinstance(value, float) and value != value):
        return value if isinstance(value, str) else ""
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, bytes | Mapping) or not hasattr(value, "__iter__"):
        raise InputError(f"{where} holds a {type(value).__name__}; give a string or a list of messages.")
    messages = []
    for item in value:
        if not isinstance(item, Mapping):
            raise InputError(f"{where} holds a list of {type(item).__name__}; give messages with role and content.")
        share_gpt = "from" in item
        role = _SHARE_GPT.get(str(item.get("from"))) if share_gpt else item.get("role")
        content = item.get("value" if share_gpt else "content")
        if role not in ROLES or not isinstance(content, str):
            raise InputError(
                f"{where} holds a message of the role {item.get('from' if share_gpt else 'role')!r} with a content of "
                f"type {type(content).__name__}; give the roles {', '.join(ROLES)} and contents of text."
            )
        messages.append(_message(str(role), content))
    return messages


def cell(cells: Row, column: str, where: str) -> Text:
    """Return a row's cell as :func:`checked_text` does; "" where it is missing."""
    return checked_text(cells.get(column), f"{where}, {column},")


def cell_text(cells: Row, column: str, where: str) -> str:
    """Return the text of a row's cell, without the space around it; "" where it is missing."""
    return content_text(cell(cells, column, where)).strip()


def _message(role: str, content: str) -> Message:
    return {"role": role, "content": content}
