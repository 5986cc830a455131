"""Which Gaussians a tile draws, near first: counting sort into tiles, then a stable sort in each.

A *splat* is a Gaussian in one image (image = chain x view), an *entry* is a splat in one tile. The
projection has counted the entries of every (image, block of Gaussians, tile); here they get their
places. Every entry also owns a *slot*, numbered splat by splat, where the backward pass of its tile
leaves what the splat's owner adds up later in that order.
"""

# mypy: disable-error-code="no-untyped-def"
import numpy as np

from bayes_splat.rendering.cpu_blocks import RECORD
from bayes_splat.rendering.cpu_compile import compiled_phase, inner
from bayes_splat.rendering.cpu_lanes import fetch, load, put
from bayes_splat.rendering.cpu_simd import broadcast
from bayes_splat.rendering.cpu_threads import finish_item, num_items, take_item

BLOCK = 2048
"""Gaussians a work item of projection and list building."""


@compiled_phase
def place_entries(counts, active, tile_ranges, block_slots):
    """Turn counts into places: tiles of an image in turn, blocks of Gaussians in order in each.

    Args:
        counts: entries by [image, block, tile]; becomes the place of the first of them.
        active: number of the drawn tile by [image, row, column], or -1.
        tile_ranges: [drawn tile, 2], filled with first and end entry.
        block_slots: [image * block + 1], filled with the first slot of every block; the last is
            how many entries there are.
    """
    images, blocks, tiles = counts.shape
    columns = active.shape[2]
    place = 0
    for image in range(images):
        for block in range(blocks):
            block_slots[image * blocks + block] = place
            for tile in range(tiles):
                place += counts[image, block, tile]
    block_slots[images * blocks] = place
    place = 0
    for image in range(images):
        for tile in range(tiles):
            first = place
            for block in range(blocks):
                number = counts[image, block, tile]
                counts[image, block, tile] = place
                place += number
            drawn = active[image, tile // columns, tile % columns]
            if drawn >= 0:
                tile_ranges[drawn, 0] = first
                tile_ranges[drawn, 1] = place


@compiled_phase
def fill_entries(progress, phase, lists, active, rects, keys, depths, slot_starts, entries):
    """Write the entries (sort key, splat, slot) of every block to their places.

    Args:
        lists: (places, tile_ranges, block_slots) from :func:`place_entries`; places are consumed.
        rects: tiles that each splat meets, flat [splat * (left, top, right, bottom)], ends
            excluded.
        keys: sort keys of the caller, float32 read as int32, flat [image * gaussian], or empty:
            then ``depths`` [splat], read alike.
        slot_starts: [splat + 1], filled.
        entries: (keys uint32, splats int32, slots int32), filled.
    """
    entry_keys, splats, slots = entries
    places, _, block_slots = lists
    images, blocks, tiles = places.shape
    flat_places, flat_active = places.reshape(-1), active.reshape(-1)
    columns = active.shape[2]
    num_gaussians = (slot_starts.shape[0] - 1) // images
    num_keys = keys.shape[0] // images
    while True:
        item = take_item(progress, phase)
        if item >= num_items(progress, phase):
            return
        image, block = item // blocks, item % blocks
        slot = block_slots[item]
        first = block * BLOCK
        for gaussian in range(first, min(first + BLOCK, num_gaussians)):
            splat = image * num_gaussians + gaussian
            put(slot_starts, splat, slot)
            begin, end = fetch(rects, 4 * splat), fetch(rects, 4 * splat + 2)
            if end <= begin:
                continue
            if num_keys > 0:
                key = ascending_bits(fetch(keys, image * num_keys + gaussian))
            else:
                key = ascending_bits(fetch(depths, splat))
            for row in range(fetch(rects, 4 * splat + 1), fetch(rects, 4 * splat + 3)):
                for column in range(begin, end):
                    tile = row * columns + column
                    if fetch(flat_active, image * tiles + tile) < 0:
                        continue
                    place = fetch(flat_places, item * tiles + tile)
                    put(flat_places, item * tiles + tile, place + 1)
                    put(entry_keys, place, key)
                    put(splats, place, splat)
                    put(slots, place, slot)
                    slot += 1
        if item == num_items(progress, phase) - 1:
            slot_starts[images * num_gaussians] = slot
        finish_item(progress, phase)


@inner
def ascending_bits(bits):
    """An unsigned number that orders as the float of these bits does; NaN last, -0 equal to 0."""
    if (bits & 0x7FFFFFFF) > 0x7F800000:
        return 0xFFFFFFFF
    if bits == -0x80000000:
        return 0x80000000
    return (bits & 0xFFFFFFFF) ^ (0xFFFFFFFF if bits < 0 else 0x80000000)


@inner
def sum_of_slots(slot_starts, slots, splat):
    """What tiles left in the slots of one splat, added up in order."""
    total = broadcast(0.0)
    for slot in range(fetch(slot_starts, splat), fetch(slot_starts, splat + 1)):
        total = total + load(slots, RECORD * slot)
    return total


SORT_COUNTERS = 257
"""Numbers at the end of a thread's sort scratch, after two for every entry of the fullest tile."""


@compiled_phase
def sort_tiles(progress, phase, tile_ranges, entries, scratch):
    """Sort the entries of every tile; see :func:`sort_entries`."""
    while True:
        tile = take_item(progress, phase)
        if tile >= num_items(progress, phase):
            return
        sort_entries(entries, tile_ranges[tile, 0], tile_ranges[tile, 1], scratch)
        finish_item(progress, phase)


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
