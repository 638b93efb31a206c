"""More animals: pets, and the large four-legged ones. The front at +z, y up, free units. See `shapes.Body`."""

from interactive3d.runtime.guidance.objects.kinds_animals import EYE, _eyes, _leg, _sitting
from interactive3d.runtime.guidance.objects.shapes import PAINT, Body
from interactive3d.runtime.guidance.objects.words import MATERIAL_SLOTS

COAL = MATERIAL_SLOTS["coal"]


def corgi(b: Body) -> None:
    b.stripe_axis = 2
    if b.has("sitting"):
        _sitting(b, 0.2, 5)
        b.ell((0, -0.08, 0.2), (0.2, 0.34, 0.2), 2, rot=(-20, 0, 0), op=PAINT)
        head, z, rump = 0.4, 0.16, (0, -0.44, -0.42)
    else:
        long = b.v(0.42)
        b.limb((0, -0.1, -long), (0, -0.06, 0.26), 0.24, 0.25, 1)
        b.ell((0, -0.3, 0.1), (0.2, 0.17, 0.6), 2, op=PAINT)
        b.ell((0, -0.1, 0.44), (0.19, 0.3, 0.16), 2, op=PAINT)
        _leg(b, "front leg", (0.14, -0.16, 0.26), (0.15, -0.32, 0.26), (0.15, -0.47, 0.26), (0.1, 0.085, 0.08), paw=5)
        _leg(
            b,
            "hind leg",
            (0.14, -0.14, -long),
            (0.16, -0.32, -long - 0.02),
            (0.16, -0.47, -long),
            (0.14, 0.09, 0.08),
            paw=5,
        )
        head, z, rump = 0.32, 0.42, (0, 0.0, -long - 0.24)
    with b.group("tail", rump):
        b.ell((rump[0], rump[1] + 0.02, rump[2]), (0.07, 0.07, 0.09), 6, 0.03)
    with b.group("head", (0, head - 0.2, z - 0.06)):
        b.limb((0, head - 0.22, z - 0.1), (0, head, z), 0.17, 0.17, 1, 0.05)
        b.torus((0, head - 0.18, z - 0.07), 0.17, 0.045, 4, rot=(28, 0, 0))
        b.ell((0, head + 0.04, z + 0.03), (b.v(0.235), 0.2, 0.2), 1, 0.04)
        b.limb((0, head - 0.03, z + 0.15), (0, head - 0.05, z + b.v(0.34)), 0.12, 0.075, 2, 0.02)
        b.ell((0, head + 0.1, z + 0.2), (0.045, 0.14, 0.12), 2, op=PAINT)
        b.ell((0, head - 0.005, z + 0.4), (0.05, 0.04, 0.035), COAL, 0.0)
        _eyes(b, (0.11, head + 0.08, z + 0.185), 0.04)
    with b.group("ear", (0.13, head + 0.18, z), mirror=True, parent="head"):
        tip = b.v(0.26)
        b.tri((0.06, head + 0.17, z), (0.23, head + 0.1, z), (0.21, head + 0.2 + tip, z - 0.02), 0.045, 3, 0.02)


def cat(b: Body) -> None:
    b.stripe_axis = 1
    if b.has("standing"):
        b.stripe_axis = 2
        long = b.v(0.36)
        b.limb((0, 0.0, -long), (0, 0.02, 0.28), 0.2, 0.19, 1)
        b.ell((0, -0.2, 0.0), (0.15, 0.14, 0.5), 4, op=PAINT)
        _leg(b, "front leg", (0.11, -0.06, 0.28), (0.12, -0.3, 0.29), (0.12, -0.55, 0.28), (0.1, 0.07, 0.06), paw=5)
        _leg(
            b,
            "hind leg",
            (0.11, -0.04, -long),
            (0.14, -0.28, -long + 0.04),
            (0.13, -0.55, -long),
            (0.14, 0.08, 0.06),
            paw=5,
        )
        head, z, rump = 0.34, 0.42, (0.0, 0.1, -long - 0.14)
        path = [rump, (0, 0.3, -long - 0.36), (0, 0.58, -long - 0.34), (0, 0.76, -long - 0.2)]
    else:
        _sitting(b, 0.15, 5)
        head, z, rump = 0.42, 0.16, (0.0, -0.5, -0.4)
        path = [rump, (0.28, -0.54, -0.5), (0.5, -0.52, -0.26), (0.52, -0.46, 0.02)]
    with b.group("tail", rump):
        b.chain(path, (0.07, 0.065, 0.06, 0.05), 3, 0.03)
    with b.group("head", (0, head - 0.2, z - 0.04)):
        b.limb((0, head - 0.24, z - 0.08), (0, head - 0.04, z), 0.14, 0.14, 1, 0.05)
        b.torus((0, head - 0.17, z - 0.04), 0.15, 0.035, 6, rot=(20, 0, 0))
        b.ell((0, head + 0.02, z + 0.03), (b.v(0.245), 0.2, 0.19), 1, 0.03)
        b.ell((0.055, head - 0.055, z + 0.185), (0.075, 0.06, 0.06), 4, 0.01)
        b.ell((-0.055, head - 0.055, z + 0.185), (0.075, 0.06, 0.06), 4, 0.01)
        b.ell((0, head - 0.015, z + 0.235), (0.032, 0.024, 0.025), COAL, 0.0)
        _eyes(b, (0.1, head + 0.065, z + 0.185), 0.042)
    with b.group("ear", (0.14, head + 0.16, z), mirror=True, parent="head"):
        tip = b.v(0.2)
        b.tri((0.05, head + 0.17, z), (0.23, head + 0.08, z), (0.2, head + 0.18 + tip, z), 0.035, 2, 0.02)


def _horse_rider(b: Body, y: float, z: float, wide: float, slot: int) -> None:
    with b.group("saddle", (0, y, z)):
        b.ell((0, y - 0.1, z), (wide + 0.035, 0.16, 0.17), slot, 0.0)
        b.ell((0, y + 0.02, z - 0.14), (0.13, 0.09, 0.05), slot, 0.02)
        b.ell((0, y + 0.02, z + 0.13), (0.07, 0.08, 0.045), slot, 0.02)


def horse(b: Body) -> None:
    b.stripe_axis = 2
    rear = b.has("rearing")

    def at(y: float, z: float, x: float = 0.0) -> tuple[float, float, float]:
        """A point of the body, turned up about the hind legs where the horse rears."""
        if not rear:
            return (x, y, z)
        cos, sin = 0.7431, 0.6691  # 42 degrees
        dy, dz = y + 0.05, z + 0.34
        return (x, -0.05 + dy * cos + dz * sin, -0.34 - dy * sin + dz * cos)

    b.limb(at(0.0, -0.34), at(0.02, 0.3), 0.22, b.v(0.21), 1)
    with b.group("neck", at(0.1, 0.34)):
        b.chain([at(0.06, 0.32), at(0.4, 0.52), at(0.58, 0.58)], (0.17, 0.12, 0.11), 1, 0.06)
        for t in (0.0, 0.25, 0.5, 0.75, 1.0):
            b.ell(at(0.24 + 0.42 * t, 0.28 + 0.23 * t), (0.045, 0.11, 0.09), 2, 0.03)
    with b.group("head", at(0.58, 0.56), parent="neck"):
        b.limb(at(0.6, 0.58), at(0.44, 0.58 + b.v(0.34)), 0.125, 0.08, 1, 0.04)
        b.ell(at(0.42, 0.92), (0.085, 0.075, 0.085), 1, 0.03)
        for side in (-1, 1):
            b.ell(at(0.6, 0.69, 0.1 * side), 0.035, EYE, 0.0)
            b.ell(at(0.45, 0.99, 0.045 * side), 0.02, EYE, 0.0)
            b.limb(at(0.68, 0.54, 0.06 * side), at(0.84, 0.54, 0.08 * side), 0.045, 0.015, 1, 0.0)
        b.ell(at(0.73, 0.62), (0.045, 0.05, 0.08), 2, 0.02)
    for name, z, knee in (("front leg", 0.3, 0.32), ("hind leg", -0.38, -0.34)):
        hip = at(-0.04, z, 0.13)
        with b.group(name, hip, mirror=True):
            if rear and name == "front leg":
                joint, foot = at(-0.16, 0.56, 0.15), at(-0.34, 0.5, 0.14)
            elif rear:
                joint, foot = (0.16, -0.42, -0.24), (0.16, -0.76, -0.3)
            else:
                joint, foot = (0.13, -0.4, knee), (0.13, -0.74, z)
            b.limb(hip, joint, 0.13 if z < 0 else 0.11, 0.07, 1, 0.06)
            b.limb(joint, foot, 0.065, 0.055, 1, 0.02)
            b.cone((foot[0], foot[1] - 0.07, foot[2] + 0.01), (foot[0], foot[1] + 0.03, foot[2]), 0.085, 0.065, 4)
    root = at(0.1, -0.54)
    with b.group("tail", root):
        x, y, z = root
        b.chain(
            [root, (x, y - 0.04, z - 0.16), (x, y - 0.34, z - 0.24), (x, y - b.v(0.6), z - 0.2)],
            (0.06, 0.08, 0.085, 0.03),
            3,
        )
    if b.has("with saddle"):
        _horse_rider(b, at(0.2, -0.02)[1], at(0.2, -0.02)[2], 0.21, 5)


def elephant(b: Body) -> None:
    b.stripe_axis = 2
    fat = b.v(1.0)
    b.ell((0, 0.05, -0.12), (0.36 * fat, 0.38, 0.48), 1)
    for name, z in (("front leg", 0.16), ("hind leg", -0.4)):
        with b.group(name, (0.2, -0.1, z), mirror=True):
            b.limb((0.2, -0.08, z), (0.21, -0.52, z), 0.16, 0.13, 1, 0.06)
            b.cone((0.21, -0.64, z), (0.21, -0.5, z), 0.145, 0.13, 1, 0.02)
            for x in (0.14, 0.21, 0.28):
                b.ell((x, -0.6, z + 0.125), (0.035, 0.04, 0.025), 10, 0.0)
    with b.group("tail", (0, 0.14, -0.58)):
        b.limb((0, 0.16, -0.56), (0, -0.24, -0.68), 0.035, 0.02, 1, 0.02)
        b.ell((0, -0.27, -0.69), (0.035, 0.07, 0.035), COAL, 0.0)
    with b.group("head", (0, 0.2, 0.28)):
        b.ell((0, 0.28, 0.42), (0.25, 0.27, 0.24), 1, 0.05)
        _eyes(b, (0.165, 0.34, 0.58), 0.036)
    with b.group("ear", (0.22, 0.32, 0.36), mirror=True, parent="head"):
        wide = b.v(0.27)
        b.ell((0.22 + 0.85 * wide, 0.28, 0.3), (wide, 0.31, 0.045), 2, 0.02, rot=(0, 24, -8))
    with b.group("tusk", (0.1, 0.12, 0.58), mirror=True, parent="head"):
        b.chain([(0.11, 0.12, 0.56), (0.15, -0.02, 0.74), (0.14, 0.02, b.v(0.9))], (0.045, 0.038, 0.012), 3, 0.01)
    with b.group("trunk", (0, 0.22, 0.6), parent="head"):
        if b.has("raised trunk"):
            path = [(0, 0.2, 0.58), (0, 0.1, 0.8), (0, 0.26, 0.98), (0, 0.52, 1.0), (0, 0.7, 0.9)]
        else:
            path = [(0, 0.2, 0.58), (0, 0.0, 0.72), (0, -0.26, 0.74), (0, -0.46, 0.76), (0, -0.48, 0.9)]
        b.chain(path, (0.135, 0.11, 0.09, 0.075, 0.06), 4, 0.04)
    if b.has("with saddle"):
        with b.group("saddle", (0, 0.4, -0.12)):
            b.ell((0, 0.16, -0.12), (0.37 * fat, 0.31, 0.26), 5, 0.0)
            b.box((0, 0.5, -0.12), (0.17, 0.09, 0.17), 5, 0.02, rnd=0.05)


def penguin(b: Body) -> None:
    b.stripe_axis = 1
    fat = b.v(0.36)
    b.ell((0, -0.14, 0), (fat, 0.5, 0.33), 1)
    b.ell((0, -0.18, 0.24), (0.8 * fat, 0.46, 0.22), 2, op=PAINT)
    with b.group("head", (0, 0.3, 0)):
        b.ell((0, 0.46, 0.02), b.v(0.27), 1, 0.08)
        b.ell((0.09, 0.44, 0.22), (0.11, 0.12, 0.12), 2, op=PAINT)
        b.ell((-0.09, 0.44, 0.22), (0.11, 0.12, 0.12), 2, op=PAINT)
        b.limb((0, 0.4, 0.26), (0, 0.36, b.v(0.46)), 0.075, 0.02, 3, 0.0)
        for x in (-0.1, 0.1):
            b.ell((x, 0.5, 0.25), 0.042, COAL, 0.0)
    with b.group("wing", (0.32, 0.12, 0), mirror=True):
        if b.has("spread wings"):
            b.ell((0.56, 0.16, -0.02), (0.3, 0.11, 0.055), 5, 0.03, rot=(0, 0, 18))
        else:
            b.ell((0.4, -0.16, -0.01), (0.06, 0.33, 0.13), 5, 0.03, rot=(0, 0, 14))
    with b.group("foot", (0.15, -0.6, 0.08), mirror=True):
        b.ell((0.16, -0.64, 0.14), (0.13, 0.055, 0.2), 4, 0.0, rot=(0, 14, 0))
    with b.group("tail", (0, -0.5, -0.24)):
        b.limb((0, -0.46, -0.22), (0, -0.58, -0.42), 0.1, 0.03, 1, 0.05)
    if b.has("with scarf"):
        with b.group("scarf", (0, 0.26, 0)):
            b.torus((0, 0.25, 0.0), 0.235, 0.075, 6)
            b.box((0.15, 0.06, 0.3), (0.075, 0.19, 0.035), 6, 0.02, rot=(-10, 0, 10), rnd=0.03)


MAKERS = {"corgi": corgi, "cat": cat, "horse": horse, "elephant": elephant, "penguin": penguin}
