"""Whether a text asks for the whole photo to be described, which a model that answers can't do. Rules over text."""

import re

from demo.visit.mentions import words_of

DESCRIBE = re.compile(
    r"^(?:please\s+|can\s+you\s+|could\s+you\s+)*(?:describe|caption|summarize|summarise|explain\s+(?:this|the)\s+(?:photo|picture|image))\b"
    r"|^(?:please\s+|can\s+you\s+|could\s+you\s+)*tell\s+me\s+(?:what\s+you\s+see|more$|(?:everything\s+|more\s+)?about\s+(?:this|the|it)\b)"
    r"|^what\s+can\s+you\s+tell\s+me\s+about\s+(?:this|the)\s+(?:photo|picture|image)"
    r"|^(?:please\s+|can\s+you\s+|could\s+you\s+)*(?:give|write|make|i\s+(?:want|need|would\s+like))\s+(?:me\s+)?(?:a|an|the)\s+"
    r"(?:\w+\s+)?(?:description|caption|summary)\b",
    re.IGNORECASE,
)
WHAT_IS_SHOWN = re.compile(
    r"^what\s+(?:(?:do|can)\s+(?:you|i|we)\s+see|can\s+be\s+seen|(?:is|are|s)\s+(?:shown|visible|depicted|going\s+on|"
    r"happening)|does\s+(?:this|the)\s+(?:photo|picture|image)\s+show|(?:is|s)\s+this\s+(?:a\s+)?(?:photo|picture|image)\s+"
    r"(?:of|about)|(?:is|s)\s+(?:this|the)\s+(?:photo|picture|image)(?:\s+(?:of|about))?"
    r"|(?:is|s|are)\s+(?:there\s+)?(?:in|on)\s+(?:this|the)\s+(?:photo|picture|image|photograph|pic))"
    r"(?:\s+(?:here|(?:in|on)\s+(?:this|the|it|here)(?:\s+(?:photo|picture|image|photograph|pic|scene))?))?$",
    re.IGNORECASE,
)


def wants_description(typed: str) -> bool:
    """Whether a text asks for the whole photo to be described: "Describe this picture", "What do you see?"."""
    text = " ".join(words_of(typed.replace("’", " ").replace("'", " ")))
    return bool(DESCRIBE.match(text) or WHAT_IS_SHOWN.match(text))


def is_command(typed: str) -> bool:
    """Whether a text is no question at all but the wish for a description, so that asking it makes no sense."""
    return bool(DESCRIBE.match(" ".join(words_of(typed))))
