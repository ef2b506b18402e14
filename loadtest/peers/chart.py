"""Results as an SVG bar chart, without a plotting library."""

import xml.sax.saxutils

from results import Results

COLOURS = {"strata": "#0b6e4f", "llama.cpp": "#d98e04", "openvino": "#5b5ea6",
           "vllm": "#b23a48", "transformers": "#7d7d7d"}
BAR = 16  # pixels, with its gap
GROUP_GAP = 14
LABEL_WIDTH = 190
PLOT_WIDTH = 520
VALUE_WIDTH = 90
TOP = 64


def text(x: float, y: float, words: str, **attributes: object) -> str:
    extra = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in attributes.items())
    return f'<text x="{x:.0f}" y="{y:.0f}"{extra}>{xml.sax.saxutils.escape(words)}</text>'


def legend(engines: list[str]) -> list[str]:
    parts = []
    for i, engine in enumerate(engines):
        x = 12 + 120 * i
        parts.append(f'<rect x="{x}" y="36" width="12" height="12" '
                     f'fill="{COLOURS.get(engine, "#333333")}"/>')
        parts.append(text(x + 18, 46, engine))
    return parts


def group(results: Results, weights: str, work: str, y: float) -> tuple[list[str], float]:
    """The bars of one work, scaled to the greatest of them, and where the next group begins."""
    values = [(engine, results.median(weights, work, engine)) for engine in results.engines()]
    present = [(engine, value) for engine, value in values if value is not None]
    limit = results.limit(weights, work) or 0
    scale = PLOT_WIDTH / max(limit, *(value for _, value in present))
    bottom = y + BAR * len(present)
    parts = [text(12, y + 12, f"{work} {weights}", font_weight="bold")]
    for i, (engine, value) in enumerate(present):
        top = y + BAR * i
        parts.append(f'<rect x="{LABEL_WIDTH}" y="{top:.0f}" width="{value * scale:.1f}" '
                     f'height="{BAR - 3}" fill="{COLOURS.get(engine, "#333333")}"/>')
        parts.append(text(LABEL_WIDTH + value * scale + 5, top + 11, f"{value:.1f}"))
    if limit:
        x = LABEL_WIDTH + limit * scale
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y - 3:.0f}" y2="{bottom:.0f}" '
                     'stroke="#000000" stroke-dasharray="3 2"/>')
    return parts, bottom + GROUP_GAP


def to_svg(results: Results) -> str:
    parts, y = [], float(TOP)
    for weights, works in results.runs.items():
        for work in works:
            bars, y = group(results, weights, work, y)
            parts += bars
    width = LABEL_WIDTH + PLOT_WIDTH + VALUE_WIDTH
    title = f"{results.about['model']}, {results.about['threads']} threads: tokens/s, medians"
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{y:.0f}" '
        'font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        text(12, 22, title + "; dashed: strata's limit", font_size="14"),
        *legend(results.engines()), *parts, "</svg>"]) + "\n"
