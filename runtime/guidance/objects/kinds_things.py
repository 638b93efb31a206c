"""Things, plants, buildings and vehicles. The front at +z, y up, free units. See `shapes.Body`."""

import numpy as np

from interactive3d.runtime.guidance.objects.shapes import CARVE, PAINT, Body
from interactive3d.runtime.guidance.objects.words import MATERIAL_SLOTS

COAL, STEEL, WOOD = (MATERIAL_SLOTS[name] for name in ("coal", "steel", "wood"))


def teapot(b: Body) -> None:
    tall = 1.35 if b.has("tall") else 1.0
    fat, high = b.v(0.48), b.v(0.4) * tall
    b.ell((0, 0, 0), (fat, high, fat), 1)
    b.cone((0, -high - 0.02, 0), (0, -high + 0.1, 0), 0.28, 0.26, 1, 0.03)
    with b.group("lid", (0, high - 0.06, 0)):
        b.ell((0, high - 0.06, 0), (0.26, 0.13, 0.26), 2, 0.0)
        b.torus((0, high - 0.07, 0), 0.255, 0.03, 2)
    with b.group("knob", (0, high + 0.06, 0), parent="lid"):
        b.limb((0, high + 0.04, 0), (0, high + 0.1, 0), 0.035, 0.04, 5, 0.0)
        b.ell((0, high + 0.15, 0), 0.075, 5, 0.01)
    with b.group("spout", (fat - 0.08, -0.08, 0)):
        out = b.v(0.94, 0.6)
        b.chain([(fat - 0.12, -0.14 * tall, 0), (0.7, 0.0, 0), (out, 0.34 * tall, 0)], (0.145, 0.1, 0.065), 4, 0.03)
        b.ell((out + 0.015, 0.385 * tall, 0), (0.04, 0.03, 0.04), COAL, op=PAINT)
    with b.group("handle", (-fat + 0.05, 0, 0)):
        x, r = -fat - 0.06, 0.22 * tall
        b.chain(
            [(x + 0.14, r, 0), (x - 0.16, r + 0.02, 0), (x - 0.24, 0.02, 0), (x - 0.08, -r, 0), (x + 0.14, -r - 0.02, 0)],
            (0.05, 0.05, 0.05, 0.05, 0.05), 3, 0.02,
        )  # fmt: skip


def mushroom(b: Body) -> None:
    long = b.v(0.62) * (1.45 if b.has("tall") else 1.0)
    wide, high = b.v(0.62), b.v(0.36)
    with b.group("cap", (0, 0, 0)):
        b.ell((0, 0, 0), (wide, 1.25 * high, wide), 1, 0.0)
        b.box((0, -0.36 - 0.05, 0), (0.9, 0.36, 0.9), 1, 0.04, rnd=0.0, op=CARVE)
        b.torus((0, -0.03, 0), wide - 0.05, 0.055, 1, 0.02)
    with b.group("stem", (0, 0, 0)):
        b.limb((0, -long, 0), (0, 0.0, 0), b.v(0.21), 0.16, 2)
        b.ell((0, -long - 0.06, 0), (0.26, 0.13, 0.26), 2, 0.06)
        b.torus((0, -0.14, 0), 0.165, 0.04, 2, 0.02)


def car(b: Body) -> None:
    b.stripe_axis = 2
    long, wide = b.v(0.8), b.v(0.36)
    b.box((0, -0.06, 0), (wide, 0.15, long), 1, 0.0, rnd=0.1)
    b.box((0, 0.06, 0.45), (wide - 0.06, 0.1, 0.28), 1, 0.05, rnd=0.08)
    with b.group("roof", (0, 0.1, -0.1)):
        high = b.v(0.38)
        b.box((0, 0.2, -0.14), (wide - 0.06, 0.2, 0.42), 3, 0.04, rnd=0.12)
        b.box((0, 0.21, -0.14), (wide + 0.2, 0.1, 0.16), 4, op=PAINT, rnd=0.03)
        b.box((0, 0.21, -0.37), (wide + 0.2, 0.1, 0.06), 4, op=PAINT, rnd=0.02)
        b.box((0, 0.21, 0.11), (wide + 0.2, 0.1, 0.06), 4, op=PAINT, rnd=0.02)
        b.box((0, 0.21, 0.3), (wide - 0.12, 0.11, 0.09), 4, op=PAINT, rnd=0.03)
        b.box((0, 0.21, -0.58), (wide - 0.12, 0.11, 0.09), 4, op=PAINT, rnd=0.03)
        b.box((0, high, -0.14), (wide - 0.12, 0.03, 0.3), 3, 0.04, rnd=0.03)
    for name, z in (("front wheel", 0.48), ("hind wheel", -0.48)):
        with b.group(name, (wide, -0.2, z), mirror=True):
            radius = 0.19
            b.cone((wide - 0.1, -0.2, z), (wide + 0.05, -0.2, z), radius, radius, 2, 0.0, rnd=0.04)
            b.cone((wide + 0.02, -0.2, z), (wide + 0.07, -0.2, z), 0.09, 0.08, STEEL, 0.0)
    with b.group("front", (0, 0, long)):
        for x in (-0.23, 0.23):
            b.ell((x, 0.02, long - 0.02), (0.085, 0.075, 0.05), 5, 0.0)
        b.box((0, -0.13, long), (0.3, 0.04, 0.04), STEEL, 0.0, rnd=0.03)
        b.box((0, 0.0, long), (0.1, 0.05, 0.03), COAL, 0.0, rnd=0.02)
    with b.group("rear", (0, 0, -long)):
        b.box((0, -0.13, -long), (0.3, 0.04, 0.04), STEEL, 0.0, rnd=0.03)
    if b.has("with spoiler"):
        with b.group("spoiler", (0, 0.1, -long + 0.08)):
            for x in (-0.2, 0.2):
                b.box((x, 0.18, -long + 0.1), (0.03, 0.12, 0.04), 6, 0.0, rnd=0.02)
            b.box((0, 0.31, -long + 0.04), (wide + 0.02, 0.035, 0.12), 6, 0.0, rot=(12, 0, 0), rnd=0.03)


def chair(b: Body) -> None:
    wide, high = b.v(0.4), b.v(0.6) * (1.35 if b.has("tall") else 1.0)
    with b.group("seat", (0, 0, 0)):
        b.box((0, 0, 0), (wide, 0.055, 0.4), 2, 0.0, rnd=0.05)
        b.box((0, 0.06, 0.02), (wide - 0.06, 0.035, 0.34), 2, 0.02, rnd=0.035)
    for name, z in (("front leg", 0.33), ("hind leg", -0.33)):
        with b.group(name, (wide - 0.07, 0, z), mirror=True):
            b.limb((wide - 0.07, -0.02, z), (wide - 0.04, -0.62, 1.06 * z), 0.06, 0.045, 3, 0.0)
    with b.group("back", (0, 0.02, -0.36)):
        for x in (-wide + 0.06, wide - 0.06):
            b.limb((x, 0.0, -0.36), (x, high + 0.06, -0.46), 0.05, 0.05, 1, 0.0)
        b.box((0, high - 0.06, -0.45), (wide - 0.02, 0.13, 0.04), 4, 0.0, rot=(-9, 0, 0), rnd=0.04)
        b.box((0, high - 0.36, -0.405), (wide - 0.04, 0.07, 0.035), 4, 0.0, rot=(-9, 0, 0), rnd=0.035)
    if b.has("with armrests"):
        with b.group("armrest", (wide, 0.02, 0), mirror=True):
            b.limb((wide - 0.02, 0.0, 0.28), (wide, 0.26, 0.28), 0.04, 0.04, 5, 0.0)
            b.box((wide, 0.29, -0.06), (0.06, 0.04, 0.38), 5, 0.0, rnd=0.04)


def tree(b: Body) -> None:
    pine = b.has("pine")
    with b.group("trunk", (0, -0.6, 0)):
        top = -0.1 if pine else 0.1
        b.limb((0, -0.8, 0), (0, top, 0), b.v(0.15), 0.11, 2)
        for angle in (0.4, 2.5, 4.6):
            b.limb((0, -0.7, 0), (0.24 * np.cos(angle), -0.82, 0.24 * np.sin(angle)), 0.09, 0.04, 2, 0.06)
        if not pine:
            b.limb((0, -0.18, 0), (0.3, 0.14, 0.05), 0.065, 0.05, 2, 0.04)
            b.limb((0, -0.1, 0), (-0.28, 0.16, -0.05), 0.06, 0.05, 2, 0.04)
    with b.group("crown", (0, 0, 0)):
        if pine:
            for y, r, h in ((-0.38, 0.54, 0.62), (0.0, 0.43, 0.56), (0.36, 0.31, 0.56)):
                b.cone((0, y, 0), (0, y + h, 0), b.v(r, 0.6), 0.02, 1, 0.03, rnd=0.02)
            places = [(0.9 * a, y, r) for a, y, r in ((1, -0.3, 0.48), (3.1, -0.28, 0.47), (5.2, -0.32, 0.49),
                      (2, 0.08, 0.37), (4.2, 0.1, 0.37), (6.6, 0.07, 0.38), (0.3, 0.46, 0.25), (3.6, 0.45, 0.25))]  # fmt: skip
            apples = [(r * np.sin(a), y, r * np.cos(a)) for a, y, r in places]
        else:
            b.ell((0, 0.42, 0), (b.v(0.48), b.v(0.42), 0.46), 1, 0.0)
            for x, y, z, r in ((0.34, 0.26, 0.1, 0.28), (-0.34, 0.28, -0.06, 0.28), (0.08, 0.28, 0.34, 0.27),
                               (-0.06, 0.3, -0.34, 0.27), (0.05, 0.72, 0.02, 0.27)):  # fmt: skip
                b.ell((x, y, z), b.v(r, 0.5), 1, 0.05)
            apples = [(0.18, 0.48, 0.48), (-0.2, 0.3, 0.48), (0.5, 0.46, 0.22), (-0.52, 0.5, 0.12), (0.16, 0.26, -0.58),
                      (-0.24, 0.62, -0.4), (0.34, 0.72, -0.26), (0.56, 0.18, -0.06), (-0.12, 0.8, 0.3)]  # fmt: skip
    if b.has("with apples"):
        with b.group("apples", (0, 0.4, 0)):
            for place in apples:
                b.ell(place, 0.085, 4, 0.0)


def house(b: Body) -> None:
    wide, deep = b.v(0.5), b.v(0.5)
    high = b.v(0.36) * (1.5 if b.has("tall") else 1.0)
    b.box((0, 0, 0), (wide, high, deep), 1, 0.0, rnd=0.015)
    peak = high + b.v(0.44)
    b.tri(
        (-wide + 0.02, high - 0.03, 0),
        (wide - 0.02, high - 0.03, 0),
        (0, peak - 0.06, 0),
        0.01,
        1,
        0.0,
        depth=deep - 0.01,
    )
    with b.group("roof", (0, high, 0)):
        for side in (-1, 1):
            a, c = np.array([0, peak]), np.array([side * (wide + 0.13), high - 0.1])
            middle, run = (a + c) / 2, c - a
            tilt = np.degrees(np.arctan2(run[1], run[0] * side)) * side
            half = float(np.linalg.norm(run)) / 2
            b.box((middle[0], middle[1], 0), (half, 0.045, deep + 0.1), 2, 0.0, rot=(0, 0, tilt), rnd=0.02)
    with b.group("chimney", (0.26, high + 0.2, -0.2)):
        b.box((0.27, high + 0.32, -0.2), (0.08, 0.22, 0.08), 5, 0.0)
        b.box((0.27, high + 0.53, -0.2), (0.1, 0.03, 0.1), 5, 0.0)
    with b.group("door", (0, -high, deep)):
        b.box((0, -high + 0.24, deep), (0.12, 0.24, 0.03), 3, 0.0, rnd=0.01)
        b.ell((0.07, -high + 0.23, deep + 0.04), 0.02, COAL, 0.0)
        b.box((0, -high + 0.01, deep + 0.06), (0.17, 0.035, 0.09), STEEL, 0.0)
    rows = (0.02, 0.3) if b.has("tall") else (0.02,)
    with b.group("windows", (0, 0, 0)):
        for y in rows:
            for x, z, turn in ((0.31, deep, 0), (-0.31, deep, 0), (wide, 0.22, 90), (wide, -0.22, 90), (-wide, 0.22, 90),
                               (-wide, -0.22, 90), (0.24, -deep, 0), (-0.24, -deep, 0)):  # fmt: skip
                b.box((x, y + 0.04, z), (0.1, 0.11, 0.02), 4, 0.0, rot=(0, turn, 0), rnd=0.01)
    b.box((0, -high - 0.02, 0), (wide + 0.06, 0.03, deep + 0.06), STEEL, 0.0)


def castle(b: Body) -> None:
    high = b.v(0.34) * (1.4 if b.has("tall") else 1.0)
    wide = b.v(0.5, 0.6)
    b.box((0, 0, 0), (wide, 0.8 * high, wide), 1, 0.0, rnd=0.01)
    for x in (-0.3, -0.1, 0.1, 0.3):
        for z in (-wide, wide):
            b.box((x, 0.8 * high + 0.05, z), (0.055, 0.07, 0.05), 1, 0.0, rnd=0.01)
            b.box((z, 0.8 * high + 0.05, x), (0.05, 0.07, 0.055), 1, 0.0, rnd=0.01)
    top = 1.3 * high
    for name, z in (("front tower", wide), ("back tower", -wide)):
        with b.group(name, (wide, -high, z), mirror=True):
            b.cone((wide, -0.8 * high, z), (wide, top, z), 0.17, 0.16, 1, 0.0)
            b.cone((wide, top - 0.03, z), (wide, top + 0.06, z), 0.19, 0.2, 1, 0.0)
            b.cone((wide, top + 0.05, z), (wide, top + b.v(0.38), z), 0.21, 0.01, 2, 0.0)
            b.box((wide, 0.7 * high, z + np.copysign(0.16, z)), (0.03, 0.075, 0.03), COAL, 0.0)
    with b.group("keep", (0, 0.5 * high, -0.05)):
        tip = 1.9 * high + 0.1
        b.box((0, high, -0.05), (0.23, 0.9 * high + 0.1, 0.23), 1, 0.0, rnd=0.01)
        b.cone((0, tip, -0.05), (0, tip + 0.36, -0.05), 0.32, 0.01, 2, 0.0)
        b.box((0, tip - 0.2, 0.18), (0.045, 0.08, 0.02), COAL, 0.0)
        b.box((0.0, tip - 0.2, -0.28), (0.045, 0.08, 0.02), COAL, 0.0)
    with b.group("flag", (0, tip + 0.3, -0.05), parent="keep"):
        b.limb((0, tip + 0.3, -0.05), (0, tip + 0.62, -0.05), 0.02, 0.02, WOOD, 0.0)
        b.tri((0, tip + 0.6, -0.05), (0, tip + 0.4, -0.05), (0.28, tip + 0.5, -0.05), 0.022, 4)
    with b.group("gate", (0, -0.5 * high, wide)):
        b.box((0, -0.4 * high, wide), (0.15, 0.42 * high, 0.05), 3, 0.0, rnd=0.01)
        b.cone((0, 0.02 * high, wide - 0.05), (0, 0.02 * high, wide + 0.05), 0.15, 0.15, 3, 0.0)


def rocket(b: Body) -> None:
    fat, long = b.v(0.23), b.v(0.56)
    b.ell((0, 0, 0), (fat, 1.2 * long, fat), 1)
    b.cone((0, -0.95 * long, 0), (0, -0.6 * long, 0), 0.15, 0.19, 1, 0.03)
    with b.group("nose", (0, 0.6 * long, 0)):
        b.ell((0, 1.3 * long, 0), (0.6, 0.72 * long, 0.6), 3, op=PAINT)
        b.limb((0, 1.14 * long, 0), (0, 1.42 * long, 0), 0.05, 0.015, 3, 0.04)
    with b.group("window", (0, 0.2, fat)):
        b.torus((0, 0.22, fat * 0.9), 0.1, 0.03, STEEL, rot=(90, 0, 0))
        b.ell((0, 0.22, fat * 0.9), (0.1, 0.1, 0.03), 4, 0.0)
        b.torus((0, -0.08, fat * 0.95), 0.065, 0.022, STEEL, rot=(90, 0, 0))
        b.ell((0, -0.08, fat * 0.95), (0.065, 0.065, 0.03), 4, 0.0)
    out = b.v(0.5, 0.6)
    for name, angle in (("left fin", 90), ("right fin", -90), ("back fin", 180)):
        s, c = np.sin(np.radians(angle)), np.cos(np.radians(angle))
        with b.group(name, (0.15 * s, -0.5, 0.15 * c)):
            b.tri((0.16 * s, -0.2, 0.16 * c), (0.14 * s, -0.6, 0.14 * c), (out * s, -0.82, out * c), 0.035, 2)
            b.tri((0.16 * s, -0.2, 0.16 * c), (out * s, -0.5, out * c), (out * s, -0.82, out * c), 0.035, 2)
    b.cone((0, -0.72, 0), (0, -0.5, 0), 0.15, 0.11, STEEL, 0.0)
    if b.has("with flame"):
        with b.group("flame", (0, -0.7, 0)):
            b.limb((0, -0.74, 0), (0, -1.14, 0), 0.13, 0.02, 5, 0.0)
            for radians in (0.5, 2.6, 4.7):
                b.limb(
                    (0.05 * np.cos(radians), -0.74, 0.05 * np.sin(radians)),
                    (0.13 * np.cos(radians), -0.98, 0.13 * np.sin(radians)),
                    0.075,
                    0.015,
                    5,
                    0.02,
                )


def flower(b: Body) -> None:
    lift = 0.1
    with b.group("stem", (0, -0.8, 0)):
        b.chain([(0, -0.84, 0), (0.03, -0.4, -0.03), (0, lift + 0.16, -0.03)], (0.055, 0.05, 0.05), 4, 0.02)
    with b.group("leaf", (0.02, -0.5, 0)):
        b.ell((0.24, -0.42, 0.02), (0.26, 0.04, 0.1), 5, 0.01, rot=(0, 0, 32))
    with b.group("second leaf", (0.02, -0.6, 0)):
        b.ell((-0.22, -0.52, 0.0), (0.24, 0.04, 0.1), 5, 0.01, rot=(0, 0, -32))
    with b.group("bloom", (0, lift + 0.1, 0)):
        y, z, size, tilt = lift + 0.36, 0.06, b.v(0.2), 22
        for i in range(7):
            angle = 2 * np.pi * i / 7
            dx, dy = np.sin(angle), np.cos(angle)
            centre = (
                0.31 * dx,
                y + 0.31 * dy * np.cos(np.radians(tilt)),
                z + 0.02 + 0.31 * dy * -np.sin(np.radians(tilt)),
            )
            b.ell(centre, (0.14, size, 0.055), 1, 0.02, rot=(-tilt, 0, -np.degrees(angle)))
        b.ell((0, y, z + 0.05), (b.v(0.17), 0.165, 0.1), 3, 0.0, rot=(-tilt, 0, 0))
    if b.has("with pot"):
        with b.group("pot", (0, -0.9, 0)):
            b.cone((0, -1.14, 0), (0, -0.78, 0), 0.2, 0.29, 6, 0.0)
            b.torus((0, -0.77, 0), 0.28, 0.05, 6)
    else:
        b.ell((0, -0.86, 0), (0.2, 0.06, 0.2), 5, 0.03)


def boat(b: Body) -> None:
    b.stripe_axis = 2
    long, deep = b.v(0.72), b.v(0.3)
    b.ell((0, 0.06, 0.06), (b.v(0.32), deep + 0.06, long + 0.1), 1, 0.0)
    b.box((0, 0.74, 0), (1.0, 0.66, 1.6), 1, 0.0, rnd=0.01, op=CARVE)
    b.ell((0, 0.1, 0.05), (0.24, 0.12, long - 0.06), 1, 0.02, op=CARVE)
    b.limb((0, 0.0, -long + 0.14), (0, 0.06, long + 0.02), 0.06, 0.05, 1, 0.03)
    for z in (-0.3, 0.34):
        b.box((0, 0.02, z), (0.26, 0.022, 0.07), WOOD, 0.0, rnd=0.02)
    with b.group("mast", (0, 0, 0.04)):
        b.limb((0, -0.1, 0.06), (0, 1.18, 0.06), 0.035, 0.03, 3, 0.0)
        b.limb((0, 0.24, 0.06), (0.3, 0.24, -0.52), 0.028, 0.024, 3, 0.0)
    with b.group("sail", (0, 0.3, 0.0), parent="mast"):
        b.tri((0.01, 0.29, 0.02), (0.29, 0.29, b.v(-0.5, 0.6)), (0.01, 1.12, 0.02), 0.03, 2)
    with b.group("jib", (0, 0.3, 0.1), parent="mast"):
        b.tri((0.16, 0.24, 0.16), (0, 0.2, 0.62), (0, 0.98, 0.12), 0.03, 2)
    with b.group("flag", (0, 1.2, 0.06), parent="mast"):
        b.tri((0, 1.26, 0.06), (0, 1.12, 0.06), (0.14, 1.18, -0.2), 0.022, 4)
        b.ell((0, 1.27, 0.06), 0.04, 3, 0.0)


def lamp(b: Body) -> None:
    top = b.v(0.34) + (0.34 if b.has("tall") else 0.0)
    with b.group("base", (0, -0.7, 0)):
        b.cone((0, -0.78, 0), (0, -0.68, 0), b.v(0.32), 0.28, 2, 0.0, rnd=0.03)
        b.ell((0, -0.66, 0), (0.2, 0.09, 0.2), 2, 0.03)
    with b.group("shade", (0, top, 0)):
        b.cone((0, top - 0.08, 0), (0, top + 0.46, 0), b.v(0.44), 0.24, 1, 0.0, rnd=0.015)
        b.cone((0, top - 0.2, 0), (0, top + 0.2, 0), 0.42, 0.3, 1, op=CARVE)
    with b.group("stand", (0, -0.6, 0)):
        b.limb((0, -0.66, 0), (0, top + 0.1, 0), 0.045, 0.04, 3, 0.0)
        b.ell((0, -0.36, 0), (0.095, 0.13, 0.095), 3, 0.03)
        b.limb((0.0, top - 0.02, 0), (0.0, top + 0.4, 0), 0.03, 0.03, 3, 0.0)
        b.ell((0, top + 0.52, 0), 0.05, 3, 0.0)
    with b.group("cord", (0.1, top - 0.1, 0.2)):
        b.limb((0.17, top - 0.02, 0.19), (0.17, top - 0.24, 0.19), 0.014, 0.014, 3, 0.0)
        b.ell((0.17, top - 0.27, 0.19), 0.036, 3, 0.0)


def airplane(b: Body) -> None:
    b.stripe_axis = 2
    fat = b.v(0.2)
    b.limb((0, 0, 0.42), (0, 0.06, -0.8), fat, 0.06, 1)
    b.ell((0, 0, 0.5), (fat, fat, 0.3), 1, 0.06)
    with b.group("cockpit", (0, fat, 0.26)):
        b.ell((0, 0.16, 0.24), (0.13, 0.15, 0.24), 5, 0.0)
    for z in (-0.06, -0.22, -0.38):
        for side in (-1, 1):
            b.ell((side * (fat - 0.04 + 0.1 * z), 0.06, z), (0.04, 0.045, 0.045), 5, 0.0)
    with b.group("wing", (0.16, -0.04, 0.2), mirror=True):
        span = b.v(0.98, 0.6)
        b.tri((0.1, -0.05, 0.4), (0.1, -0.05, -0.06), (span, 0.04, 0.2), 0.035, 2)
        b.tri((span, 0.04, 0.2), (0.1, -0.05, -0.06), (span, 0.04, -0.04), 0.035, 2)
    with b.group("tailplane", (0.04, 0.06, -0.68), mirror=True):
        b.tri((0.02, 0.07, -0.56), (0.02, 0.07, -0.84), (0.38, 0.09, -0.84), 0.028, 3)
    with b.group("rudder", (0, 0.1, -0.7)):
        b.tri((0, 0.08, -0.48), (0, 0.08, -0.86), (0, b.v(0.44), -0.88), 0.03, 3)
    with b.group("propeller", (0, 0, 0.8)):
        b.ell((0, 0, 0.82), (0.065, 0.065, 0.1), 4, 0.0)
        b.ell((0, 0, 0.84), (0.05, 0.36, 0.02), 4, 0.0, rot=(0, 0, 28))
    with b.group("wheel", (0.2, -0.16, 0.26), mirror=True):
        b.limb((0.12, -0.12, 0.26), (0.24, -0.32, 0.28), 0.03, 0.03, STEEL, 0.0)
        b.cone((0.2, -0.34, 0.28), (0.3, -0.34, 0.28), 0.11, 0.11, 6, 0.0, rnd=0.03)
    with b.group("tail wheel", (0, -0.04, -0.66)):
        b.limb((0, 0.02, -0.62), (0, -0.1, -0.7), 0.025, 0.025, STEEL, 0.0)
        b.ell((0, -0.12, -0.7), (0.03, 0.055, 0.055), 6, 0.0)


MAKERS = {
    "teapot": teapot, "mushroom": mushroom, "car": car, "chair": chair, "tree": tree, "house": house, "castle": castle,
    "rocket": rocket, "flower": flower, "boat": boat, "lamp": lamp, "airplane": airplane,
}  # fmt: skip
