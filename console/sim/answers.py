"""What a simulated model answers: content blocks, stop reason and token counts, from the texts of the request alone.

Pure and deterministic: the same seed, model, system prompt and question give the same answer. No clock, no I/O.

What a request can do to the answer, besides asking something else:
* The **system prompt** picks the feature by the first of these words in it: *classif* (one label of the list that
  follows "labels:", "categories:" or "one of"), *summar*, *email*, *support*, *customer*; else a general answer.
  What else it asks for is done as well (`instructions`): the language, the length, whether order numbers are named, rules
  kept or wishes confirmed. "bullet" makes a summary a list.
* The **model's skill** (times a fault's `quality`) decides how much of the answer is specific and how much is vague.
* **Tools**: a forced `tool_choice` calls one; with `auto` the question has to say "use the tool" or "use the NAME
  tool". A question that carries a tool result is answered with text.
* A **JSON schema** is answered with JSON that fits it. A schema with `relevance` and `accuracy` is taken for a judge's:
  the scores then follow from how much of the request (in <request> or <question> tags) the answer (in <answer>,
  <response> or <output> tags) takes up, from figures in it, and from vague phrases.
* A last user turn that asks to go on after a partial answer, and a prefilled assistant turn, get the rest of it. When that turn
  quotes the "last words" to begin with, some answers do begin with them and some go on at once, without the space between.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from console.sim import phrases
from console.sim.instructions import Instructions, instructions_in
from console.sim.models import MODELS

Block = dict[str, Any]

CHARACTERS_PER_TOKEN = 3.7
"""Roughly what the tokenizer makes of English prose."""

_UNKNOWN_SKILL = 0.7
_GOES_ON = re.compile(r"\b(?:continue|go on|carry on|keep going|resume)\b", re.I)
_GOES_ON_AT_ONCE = re.compile(r"\W*(?:please )?(?:continue|go on|carry on|keep going|resume)\b", re.I)
_BROKEN_OFF = re.compile(r"\b(?:stopp?ed|left off|broke(?:n)? off|cut (?:off|short)|ended|interrupted|last word|lost)\b", re.I)
_LONGEST_GO_ON = 600
_LAST_WORDS = re.compile(r"\blast words\b[^\"“]{0,60}[\"“](.{1,200})[\"”]", re.I | re.S)
_REPEATS = 0.5
"""How many of the answers that are asked to do begin with the last words."""
_ASKS_FOR_TOOL = re.compile(r"\buse (?:the|a)(?: `?([\w.-]+)`?)? tool\b", re.I)
_REFERENCE = re.compile(r"(?:#|\b[A-Z]{1,4}-?|\b)\d{4,}(?:-\d+)?\b")
_SHOP = re.compile(r"\b(?:for|of|at|für|von|de|chez) (?:the shop )?[\"“]?([A-Z]\w+)")
_SENTENCE = re.compile(r"[^.!?\n]+[.!?]*")
_WORD = re.compile(r"[^\W\d_][\w'-]{3,}")
_SENTENCE_END = re.compile(r"[.!?…]+[\"”»]?(?=\s|$)")
_LABELS = re.compile(r"(?:labels?|categor(?:y|ies)|one of)[^:\n]{0,40}:\s*((?:[^\n.]|(?<=,)\n)+(?:\n\s*[-*] [^\n]+)*)", re.I)
_NAME_AFTER_TO = re.compile(r"\b(?:to|an|à|a) (?:(?:Mr|Mrs|Ms|Dr|Herrn?|Frau|Mme|M\.|Sra?\.?) )?([A-ZÀ-Ý][\w-]+)")
_EMAIL_TASK = re.compile(
    r"^(?:please |bitte )?(?:write|draft|send|tell|schreib|écri|escrib)[^.:!?]{0,80}?(?:\b(?:that|dass|que)\b|:)\s*",
    re.I,
)
_RANGE = re.compile(r"(minimum|maximum|exclusiveMinimum|exclusiveMaximum): (-?\d+(?:\.\d+)?)")
_SPECIFIC = 0.5
_VERY_SPECIFIC = 0.7
_THOROUGH_CARE = 0.2
_DEEPEST = 8
_LABEL_WORDS = 2


@dataclass(frozen=True, slots=True)
class Ask:
    """What is asked, with the request's parts already checked. `messages`, `tools`, `schema`: as on the wire."""

    model: str
    system: str = ""
    messages: Sequence[Mapping[str, Any]] = ()
    tools: Sequence[Mapping[str, Any]] = ()
    max_tokens: int = 1024
    tool_choice: Mapping[str, Any] | None = None
    stop_sequences: Sequence[str] = ()
    thinks: bool = False
    shows_thinking: bool = True
    schema: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """Content blocks as on the wire, why they ended, and the tokens of both directions (input: before any cache)."""

    blocks: tuple[Block, ...]
    stop_reason: str
    stop_sequence: str | None
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class _Scene:
    """The question and what has been found out about it; every composer reads from here."""

    ask: Ask
    question: str
    skill: float
    rng: random.Random
    language: str = field(default="en")
    """Of the answer."""
    words: tuple[str, ...] = ()
    subject: str = ""
    """The question, with the turns before it where it has no topic of its own: "and when will that be?"."""
    wishes: Instructions = field(default_factory=Instructions)

    @property
    def gist(self) -> str:
        return shorten(first_sentence(self.question).rstrip(".!?:,"), 60)

    @property
    def shop(self) -> str:
        found = _SHOP.search(self.ask.system)
        return found.group(1) if found else "Acme"

    @property
    def pair(self) -> tuple[str, str]:
        words = self.words or ("this",)
        return words[0], words[min(1, len(words) - 1)]

    def fill(self, text: str) -> str:
        first, second = self.pair
        is_named = self.skill >= _VERY_SPECIFIC if self.wishes.names_numbers is None else self.wishes.names_numbers
        found = _REFERENCE.search(self.subject) if is_named else None
        ref = f" ({found.group(0)})" if found else ""
        return text.format(gist=self.gist, ref=ref, shop=self.shop, first=first, second=second)


def answer(ask: Ask, *, seed: int = 0, quality: float = 1.0) -> Answer:
    """The model's answer. `quality` in 0..1 scales its skill. Never raises for a request that has passed the checks."""
    scene = _scene(ask, seed=seed, quality=quality)
    thinking, spent = _thinking(scene)
    room = ask.max_tokens - spent
    tool = _tool_call(scene)
    if tool is not None and tokens_of(json.dumps(tool["input"])) <= room:
        blocks, reason, stop, tokens = _call_blocks(scene, tool, room)
    else:
        blocks, reason, stop, tokens = _text_blocks(scene, room)
    return Answer(
        blocks=(*thinking, *blocks),
        stop_reason=reason,
        stop_sequence=stop,
        input_tokens=input_tokens(ask),
        output_tokens=max(1, spent + tokens),
    )


def tokens_of(text: str) -> int:
    """The number of tokens of a text: its length over 3.7, rounded up."""
    return math.ceil(len(text) / CHARACTERS_PER_TOKEN)


def input_tokens(ask: Ask) -> int:
    """The prompt's tokens: system, messages and tools, and three for the frame of each message."""
    length = len(ask.system) + sum(len(text_of(message.get("content"))) for message in ask.messages)
    if ask.tools:
        length += len(json.dumps(ask.tools))
    return math.ceil(length / CHARACTERS_PER_TOKEN) + 3 * len(ask.messages)


def text_of(content: object) -> str:
    """The text of a message's content, of a system prompt or of a tool result, whatever shape they have."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return "\n".join(_text_of_block(block) for block in content if isinstance(block, Mapping))


def first_sentence(text: str) -> str:
    """The first sentence, without the space around it; empty for an empty text."""
    found = _SENTENCE.search(text)
    return found.group(0).strip() if found else ""


def sentences(text: str) -> list[str]:
    """The sentences of a text, without the space around them."""
    return [part.strip() for part in _SENTENCE.findall(text) if part.strip()]


def cut(text: str, most: int | None) -> str:
    """The text up to the end of its sentence number `most`; a figure such as 4.6 ends none. None cuts nothing."""
    ends = [found.end() for found in _SENTENCE_END.finditer(text)]
    return text if most is None or len(ends) <= most else text[: ends[most - 1]]


def shorten(text: str, limit: int) -> str:
    """At most `limit` characters, cut between words where there is a space to cut at."""
    text = " ".join(text.split())
    if len(text) <= limit:
        return text
    return (text[:limit].rsplit(" ", 1)[0] or text[:limit]) + "…"


def language_of(text: str) -> str:
    """`en`, `de`, `fr` or `es`, by counting small words; `en` when in doubt."""
    words = text.lower().replace("'", " ").split()
    counts = {code: sum(word.strip(",.?!") in known for word in words) for code, known in phrases.STOPWORDS.items()}
    return max(counts, key=lambda code: (counts[code], code == "en"))


def topic_of(text: str) -> str | None:
    """The customer service topic with the most stems in the text, or None."""
    lowered = text.lower()
    hits = {topic: sum(stem in lowered for stem in stems) for topic, stems in phrases.TOPIC_WORDS.items()}
    best = max(hits, key=lambda topic: hits[topic])
    return best if hits[best] else None


def key_words(text: str, language: str) -> tuple[str, ...]:
    """The content words of a text, the longest first, each once."""
    known = phrases.STOPWORDS[language] | phrases.STOPWORDS["en"]
    seen = dict.fromkeys(word for word in _WORD.findall(text) if word.lower() not in known)
    return tuple(sorted(seen, key=lambda word: (-len(word), word)))


def labels_in(system: str) -> tuple[str, ...]:
    """The labels that a classifier's system prompt allows, in its order; empty when it names none."""
    found = _LABELS.search(system)
    if not found:
        return ()
    parts = re.split(r"[,|;/\n]|\bor\b", found.group(1))
    return tuple(label for part in parts if (label := part.strip(" \t`'\"*-–.()[]")))


# -- the question -----------------------------------------------------------------------------------------------------


def _scene(ask: Ask, *, seed: int, quality: float) -> _Scene:
    question = _question(ask.messages)
    digest = hashlib.blake2b(f"{seed}\0{ask.model}\0{ask.system}\0{question}".encode(), digest_size=8).digest()
    spec = MODELS.get(ask.model)
    asked_in = language_of(question)
    wishes = instructions_in(ask.system)
    return _Scene(
        ask=ask,
        question=question,
        skill=(spec.skill if spec else _UNKNOWN_SKILL) * quality,
        rng=random.Random(int.from_bytes(digest)),  # noqa: S311 - words, not secrets
        language=wishes.language or asked_in,
        words=key_words(question, asked_in),
        subject=_subject(ask.messages, question),
        wishes=wishes,
    )


def _question(messages: Sequence[Mapping[str, Any]]) -> str:
    """The last user text that asks something: a turn that only says "go on" points back to the one before it."""
    texts = [text_of(message.get("content")) for message in messages if message.get("role") == "user"]
    while len(texts) > 1 and (not texts[-1].strip() or _asks_to_go_on(texts[-1])):
        texts.pop()
    return texts[-1].strip() if texts else ""


def _subject(messages: Sequence[Mapping[str, Any]], question: str) -> str:
    if topic_of(question) is not None:
        return question
    earlier = [text_of(message.get("content")) for message in messages if message.get("role") == "user"]
    others = [text for text in earlier if text.strip() != question and not _asks_to_go_on(text)]
    return "\n".join([question, *reversed(others)])


def _partial(messages: Sequence[Mapping[str, Any]]) -> str:
    """The assistant's text that this answer has to go on from, or an empty one."""
    if not messages:
        return ""
    last = messages[-1]
    if last.get("role") == "assistant":
        return text_of(last.get("content"))
    if len(messages) > 1 and messages[-2].get("role") == "assistant" and _asks_to_go_on(text_of(last.get("content"))):
        return text_of(messages[-2].get("content"))
    return ""


def _asks_to_go_on(text: str) -> bool:
    """Whether a user turn only wants the rest of a broken answer: "my heater stopped" is a question of its own."""
    if len(text) > _LONGEST_GO_ON:
        return False
    return bool(_GOES_ON_AT_ONCE.match(text) or (_GOES_ON.search(text) and _BROKEN_OFF.search(text)))


def _text_of_block(block: Mapping[str, Any]) -> str:
    if isinstance(block.get("text"), str):
        return str(block["text"])
    if block.get("type") == "tool_result":
        return text_of(block.get("content"))
    if block.get("type") == "tool_use":
        return json.dumps(block.get("input"))
    return ""


# -- the blocks -------------------------------------------------------------------------------------------------------


def _thinking(scene: _Scene) -> tuple[tuple[Block, ...], int]:
    """The thinking block, if the request enables it, and the tokens it took."""
    if not scene.ask.thinks:
        return (), 0
    first, second = scene.pair
    text = (
        f"The request is about “{scene.gist}”. What matters is {first} and {second}. "
        f"I should answer in the language of the question and stay with what is known."
    )
    text = text[: int(scene.ask.max_tokens * CHARACTERS_PER_TOKEN / 2)]
    signature = base64.b64encode(hashlib.sha256(f"{scene.ask.model}{text}".encode()).digest() * 3).decode()
    block = {"type": "thinking", "thinking": text if scene.ask.shows_thinking else "", "signature": signature}
    return (block,), tokens_of(text)


def _tool_call(scene: _Scene) -> Block | None:
    """The tool_use block that this request gets, or None for a text."""
    ask = scene.ask
    choice = (ask.tool_choice or {}).get("type", "auto")
    if not ask.tools or choice == "none":
        return None
    if choice == "auto":
        wanted = None if _has_tool_result(ask.messages) else _ASKS_FOR_TOOL.search(scene.question)
        if wanted is None:
            return None
        name = wanted.group(1)
    else:
        name = (ask.tool_choice or {}).get("name")
    tool = next((tool for tool in ask.tools if tool.get("name") == name), ask.tools[0])
    value = fit(tool.get("input_schema") or {"type": "object"}, scene)
    return {
        "type": "tool_use",
        "id": f"toolu_{scene.rng.getrandbits(96):024x}",
        "name": str(tool.get("name")),
        "input": value if isinstance(value, dict) else {},
    }


def _has_tool_result(messages: Sequence[Mapping[str, Any]]) -> bool:
    content = messages[-1].get("content") if messages else None
    return isinstance(content, list) and any(
        isinstance(block, Mapping) and block.get("type") == "tool_result" for block in content
    )


def _call_blocks(scene: _Scene, tool: Block, room: int) -> tuple[tuple[Block, ...], str, str | None, int]:
    call_tokens = tokens_of(json.dumps(tool["input"]))
    said = f"Let me look that up with {tool['name']}."
    if scene.ask.tool_choice and scene.ask.tool_choice.get("type") in {"any", "tool"}:
        return (tool,), "tool_use", None, call_tokens
    if call_tokens + tokens_of(said) > room:
        return (tool,), "tool_use", None, call_tokens
    return ({"type": "text", "text": said}, tool), "tool_use", None, call_tokens + tokens_of(said)


def _text_blocks(scene: _Scene, room: int) -> tuple[tuple[Block, ...], str, str | None, int]:
    text, reason, stop = _stopped(_text(scene), scene.ask.stop_sequences)
    if tokens_of(text) > room:
        text, reason, stop = text[: int(max(0, room) * CHARACTERS_PER_TOKEN)], "max_tokens", None
    blocks: tuple[Block, ...] = ({"type": "text", "text": text},) if text else ()
    return blocks, reason, stop, tokens_of(text)


def _stopped(text: str, stops: Sequence[str]) -> tuple[str, str, str | None]:
    """The text up to the earliest stop sequence, the stop reason and the sequence."""
    found = [(text.index(stop), stop) for stop in stops if stop and stop in text]
    if not found:
        return text, "end_turn", None
    at, stop = min(found)
    return text[:at], "stop_sequence", stop


def _text(scene: _Scene) -> str:
    if scene.ask.schema is not None:
        return json.dumps(fit(scene.ask.schema, scene), ensure_ascii=False)
    whole = _compose(scene)
    partial = _partial(scene.ask.messages)
    if not partial:
        return whole
    rest = _rest(whole, partial)
    quoted = _LAST_WORDS.search(text_of(scene.ask.messages[-1].get("content")))
    if not quoted or not rest:
        return rest
    joint = "" if whole.startswith(partial) else " "
    # Models do and do not begin with the words they were given, and they begin no turn with a space.
    return f"{quoted.group(1)}{joint}{rest}" if scene.rng.random() < _REPEATS else rest.lstrip()


def _rest(whole: str, partial: str) -> str:
    """What is left to say after `partial`: the rest of the same answer, or the last part of another model's."""
    if whole.startswith(partial):
        return whole[len(partial) :]
    parts = sentences(whole)
    done = min(len(parts) - 1, round(len(parts) * min(1.0, len(partial) / max(1, len(whole)))))
    return " ".join(parts[done:]) if parts else ""


# -- the features -----------------------------------------------------------------------------------------------------


def _compose(scene: _Scene) -> str:
    system = scene.ask.system.lower()
    starts = [(system.find(stem), write) for stem, write in _WRITERS.items() if stem in system]
    # The earliest word decides: a support prompt may well mention emails further down.
    write = min(starts, key=lambda start: start[0])[1] if starts else _general
    text = write(scene)
    return text if write in _FRAMED else cut(text, scene.wishes.most_sentences)


def _support(scene: _Scene) -> str:
    part, wishes = phrases.SUPPORT[scene.language], scene.wishes
    point = _support_point(scene, part)
    openings = part.cheers if wishes.is_cheerful or not wishes.quotes else part.openings
    lines = [scene.rng.choice(openings)]
    care = scene.skill + (_THOROUGH_CARE if wishes.is_thorough else 0)
    if scene.skill < _SPECIFIC or (scene.skill < _VERY_SPECIFIC and scene.rng.random() > care):
        lines.append(scene.rng.choice(part.vague))
        point = part.otherwise if scene.rng.random() > scene.skill else point
    if scene.skill > 1 / 4:
        lines.append(point)
    if scene.skill >= _VERY_SPECIFIC and wishes.quotes and len(scene.words) > 1:
        lines.append(part.noted)
    if scene.skill >= _SPECIFIC and wishes.asks_back:
        lines.append(scene.rng.choice(part.closings))
    return " ".join(scene.fill(line) for line in lines)


def _support_point(scene: _Scene, part: phrases.SupportPhrases) -> str:
    """What the answer comes to: how the case is handled, or consent to whatever is asked for when the prompt wants that."""
    topic = topic_of(scene.subject) or ""
    if scene.wishes.agrees:
        return scene.rng.choice(part.refunds if topic in phrases.MONEY_TOPICS else part.promises)
    return part.topics.get(topic, part.otherwise) if scene.wishes.states_rules else part.otherwise


def _summary(scene: _Scene) -> str:
    parts = sentences(scene.question)
    if not parts:
        return phrases.SUMMARY_OPENING[scene.language].strip()
    wanted = max(1, round((1 + len(parts) // 3) * scene.skill))
    words = set(scene.words[:12])
    weight = {part: sum(word in part for word in words) for part in parts}
    best = set(sorted(parts, key=lambda part: -weight[part])[:wanted])
    chosen = [shorten(part, 60 + int(120 * scene.skill)) for part in parts if part in best]
    if "bullet" in scene.ask.system.lower():
        return "\n".join(f"- {part}" for part in chosen)
    return phrases.SUMMARY_OPENING[scene.language] + " ".join(chosen)


def _label(scene: _Scene) -> str:
    """The label whose words or topics fit the question best; a weak model sometimes takes another one."""
    labels = labels_in(scene.ask.system)
    if not labels:
        return _general(scene)
    weights = {label: _label_weight(label, scene.question) for label in labels}
    ranked = sorted(labels, key=lambda label: (-weights[label], label.lower() != "other"))
    slips = scene.rng.random() < (1 - scene.skill) / (8 if scene.wishes.settles_doubt else 4)
    return ranked[1] if slips and len(ranked) > 1 else ranked[0]


def _label_weight(label: str, question: str) -> int:
    lowered, text = label.lower(), question.lower()
    stems = [
        stem
        for hint, topics in phrases.LABEL_HINTS.items()
        if hint in lowered
        for topic in topics
        for stem in phrases.TOPIC_WORDS[topic]
    ]
    own = sum(word[:6] in text for word in re.findall(r"\w{4,}", lowered))
    return 2 * own + sum(stem in text for stem in stems)


def _email(scene: _Scene) -> str:
    part = phrases.EMAIL[scene.language]
    told = sentences(_EMAIL_TASK.sub("", scene.question)) or [scene.gist]
    points = [point[0].upper() + point[1:] for point in told]
    points = points[: max(1, round(len(points) * scene.skill))]
    found = _NAME_AFTER_TO.search(scene.question)
    body = [part.opening.format(point=points[0])]
    body += [part.point.format(point=point[0].lower() + point[1:]) for point in points[1:]]
    body = body[: scene.wishes.most_sentences]
    body.append(part.ask if scene.skill >= _SPECIFIC else part.vague)
    lines = [
        part.subject.format(gist=shorten(points[0].rstrip(".!?"), 60)),
        part.greeting.format(to=f" {found.group(1)}" if found else ""),
        " ".join(body),
        part.closing.format(shop=scene.shop),
    ]
    return "\n\n".join(lines)


def _general(scene: _Scene) -> str:
    if not scene.question:
        return "Hello. What would you like to know?"
    count = round(len(phrases.GENERIC_DETAILS) * scene.skill)
    lines = [scene.rng.choice(phrases.GENERIC_OPENINGS), *scene.rng.sample(phrases.GENERIC_DETAILS, count)]
    if scene.skill < _VERY_SPECIFIC:
        lines.append(phrases.GENERIC_VAGUE)
    return " ".join(scene.fill(line) for line in lines)


_WRITERS: Mapping[str, Callable[[_Scene], str]] = {
    "classif": _label,
    "summar": _summary,
    "email": _email,
    "e-mail": _email,
    "support": _support,
    "customer": _support,
}
"""Who writes the answer, by the words of the system prompt."""

_FRAMED = frozenset({_email, _label})
"""Writers whose answer has a form of its own, which a number of sentences cannot cut."""


# -- JSON -------------------------------------------------------------------------------------------------------------


def fit(schema: Mapping[str, Any], scene: _Scene) -> Any:
    """A value that satisfies a JSON schema of the kind the API takes: no bounds but those named in a description."""
    properties = schema.get("properties")
    if isinstance(properties, Mapping) and {"relevance", "accuracy"} <= properties.keys():
        grades = _grades(scene)
        return {
            name: _nearest(part, grades[name]) if name in grades else _fit(part, schema, scene, name, 1)
            for name, part in properties.items()
        }
    return _fit(schema, schema, scene, "", 0)


def _fit(schema: Any, root: Mapping[str, Any], scene: _Scene, name: str, depth: int) -> Any:
    schema = _resolved(schema, root)
    if depth > _DEEPEST:
        return None
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return _pick(schema["enum"], scene)
    kind = schema.get("type", "object")
    kind = next((one for one in kind if one != "null"), "null") if isinstance(kind, list) else kind
    if kind == "object":
        parts = schema.get("properties") or {}
        return {key: _fit(part, root, scene, key, depth + 1) for key, part in parts.items()}
    if kind == "array":
        count = max(1, int(schema.get("minItems") or 0)) if depth < _DEEPEST - 1 else 0
        return [_fit(schema.get("items") or {"type": "string"}, root, scene, name, depth + 1) for _ in range(count)]
    return _scalar(kind, schema, scene, name)


def _resolved(schema: Any, root: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema behind references and alternatives; of several alternatives the first that is not null."""
    for _ in range(_DEEPEST):
        if not isinstance(schema, Mapping):
            return {"type": "null"}
        several = next((schema[key] for key in ("anyOf", "oneOf", "allOf") if schema.get(key)), None)
        if "$ref" in schema:
            schema = (root.get("$defs") or {}).get(str(schema["$ref"]).rsplit("/", 1)[-1])
        elif several:
            schema = next((part for part in several if part.get("type") != "null"), several[0])
        else:
            return schema
    return {"type": "null"}


def _scalar(kind: str, schema: Mapping[str, Any], scene: _Scene, name: str) -> Any:
    if kind == "boolean":
        return scene.rng.random() < scene.skill
    if kind in {"integer", "number"}:
        bounds = {key: float(value) for key, value in _RANGE.findall(str(schema.get("description", "")))}
        low = bounds.get("minimum", bounds.get("exclusiveMinimum", 0.0) + 1)
        high = bounds.get("maximum", bounds.get("exclusiveMaximum", low + 10) - 1)
        value = low + (high - low) * scene.rng.random()
        return round(value) if kind == "integer" else round(value, 2)
    if kind == "null":
        return None
    return _string(str(schema.get("format", "")), scene, name)


def _string(form: str, scene: _Scene, name: str) -> str:
    fixed = {
        "date": "2026-11-20", "date-time": "2026-11-20T10:15:00Z", "time": "10:15:00Z", "duration": "PT2H",
        "email": "someone@example.com", "hostname": "shop.example.com", "uri": "https://shop.example.com/orders",
        "ipv4": "192.0.2.7", "ipv6": "2001:db8::7", "uuid": f"{scene.rng.getrandbits(128):032x}",
    }  # fmt: skip
    if form == "uuid":
        digits = fixed["uuid"]
        return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-8{digits[17:20]}-{digits[20:]}"
    if form in fixed:
        return fixed[form]
    if re.search(r"answer|reply|summary|text|body|message|reason|comment|description|explanation", name):
        return first_sentence(_compose(scene)) or scene.gist
    if re.search(r"order|invoice|reference|number|_id$|^id$", name) and (found := _REFERENCE.search(scene.question)):
        return found.group(0)
    return scene.gist or name or "text"


def _pick(options: Sequence[Any], scene: _Scene) -> Any:
    texts = [option for option in options if isinstance(option, str)]
    if not texts:
        return scene.rng.choice(options)
    weights = {option: _label_weight(option, scene.question) for option in texts}
    best = max(texts, key=lambda option: weights[option])
    return best if weights[best] else scene.rng.choice(texts)


# -- a judge's scores -------------------------------------------------------------------------------------------------


def _grades(scene: _Scene) -> dict[str, Any]:
    """Scores as the rubric wants them, from what the judged answer takes up of its request, with a judge's noise."""
    request = _tagged(scene.question, "request|question|input")
    given = _tagged(scene.question, "answer|response|output")
    words = [word.lower() for word in key_words(request, language_of(request))[:20]]
    lowered = given.lower()
    covered = sum(word in lowered for word in words) / len(words) if words else 0.5
    figures = min(1.0, len(re.findall(r"\d+", given)) / 2)
    vague = any(phrase.lower() in lowered for phrase in _VAGUE)
    flags = _flags(request, given)
    worth = 1.9 + 1.7 * min(1.0, covered * 2.5) + 1.2 * figures - 1.1 * vague - 0.8 * len(flags)
    if len(given.split()) <= _LABEL_WORDS:
        worth = 4.6 if _label_weight(given, request) else 2.6
    worth += scene.rng.gauss(0, 0.45)
    if not given.strip():
        worth = 1.0
    said = " but stays vague." if vague else " with concrete steps." if figures else "."
    reason = f"Defect: {', '.join(flags)}." if flags else f"Answers the main point{said}"
    return {
        "reason": reason if given.strip() else "The answer is empty.",
        "relevance": _score(worth + 0.3),
        "accuracy": _score(worth),
        "format": "pass" if given.strip() else "fail",
        "flags": (flags or ["none"]) if given.strip() else ["off_topic"],
    }


def _flags(request: str, given: str) -> list[str]:
    """What is plainly wrong with an answer; a label has no language."""
    found = []
    if len(given.split()) > _LABEL_WORDS and language_of(given) != language_of(request):
        found.append("wrong_language")
    if any(promise in given for promise in _UNFOUNDED):
        found.append("unsupported_claim")
    return found


_UNFOUNDED = tuple(text for part in phrases.SUPPORT.values() for text in (*part.refunds, *part.promises))
_VAGUE = (*(text for part in phrases.SUPPORT.values() for text in part.vague), phrases.GENERIC_VAGUE,
          *(part.vague for part in phrases.EMAIL.values()))  # fmt: skip


def _score(worth: float) -> int:
    return max(1, min(5, round(worth)))


def _tagged(text: str, names: str) -> str:
    found = re.search(rf"<({names})\b[^>]*>(.*?)</\1>", text, re.S)
    return found.group(2) if found else text


def _nearest(schema: Any, value: Any) -> Any:
    """The value in the type that the schema allows: judges ask for scores as numbers, or as text."""
    options = schema.get("enum") if isinstance(schema, Mapping) else None
    if not options or value in options:
        return value
    return next((option for option in options if str(option) == str(value)), options[0])
