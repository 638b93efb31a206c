"""The two-legged ones: knight, samurai, angel, robot. The front at +z, the left hand at +x, y up, free units."""

from interactive3d.runtime.guidance.objects.shapes import CARVE, PAINT, Body
from interactive3d.runtime.guidance.objects.words import MATERIAL_SLOTS

COAL, EYE, SKIN, STEEL, WOOD = (MATERIAL_SLOTS[name] for name in ("coal", "eye", "skin", "steel", "wood"))
Point = tuple[float, float, float]


def _hands(b: Body, reach: float = 0.5) -> tuple[tuple[Point, Point], tuple[Point, Point]]:
    """Elbow and hand of the left (+x) and of the right arm, for the pose that the options ask for."""
    down = ((0.36, 0.06, -0.02), (0.42, 0.06 - reach * 0.5, 0.1))
    up = ((0.4, 0.42, 0.02), (0.5, 0.44 + reach * 0.62, 0.04))
    left, right = (up, up) if b.has("arms up") else (down, up) if b.has("waving") else (down, down)
    if b.has("waving"):
        left, right = up, down

    def mirror(arm: tuple[Point, Point]) -> tuple[Point, Point]:
        return tuple((-x, y, z) for x, y, z in arm)  # type: ignore[return-value]

    return left, mirror(right)


def _arms(b: Body, slot: int, hand: int, thick: float, k: float = 0.03) -> tuple[Point, Point]:
    """Both arms as groups "left arm" and "right arm"; gives back where the hands are."""
    ends = []
    for name, (elbow, wrist), side in zip(("left arm", "right arm"), _hands(b), (1, -1), strict=True):
        shoulder = (0.23 * side, 0.27, 0.0)
        with b.group(name, shoulder):
            b.limb(shoulder, elbow, 1.1 * thick, thick, slot, k)
            b.limb(elbow, wrist, thick, 0.9 * thick, slot, 0.02)
            b.ell(wrist, 1.1 * thick, hand, 0.0)
        ends.append(wrist)
    return ends[0], ends[1]


def _legs(b: Body, slot: int, boot: int, thick: float, top: float = -0.2) -> None:
    for name, side in (("left leg", 1), ("right leg", -1)):
        hip = (0.12 * side, top, 0.0)
        knee, foot, toe = (0.14 * side, -0.46, 0.03), (0.15 * side, -0.74, 0.0), (0.15 * side, -0.78, 0.1)
        if b.has("kicking") and side == 1:
            knee, foot, toe = (0.16, -0.2, 0.3), (0.17, -0.06, 0.58), (0.17, 0.03, 0.66)
        with b.group(name, hip):
            b.limb(hip, knee, 1.15 * thick, thick, slot, 0.04)
            b.limb(knee, foot, thick, 0.85 * thick, slot, 0.02)
            b.limb(foot, toe, 0.95 * thick, 0.8 * thick, boot, 0.01)


def _sword(b: Body, hand: Point, slot: int, parent: str, length: float, curved: bool) -> None:
    x, y, z = hand
    out = -1 if x < 0 else 1
    tip = (x + 0.16 * out, y + length, z + 0.16)
    with b.group("sword", hand, parent=parent):
        b.limb((x - 0.03 * out, y - 0.12, z - 0.03), (x, y + 0.05, z + 0.01), 0.035, 0.035, WOOD, 0.0)
        if curved:
            middle = (x + 0.04 * out, y + 0.5 * length, z + 0.1)
            b.chain([(x + 0.01 * out, y + 0.06, z + 0.02), middle, tip], (0.035, 0.04, 0.015), slot, 0.01)
            b.ell((x, y + 0.07, z + 0.02), (0.09, 0.025, 0.09), WOOD, 0.0)
        else:
            b.limb((x + 0.01 * out, y + 0.06, z + 0.02), tip, 0.05, 0.028, slot, 0.0)
            b.limb((x - 0.13, y + 0.07, z), (x + 0.13, y + 0.07, z), 0.032, 0.032, slot, 0.0)


def _cloak(b: Body, slot: int, length: float) -> None:
    """A cloak down the back, wider at the hem."""
    with b.group("cloak", (0, 0.32, -0.14)):
        hem, back = 0.3 - length, -0.46
        b.tri((-0.2, 0.33, -0.215), (0.2, 0.33, -0.215), (0.38, hem, back), 0.035, slot, 0.02)
        b.tri((-0.2, 0.33, -0.215), (0.38, hem, back), (-0.38, hem, back), 0.035, slot, 0.02)
        b.limb((-0.22, 0.33, -0.14), (0.22, 0.33, -0.14), 0.075, 0.075, slot, 0.03)


def knight(b: Body) -> None:
    wide = b.v(0.25)
    b.limb((0, -0.12, 0), (0, 0.2, 0), 0.19, wide, 1)
    b.cone((0, -0.34, 0), (0, -0.1, 0), 0.27, 0.2, 1, 0.03)
    b.torus((0, -0.1, 0), 0.195, 0.035, WOOD)
    with b.group("head", (0, 0.36, 0)):
        size = b.v(0.225)
        b.ell((0, 0.58, 0), (size, 0.25, size), 1, 0.02)
        b.box((0, 0.58, 0.2), (0.17, 0.028, 0.08), EYE, op=PAINT)
        b.limb((0, 0.74, 0.13), (0, 0.42, 0.2), 0.03, 0.03, 1, 0.02)
        for x in (-0.09, 0.09):
            b.ell((x, 0.47, 0.2), (0.02, 0.045, 0.06), EYE, op=PAINT)
    with b.group("plume", (0, 0.8, 0), parent="head"):
        b.chain(
            [(0, 0.8, 0.06), (0, 0.98, -0.04), (0, 0.94, -0.24), (0, b.v(0.74), -0.34)],
            (0.045, 0.085, 0.085, 0.03),
            3,
            0.03,
        )
    left, right = _arms(b, 1, 1, 0.095)
    _legs(b, 1, 1, 0.11)
    with b.group("shoulder", (0.25, 0.28, 0), mirror=True):
        b.ell((0.26, 0.29, 0), (0.14, 0.12, 0.14), 1, 0.0)
    _sword(b, right, 5, "right arm", b.v(0.62), curved=False)
    x, y, z = left
    with b.group("shield", left, parent="left arm"):
        b.ell((x + 0.07, y, z + 0.1), (0.2, 0.26, 0.05), 2, 0.0, rot=(0, 28, 0))
        b.ell((x + 0.1, y, z + 0.15), (0.06, 0.06, 0.04), STEEL, 0.0, rot=(0, 28, 0))
    if b.has("with cloak"):
        _cloak(b, 4, b.v(0.95))


def samurai(b: Body) -> None:
    b.limb((0, -0.1, 0), (0, 0.2, 0), 0.18, b.v(0.23), 1)
    for side in (-1, 0, 1):
        b.box(
            (0.19 * side, -0.3, 0.14 - 0.08 * abs(side)), (0.09, 0.13, 0.035), 1, 0.0, rot=(-12, 20 * side, 12 * side)
        )
    b.box((0, -0.28, -0.17), (0.16, 0.13, 0.035), 1, 0.0, rot=(12, 0, 0))
    b.torus((0, -0.12, 0), 0.19, 0.045, 4)
    with b.group("head", (0, 0.36, 0)):
        b.ell((0, 0.55, 0.02), (0.175, 0.2, 0.18), SKIN, 0.0)
        b.ell((0.07, 0.55, 0.195), 0.026, COAL, 0.0)
        b.ell((-0.07, 0.55, 0.195), 0.026, COAL, 0.0)
        b.ell((0, 0.45, 0.17), (0.07, 0.022, 0.05), COAL, op=PAINT)
    with b.group("helmet", (0, 0.6, 0), parent="head"):
        b.ell((0, 0.67, -0.02), (b.v(0.23), 0.17, 0.22), 3, 0.0)
        b.cone((0, 0.4, -0.08), (0, 0.64, -0.04), 0.3, 0.21, 3, 0.0)
        b.box((0, 0.5, 0.3), (0.19, 0.16, 0.24), 3, op=CARVE, rnd=0.05)
        b.cone((0, 0.62, 0.03), (0, 0.67, 0.03), 0.25, 0.22, 3, 0.0)
        b.ell((0, 0.54, 0.04), (0.165, 0.185, 0.165), SKIN, 0.0)
        b.ell((0.065, 0.55, 0.19), 0.028, COAL, 0.0)
        b.ell((-0.065, 0.55, 0.19), 0.028, COAL, 0.0)
        for side in (-1, 1):
            path = [(0.03 * side, 0.72, 0.2), (0.17 * side, 0.82, 0.22), (0.22 * side, b.v(1.0, 0.5), 0.18)]
            b.chain(path, (0.03, 0.038, 0.012), 4, 0.01)
    _, right = _arms(b, 1, SKIN, 0.09)
    with b.group("shoulder", (0.26, 0.28, 0), mirror=True):
        b.box((0.31, 0.2, 0), (0.045, 0.15, 0.13), 1, 0.0, rot=(0, 0, 22), rnd=0.03)
    _legs(b, 6, COAL, 0.12)
    _sword(b, right, 5, "right arm", b.v(0.72), curved=True)
    if not b.has("no cloak"):
        _cloak(b, 2, b.v(0.98))


def angel(b: Body) -> None:
    b.cone((0, -0.78, 0), (0, 0.06, 0), b.v(0.37), 0.16, 1, 0.03)
    b.limb((0, 0.0, 0), (0, 0.22, 0), 0.17, 0.18, 1, 0.06)
    with b.group("head", (0, 0.36, 0)):
        b.ell((0, 0.54, 0.02), (0.19, 0.205, 0.19), SKIN, 0.0)
        b.ell((0, 0.62, -0.035), (0.225, 0.205, 0.215), 3, 0.0)
        b.ell((0, 0.46, -0.1), (0.21, 0.27, 0.15), 3, 0.03)
        b.ell((0, 0.5, 0.1), (0.165, 0.17, 0.125), SKIN, 0.0)
        b.ell((0.07, 0.53, 0.215), 0.03, COAL, 0.0)
        b.ell((-0.07, 0.53, 0.215), 0.03, COAL, 0.0)
        b.ell((0, 0.42, 0.2), (0.05, 0.016, 0.05), COAL, op=PAINT)
    with b.group("halo", (0, 0.88, 0), parent="head"):
        b.torus((0, b.v(0.93, 0.2), -0.02), 0.2, 0.034, 4)
    _arms(b, 1, SKIN, 0.08)
    with b.group("foot", (0.1, -0.78, 0.1), mirror=True):
        b.ell((0.1, -0.78, 0.16), (0.075, 0.05, 0.11), SKIN, 0.0)
    with b.group("wing", (0.08, 0.2, -0.16), mirror=True):
        span = b.v(1.0)
        root, wrist = (0.06, 0.16, -0.18), (0.44 * span, 0.56, -0.3)
        b.limb(root, wrist, 0.075, 0.07, 2, 0.02)
        for tip in (
            (0.95 * span, 0.62, -0.36),
            (0.92 * span, 0.3, -0.36),
            (0.74 * span, 0.02, -0.34),
            (0.46 * span, -0.16, -0.3),
        ):
            b.limb(wrist, tip, 0.075, 0.045, 2, 0.02)
        b.tri(root, wrist, (0.46 * span, -0.16, -0.3), 0.035, 2, 0.01)
        b.tri(wrist, (0.93 * span, 0.5, -0.36), (0.56 * span, -0.06, -0.31), 0.035, 2, 0.01)


def robot(b: Body) -> None:
    wide = b.v(0.27)
    b.box((0, 0.08, 0), (wide, 0.29, 0.2), 1, 0.0, rnd=0.06)
    b.box((0, 0.1, 0.2), (0.15, 0.13, 0.03), STEEL, 0.0, rnd=0.02)
    for x, slot in ((-0.07, 5), (0.0, 6), (0.07, COAL)):
        b.ell((x, 0.14, 0.235), 0.028, slot, 0.0)
    b.cone((0, 0.34, 0), (0, 0.44, 0), 0.1, 0.1, STEEL)
    with b.group("head", (0, 0.42, 0)):
        b.box((0, 0.6, 0), (b.v(0.25), 0.17, 0.19), 2, 0.0, rnd=0.06)
        for x in (-0.1, 0.1):
            b.cone((x, 0.63, 0.17), (x, 0.63, 0.225), 0.07, 0.06, 6)
            b.ell((x, 0.63, 0.225), (0.028, 0.028, 0.02), COAL, 0.0)
        b.box((0, 0.5, 0.19), (0.11, 0.02, 0.02), COAL, 0.0, rnd=0.01)
        for x in (-0.26, 0.26):
            b.cone((x - 0.03, 0.6, 0), (x + 0.03, 0.6, 0), 0.07, 0.07, STEEL)
    with b.group("antenna", (0, 0.76, 0), parent="head"):
        top = b.v(0.98, 0.5)
        b.limb((0, 0.76, 0), (0, top, 0), 0.03, 0.03, STEEL, 0.0)
        b.ell((0, top + 0.02, 0), 0.07, 5, 0.0)
    for name, (elbow, wrist), side in zip(("left arm", "right arm"), _hands(b), (1, -1), strict=True):
        shoulder = (0.33 * side, 0.25, 0.0)
        elbow, wrist = (elbow[0] + 0.06 * side, *elbow[1:]), (wrist[0] + 0.04 * side, *wrist[1:])
        with b.group(name, shoulder):
            b.ell(shoulder, 0.1, 3, 0.0)
            b.limb(shoulder, elbow, 0.06, 0.06, 3, 0.0)
            b.limb(elbow, wrist, 0.07, 0.075, 3, 0.0)
            x, y, z = wrist
            grip = 0.1 if y > 0.3 else -0.1
            for dx in (-0.07, 0.07):
                b.limb(wrist, (x + dx, y + grip, z + 0.03), 0.045, 0.035, STEEL, 0.0)
    for name, side in (("left leg", 1), ("right leg", -1)):
        with b.group(name, (0.14 * side, -0.2, 0)):
            b.limb((0.14 * side, -0.2, 0), (0.15 * side, -0.6, 0), 0.085, 0.085, 4, 0.0)
            b.ell((0.145 * side, -0.42, 0), 0.105, STEEL, 0.0)
            b.box((0.16 * side, -0.72, 0.05), (0.125, 0.085, 0.19), 4, 0.0, rnd=0.05)


MAKERS = {"knight": knight, "samurai": samurai, "angel": angel, "robot": robot}
