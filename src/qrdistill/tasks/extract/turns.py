"""The turns of a response: what is the model's own reply, and what it only plays or repeats.

A model that first repeats the question ("Question: ... Answer: 4") and one that goes on with a new question ("Answer: 4.
Question: ...") are told apart by one rule: the first turn that states an answer is the reply. In a turn that opens with a
question, the question itself is left out; what a user says is no reply at all.
"""

from __future__ import annotations

import re

from qrdistill.tasks.extract.gated import Gated

_TURN = Gated(
    (
        *(
            "<",
            "[",
            "user",
            "human",
            "student",
            "system",
            "q",
            "problem",
            "exercise",
            "instruction",
            "input",
            "example",
            "premise",
        ),
        *("context", "passage", "task", "here's", "here is", "let's", "which of"),
    ),
    r"<\|(?:im_end|endoftext|eot_id|eom_id|end|return|assistant|start_header_id|end_of_text|begin_of_text)\|>"
    r"|<\|im_start\|>\s{0,3}(?:assistant\b|(?P<chat>user|system)\b)?|<\|(?P<special>user|system)\|>"
    r"|</?s>|<end_of_turn>|<start_of_turn>(?P<gemma>user\b)?(?:model\b)?|<eos>|\[/?INST\]|<\uff5c[^\uff5c\n]{1,40}\uff5c>"
    r"|(?m:^)[ \t>*_#-]{0,8}(?P<speaks>user|human|student|system)(?:[ ]?\d{1,3})?[ ]?[*_]{0,2}[ ]?:"
    r"|(?m:^)[ \t>*_#-]{0,8}(?P<asks>(?:new|next|follow-?up|another|similar|related)[ ](?:question|problem)|question|problem"
    r"|exercise"
    r"|q|instructions?|input|example|premise|context|passage|task)(?:[ ]?[#(]?\d{1,3}\)?)?[ ]?[*_]{0,2}[ ]?:"
    r"|(?m:^)[ \t]*(?:\#{1,4}|\*\*)[ ]?(?P<heading>question|problem|exercise|example)[ ]?\d{0,3}[ ]?(?:\*\*)?[ ]*(?m:$)"
    r"|(?m:^)[ \t>*_#-]{0,8}(?P<goes_on>here(?:'s|[ ]is)|(?:now,?[ ])?let's[ ](?:try|solve|do|move[ ]on[ ]to|look[ ]at"
    r"|consider))[ ](?:another"
    r"|the[ ]next|a[ ]new|a[ ]different|one[ ]more)\b"
    r"|(?m:^)[ \t>*_]{0,8}(?P<which>(?=which[ ]of[ ](?:the|these)[^\n]{0,200}\?))"
    r"|(?m:^)[ \t*#]*(?P<numbered>question|problem|exercise|example)[ ]?\d{1,3}[ ]?[.:)]"
    r"|(?<=[.!?)*])[ ]{1,2}(?:(?P<inline>Q|Question)|(?P<talks>User|Human))[ ]?(?:\d{1,3})?:",
    re.IGNORECASE,
)
_END = ("[END]", "<END>", "###", " END", "\nEND")
"""What some models write when they are done."""
_USER = ("chat", "special", "gemma", "speaks", "talks")
_QUESTION = ("asks", "heading", "goes_on", "which", "numbered", "inline")
_REPLY = re.compile(
    r"(?:^|\n|[?.!][ ])[ \t>*_#-]{0,8}(?P<mark>(?:final[ ])?answer|a|response|output|label|relation\w*|solution|assistant|ai"
    r"|bot|model)\b[*_ ]{0,3}:",
    re.IGNORECASE,
)


def segments(text: str) -> list[tuple[int, int]]:
    """Spans of the turns that may hold the reply: the first one that states an answer does."""
    spans, start, role = [], 0, ""
    bare = text.rstrip()
    text = next((bare.removesuffix(mark) for mark in _END if bare.endswith(mark)), text)
    for turn in [*_TURN.finditer(text, 0, len(text)), None]:
        end = turn.start() if turn else len(text)
        begin = _reply_begin(text, start, end, role)
        if begin is not None and text[begin:end].strip():
            spans.append((begin, end))
        if turn:
            start, role = turn.end(), turn.lastgroup or ""
    return spans


def _reply_begin(text: str, start: int, end: int, role: str) -> int | None:
    """Where the reply in a turn begins; None where the turn is all somebody else's."""
    if role not in _USER and role not in _QUESTION:
        return start
    reply = _REPLY.search(text, start, end)
    if reply:
        return reply.start("mark")
    line_end = text.find("\n", start, end)
    if line_end >= 0 and text[line_end:end].strip():
        return line_end
    if role in _USER:
        return None
    asked = max(text.rfind(stop, start, end) for stop in ("? ", ". "))
    return asked + 1 if asked >= 0 else None
