"""New opacities and colours for splats whose geometry stays, and the way back."""

# mypy: disable-error-code="no-untyped-def"
from bayes_splat.rendering.cpu_blocks import OPACITY, RECORD
from bayes_splat.rendering.cpu_compile import compiled_phase
from bayes_splat.rendering.cpu_lanes import fetch, load, put, store
from bayes_splat.rendering.cpu_lists import BLOCK
from bayes_splat.rendering.cpu_project import (
    has_nan,
    seen_colors,
    seen_colors_backward,
    solid_opacity,
)
from bayes_splat.rendering.cpu_project_backward import splat_sums
from bayes_splat.rendering.cpu_rows import load1, store1, store3
from bayes_splat.rendering.cpu_simd import LANES, broadcast
from bayes_splat.rendering.cpu_threads import finish_item, num_items, take_item


@compiled_phase
def paint_splats(progress, phase, sizes, world, geometry, scratch, records, is_bad):
    """Copy the records of every splat, with opacities and colours put in.

    Args:
        sizes, world: as in ``project_splats``; only opacities and colours are looked at.
        geometry: the records to copy, flat.
        records: flat, filled.
        is_bad: [item], filled: something is not finite.
    """
    opacities, colors = world[3], world[4]
    views, num_gaussians, padded, blocks, is_plain = sizes
    zero = broadcast(0.0)
    while True:
        item = take_item(progress, phase)
        if item >= num_items(progress, phase):
            return
        image, block = item // blocks, item % blocks
        bad = zero
        for first in range(block * BLOCK, min((block + 1) * BLOCK, padded), LANES):
            count = min(LANES, num_gaussians - first)
            at = image // views * num_gaussians + first
            opacity = load1(opacities, at, count)
            color, not_finite = seen_colors(
                colors, is_plain, at, image * num_gaussians + first, count
            )
            bad = bad + (not_finite + opacity * 0.0)
            store(scratch, 0, solid_opacity(opacity))
            for channel in range(3):
                store(scratch, LANES * (1 + channel), color[channel])
            for lane in range(LANES):
                record = RECORD * (image * padded + first + lane)
                store(records, record, load(geometry, record))
                for number in range(4):
                    put(records, record + OPACITY + number, fetch(scratch, LANES * number + lane))
        is_bad[item] = has_nan(bad)
        finish_item(progress, phase)


@compiled_phase
def paint_backward(progress, phase, sizes, world, slot_starts, slots, scratch, gradients):
    """Gradients of opacities and colours alone; arguments as in ``project_backward``."""
    opacities, colors = world[3], world[4]
    g_opacities, g_colors = gradients[3], gradients[4]
    views, num_gaussians, padded, blocks, is_plain = sizes
    zero = broadcast(0.0)
    while True:
        item = take_item(progress, phase)
        if item >= num_items(progress, phase):
            return
        chain, block = item // blocks, item % blocks
        for first in range(block * BLOCK, min((block + 1) * BLOCK, padded), LANES):
            count = min(LANES, num_gaussians - first)
            at = chain * num_gaussians + first
            solid = solid_opacity(load1(opacities, at, count))
            total, red, green, blue = zero, zero, zero, zero
            for view in range(views):
                image = chain * views + view
                sums = splat_sums(slot_starts, slots, image * padded + first, scratch)
                total = total + sums[0]
                if is_plain:
                    red, green, blue = red + sums[6], green + sums[7], blue + sums[8]
                else:
                    place = 3 * (image * num_gaussians + first)
                    store3(g_colors, place, count, (sums[6], sums[7], sums[8]))
            store1(g_opacities, at, count, total / solid)
            if is_plain:
                seen = seen_colors_backward(colors, at, count, (red, green, blue))
                store3(g_colors, 3 * at, count, seen)
        finish_item(progress, phase)
