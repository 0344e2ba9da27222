"""Pictures made of boxes, lines and words, written as SVG by hand or as a bitmap by Pillow."""

from pathlib import Path
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

from fastcnn.data.image_files import pillow
from fastcnn.errors import Error

FONT = 12.0  # height of letters in pixels
LETTER = 0.6 * FONT  # their width, of a monospaced font
LINE = 1.5 * FONT  # from one line of text to the next
PIXELS_PER_INCH = 96
BITMAPS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")

Point = tuple[float, float]


class Box(NamedTuple):
    """A rectangle of the given corner (left, top) and size, in pixels."""

    corner: Point
    size: Point
    fill: str


class Line(NamedTuple):
    """A line through points; with an arrow it ends in an arrowhead."""

    points: list[Point]
    is_arrow: bool


class Words(NamedTuple):
    """One line of text centred at a point."""

    centre: Point
    text: str
    is_bold: bool


class Drawing:
    """Shapes on a white page of (width, height) pixels."""

    def __init__(self, shapes: list[Box | Line | Words], size: Point):
        self.shapes = shapes
        self.size = size

    def save(self, path: Any, dpi: float = PIXELS_PER_INCH) -> None:
        """Write a file; its name ends in .svg, or in .png or another format that Pillow writes, at `dpi`."""
        target, ending = Path(path), Path(path).suffix.lower()
        if ending == ".svg":
            target.write_text(self.svg(), encoding="utf-8")
        elif ending in BITMAPS:
            self.bitmap(dpi / PIXELS_PER_INCH).save(target)
        else:
            raise Error(
                f"{target}: cannot draw into a {ending!r} file; use .svg, or {', '.join(BITMAPS)} (with Pillow)"
            )

    def svg(self) -> str:
        """The text of an SVG file."""
        width, height = self.size
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
            f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="monospace" font-size="{FONT:g}">',
            '<rect width="100%" height="100%" fill="white"/>',
            *(_svg(shape) for shape in self.shapes),
            "</svg>",
        ]
        return "\n".join(parts) + "\n"

    def _repr_svg_(self) -> str:
        """How a notebook shows it."""
        return self.svg()

    def bitmap(self, scale: float) -> Any:
        """An image of Pillow's, `scale` of its pixels for one of the drawing's."""
        pillow()
        from PIL import Image, ImageDraw, ImageFont

        width, height = (max(1, round(side * scale)) for side in self.size)
        image = Image.new("RGB", (width, height), "white")
        pen, font = ImageDraw.Draw(image), ImageFont.load_default(FONT * scale)
        for shape in self.shapes:
            _stroke(pen, font, shape, scale)
        return image


def _svg(shape: Box | Line | Words) -> str:
    if isinstance(shape, Box):
        (x, y), (width, height) = shape.corner, shape.size
        place = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
        return f'<rect {place} rx="4" fill="{shape.fill}" stroke="#444"/>'
    if isinstance(shape, Words):
        x, y = shape.centre
        weight = ' font-weight="bold"' if shape.is_bold else ""
        place = f'x="{x:.1f}" y="{y + FONT / 3:.1f}" text-anchor="middle"'
        return f"<text {place}{weight}>{escape(shape.text)}</text>"
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in shape.points)
    line = f'<polyline points="{points}" fill="none" stroke="#444"/>'
    if not shape.is_arrow:
        return line
    head = " ".join(f"{x:.1f},{y:.1f}" for x, y in arrowhead(shape.points))
    return f'{line}<polygon points="{head}" fill="#444"/>'


def _stroke(pen: Any, font: Any, shape: Box | Line | Words, scale: float) -> None:
    """Draw one shape with Pillow."""
    thin = max(1, round(scale))
    if isinstance(shape, Box):
        (x, y), (width, height) = shape.corner, shape.size
        corners = [x * scale, y * scale, (x + width) * scale, (y + height) * scale]
        pen.rounded_rectangle(corners, 4 * scale, shape.fill, "#444444", thin)
    elif isinstance(shape, Words):
        x, y = shape.centre
        pen.text(
            (x * scale, y * scale), shape.text, "black", font, "mm", stroke_width=thin / 4 * shape.is_bold
        )
    else:
        pen.line([(x * scale, y * scale) for x, y in shape.points], "#444444", thin)
        if shape.is_arrow:
            pen.polygon([(x * scale, y * scale) for x, y in arrowhead(shape.points)], "#444444")


def arrowhead(points: list[Point]) -> list[Point]:
    """The triangle at the end of a line."""
    (x0, y0), (x, y) = points[-2], points[-1]
    length = max(((x - x0) ** 2 + (y - y0) ** 2) ** 0.5, 1e-9)
    dx, dy = (x - x0) / length, (y - y0) / length
    back_x, back_y = x - 7 * dx, y - 7 * dy
    return [(x, y), (back_x - 3 * dy, back_y + 3 * dx), (back_x + 3 * dy, back_y - 3 * dx)]
