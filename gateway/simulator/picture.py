"""The test picture: moving bars, a clock for people, and the same time as squares for programs.

Pictures are yuv420p arrays as PyAV takes them: height * 3 / 2 rows of width bytes. The time code is a row of black and
white squares at the top edge, the most significant bit first, a white guard before and a black one behind.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

TIME_CODE_BITS = 32
BLACK, WHITE, GREY = 16, 235, 60

# 5 x 7 dots a character, rows from the top, bit 4 is the leftmost dot.
GLYPHS = {
    "0": (14, 17, 19, 21, 25, 17, 14),
    "1": (4, 12, 4, 4, 4, 4, 14),
    "2": (14, 17, 1, 2, 4, 8, 31),
    "3": (31, 2, 4, 2, 1, 17, 14),
    "4": (2, 6, 10, 18, 31, 2, 2),
    "5": (31, 16, 30, 1, 1, 17, 14),
    "6": (6, 8, 16, 30, 17, 17, 14),
    "7": (31, 1, 2, 4, 8, 8, 8),
    "8": (14, 17, 17, 14, 17, 17, 14),
    "9": (14, 17, 17, 15, 1, 2, 12),
    ":": (0, 4, 4, 0, 4, 4, 0),
    ".": (0, 0, 0, 0, 0, 12, 12),
}


def square(width: int) -> int:
    """Side of a time code square in pixels; a multiple of the macroblock's half, so that it survives coding."""
    return max(8, width // (TIME_CODE_BITS + 2) // 8 * 8)


def background(width: int, height: int) -> Image:
    """Colour bars over a grey ground. Raises ValueError for a size that isn't even or too small for the time code."""
    if width % 2 or height % 2 or width < 8 * (TIME_CODE_BITS + 2) or height < 96:
        raise ValueError(f"{width}x{height} can't be a test picture: even numbers, at least 272x96")
    image = np.full((height * 3 // 2, width), 128, dtype=np.uint8)
    image[:height] = GREY
    chroma = image[height:].reshape(2, height // 2, width // 2)
    bars = ((16, 90, 240), (110, 54, 34), (34, 202, 222), (166, 16, 146), (200, 128, 128), (90, 200, 80))
    step = width // 2 // len(bars)
    top = height // 4
    for number, (luma, blue, red) in enumerate(bars):
        left = number * step
        image[top * 2 : height - top, left * 2 : (left + step) * 2] = luma + 30
        chroma[0, top : (height - top) // 2, left : left + step] = blue
        chroma[1, top : (height - top) // 2, left : left + step] = red
    return image


def draw(ground: Image, width: int, height: int, time_ms: int, number: int) -> Image:
    """One picture: the ground, a bar that moves with ``number``, clock and time code of ``time_ms``."""
    image = ground.copy()
    bar = max(width // 40, 4)
    left = number * bar // 2 % (width - bar)
    image[height * 9 // 20 : height * 4 // 5, left : left + bar] = WHITE
    seconds, ms = divmod(time_ms, 1000)
    clock = f"{seconds // 3600 % 24:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{ms:03}"
    write(image[:height], clock, height // 6, width)
    put_time_code(image[:height], time_ms & (2**TIME_CODE_BITS - 1), width)
    return image


def write(luma: Image, text: str, top: int, width: int) -> None:
    """White characters on black, centred, as large as the width allows."""
    dot = max(1, min(width // (len(text) * 6 + 2), (luma.shape[0] - top) // 9))
    left = (width - len(text) * 6 * dot) // 2
    luma[top : top + 9 * dot, left - dot : left + len(text) * 6 * dot] = BLACK
    for position, character in enumerate(text):
        for row, bits in enumerate(GLYPHS[character]):
            for column in range(5):
                if bits >> (4 - column) & 1:
                    y, x = top + (row + 1) * dot, left + (position * 6 + column) * dot
                    luma[y : y + dot, x : x + dot] = WHITE


def put_time_code(luma: Image, value: int, width: int) -> None:
    side = square(width)
    bits = [1, *((value >> (TIME_CODE_BITS - 1 - n)) & 1 for n in range(TIME_CODE_BITS)), 0]
    for position, bit in enumerate(bits):
        luma[:side, position * side : (position + 1) * side] = WHITE if bit else BLACK


def read_time_code(luma: Image) -> int | None:
    """The time of a decoded picture in ms, modulo 2**32; None when the guards aren't there."""
    width = luma.shape[1]
    side = square(width)
    if luma.shape[0] < side or width < side * (TIME_CODE_BITS + 2):
        return None
    middles = [
        int(luma[side // 4 : side - side // 4, position * side + side // 4 : (position + 1) * side - side // 4].mean())
        for position in range(TIME_CODE_BITS + 2)
    ]
    if middles[0] < 128 or middles[-1] >= 128:
        return None
    value = 0
    for level in middles[1:-1]:
        value = value << 1 | (level >= 128)
    return value
