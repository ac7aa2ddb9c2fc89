package org.msdedge.demo

import kotlin.math.abs
import kotlin.test.Test
import kotlin.test.assertContentEquals
import kotlin.test.assertTrue

class YuvTest {
    /** 4×2 pixels: red, red, green, green / the same; colour planes interleaved as most phones give them. */
    private val frame = Yuv(
        4,
        2,
        listOf(
            Yuv.Plane(bytes(76, 76, 150, 150, 0, 0, 76, 76, 150, 150), 6, 1),
            Yuv.Plane(bytes(85, 255, 44, 21), 4, 2),
            Yuv.Plane(bytes(255, 44, 21), 4, 2),
        ),
    )

    private val red = listOf(254, 0, 0)
    private val green = listOf(0, 255, 1)

    @Test
    fun `colours come out, rows and pixels apart as the frame says`() {
        near(listOf(red, red, green, green, red, red, green, green), frame.toRgb(0).pixels)
    }

    @Test
    fun `it turns clockwise`() {
        val right = frame.toRgb(90)
        assertContentEquals(intArrayOf(2, 4), intArrayOf(right.width, right.height))
        near(listOf(red, red, red, red, green, green, green, green), right.pixels)
        near(listOf(green, green, red, red, green, green, red, red), frame.toRgb(180).pixels)
        near(listOf(green, green, green, green, red, red, red, red), frame.toRgb(-90).pixels)
    }

    private fun near(wanted: List<List<Int>>, found: ByteArray) {
        for ((i, value) in wanted.flatten().withIndex()) {
            assertTrue(abs(value - (found[i].toInt() and 255)) <= 2, "byte $i: $value wanted, ${found[i].toInt() and 255} found")
        }
    }

    private fun bytes(vararg values: Int) = ByteArray(values.size) { values[it].toByte() }
}
