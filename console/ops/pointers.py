"""The acts on prompts: use a version, and roll back to one that was current before.

A version is registered (its hash and text) by the act that makes it current. A rollback goes by the registered text, also when
the file was edited or lost since: the night must not fail on that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from console.core.control import text_hash
from console.core.durations import ago
from console.core.pointers import Chosen, decode_pointer, encode_pointer, pointer_key, pointer_name
from console.core.prompts import check_name, check_version
from console.core.rollups import US
from console.errors import ActError, PromptError, VersionChanged
from console.ops.kinds import Kind, Plan, Scene, for_a_while, new_plan, shown
from console.ops.measures import Measure, with_prompt
from console.ops.prompts import decoded, highest, in_force, parsed_text, unified, unknown_version
from console.ops.switches import stopped
from console.ops.views import Order, Preview
from console.store.sqlite.control import PromptRow

if TYPE_CHECKING:
    from console.core.targets import Routing

WHOLE = 100
"""The weight of the only version."""


def subject_of(key: str) -> str | None:
    """See `Kind`."""
    name = pointer_name(key)
    return None if name is None else f"prompt:{name}"


def said(key: str, value: str, routing: Routing) -> str:
    """See `Kind`."""
    return versions_text(decode_pointer(value)[0])


def versions_text(chosen: tuple[Chosen, ...]) -> str:
    """ "v3"; shares while several are served: "v3 90 %, v4 10 %"; "auto" when nobody has chosen."""
    if len(chosen) <= 1:
        return f"v{chosen[0].version}" if chosen else "auto"
    total = sum(one.weight for one in chosen)
    return ", ".join(f"v{one.version} {one.weight * 100 / total:.0f} %" for one in chosen)


def plan(scene: Scene, order: Order) -> Plan:
    """See `Kind`."""
    if order.prompt is None:
        raise ActError("name a prompt")
    if order.for_us is not None:  # what it would end in is the version that was left, perhaps for being bad
        raise ActError("a prompt's version does not expire by itself; roll back when it is over")
    name = check_name(order.prompt)
    current = current_versions(scene, name)
    known = scene.reading.state.pointers.get(name)
    withdrawn = known.withdrawn if known is not None else frozenset()
    if order.act == "use":
        if order.version is None:
            raise ActError(f"name the version of {name} to use")
        row = _to_use(scene, name, check_version(order.version))
        withdrawn -= {row.version}
    else:
        row = _to_go_back_to(scene, name, order.version, current, withdrawn)
        withdrawn = (withdrawn | set(current)) - {row.version}
    complete = Order(order.act, prompt=name, version=row.version)
    value = encode_pointer({row.version: (WHOLE, row.hash)}, frozenset(withdrawn))
    return new_plan(scene, complete, pointer_key(name), value, (row,))


def current_versions(scene: Scene, name: str) -> tuple[int, ...]:
    """The versions that are served now: those chosen, else the highest one that is no draft."""
    pointer = in_force(scene.reading.state, name, scene.now_us)
    if pointer is not None:
        return tuple(one.version for one in pointer.chosen)
    top = highest(scene.prompts.files(name))
    return () if top is None else (top,)


def _to_use(scene: Scene, name: str, version: int) -> PromptRow:
    """The version's file, to be registered. Raises UnknownPrompt, VersionChanged, PromptError for one that cannot be served."""
    file = scene.prompts.files(name).get(version)
    row = scene.prompts.registered_or_none().get((name, version))
    if file is None and row is not None:
        raise PromptError(
            f"the file of {name} v{version} is lost: put it back, or go by its registered text with `console prompt rollback "
            f"{name} {version}`"
        )
    if file is None:
        raise unknown_version(scene.prompts, name, version)
    if row is not None and file.hash != row.hash:
        raise VersionChanged(
            f"the file of {name} v{version} was edited after it was made current: put it back, or make a new version of it "
            f"with `console prompt new {name}`; `console prompt rollback {name} {version}` goes by the registered text"
        )
    if file.parsed is None or file.text is None:
        raise PromptError(file.problem or f"{name} v{version} cannot be served")
    return PromptRow(name, version, text_hash(file.text), file.text)


def _to_go_back_to(
    scene: Scene, name: str, version: int | None, current: tuple[int, ...], withdrawn: frozenset[int]
) -> PromptRow:
    wanted = check_version(version) if version is not None else _before(scene, name, current, withdrawn)
    row = scene.prompts.registered_or_none().get((name, wanted))
    return row if row is not None else _to_use(scene, name, wanted)


def _before(scene: Scene, name: str, current: tuple[int, ...], withdrawn: frozenset[int]) -> int:
    """The version that was current before the one in force, else the next lower one. Raises ActError when there is none.

    What was rolled back is passed over: rolling back twice goes back two versions, not to and fro.
    """
    files, registered = scene.prompts.files(name), scene.prompts.registered_or_none()
    there = {number for number, file in files.items() if file.parsed is not None and not file.parsed.is_draft}
    there |= {number for known, number in registered if known == name}
    if not there and not files:
        raise unknown_version(scene.prompts, name, None)
    passed_over = {*current, *withdrawn}
    undone = {row.undoes for row in scene.audit}
    history = [row for row in scene.audit if row.key == pointer_key(name) and row.act != "undo" and row.id not in undone]
    for row in reversed(history):
        versions = sorted((one.version for one in decoded(row.after)), reverse=True)
        if versions and not passed_over & set(versions):
            return versions[0]
    top = min(current, default=0)
    lower = [number for number in there - passed_over if number < top]
    if not lower:
        now = versions_text(tuple(Chosen(one, 1, "") for one in current)) if len(current) == 1 else "the current version"
        raise ActError(f"no version of {name} before {now} to roll back to; name one: `console prompt rollback {name} N`")
    return max(lower)


def show(scene: Scene, plan: Plan) -> Preview:
    """See `Kind`."""
    name = pointer_name(plan.key)
    assert name is not None  # noqa: S101 -- the key is of this kind
    chosen, withdrawn = decode_pointer(plan.value)
    pointer = in_force(scene.reading.state, name, scene.now_us)
    current = current_versions(scene, name)
    new = _main(chosen) if chosen else highest(scene.prompts.files(name))
    old = _main(pointer.chosen) if pointer is not None else next(iter(current), None)
    verb = "Roll" if plan.order.act == "rollback" else "Use"
    title = f"Roll {name} back to v{new}" if verb == "Roll" else f"Use {name} {versions_text(chosen)}"
    known = scene.reading.state.pointers.get(name)
    is_same = (pointer.chosen if pointer else ()) == chosen and (known.withdrawn if known else frozenset()) == withdrawn
    done = "rolled back" if plan.order.act == "rollback" else "set"
    return shown(
        scene,
        plan,
        "prompt",
        name,
        title=title,
        subject=f"prompt:{name}",
        before=_in_force(scene, name, current),
        after=for_a_while(versions_text(chosen) if chosen else _auto(new), plan.left_us(scene.now_us), "as before"),
        is_wide=False,
        confirm_word=name,
        is_already_so=is_same and plan.expires_at is None and not (pointer and pointer.expires_at),
        last_time=scene.last_time(plan.key, plan.order.act, done),
        warnings=tuple(_warnings(scene, name, plan, old, new)),
        diff=_diff(scene, name, old, new, plan),
        text_hash=chosen[0].hash if len(chosen) == 1 else None,
    )


def _main(chosen: tuple[Chosen, ...]) -> int:
    """The version that most get."""
    most = max(chosen, key=lambda one: (one.weight, one.version))
    return most.version


def _auto(version: int | None) -> str:
    return "auto (no version can be served)" if version is None else f"auto (v{version}, the highest that is no draft)"


def _in_force(scene: Scene, name: str, current: tuple[int, ...]) -> str:
    pointer = in_force(scene.reading.state, name, scene.now_us)
    if pointer is None:
        return _auto(next(iter(current), None))
    since = "" if pointer.at is None else f", {ago((scene.now_us - pointer.at) / US)}"
    return f"{versions_text(pointer.chosen)} (by {pointer.actor}{since})"


def _text(scene: Scene, name: str, version: int | None, plan: Plan | None = None) -> str | None:
    """The text that is served under a number: what is registered, or would be with the plan, else the file's."""
    if version is None:
        return None
    for row in plan.registers if plan is not None else ():
        if row.version == version:
            return row.text
    registered = scene.prompts.registered_or_none().get((name, version))
    if registered is not None:
        return registered.text
    file = scene.prompts.files(name).get(version)
    return None if file is None else file.text


def _diff(scene: Scene, name: str, old: int | None, new: int | None, plan: Plan) -> str | None:
    before, after = _text(scene, name, old), _text(scene, name, new, plan)
    if after is None:
        return None
    return unified(f"{name} v{old}" if before is not None else "nothing", before or "", f"{name} v{new}", after)


def _warnings(scene: Scene, name: str, plan: Plan, old: int | None, new: int | None) -> list[str]:
    found = []
    text = _text(scene, name, new, plan)
    parsed = parsed_text(name, new, text) if text is not None and new is not None else None
    if text is None:
        found.append(f"no text of {name} can be served then: calls that render it fail")
    elif parsed is None:
        found.append(f"the text of {name} v{new} cannot be served as it is: `console prompt check`")
    elif parsed.is_draft:
        found.append(f"{name} v{new} is marked as a draft")
    file = scene.prompts.files(name).get(new or 0)
    if file is None and text is not None:
        found.append(f"the file of {name} v{new} is lost: the registered text is served")
    elif file is not None and text is not None and file.hash != text_hash(text):
        found.append(f"the file of {name} v{new} was edited: the registered text is served")
    old_text = _text(scene, name, old)
    older = parsed_text(name, old, old_text) if old_text is not None and old is not None else None
    missing = sorted(set(parsed.variables) - set(older.variables)) if parsed is not None and older is not None else []
    if missing:
        found.append(
            f"v{new} needs {', '.join(missing)}, which v{old} does not: processes whose application does not give them keep "
            "serving another version"
        )
    features = sorted({row.feature for row in scene.traffic.sums if row.prompt == name})
    for feature in features:
        found += stopped(scene, feature)
    return list(dict.fromkeys(found))


def order_of(key: str, value: str) -> Order:
    """See `Kind`."""
    chosen = decode_pointer(value)[0]
    return Order("use", prompt=pointer_name(key), version=_main(chosen) if chosen else None)


def measure(key: str, value: str, scene: Scene) -> Measure:
    """See `Kind`."""
    name = pointer_name(key) or ""
    chosen = decode_pointer(value)[0]
    return with_prompt(name, _main(chosen) if chosen else highest(scene.prompts.files(name)))


KIND = Kind(
    acts=frozenset({"use", "rollback"}),
    nothing=encode_pointer(None),
    subject_of=subject_of,
    said=said,
    plan=plan,
    show=show,
    order_of=order_of,
    measure=measure,
)
