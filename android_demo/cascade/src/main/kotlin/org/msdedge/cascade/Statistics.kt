package org.msdedge.cascade

import kotlin.math.floor
import kotlin.math.min

/** A distribution of times in milliseconds; nothing is clipped. */
class Timing(val count: Int, val median: Double, val p90: Double, val p99: Double) {
    companion object {
        /** @throws IllegalArgumentException there is no time, or one is negative or not finite. */
        fun of(times: DoubleArray): Timing {
            require(times.isNotEmpty()) { "there are no times to summarise" }
            require(times.all { it >= 0 && it < Double.POSITIVE_INFINITY }) { "a time is negative or not finite" }
            val ordered = times.sortedArray()
            return Timing(times.size, percentile(ordered, 0.5), percentile(ordered, 0.9), percentile(ordered, 0.99))
        }
    }
}

/** The percentile of ascending values, linearly interpolated between neighbours (type 7); [share] is 0..1. */
fun percentile(ordered: DoubleArray, share: Double): Double {
    require(ordered.isNotEmpty() && share in 0.0..1.0) { "no percentile $share of ${ordered.size} values" }
    val place = (ordered.size - 1) * share
    val below = floor(place).toInt()
    val low = ordered[below]
    val high = ordered[min(below + 1, ordered.size - 1)]
    return min(low + (high - low) * (place - below), high)
}

/** Which exits answered since it was last cleared. Safe for use by several threads. */
class ExitShares(exits: Int) {
    private val counts = IntArray(exits)

    /** Counts an image that left at [exit], from 1. */
    @Synchronized
    fun add(exit: Int) {
        counts[exit - 1]++
    }

    /** Starts anew. */
    @Synchronized
    fun clear() = counts.fill(0)

    /** How many images left at each exit. */
    @Synchronized
    fun counts(): IntArray = counts.copyOf()
}
