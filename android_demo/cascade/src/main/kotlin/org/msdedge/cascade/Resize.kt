package org.msdedge.cascade

import kotlin.math.abs
import kotlin.math.max
import kotlin.math.min

/**
 * Any image becomes the network's input: the largest rectangle of the input's proportions around the centre, resized by
 * Pillow's BILINEAR filter, which averages when shrinking. Bit for bit what Pillow 13 gives (weights of 22 bits, rounded
 * to 8 bits between the passes); older releases differ by one step in tall pictures.
 */
object Resize {
    /** Returns [image] as the bundle takes it. */
    fun fit(image: RawImage, input: InputSpec): RawImage {
        val source = image.withChannels(input.channels)
        if (source.width == input.width && source.height == input.height) return source
        val scale = min(source.width.toDouble() / input.width, source.height.toDouble() / input.height)
        val left = (source.width - input.width * scale) / 2
        val top = (source.height - input.height * scale) / 2
        // Pillow takes the box as float32.
        val across = Weights(
            source.width,
            max(0.0, left).toFloat(),
            min(source.width.toDouble(), left + input.width * scale).toFloat(),
            input.width,
        )
        val down = Weights(
            source.height,
            max(0.0, top).toFloat(),
            min(source.height.toDouble(), top + input.height * scale).toFloat(),
            input.height,
        )
        // The order matters, because the result is rounded between the passes. Since 13.0 Pillow begins with the columns
        // where the height shrinks by more than twice as many pixels as the width.
        val columnsFirst = source.height > input.height && source.height - input.height > 2 * (source.width - input.width)
        return when {
            !down.changes -> horizontal(source, across, 0, source.height)
            !across.changes -> vertical(source, down, 0)
            columnsFirst -> vertical(source, down, 0).let { horizontal(it, across, 0, it.height) }
            else -> vertical(horizontal(source, across, down.first, down.last), down, down.first)
        }
    }

    private fun horizontal(source: RawImage, weights: Weights, firstRow: Int, lastRow: Int): RawImage {
        val channels = source.channels
        val out = ByteArray((lastRow - firstRow) * weights.count * channels)
        var to = 0
        for (row in firstRow until lastRow) {
            val start = row * source.width * channels
            for (place in 0 until weights.count) {
                for (channel in 0 until channels) {
                    out[to++] = weights.sum(place, source.pixels, start + channel, channels)
                }
            }
        }
        return RawImage(weights.count, lastRow - firstRow, channels, out)
    }

    private fun vertical(source: RawImage, weights: Weights, shift: Int): RawImage {
        val stride = source.width * source.channels
        val out = ByteArray(weights.count * stride)
        var to = 0
        for (place in 0 until weights.count) {
            for (column in 0 until stride) out[to++] = weights.sum(place, source.pixels, column - shift * stride, stride)
        }
        return RawImage(source.width, weights.count, source.channels, out)
    }
}

/** For each of [count] output pixels along one axis: which input pixels it is made of, and their fixed-point weights. */
private class Weights(size: Int, from: Float, to: Float, val count: Int) {
    private val starts = IntArray(count)
    private val values: Array<IntArray>

    /** Whether this axis needs a pass at all. */
    val changes = count != size || from != 0f || to != size.toFloat()

    init {
        val scale = (to - from).toDouble() / count
        val stretch = max(1.0, scale)
        values = Array(count) { place ->
            val centre = from + (place + 0.5) * scale
            val start = max(0, (centre - stretch + 0.5).toInt())
            val end = min(size, (centre + stretch + 0.5).toInt())
            starts[place] = start
            fixed(DoubleArray(end - start) { triangle((it + start - centre + 0.5) * (1.0 / stretch)) })
        }
    }

    /** The first input pixel used, and the one after the last. */
    val first: Int get() = starts[0]
    val last: Int get() = starts[count - 1] + values[count - 1].size

    /** The weighted sum at output pixel [place] of bytes that lie [stride] apart, the axis's pixel 0 at [start]. */
    fun sum(place: Int, pixels: ByteArray, start: Int, stride: Int): Byte {
        val weights = values[place]
        var at = start + starts[place] * stride
        var sum = 1 shl BITS - 1
        for (weight in weights) {
            sum += (pixels[at].toInt() and 255) * weight
            at += stride
        }
        return (sum shr BITS).coerceIn(0, 255).toByte()
    }

    private fun fixed(weights: DoubleArray): IntArray {
        var total = 0.0
        for (weight in weights) total += weight
        return IntArray(weights.size) { (0.5 + weights[it] / total * (1 shl BITS)).toInt() }
    }

    private fun triangle(x: Double) = max(0.0, 1.0 - abs(x))

    private companion object {
        const val BITS = 22
    }
}
