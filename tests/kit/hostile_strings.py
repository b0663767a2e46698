"""Texts of strangers that would do something where they are not escaped, by what they attack."""

from __future__ import annotations

from collections.abc import Mapping

STRINGS: Mapping[str, str] = {
    "a script": "<script>alert(1)</script>",
    "the end of a script": "</script><script>alert(1)</script>",
    "an image with an event": "<img src=x onerror=alert(1)>",
    "the end of an attribute": '"><svg onload=alert(1)>',
    "another end of an attribute": "' onmouseover='alert(1)",
    "a comment in HTML": "--><b>bold</b><!--",
    "an entity": "&lt;script&gt;&#60;b&#62;&nbsp;",
    "a section of XML": "]]><x/><![CDATA[",
    "an address that runs": "javascript:alert(1)",
    "a link in Markdown": "[click](https://evil.example)",
    "a link behind a backslash": "\\[click](https://evil.example)",
    "an image in Markdown": "![x](https://evil.example/x.png)",
    "a link by reference": "[x][y]\n\n[y]: https://evil.example",
    "an automatic link": "<https://evil.example> www.evil.example a@evil.example",
    "pipes": "a | b | c |\n|---|---|",
    "a backslash and a pipe": "\\|",
    "a heading": "two\nlines\r\n\n# Heading\n| x | y |",
    "a fence of code": "```\n~~~\n`` ` ``",
    "emphasis": "**bold** _italic_ ~~gone~~ $x$ $$y$$",
    "a template": "{{ 7*7 }}{% for x in () %}{% endfor %}${7*7}<%= 7 %>",
    "a formula of a spreadsheet": '=HYPERLINK("https://evil.example","x")',
    "a formula with other signs": "@SUM(1+1)*cmd|' /C calc'!A0",
    "LaTeX": "\\input{/etc/passwd}\\write18{id} % $ # _ ^ & ~ { }",
    "YAML": "a: !!python/object:os.system\n- *x\n... --- #",
    "colours of a terminal": "\x1b[31mred\x1b[0m\x1b]0;title\x07",
    "moves of a cursor": "ab\b\b\rcd\x1b[2J\x9b2J\x00\x7f",
    "marks that turn the direction": "\u202egnp.exe\u202c\u2067x\u2069",
    "letters that are not seen": "a\u200bb\u2060c\ufeffd\u00ad",
    "ends of lines": "a\u2028b\u2029c\x0bd\x0ce\x85f",
    "a lone surrogate": "a\ud800b\udfff",
    "prototypes": "__proto__",
    "very long": "x" * 100_000,
}  # 32
