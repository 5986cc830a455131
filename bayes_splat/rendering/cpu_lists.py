"""Which Gaussians a tile draws, near first: counting sort into tiles, then a stable sort in each.

A *splat* is a Gaussian in one image (image = chain x view), an *entry* is a splat in one tile. The
projection has counted the entries of every (image, block of Gaussians, tile); here they get their
places. Every entry also owns a *slot*, numbered splat by splat, where the backward pass of its tile
leaves what the splat's owner adds up later in that order.
"""

# mypy: disable-error-code="no-untyped-def"
import numpy as np

from bayes_splat.rendering.cpu_compile import inner, kernel
from bayes_splat.rendering.cpu_threads import take_number

BLOCK = 2048
"""Gaussians a work item of projection and list building."""


@kernel
def place_entries(counts, active, tile_ranges, block_slots):
    """Turn counts into places: tiles of an image in turn, blocks of Gaussians in order in each.

    Args:
        counts: entries by [image, block, tile]; becomes the place of the first of them.
        active: number of the drawn tile by [image, tile], or -1.
        tile_ranges: [drawn tile, 2], filled with first and end entry.
        block_slots: [image * block + 1], filled with the first slot of every block.

    Returns:
        How many entries the fullest tile holds.
    """
    images, blocks, tiles = counts.shape
    place = 0
    for image in range(images):
        for block in range(blocks):
            block_slots[image * blocks + block] = place
            for tile in range(tiles):
                place += counts[image, block, tile]
    block_slots[images * blocks] = place
    place, fullest = 0, 0
    for image in range(images):
        for tile in range(tiles):
            first = place
            for block in range(blocks):
                number = counts[image, block, tile]
                counts[image, block, tile] = place
                place += number
            if active[image, tile] >= 0:
                tile_ranges[active[image, tile], 0] = first
                tile_ranges[active[image, tile], 1] = place
                fullest = max(fullest, place - first)
    return fullest


@kernel
def fill_entries(
    counter, num_items, thread, places, active, rects, block_slots, key_bits, slot_starts, entries
):
    """Write the entries (sort key, splat, slot) of every block to their places.

    Args:
        places: from :func:`place_entries`; consumed.
        rects: tiles that each splat meets, [splat, (left, top, right, bottom)], ends excluded.
        key_bits: float32 sort keys read as int32.
        slot_starts: [splat + 1], filled.
        entries: (keys uint32, splats int32, slots int32), filled.
    """
    keys, splats, slots = entries
    images, blocks, _ = places.shape
    num_gaussians = rects.shape[0] // images
    columns = active.shape[2]
    while True:
        item = take_number(counter)
        if item >= num_items:
            return
        image, block = item // blocks, item % blocks
        slot = block_slots[item]
        first = block * BLOCK
        for gaussian in range(first, min(first + BLOCK, num_gaussians)):
            splat = image * num_gaussians + gaussian
            slot_starts[splat] = slot
            if rects[splat, 2] <= rects[splat, 0]:
                continue
            key = ascending_bits(key_bits[splat])
            for row in range(rects[splat, 1], rects[splat, 3]):
                for column in range(rects[splat, 0], rects[splat, 2]):
                    if active[image, row, column] < 0:
                        continue
                    place = places[image, block, row * columns + column]
                    places[image, block, row * columns + column] = place + 1
                    keys[place] = key
                    splats[place] = splat
                    slots[place] = slot
                    slot += 1
        if item == num_items - 1:
            slot_starts[images * num_gaussians] = slot


@inner
def ascending_bits(bits):
    """An unsigned number that orders as the float of these bits does; NaN last, -0 equal to 0."""
    if (bits & 0x7FFFFFFF) > 0x7F800000:
        return 0xFFFFFFFF
    if bits == -0x80000000:
        return 0x80000000
    return (bits & 0xFFFFFFFF) ^ (0xFFFFFFFF if bits < 0 else 0x80000000)


SORT_COUNTERS = 257
"""Numbers at the end of a thread's sort scratch, after two for every entry of the fullest tile."""


@inner
def sort_entries(entries, first, end, scratch):
    """Stable radix sort of the entries first..end by key; equal keys stay in order.

    Only the bits in which the keys of this tile differ are looked at, eight at a time.

    Args:
        scratch: int64, see ``SORT_COUNTERS``.
    """
    keys, splats, slots = entries
    count = end - first
    if count < 2:
        return
    low = high = np.int64(keys[first])
    for i in range(first + 1, end):
        low, high = min(low, np.int64(keys[i])), max(high, np.int64(keys[i]))
    for i in range(count):
        # Key above, place below: one number to move.
        scratch[i] = ((np.int64(keys[first + i]) - low) << 32) | i
    source, target, shift = 0, count, 32
    while low < high:
        _sort_by_byte(scratch, source, target, count, shift)
        source, target = target, source
        high = low + ((high - low) >> 8)
        shift += 8
    for i in range(count):
        at = first + (scratch[source + i] & 0xFFFFFFFF)
        scratch[target + i] = (np.int64(splats[at]) << 32) | slots[at]
    for i in range(count):
        splats[first + i] = scratch[target + i] >> 32
        slots[first + i] = scratch[target + i] & 0xFFFFFFFF


@inner
def _sort_by_byte(scratch, source, target, count, shift):
    starts = scratch[scratch.shape[0] - SORT_COUNTERS :]
    starts[:] = 0
    for i in range(count):
        starts[((scratch[source + i] >> shift) & 255) + 1] += 1
    for digit in range(256):
        starts[digit + 1] += starts[digit]
    for i in range(count):
        value = scratch[source + i]
        digit = (value >> shift) & 255
        scratch[target + starts[digit]] = value
        starts[digit] += 1
