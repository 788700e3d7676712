"""Formulas of the site as MathML, which browsers draw themselves: no script, no network.

An extension of Sphinx, whose own ways need MathJax from a network or LaTeX on the machine.
"""

from __future__ import annotations

import re
from typing import Any

from latex2mathml.converter import convert

# A brace grows with its cases only where a font for formulas is installed: course.css draws it.
BRACE = '<mo stretchy="true" fence="true" form="prefix">&#x0007B;</mo><mtable>'
DRAWN = '<mo class="brace">&#x0007B;</mo><mtable class="cases">'


def to_mathml(formula: str, display: str) -> str:
    """A TeX formula as MathML; `display` is "block" or "inline"."""
    # latex2mathml knows no \\big; the sizes are a matter of looks
    plain = re.sub(r"\\(?:big|Big|bigg|Bigg)[lr]?(?=[\[\](){}|\\])", "", formula.strip())
    plain = plain.replace(r"\tfrac", r"\frac").replace(r"\operatorname", r"\mathrm")
    plain = plain.replace(r"\arg", r"\mathrm{arg}")
    return convert(plain, display=display).replace(BRACE, DRAWN)


def _inline(writer: Any, node: Any) -> None:
    writer.body.append(to_mathml(node.astext(), "inline"))
    raise _skip()


def _block(writer: Any, node: Any) -> None:
    formula = to_mathml(node.astext(), "block")
    reached = formula.replace("<math ", '<math tabindex="0" ', 1)  # a wide one is scrolled by keys
    writer.body.append(f'<div class="math">{reached}</div>')
    raise _skip()


def _skip() -> Exception:
    from docutils.nodes import SkipNode

    return SkipNode()


def setup(app: Any) -> dict[str, bool]:
    """Tell Sphinx of the renderer."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
