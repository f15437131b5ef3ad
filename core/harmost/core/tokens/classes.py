"""Classes of characters that cost a tokenizer alike, and the groups of them that it is calibrated by.

Small letters of ASCII and of Cyrillic are a class each: which follow each other tells words that a
vocabulary knows from those that it cuts up, and so one language from another. Other scripts are a
class each or two.
"""

from typing import NamedTuple

__all__ = ["CLASSES", "GROUPS", "CharacterClass"]

GROUPS = (
    "latin",
    "latin accented",
    "greek",
    "cyrillic",
    "caucasian and ethiopic",
    "semitic",
    "indic of the north",
    "indic of the south",
    "southeast asian",
    "kana",
    "han",
    "hangul",
    "digits",
    "punctuation",
    "symbols",
    "space",
)


class CharacterClass(NamedTuple):
    """A class: its name, the group it belongs to, and its code points as spans, ends included."""

    name: str
    group: str
    spans: tuple[tuple[int, int], ...]


def _span(name: str, group: str, *spans: tuple[int, int]) -> CharacterClass:
    return CharacterClass(name, group, spans)


def _each(characters: str, group: str = "punctuation") -> CharacterClass:
    return CharacterClass(characters, group, tuple((ord(c), ord(c)) for c in characters))


# Source: the block names of the Unicode Character Database, Blocks.txt. The first holds what no other
# names.
CLASSES: tuple[CharacterClass, ...] = (
    _span("other", "symbols"),
    _span("space", "space", (0x20, 0x20)),
    _span("control", "space", (0x00, 0x08), (0x0B, 0x0C), (0x0E, 0x1F), (0x7F, 0x9F)),
    _span("newline", "space", (0x0A, 0x0A), (0x0D, 0x0D)),
    _span("tab", "space", (0x09, 0x09)),
    *(_each(letter, "latin") for letter in "abcdefghijklmnopqrstuvwxyz"),
    _span("capital", "latin", (0x41, 0x5A)),
    _span("digit", "digits", (0x30, 0x39)),
    *map(_each, (".", ",", ";:", "'\"`", "()", "[]", "{}", "-", "_", "/\\", "<>", "=")),
    *map(_each, ("@#$%&", "*+|~^", "!?")),
    _span("latin-1 sign", "symbols", (0xA0, 0xBF), (0xD7, 0xD7), (0xF7, 0xF7)),
    _span("latin-1 capital", "latin accented", (0xC0, 0xD6), (0xD8, 0xDE)),
    _span("latin-1 letter", "latin accented", (0xDF, 0xF6), (0xF8, 0xFF)),
    _span("latin extended a", "latin accented", (0x100, 0x17F)),
    _span("latin extended b", "latin accented", (0x180, 0x24F)),
    _span("vietnamese", "latin accented", (0x1E00, 0x1EFF)),
    _span("phonetic", "latin accented", (0x250, 0x2FF)),
    _span("combining", "latin accented", (0x300, 0x36F)),
    _span("greek", "greek", (0x370, 0x3FF)),
    _span("greek extended", "greek", (0x1F00, 0x1FFF)),
    _span("cyrillic capital", "cyrillic", (0x410, 0x42F)),
    *(_each(chr(letter), "cyrillic") for letter in range(0x430, 0x450)),
    _span("cyrillic extended", "cyrillic", (0x400, 0x40F), (0x450, 0x52F)),
    _span("armenian", "caucasian and ethiopic", (0x530, 0x58F)),
    _span("hebrew", "semitic", (0x590, 0x5FF)),
    _span("arabic", "semitic", (0x600, 0x65F)),
    _span(
        "arabic extended",
        "semitic",
        (0x660, 0x6FF),
        (0x750, 0x77F),
        (0x8A0, 0x8FF),
        (0xFB50, 0xFDFF),
        (0xFE70, 0xFEFF),
    ),
    _span("devanagari", "indic of the north", (0x900, 0x97F)),
    _span("bengali", "indic of the north", (0x980, 0x9FF)),
    _span("gurmukhi", "indic of the north", (0xA00, 0xA7F)),
    _span("gujarati", "indic of the north", (0xA80, 0xAFF)),
    _span("oriya", "indic of the north", (0xB00, 0xB7F)),
    _span("tamil", "indic of the south", (0xB80, 0xBFF)),
    _span("telugu", "indic of the south", (0xC00, 0xC7F)),
    _span("kannada", "indic of the south", (0xC80, 0xCFF)),
    _span("malayalam", "indic of the south", (0xD00, 0xD7F)),
    _span("sinhala", "indic of the south", (0xD80, 0xDFF)),
    _span("thai", "southeast asian", (0xE00, 0xE7F)),
    _span("lao", "southeast asian", (0xE80, 0xEFF)),
    _span("tibetan", "southeast asian", (0xF00, 0xFFF)),
    _span("myanmar", "southeast asian", (0x1000, 0x109F)),
    _span("khmer", "southeast asian", (0x1780, 0x17FF)),
    _span("georgian", "caucasian and ethiopic", (0x10A0, 0x10FF)),
    _span("ethiopic", "caucasian and ethiopic", (0x1200, 0x139F)),
    _span("general punctuation", "punctuation", (0x2000, 0x206F)),
    _span("symbol", "symbols", (0x2070, 0x2BFF)),
    _span("cjk punctuation", "punctuation", (0x3000, 0x303F), (0xFF00, 0xFFEF)),
    _span("hiragana", "kana", (0x3040, 0x309F)),
    _span("katakana", "kana", (0x30A0, 0x30FF)),
    _span("han", "han", (0x4E00, 0x9FFF)),
    _span("han extended", "han", (0x3400, 0x4DBF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF)),
    _span("hangul", "hangul", (0x1100, 0x11FF), (0x3130, 0x318F), (0xAC00, 0xD7AF)),
    _span("emoji", "symbols", (0xFE00, 0xFE0F), (0x1F000, 0x1FBFF)),
)
