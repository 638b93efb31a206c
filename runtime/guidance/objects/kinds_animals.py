"""The animals: proportions in free units, the front at +z, y up. See `shapes.Body` for the primitives."""

from interactive3d.runtime.guidance.objects.shapes import PAINT, Body
from interactive3d.runtime.guidance.objects.words import MATERIAL_SLOTS

EYE, IVORY = MATERIAL_SLOTS["eye"], MATERIAL_SLOTS["ivory"]


def _eyes(b: Body, at: tuple[float, float, float], radius: float) -> None:
    """A pair of dark eyes at x and -x; call inside the head's group."""
    x, y, z = at
    b.ell((x, y, z), radius, EYE, k=0.0)
    b.ell((-x, y, z), radius, EYE, k=0.0)


def _pair(b: Body, make, *points, **named) -> None:
    """`make(*points)` and its mirror image within one group."""
    make(*points, **named)
    make(*[(-p[0], *p[1:]) if isinstance(p, tuple) else p for p in points], **named)


def _leg(b: Body, name: str, hip, knee, foot, radii, slot: int = 1, paw: int = 1, paw_size: float = 1.0) -> None:
    """A pair of legs: thigh, shin, and a paw that points forward."""
    with b.group(name, hip, mirror=True):
        b.limb(hip, knee, radii[0], radii[1], slot, 0.06)
        b.limb(knee, foot, radii[1], radii[2], slot, 0.03)
        x, y, z = foot
        size = radii[2] * paw_size
        b.ell((x, y - 0.3 * size, z + 0.6 * size), (1.1 * size, 0.8 * size, 1.6 * size), paw, 0.02)


def dragon(b: Body) -> None:
    b.stripe_axis = 2
    fat, neck = b.v(1.0), b.v(0.5)
    b.ell((0, 0, 0), (0.25 * fat, 0.26 * fat, 0.46), 1)
    b.limb((0, 0.03, 0.2), (0, -0.02, -0.3), 0.22 * fat, 0.17, 1, 0.1)
    b.ell((0, -0.14, 0.12), (0.18 * fat, 0.2, 0.5), 4, rot=(-16, 0, 0), op=PAINT)
    hx, hy, hz = 0.0, 0.16 + neck, 0.62
    with b.group("neck", (0, 0.12, 0.32)):
        b.chain([(0, 0.06, 0.32), (0, 0.08 + 0.5 * neck, 0.5), (0, hy, hz - 0.06)], (0.19, 0.135, 0.12), 1, 0.08)
        b.ell((0, 0.02 + 0.5 * neck, 0.58), (0.1, 0.34, 0.1), 4, rot=(-14, 0, 0), op=PAINT)
        for t in (0.15, 0.55, 0.95):
            y, z = 0.22 + neck * t * 0.85, 0.3 + 0.16 * t
            b.tri((0, y - 0.07, z + 0.02), (0, y + 0.09, z - 0.02), (0, y + 0.06, z - 0.15), 0.02, 5)
    with b.group("head", (hx, hy, hz - 0.1), parent="neck"):
        b.ell((hx, hy + 0.03, hz), (0.17, 0.16, 0.19), 1, 0.05)
        b.limb((hx, hy + 0.0, hz + 0.1), (hx, hy - 0.03, hz + b.v(0.33)), 0.115, 0.085, 1, 0.06)
        _pair(b, b.limb, (0.08, hy + 0.13, hz - 0.06), (0.15, hy + b.v(0.36), hz - 0.3), 0.05, 0.012, slot=3, k=0.0)
        _eyes(b, (0.135, hy + 0.09, hz + 0.11), 0.045)
        _pair(b, b.ell, (0.045, hy + 0.02, hz + 0.41), 0.022, EYE, k=0.0)
    with b.group("jaw", (hx, hy - 0.06, hz + 0.02), parent="head"):
        drop = 0.16 if b.has("open mouth") else 0.03
        b.limb((hx, hy - 0.08, hz + 0.02), (hx, hy - 0.09 - drop, hz + 0.28), 0.085, 0.05, 1, 0.02)
        if b.has("open mouth"):
            _pair(
                b, b.limb, (0.05, hy - 0.08, hz + 0.35), (0.05, hy - 0.15, hz + 0.36), 0.022, 0.006, slot=IVORY, k=0.0
            )
    _leg(b, "front leg", (0.17, -0.06, 0.26), (0.24, -0.3, 0.3), (0.24, -0.56, 0.26), (0.12, 0.09, 0.08))
    _leg(b, "hind leg", (0.16, -0.04, -0.24), (0.26, -0.27, -0.18), (0.25, -0.56, -0.3), (0.17, 0.1, 0.08))
    with b.group("tail", (0, 0, -0.36)):
        lift = b.v(0.2)
        path = [(0, -0.02, -0.34), (0, -0.2, -0.68), (0, -0.18, -0.98), (0, lift - 0.1, -1.2)]
        b.chain(path, (0.17, 0.11, 0.07, 0.035), 6, 0.05)
        b.tri((0, lift - 0.12, -1.16), (0, lift + 0.2, -1.22), (0, lift - 0.02, -1.42), 0.025, 5)
    for z in (0.12, -0.1, -0.3):
        b.tri((0, 0.2, z + 0.08), (0, 0.36, z - 0.02), (0, 0.2, z - 0.1), 0.025, 5)
    if b.has("wingless"):
        return
    with b.group("wing", (0.12, 0.18, 0.08), mirror=True):
        root = (0.12, 0.18, 0.1)
        if b.has("folded wings"):
            wrist, tips = (0.36, 0.56, 0.06), [(0.36, 0.28, -0.82), (0.36, -0.02, -0.56), (0.3, -0.04, -0.2)]
        else:
            wrist, tips = (0.52, 0.72, 0.04), [(b.v(1.14), 0.62, -0.14), (0.94, 0.16, -0.24), (0.56, 0.02, -0.3)]
        inner = (0.14, 0.12, -0.22)
        b.limb(root, wrist, 0.055, 0.04, 2, 0.02)
        for tip in tips:
            b.limb(wrist, tip, 0.035, 0.014, 2, 0.01)
        for one, two in zip(tips, [*tips[1:], inner], strict=True):
            b.tri(wrist, one, two, 0.022, 2)
        b.tri(root, wrist, inner, 0.022, 2)


def bird(b: Body) -> None:
    b.stripe_axis = 2
    fat = b.v(1.0)
    b.ell((0, 0, 0), (0.3 * fat, 0.3, 0.42), 1, rot=(-24, 0, 0))
    b.ell((0, -0.12, 0.2), (0.24 * fat, 0.26, 0.24), 4, op=PAINT)
    with b.group("head", (0, 0.22, 0.24)):
        size = b.v(0.235)
        b.ell((0, 0.36, 0.3), size, 1, 0.1)
        b.limb((0, 0.34, 0.46), (0, 0.3, 0.46 + b.v(0.26)), 0.085, 0.012, 3, 0.0)
        _eyes(b, (0.15, 0.42, 0.44), 0.048)
        for x, lean in ((-0.04, -0.1), (0.0, 0.0), (0.04, 0.1)):
            b.limb((x, 0.56, 0.24), (x + lean, 0.72, 0.12), 0.035, 0.012, 1, 0.02)
    with b.group("tail", (0, 0.02, -0.34)):
        for x in (-0.13, 0, 0.13):
            b.ell((x, 0.06, -0.62), (0.085, 0.035, b.v(0.3)), 6, 0.02, rot=(12, -x * 160, 0))
    with b.group("leg", (0.12, -0.24, 0.0), mirror=True):
        b.limb((0.12, -0.22, 0.0), (0.13, -0.56, 0.02), 0.045, 0.035, 5, 0.0)
        for x in (0.04, 0.13, 0.22):
            b.limb((0.13, -0.57, 0.02), (x, -0.59, 0.2), 0.035, 0.022, 5, 0.01)
        b.limb((0.13, -0.57, 0.02), (0.13, -0.59, -0.12), 0.035, 0.02, 5, 0.01)
    with b.group("wing", (0.25, 0.12, 0.06), mirror=True):
        if b.has("spread wings"):
            span = b.v(1.0)
            b.limb((0.2, 0.12, 0.08), (0.56 * span, 0.36, 0.06), 0.08, 0.06, 2, 0.03)
            b.limb((0.56 * span, 0.36, 0.06), (1.05 * span, 0.4, -0.08), 0.06, 0.03, 2, 0.02)
            b.tri((0.2, 0.1, 0.04), (0.56 * span, 0.34, 0.04), (0.3, 0.04, -0.32), 0.03, 2, 0.02)
            b.tri((0.56 * span, 0.34, 0.04), (0.3, 0.04, -0.32), (0.66 * span, 0.18, -0.38), 0.03, 2, 0.02)
            b.tri((0.56 * span, 0.34, 0.04), (1.05 * span, 0.4, -0.08), (0.66 * span, 0.18, -0.38), 0.03, 2, 0.02)
            b.tri((1.05 * span, 0.4, -0.08), (0.66 * span, 0.18, -0.38), (0.98 * span, 0.28, -0.36), 0.025, 2, 0.02)
        else:
            b.ell((0.29 * fat, 0.04, -0.08), (0.075, 0.2, 0.36), 2, 0.01, rot=(-24, -8, 0))
            b.ell((0.27 * fat, -0.04, -0.34), (0.05, 0.09, 0.24), 2, 0.02, rot=(-20, -4, 0))


def fish(b: Body) -> None:
    b.stripe_axis = 2
    tall = b.v(0.4)
    b.ell((0, 0, 0.05), (b.v(0.2), tall, 0.62), 1)
    b.limb((0, 0, -0.3), (0, 0, -0.62), 0.17, 0.07, 1, 0.12)
    b.ell((0, -0.36, 0.12), (0.3, 0.26, 0.6), 4, op=PAINT)
    with b.group("face", (0, 0, 0.4)):
        _eyes(b, (0.13, 0.1, 0.46), 0.062)
        b.ell((0, -0.03, 0.66), (0.07, 0.05, 0.05), EYE, op=PAINT)
        b.limb((0, 0.02, 0.62), (0, -0.08, 0.61), 0.06, 0.06, 1, 0.03)
    with b.group("tail", (0, 0, -0.58)):
        high, back = b.v(0.36), b.v(1.0)
        b.tri((0, 0, -0.56), (0, high, -0.98 * back), (0, 0.02, -0.84 * back), 0.04, 3, 0.02)
        b.tri((0, 0, -0.56), (0, -high, -0.98 * back), (0, -0.02, -0.84 * back), 0.04, 3, 0.02)
    with b.group("back fin", (0, tall, 0)):
        b.tri((0, tall - 0.06, 0.28), (0, tall + b.v(0.26), -0.16), (0, tall - 0.16, -0.38), 0.035, 2, 0.02)
    with b.group("belly fin", (0, -tall, -0.1)):
        b.tri((0, -tall + 0.08, 0.02), (0, -tall - 0.18, -0.2), (0, -tall + 0.14, -0.3), 0.03, 2, 0.02)
    with b.group("side fin", (0.18, -0.08, 0.16), mirror=True):
        b.tri((0.16, -0.06, 0.2), (0.44, -0.24, -0.1), (0.2, -0.18, 0.0), 0.03, 2, 0.02)


def _sitting(b: Body, chest: float, paw: int) -> None:
    """The body of a sitting quadruped, without head and tail; the head goes to about (0, 0.45, 0.2)."""
    b.limb((0, -0.3, -0.14), (0, 0.16, 0.08), 0.32, 0.2, 1)
    b.ell((0, -0.08, 0.16), (chest, 0.3, 0.16), 4, rot=(-20, 0, 0), op=PAINT)
    with b.group("front leg", (0.12, 0.0, 0.16), mirror=True):
        b.limb((0.12, 0.0, 0.16), (0.12, -0.52, 0.26), 0.1, 0.075, 1, 0.05)
        b.ell((0.12, -0.56, 0.32), (0.085, 0.065, 0.12), paw, 0.02)
    with b.group("hind leg", (0.24, -0.34, -0.1), mirror=True):
        b.ell((0.25, -0.38, -0.06), (0.14, 0.22, 0.24), 1, 0.04)
        b.ell((0.27, -0.56, 0.14), (0.1, 0.07, 0.18), paw, 0.03)


def rabbit(b: Body) -> None:
    up = b.has("standing")
    head = 0.62 if up else 0.34
    if up:
        b.limb((0, -0.24, 0), (0, 0.3, 0.02), 0.28, 0.2, 1)
        b.ell((0, -0.12, 0.2), (0.19, 0.32, 0.16), 4, op=PAINT)
        with b.group("front leg", (0.18, 0.22, 0.08), mirror=True):
            b.limb((0.17, 0.22, 0.08), (0.26, 0.02, 0.26), 0.085, 0.07, 1, 0.03)
        with b.group("hind leg", (0.15, -0.36, 0), mirror=True):
            b.limb((0.15, -0.34, 0), (0.16, -0.66, 0.02), 0.15, 0.1, 1, 0.05)
            b.ell((0.17, -0.72, 0.14), (0.1, 0.075, 0.22), 1, 0.03)
        tail = (0, -0.34, -0.3)
    else:
        b.ell((0, -0.26, -0.12), (0.32, 0.31, 0.38), 1)
        b.limb((0, -0.2, 0.0), (0, 0.1, 0.16), 0.24, 0.17, 1, 0.08)
        b.ell((0, -0.16, 0.28), (0.17, 0.26, 0.16), 4, op=PAINT)
        with b.group("front leg", (0.11, -0.18, 0.26), mirror=True):
            b.limb((0.11, -0.16, 0.24), (0.12, -0.5, 0.34), 0.085, 0.07, 1, 0.04)
            b.ell((0.12, -0.53, 0.38), (0.08, 0.06, 0.11), 1, 0.02)
        with b.group("hind leg", (0.26, -0.3, -0.14), mirror=True):
            b.ell((0.28, -0.32, -0.12), (0.13, 0.2, 0.24), 1, 0.03)
            b.ell((0.29, -0.52, 0.06), (0.09, 0.065, 0.24), 1, 0.03)
        tail = (0, -0.24, -0.5)
    with b.group("tail", tail):
        b.ell(tail, b.v(0.13), 3, 0.0)
    with b.group("head", (0, head - 0.16, 0.12)):
        wide = b.v(0.24)
        b.ell((0, head, 0.2), (wide, 0.215, 0.225), 1, 0.04)
        b.ell((0.075, head - 0.075, 0.38), (0.095, 0.08, 0.075), 1, 0.02)
        b.ell((-0.075, head - 0.075, 0.38), (0.095, 0.08, 0.075), 1, 0.02)
        b.ell((0, head - 0.02, 0.455), (0.045, 0.035, 0.035), 5, 0.0)
        _eyes(b, (0.125, head + 0.055, 0.37), 0.05)
    with b.group("ear", (0.09, head + 0.16, 0.16), mirror=True, parent="head"):
        long = b.v(0.3)
        b.ell((0.13, head + 0.15 + long, 0.12), (0.085, long, 0.05), 2, 0.02, rot=(-6, 0, -10))


def t_rex(b: Body) -> None:
    b.stripe_axis = 2
    b.limb((0, -0.04, -0.16), (0, 0.24, 0.2), 0.27, 0.2, 1)
    b.ell((0, 0.02, 0.18), (0.17, 0.34, 0.2), 2, rot=(36, 0, 0), op=PAINT)
    hy, hz = 0.58, 0.36
    with b.group("head", (0, 0.36, 0.26)):
        b.limb((0, 0.28, 0.22), (0, hy, hz - 0.06), 0.18, 0.16, 5, 0.06)
        b.ell((0, hy + 0.06, hz + 0.02), (0.18, 0.18, 0.22), 5, 0.04)
        b.box((0, hy + 0.04, hz + 0.28), (0.135, 0.105, b.v(0.24)), 5, 0.06, rnd=0.09)
        _pair(b, b.ell, (0.11, hy + 0.19, hz + 0.09), (0.06, 0.05, 0.09), 5, 0.03)
        _eyes(b, (0.145, hy + 0.14, hz + 0.17), 0.045)
        _pair(b, b.ell, (0.05, hy + 0.12, hz + 0.5), 0.022, EYE, k=0.0)
        for z in (0.14, 0.25, 0.36, 0.46):
            _pair(b, b.limb, (0.1, hy - 0.05, hz + z), (0.1, hy - 0.13, hz + z), 0.028, 0.008, slot=IVORY, k=0.0)
    with b.group("jaw", (0, hy - 0.06, hz + 0.02), parent="head"):
        tilt, drop = (0, 0.0) if b.has("closed mouth") else (24, 0.1)
        b.box((0, hy - 0.12 - drop, hz + 0.2 - 0.3 * drop), (0.11, 0.055, 0.25), 5, 0.04, rot=(tilt, 0, 0), rnd=0.05)
    with b.group("arm", (0.17, 0.16, 0.26), mirror=True):
        b.limb((0.17, 0.16, 0.26), (0.23, 0.04, 0.38), 0.065, 0.045, 6, 0.02)
        b.limb((0.23, 0.04, 0.38), (0.21, 0.06, 0.5), 0.045, 0.03, 6, 0.01)
    with b.group("leg", (0.2, -0.12, -0.12), mirror=True):
        b.ell((0.2, -0.2, -0.08), (0.15, 0.26, 0.2), 3, 0.05, rot=(-18, 0, 0))
        b.limb((0.22, -0.34, 0.02), (0.23, -0.6, -0.14), 0.12, 0.075, 3, 0.04)
        b.limb((0.23, -0.6, -0.14), (0.23, -0.76, -0.06), 0.075, 0.075, 3, 0.03)
        for x in (0.14, 0.23, 0.32):
            b.limb((0.23, -0.78, -0.06), (x, -0.8, 0.14), 0.065, 0.04, 3, 0.02)
    with b.group("tail", (0, -0.04, -0.3)):
        end = b.v(1.2)
        b.chain(
            [(0, -0.04, -0.22), (0, -0.06, -0.56), (0, -0.02, -0.86), (0, 0.1, -end)],
            (0.25, 0.16, 0.095, 0.03),
            4,
            0.06,
        )


MAKERS = {"dragon": dragon, "bird": bird, "fish": fish, "rabbit": rabbit, "t_rex": t_rex}
