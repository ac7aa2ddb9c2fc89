package org.msdedge.cascade

/** An image as a camera gives it: 8-bit values, rows from the top, [channels] 1 (grey) or 3 (RGB) interleaved. */
class RawImage(val width: Int, val height: Int, val channels: Int, val pixels: ByteArray) {
    init {
        if (width < 1 || height < 1 || channels !in intArrayOf(1, 3) || pixels.size.toLong() != 1L * width * height * channels) {
            throw ImageError("${pixels.size} bytes make no image of $width×$height pixels and $channels channels.")
        }
    }

    /** This image with 1 or 3 channels: grey is ITU-R 601 in Pillow's arithmetic, RGB of a grey one repeats it. */
    fun withChannels(wanted: Int): RawImage {
        if (wanted == channels) return this
        val count = width * height
        val out = ByteArray(count * wanted)
        if (wanted == 1) {
            for (i in 0 until count) {
                val red = pixels[3 * i].toInt() and 255
                val green = pixels[3 * i + 1].toInt() and 255
                val blue = pixels[3 * i + 2].toInt() and 255
                out[i] = (red * 19595 + green * 38470 + blue * 7471 + 0x8000 shr 16).toByte()
            }
        } else {
            for (i in out.indices) out[i] = pixels[i / 3]
        }
        return RawImage(width, height, wanted, out)
    }

    companion object {
        /**
         * From packed ARGB as Android's bitmaps give it, not premultiplied. Transparent pixels show white behind, in the
         * arithmetic of Pillow's alpha_composite.
         */
        fun fromArgb(width: Int, height: Int, argb: IntArray): RawImage {
            val out = ByteArray(width * height * 3)
            for (i in 0 until width * height) {
                val alpha = argb[i] ushr 24
                for (channel in 0..2) {
                    val value = argb[i] ushr (16 - 8 * channel) and 255
                    out[3 * i + channel] = (if (alpha == 255) value else overWhite(value, alpha)).toByte()
                }
            }
            return RawImage(width, height, 3, out)
        }

        private fun overWhite(value: Int, alpha: Int): Int {
            if (alpha == 0) return 255
            val sum = (value * alpha + 255 * (255 - alpha) shl 7) + (0x80 shl 7)
            return (sum shr 8) + sum shr 8 shr 7
        }
    }
}
