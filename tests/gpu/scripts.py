"""Scripts that use all there is, small enough for a test on one core."""

SPLATS = """
prompt "a green dragon"
seed 3
steps 44
splats 120 from text
set guidance.size 24
set camera.batch 2
set repair.steps 2
set densify.start 1
set densify.every 3
set densify.prune_every 4
set densify.gradient 0.0001

view front = orbit azimuth 0 elevation 10
part head = sphere at (0, 0.2, 0.3) radius 0.3
part low = box (-1, -1, -1) .. (1, 0, 1)
part picked = click (64, 64) in front size 128

at step 1 paint picked blue
at step 2 rotate head by 20 deg about y
at step 3 move low by (0, 0.02, 0)
at step 3 stretch low by (1, 1, 1.1)
at step 4 add sphere at (0, 0.6, 0) radius 0.1 count 20 color red as crown
at step 4 add "knight.splat" at (0, 0.35, 0) scale 0.2 as knight
at step 5 duplicate crown by (0.2, 0, 0) as second
at step 5 mirror crown across x as third
at step 6 remove second
at step 6 paint low & (color green within 0.5) yellow
at step 7 freeze crown
at step 7 densify
at step 7 prune below 0.05
at step 8 drag from (0, 0.2, 0.3) to (0.1, 0.3, 0.3) radius 0.25 rigid over 4 steps
at step 13 drag from (0, 0, 0) to (0.2, 0.2, 0) radius 0.25 deformable form offset over 5 steps step 0.01 rigidity 0.5
at step 19 drag from (0, -0.3, 0) to (0.1, -0.3, 0) radius 0.2 deformable over 3 steps
at step 23 drag head from (0, 0.2, 0.3) to (0.1, 0.2, 0.3) rigid form point over 2 steps
at step 26 edit low with "a red dragon" for 5 steps noise 0.02 .. 0.5 zoom 1.5 scale 2
at step 32 thaw crown
at step 32 repair low for 4 steps noise 0.02 .. 0.3 anchor 1
at step 36 set guidance.shape object
at step 37 keep all - knight
at step 37 set camera.background checker
at step 39 set guidance.shape none
at step 40 set camera.background random
at step 42 checkpoint "late"
at step 43 snapshot "front.png" from front size 64
at step 43 export splats "dragon.ply"
"""
"""Every operation on splats, every kind of background and shape."""

FIELD = """
prompt "a green dragon"
seed 3
steps 18
splats 120 from text
set guidance.size 24
set camera.batch 2
set distill.rays 256
set distill.cameras 2
set field.levels 4
set field.capacity 4096
set refine.refresh 2
part head = sphere at (0, 0.1, 0.2) radius 0.4
at step 1 distill over 8 steps size 48
at step 9 refine head levels 3 features 2 capacity 2^10 for 3 steps
at step 12 edit head with "a red dragon" for 3 steps
at step 15 set guidance.shape object
at step 15 refine head with "a green dragon" for 2 steps
at step 17 remove head
at end {
  export field "dragon.safetensors"
  export mesh "dragon.glb" resolution 24 texture 64 faces 200 threshold auto
  snapshot "front.png" from orbit azimuth 0 elevation 10 size 48
}
"""
