"""Matrices of cameras: of many at once, and where there is no horizon."""

import random

import pytest
import torch

from interactive3d.runtime.scene.camera import Camera, view_matrices


def drawn(count: int, seed: int) -> list[Camera]:
    """From all around, and every third from nearly straight above or below."""
    numbers = random.Random(seed)
    return [
        Camera.orbit(
            numbers.uniform(0, 360),
            numbers.choice([-1, 1]) * numbers.uniform(89, 90) if i % 3 == 0 else numbers.uniform(-90, 90),
            numbers.uniform(1, 4),
            target=(numbers.uniform(-1, 1), 0.0, numbers.uniform(-1, 1)),
        )
        for i in range(count)
    ]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 8, 13])
def test_a_matrix_has_the_same_bits_whoever_asks_for_it(count: int) -> None:
    """The optimizer asks for a batch, a segmenter or a file for one of them."""
    for seed in range(20):
        cameras = drawn(count, seed)
        alone = torch.stack([camera.view_matrix() for camera in cameras])
        assert torch.equal(view_matrices(cameras).view(torch.int32), alone.view(torch.int32))


def test_matrices_turn_and_move_only() -> None:
    for camera, matrix in zip(cameras := drawn(12, 5), view_matrices(cameras).double(), strict=True):
        turn = matrix[:3, :3]
        torch.testing.assert_close(turn @ turn.T, torch.eye(3).double(), atol=1e-6, rtol=0)
        assert float(torch.linalg.det(turn)) == pytest.approx(1.0, abs=1e-6)
        eye = torch.tensor([*camera.position, 1.0]).double()
        torch.testing.assert_close(matrix @ eye, torch.tensor([0.0, 0, 0, 1]).double(), atol=1e-6, rtol=0)
        ahead = matrix @ torch.tensor([*camera.target, 1.0]).double()
        assert ahead[2] > 0 and ahead[:2].abs().max() < 1e-6


@pytest.mark.parametrize("elevation", [90.0, -90.0])
def test_straight_up_or_down_the_picture_stands_as_from_a_little_in_front(elevation: float) -> None:
    nearly = Camera.orbit(0.0, elevation * 88 / 90).view_matrix()
    assert (Camera.orbit(0.0, elevation).view_matrix() - nearly).abs().max() < 0.1
