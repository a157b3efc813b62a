"""Hypothesis strategies that damage files as editors, scripts and broken copies do."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

__all__ = ["Damage", "bytes_damage", "json_damage", "text_damage"]

_NUMBER = st.integers(0, 10**6)  # which line, value or byte: modulo their number


@dataclass(frozen=True)
class Damage:
    """One change; ``first`` and ``second`` say where, modulo the number of places."""

    kind: str
    first: int
    second: int

    def to_text(self, text: str) -> str:
        """Damage lines, or values in a line."""
        return _TEXT[self.kind](text, self.first, self.second)

    def to_json(self, text: str) -> str:
        """Damage a node of a JSON document."""
        return _JSON[self.kind](text, self.first, self.second)

    def to_bytes(self, content: bytes) -> bytes:
        """Damage a part of a binary file."""
        return _BYTES[self.kind](content, self.first, self.second)


def text_damage() -> st.SearchStrategy[list[Damage]]:
    """One to three changes of a table as text, one of them at most of a value in a line.

    If one value is dropped from a line and another one doubled, or the line is cut off too, it may have a valid length
    again, and another meaning.
    """
    values = [kind for kind in _TEXT if "value" in kind]
    lines = [kind for kind in _TEXT if kind not in values]
    beside = [kind for kind in lines if kind != "shorten"]
    with_value = st.tuples(_changes(values, 1, 1), _changes(beside, 0, 2)).map(lambda both: both[0] + both[1])
    cut_last = _changes(lines, 1, 3).map(lambda changes: sorted(changes, key=lambda change: change.kind == "shorten"))
    return cut_last | with_value


def json_damage() -> st.SearchStrategy[list[Damage]]:
    """One to three changes of a JSON document.

    If one number of a shape is dropped and another one doubled, it is a valid shape again, and another one.
    """
    without_drop, without_double = ([kind for kind in _JSON if kind != left] for left in ("drop", "double"))
    return _changes(without_drop, 1, 3) | _changes(without_double, 1, 3)


def bytes_damage(*kinds: str) -> st.SearchStrategy[Damage]:
    """One change of a binary file, which changes its length; two could cancel out."""
    return _change(kinds or tuple(_BYTES))


def _changes(kinds: Sequence[str], least: int, most: int) -> st.SearchStrategy[list[Damage]]:
    return st.lists(_change(kinds), min_size=least, max_size=most)


def _change(kinds: Sequence[str]) -> st.SearchStrategy[Damage]:
    return st.builds(Damage, st.sampled_from(kinds), _NUMBER, _NUMBER)


# --- text -------------------------------------------------------------------------------------------------------------


def _on_lines(change: Callable[[list[str], int, int], None]) -> Callable[[str, int, int], str]:
    def damage(text: str, first: int, second: int) -> str:
        lines = text.splitlines(keepends=True)
        if lines:
            change(lines, first % len(lines), second)
        return "".join(lines)

    return damage


def _on_values(change: Callable[[list[str], int], None]) -> Callable[[str, int, int], str]:
    """Change the values of a line; the separators are kept as values of their own."""

    def damage(lines: list[str], i: int, second: int) -> None:
        parts = re.split(r"([\s,]+)", lines[i])
        values = [k for k, part in enumerate(parts) if k % 2 == 0 and part]
        if values:
            change(parts, values[second % len(values)])
            lines[i] = "".join(parts)

    return _on_lines(damage)


def _drop_line(lines: list[str], i: int, _: int) -> None:
    del lines[i]


def _double_line(lines: list[str], i: int, _: int) -> None:
    lines.insert(i, lines[i])


def _swap_lines(lines: list[str], i: int, second: int) -> None:
    """Swap two lines, but not the labels of a STAR table: names in another order are other names."""
    j = second % len(lines)
    if not lines[i].startswith("_") and not lines[j].startswith("_"):
        lines[i], lines[j] = lines[j], lines[i]


def _insert_blank(lines: list[str], i: int, second: int) -> None:
    lines.insert(i, ("\n", "  \t\n", "\r\n")[second % 3])


def _insert_comment(lines: list[str], i: int, second: int) -> None:
    lines.insert(i, ("# a comment\n", "% 1 2 3\n", "; a comment\n", "#\n")[second % 4])


def _drop_value(parts: list[str], k: int) -> None:
    del parts[k : k + 2]


def _double_value(parts: list[str], k: int) -> None:
    parts[k:k] = [parts[k], parts[k - 1] if k else ("," if "," in "".join(parts) else " ")]


def _shorten(text: str, first: int, _: int) -> str:
    """Cut between two values, as a number that is cut is another valid number."""
    ends = [match.start() for match in re.finditer(r"[\s,]", text)]
    return text[: ends[first % len(ends)]] if ends else text


_TEXT: dict[str, Callable[[str, int, int], str]] = {
    "drop line": _on_lines(_drop_line),
    "double line": _on_lines(_double_line),
    "swap lines": _on_lines(_swap_lines),
    "insert blank line": _on_lines(_insert_blank),
    "insert comment": _on_lines(_insert_comment),
    "drop value": _on_values(_drop_value),
    "double value": _on_values(_double_value),
    "shorten": _shorten,
    "other line ends": lambda text, first, _: text.replace("\n", ("\r\n", "\r")[first % 2]),
    "byte-order mark": lambda text, *_: "\ufeff" + text.removeprefix("\ufeff"),
}


# --- JSON -------------------------------------------------------------------------------------------------------------


def _on_nodes(change: Callable[[Any, int], None]) -> Callable[[str, int, int], str]:
    """Change an object or a list anywhere in a document; text that is no JSON stays."""

    def damage(text: str, first: int, second: int) -> str:
        try:
            document = json.loads(text.removeprefix("\ufeff"))
        except ValueError:
            return text
        nodes = [node for node in _nodes(document) if node]
        if nodes:
            change(nodes[first % len(nodes)], second)
        return json.dumps(document)

    return damage


def _nodes(document: Any) -> list[Any]:
    """All objects and lists in a document."""
    if not isinstance(document, dict | list):
        return []
    values = document.values() if isinstance(document, dict) else document
    return [document, *(node for value in values for node in _nodes(value))]


def _key(node: Any, second: int) -> Any:
    keys = list(node) if isinstance(node, dict) else range(len(node))
    return keys[second % len(keys)]


def _drop_node(node: Any, second: int) -> None:
    del node[_key(node, second)]


def _double_node(node: Any, second: int) -> None:
    if isinstance(node, list):
        node.insert(second % len(node), node[second % len(node)])


def _swap_nodes(node: Any, _: int) -> None:
    """Objects in another order; lists in another order, as of axes, would say something else."""
    if isinstance(node, dict):
        items = list(node.items())
        node.clear()
        node.update(reversed(items))


def _replace_node(node: Any, second: int) -> None:
    node[_key(node, second)] = (None, "nonsense", [], {}, True)[second % 5]


def _cut(text: str, first: int, _: int) -> str:
    return text[: first % (len(text) + 1)]


_JSON: dict[str, Callable[[str, int, int], str]] = {
    "drop": _on_nodes(_drop_node),
    "double": _on_nodes(_double_node),
    "reorder": _on_nodes(_swap_nodes),
    "replace": _on_nodes(_replace_node),
    "shorten": _cut,
    "insert blank line": lambda text, first, _: "\n" * (1 + first % 3) + text,
    "byte-order mark": lambda text, *_: "\ufeff" + text.removeprefix("\ufeff"),
}


# --- bytes ------------------------------------------------------------------------------------------------------------


def _drop_bytes(content: bytes, first: int, second: int) -> bytes:
    start = first % max(1, len(content))
    return content[:start] + content[start + 1 + second % 128 :]


def _double_bytes(content: bytes, first: int, second: int) -> bytes:
    start = first % max(1, len(content))
    return content[:start] + content[start : start + 1 + second % 128] + content[start:]


_BYTES: dict[str, Callable[[bytes, int, int], bytes]] = {
    "drop": _drop_bytes,
    "double": _double_bytes,
    "shorten": lambda content, first, _: content[: first % (len(content) + 1)],
    "append": lambda content, first, second: content + bytes([first % 256]) * (1 + second % 128),
}
