package org.msdedge.cascade

import java.io.File
import kotlin.test.Test
import kotlin.test.assertContentEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertTrue

class ResizeTest {
    @Test
    fun `every byte is the one that Python gives`() {
        val data = File(Fixtures.folder, "resize.bin").readBytes()
        val cases = Fixtures.cases("resize.json").map { case -> (case as List<*>).map { (it as Long).toInt() } }
        assertTrue(cases.size > 130)
        for ((width, height, channels, toWidth, toHeight, toChannels, at) in cases) {
            val middle = at + width * height * channels
            val source = data.copyOfRange(at, middle)
            val image = if (channels == 4) fromRgba(width, height, source) else RawImage(width, height, channels, source)
            val found = Resize.fit(image, InputSpec(toHeight, toWidth, toChannels))
            val wanted = data.copyOfRange(middle, middle + toWidth * toHeight * toChannels)
            assertContentEquals(wanted, found.pixels, "$width×$height×$channels to $toWidth×$toHeight×$toChannels")
        }
    }

    @Test
    fun `bytes that make no image are refused`() {
        for ((width, height, channels) in listOf(Triple(0, 1, 1), Triple(1, 1, 2), Triple(2, 2, 1), Triple(65536, 65536, 1))) {
            assertFailsWith<ImageError> { RawImage(width, height, channels, ByteArray(1)) }
        }
    }

    private fun fromRgba(width: Int, height: Int, rgba: ByteArray): RawImage {
        val argb = IntArray(width * height) {
            fun at(place: Int) = rgba[4 * it + place].toInt() and 255
            at(3) shl 24 or (at(0) shl 16) or (at(1) shl 8) or at(2)
        }
        return RawImage.fromArgb(width, height, argb)
    }

    private operator fun <T> List<T>.component6() = get(5)

    private operator fun <T> List<T>.component7() = get(6)
}
