package org.msdedge.cascade

import kotlin.test.Test
import kotlin.test.assertContentEquals
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith

class StatisticsTest {
    @Test
    fun `percentiles are interpolated as numpy does`() {
        val times = doubleArrayOf(4.0, 1.0, 3.0, 2.0)
        val timing = Timing.of(times)
        assertEquals(2.5, timing.median)
        assertEquals(3.7, timing.p90, 1e-12)
        assertEquals(3.97, timing.p99, 1e-12)
        assertContentEquals(doubleArrayOf(4.0, 1.0, 3.0, 2.0), times, "the caller's order is left alone")
        assertEquals(7.0, Timing.of(doubleArrayOf(7.0)).p99)
    }

    @Test
    fun `what is no list of times is refused`() {
        for (bad in listOf(doubleArrayOf(), doubleArrayOf(-1.0), doubleArrayOf(Double.NaN), doubleArrayOf(Double.POSITIVE_INFINITY))) {
            assertFailsWith<IllegalArgumentException> { Timing.of(bad) }
        }
    }

    @Test
    fun `exit shares count and start anew`() {
        val shares = ExitShares(3)
        shares.add(1)
        shares.add(3)
        shares.add(3)
        assertContentEquals(intArrayOf(1, 0, 2), shares.counts())
        shares.clear()
        assertContentEquals(intArrayOf(0, 0, 0), shares.counts())
    }
}
