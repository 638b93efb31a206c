"""The numba kernels: signed distances of a shape's primitives, sphere tracing, filling of volumes. Compiled on first use.

All of them stand in this one file, since numba renews a cached kernel only when its own file changes.

The formulas are the well-known exact or bounding distances of these solids
(I. Quilez, "distance functions").
"""

import math

import numba
import numpy as np

from interactive3d.runtime.guidance.objects.shapes import (
    ADD,
    BOX,
    CARVE,
    CONE,
    ELLIPSOID,
    PAINT,
    ROUND_CONE,
    TORUS,
)

jit = numba.njit(cache=True, fastmath=True, nogil=True, error_model="numpy")
parallel = numba.njit(cache=True, fastmath=True, nogil=True, parallel=True, error_model="numpy")
FAR = 1e3
HIT = 0.0015
STEPS = 72
LABEL_REACH = 1.6
"""Cells outside the surface that still carry the label of the nearest part, so that interpolated colours do not fade at the rim."""
STRIPE_WIDTH = 0.125
SPOT_CELL = 0.26
SPOT_RADIUS = 0.095


@jit
def _length2(x: float, y: float) -> float:
    return math.sqrt(x * x + y * y)


@jit
def _segment(px: float, py: float, ax: float, ay: float, bx: float, by: float) -> tuple[float, float]:
    """Squared distance to the segment a-b and the side of the point (cross product)."""
    ex, ey, vx, vy = bx - ax, by - ay, px - ax, py - ay
    t = min(max((vx * ex + vy * ey) / (ex * ex + ey * ey + 1e-12), 0.0), 1.0)
    dx, dy = vx - ex * t, vy - ey * t
    return dx * dx + dy * dy, vx * ey - vy * ex


@jit
def primitive(row: np.ndarray, px: float, py: float, pz: float) -> float:
    """Distance from the point to one primitive."""
    dx, dy, dz = px - row[5], py - row[6], pz - row[7]
    x = row[8] * dx + row[9] * dy + row[10] * dz
    y = row[11] * dx + row[12] * dy + row[13] * dz
    z = row[14] * dx + row[15] * dy + row[16] * dz
    s0, s1, s2, s3, s4 = row[17], row[18], row[19], row[20], row[21]
    kind = int(row[0])
    if kind == ELLIPSOID:
        if s0 == s1 and s1 == s2:
            return math.sqrt(x * x + y * y + z * z) - s0
        ux, uy, uz = x / s0, y / s1, z / s2
        k0 = math.sqrt(ux * ux + uy * uy + uz * uz)
        wx, wy, wz = ux / s0, uy / s1, uz / s2
        k1 = math.sqrt(wx * wx + wy * wy + wz * wz)
        if k1 < 1e-9:
            return -min(s0, min(s1, s2))
        return k0 * (k0 - 1.0) / k1
    if kind == ROUND_CONE:
        q = _length2(x, z)
        b = (s1 - s2) / max(s0, 1e-6)
        if abs(b) >= 1.0:  # one ball contains the other
            return min(math.sqrt(q * q + y * y) - s1, _length2(q, y - s0) - s2)
        a = math.sqrt(1.0 - b * b)
        k = -b * q + a * y
        if k < 0.0:
            return _length2(q, y) - s1
        if k > a * s0:
            return _length2(q, y - s0) - s2
        return q * a + y * b - s1
    if kind == BOX:
        qx, qy, qz = abs(x) - s0 + s3, abs(y) - s1 + s3, abs(z) - s2 + s3
        ox, oy, oz = max(qx, 0.0), max(qy, 0.0), max(qz, 0.0)
        return math.sqrt(ox * ox + oy * oy + oz * oz) + min(max(qx, max(qy, qz)), 0.0) - s3
    if kind == TORUS:
        return _length2(_length2(x, z) - s0, y) - s1
    if kind == CONE:
        h, r1, r2 = s0 - s3, max(s1 - s3, 1e-4), max(s2 - s3, 1e-4)
        q = _length2(x, z)
        k2x, k2y = r2 - r1, 2.0 * h
        cax, cay = q - min(q, r1 if y < 0.0 else r2), abs(y) - h
        t = min(max(((r2 - q) * k2x + (h - y) * k2y) / (k2x * k2x + k2y * k2y), 0.0), 1.0)
        cbx, cby = q - r2 + k2x * t, y - h + k2y * t
        sign = -1.0 if (cbx < 0.0 and cay < 0.0) else 1.0
        return sign * math.sqrt(min(cax * cax + cay * cay, cbx * cbx + cby * cby)) - s3
    d0, c0 = _segment(x, y, 0.0, 0.0, s0, 0.0)
    d1, c1 = _segment(x, y, s0, 0.0, s1, s2)
    d2, c2 = _segment(x, y, s1, s2, 0.0, 0.0)
    flat = math.sqrt(min(d0, min(d1, d2)))
    if (c0 <= 0.0 and c1 <= 0.0 and c2 <= 0.0) or (c0 >= 0.0 and c1 >= 0.0 and c2 >= 0.0):
        flat = -flat
    deep = abs(z) - s4
    fo, do = max(flat, 0.0), max(deep, 0.0)
    return min(max(flat, deep), 0.0) + math.sqrt(fo * fo + do * do) - s3


@jit
def unwarp(warp: np.ndarray, px: float, py: float, pz: float) -> tuple[float, float, float]:
    """From a point of the seen object to the stored primitives' space (see `shapes.Warp`)."""
    px, py, pz = px / warp[0], py / warp[1], pz / warp[2]
    if warp[3] != 0.0:
        angle = warp[3] * py
        c, s = math.cos(angle), math.sin(angle)
        if warp[4] > 0.5:
            px, py = c * px - s * py, s * px + c * py
        else:
            angle = warp[3] * pz
            c, s = math.cos(angle), math.sin(angle)
            px, pz = c * px - s * pz, s * px + c * pz
    if warp[5] != 0.0:
        angle = warp[5] * py
        c, s = math.cos(angle), math.sin(angle)
        px, pz = c * px + s * pz, -s * px + c * pz
    return px, py, pz


@jit
def distance(rows: np.ndarray, chosen: np.ndarray, count: int, px: float, py: float, pz: float) -> float:
    """Distance to the union of the chosen rows (unwarped point); far-off primitives are skipped by their bounding spheres."""
    best = FAR
    for i in range(count):
        row = rows[chosen[i]]
        op = int(row[1])
        if op == PAINT:
            continue
        bx, by, bz = px - row[22], py - row[23], pz - row[24]
        near = math.sqrt(bx * bx + by * by + bz * bz) - row[25]
        k = row[4]
        if op == ADD:
            if near > best + k:
                continue
            d = primitive(row, px, py, pz)
            if k > 0.0:
                h = max(k - abs(d - best), 0.0) / k
                best = min(d, best) - h * h * k * 0.25
            else:
                best = min(d, best)
        elif op == CARVE:
            if near > k:
                continue
            d = -primitive(row, px, py, pz)
            if k > 0.0:
                h = max(k - abs(d - best), 0.0) / k
                best = max(d, best) + h * h * k * 0.25
            else:
                best = max(d, best)
    return best


@jit
def nearby(rows: np.ndarray, px: float, py: float, pz: float, radius: float, chosen: np.ndarray) -> int:
    """Writes the rows whose bounding spheres come within `radius` of the point into `chosen`; gives back how many."""
    count = 0
    for i in range(rows.shape[0]):
        bx, by, bz = px - rows[i, 22], py - rows[i, 23], pz - rows[i, 24]
        room = radius + rows[i, 25] + rows[i, 4]
        if bx * bx + by * by + bz * bz < room * room:
            chosen[count] = i
            count += 1
    return count


@jit
def slot_at(rows: np.ndarray, chosen: np.ndarray, count: int, px: float, py: float, pz: float) -> int:
    """Part slot of the nearest added primitive, or of the last paint that covers the (unwarped) point on that slot's body."""
    best, slot = FAR, 0
    for i in range(count):
        row = rows[chosen[i]]
        op = int(row[1])
        bx, by, bz = px - row[22], py - row[23], pz - row[24]
        near = math.sqrt(bx * bx + by * by + bz * bz) - row[25]
        if op == ADD and near < best:
            d = primitive(row, px, py, pz)
            if d < best:
                best, slot = d, int(row[2])
        elif op == PAINT and near < 0.0 and primitive(row, px, py, pz) < 0.0:
            slot = int(row[2])
        elif op == CARVE and near < 0.0:  # what is carved away here no longer competes with what comes later
            best = max(best, -primitive(row, px, py, pz))
    return slot


@jit
def marks_at(axis: int, px: float, py: float, pz: float) -> int:
    """Bit 0: on a stripe, bit 1: in a spot. Fixed in object space, so all views and all objects agree."""
    along = px if axis == 0 else (py if axis == 1 else pz)
    marks = math.floor(along / STRIPE_WIDTH) & 1
    ix, iy, iz = math.floor(px / SPOT_CELL), math.floor(py / SPOT_CELL), math.floor(pz / SPOT_CELL)
    code = (int(ix) * 73856093) ^ (int(iy) * 19349663) ^ (int(iz) * 83492791)
    code = (code ^ (code >> 13)) * 1274126177 & 0x7FFFFFFF
    jx, jy, jz = ((code & 255) / 255.0 - 0.5), (((code >> 8) & 255) / 255.0 - 0.5), (((code >> 16) & 255) / 255.0 - 0.5)
    room = 2.0 * (0.5 - SPOT_RADIUS / SPOT_CELL)
    dx = px / SPOT_CELL - ix - 0.5 - jx * room
    dy = py / SPOT_CELL - iy - 0.5 - jy * room
    dz = pz / SPOT_CELL - iz - 0.5 - jz * room
    if (dx * dx + dy * dy + dz * dz) * SPOT_CELL * SPOT_CELL < SPOT_RADIUS * SPOT_RADIUS:
        marks |= 2
    return marks


@jit
def _trace_row(
    rows: np.ndarray, warp: np.ndarray, axis: int, reach: float, view: np.ndarray, focal: float, light: np.ndarray, v: int,
    labels: np.ndarray, marks: np.ndarray, shade: np.ndarray, depth: np.ndarray,
) -> None:  # fmt: skip
    size, n = labels.shape[0], rows.shape[0]
    chosen = np.empty(n, np.int64)
    warped = warp[3] != 0.0 or warp[5] != 0.0 or warp[0] != 1.0 or warp[1] != 1.0 or warp[2] != 1.0
    relax = 0.55 if warped else 0.9
    # The camera's centre is -R^T t; its axes are the rows of R.
    ox = -(view[0, 0] * view[0, 3] + view[1, 0] * view[1, 3] + view[2, 0] * view[2, 3])
    oy = -(view[0, 1] * view[0, 3] + view[1, 1] * view[1, 3] + view[2, 1] * view[2, 3])
    oz = -(view[0, 2] * view[0, 3] + view[1, 2] * view[1, 3] + view[2, 2] * view[2, 3])
    cy = (v + 0.5 - 0.5 * size) / focal
    for u in range(size):
        cx = (u + 0.5 - 0.5 * size) / focal
        inverse = 1.0 / math.sqrt(cx * cx + cy * cy + 1.0)
        dx = (view[0, 0] * cx + view[1, 0] * cy + view[2, 0]) * inverse
        dy = (view[0, 1] * cx + view[1, 1] * cy + view[2, 1]) * inverse
        dz = (view[0, 2] * cx + view[1, 2] * cy + view[2, 2]) * inverse
        along = -(ox * dx + oy * dy + oz * dz)
        off = ox * ox + oy * oy + oz * oz - along * along
        if off > reach * reach:
            continue
        half = math.sqrt(reach * reach - off)
        t, end = max(along - half, 0.02), along + half
        count = n
        if not warped:
            count = 0
            for i in range(n):
                bx, by, bz = rows[i, 22] - ox, rows[i, 23] - oy, rows[i, 24] - oz
                a = bx * dx + by * dy + bz * dz
                radius = rows[i, 25] + rows[i, 4]
                if bx * bx + by * by + bz * bz - a * a < radius * radius:
                    chosen[count] = i
                    count += 1
        else:
            for i in range(n):
                chosen[i] = i
        if count == 0:
            continue
        hit = False
        for _ in range(STEPS):
            px, py, pz = unwarp(warp, ox + dx * t, oy + dy * t, oz + dz * t)
            d = distance(rows, chosen, count, px, py, pz)
            if d < HIT:
                hit = True
                break
            t += d * relax
            if t > end:
                break
        if not hit:
            continue
        x, y, z = ox + dx * t, oy + dy * t, oz + dz * t
        px, py, pz = unwarp(warp, x, y, z)
        count = nearby(rows, px, py, pz, 0.4 if warped else 0.16, chosen)
        nx, ny, nz = 0.0, 0.0, 0.0
        for corner in range(4):
            sx = 1.0 if corner in (0, 3) else -1.0
            sy = 1.0 if corner in (1, 3) else -1.0
            sz = 1.0 if corner in (2, 3) else -1.0
            px, py, pz = unwarp(warp, x + 0.003 * sx, y + 0.003 * sy, z + 0.003 * sz)
            d = distance(rows, chosen, count, px, py, pz)
            nx, ny, nz = nx + sx * d, ny + sy * d, nz + sz * d
        norm = 1.0 / (math.sqrt(nx * nx + ny * ny + nz * nz) + 1e-9)
        nx, ny, nz = nx * norm, ny * norm, nz * norm
        lit = max((nx * light[0] + ny * light[1] + nz * light[2] + light[4]) / (1.0 + light[4]), 0.0)
        value = light[3] + (1.0 - light[3]) * lit
        if light[5] > 0.0:
            closed = 0.0
            for h in (0.05, 0.14):
                px, py, pz = unwarp(warp, x + nx * h, y + ny * h, z + nz * h)
                closed += max(h - distance(rows, chosen, count, px, py, pz), 0.0) / h
            value *= 1.0 - 0.5 * light[5] * min(closed, 1.0)
        px, py, pz = unwarp(warp, x, y, z)
        labels[v, u] = slot_at(rows, chosen, count, px, py, pz)
        marks[v, u] = marks_at(axis, px, py, pz)
        shade[v, u] = min(255.0, 255.0 * value + 0.5)
        depth[v, u] = t * inverse


@parallel
def trace(
    rows: np.ndarray, warp: np.ndarray, axis: int, reach: float, views: np.ndarray, focals: np.ndarray, light: np.ndarray,
    labels: np.ndarray, marks: np.ndarray, shade: np.ndarray, depth: np.ndarray,
) -> None:  # fmt: skip
    size = labels.shape[1]
    for job in numba.prange(labels.shape[0] * size):
        c, v = job // size, job % size
        _trace_row(rows, warp, axis, reach, views[c], focals[c], light, v, labels[c], marks[c], shade[c], depth[c])


@jit
def _cell(
    rows: np.ndarray,
    chosen: np.ndarray,
    count: int,
    warp: np.ndarray,
    axis: int,
    cell: float,
    x: float,
    y: float,
    z: float,
) -> tuple[int, int, int]:
    """Coverage, slot and marks of the cell with this centre."""
    px, py, pz = unwarp(warp, x, y, z)
    d = distance(rows, chosen, count, px, py, pz)
    if d > LABEL_REACH * cell:
        return 0, 0, 0
    slot, marks = slot_at(rows, chosen, count, px, py, pz), marks_at(axis, px, py, pz)
    if abs(d) > cell:
        return (255 if d < 0 else 0), slot, marks
    total = 0.0
    for corner in range(8):  # half-cell smoothing of eight samples keeps thin limbs
        ox = (0.25 if corner & 1 else -0.25) * cell
        oy = (0.25 if corner & 2 else -0.25) * cell
        oz = (0.25 if corner & 4 else -0.25) * cell
        px, py, pz = unwarp(warp, x + ox, y + oy, z + oz)
        e = distance(rows, chosen, count, px, py, pz)
        total += min(max(0.5 - 2.0 * e / cell, 0.0), 1.0)
    return int(total * 31.875 + 0.5), slot, marks


@parallel
def fill(
    rows: np.ndarray, warp: np.ndarray, axis: int, alpha: np.ndarray, label: np.ndarray, marks: np.ndarray
) -> None:
    """Fills (R, R, R) volumes [z, y, x], R a multiple of 4, block by block: far primitives are left out per block."""
    size, n = alpha.shape[0], rows.shape[0]
    cell = 2.0 / size
    blocks = size // 4
    warped = warp[3] != 0.0 or warp[5] != 0.0 or warp[0] != 1.0 or warp[1] != 1.0 or warp[2] != 1.0
    margin = (3.5 * cell + LABEL_REACH * cell) * (2.0 if warped else 1.0)  # half a block's diagonal is 3.5 cells
    for job in numba.prange(blocks * blocks):
        chosen = np.empty(n, np.int64)
        bi, bj = job // blocks, job % blocks
        for bk in range(blocks):
            x, y, z = (4 * bk + 2) * cell - 1.0, (4 * bj + 2) * cell - 1.0, (4 * bi + 2) * cell - 1.0
            px, py, pz = unwarp(warp, x, y, z)
            count = nearby(rows, px, py, pz, margin, chosen)
            if count == 0:
                continue
            for i in range(4 * bi, 4 * bi + 4):
                for j in range(4 * bj, 4 * bj + 4):
                    for k in range(4 * bk, 4 * bk + 4):
                        x, y, z = (k + 0.5) * cell - 1.0, (j + 0.5) * cell - 1.0, (i + 0.5) * cell - 1.0
                        a, s, m = _cell(rows, chosen, count, warp, axis, cell, x, y, z)
                        alpha[i, j, k], label[i, j, k], marks[i, j, k] = a, s, m
