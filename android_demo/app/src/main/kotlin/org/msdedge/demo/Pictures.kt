package org.msdedge.demo

import android.content.ContentResolver
import android.content.Context
import android.graphics.Bitmap
import android.graphics.Color
import android.graphics.ImageDecoder
import android.media.Image
import android.net.Uri
import java.io.IOException
import java.nio.ByteBuffer
import org.msdedge.cascade.ImageError
import org.msdedge.cascade.RawImage

/** Between Android's pictures and raw pixels. */
object Pictures {
    private const val MOST_PIXELS = 16_000_000L

    /**
     * Reads a picture, turned as its EXIF orientation says. Beyond 16 million pixels it is decoded at a fraction of its
     * size, so that memory lasts.
     *
     * @throws ImageError it cannot be read.
     */
    fun read(context: Context, uri: Uri): RawImage {
        val bitmap = try {
            decode(context.contentResolver, uri)
        } catch (_: IOException) {
            throw ImageError(context.getString(R.string.no_picture))
        } catch (_: SecurityException) {
            throw ImageError(context.getString(R.string.no_picture))
        }
        return fromBitmap(bitmap)
    }

    private fun decode(resolver: ContentResolver, uri: Uri): Bitmap =
        ImageDecoder.decodeBitmap(ImageDecoder.createSource(resolver, uri)) { decoder, info, _ ->
            decoder.allocator = ImageDecoder.ALLOCATOR_SOFTWARE
            decoder.isUnpremultipliedRequired = true
            var fraction = 1
            while (1L * info.size.width * info.size.height / fraction / fraction > MOST_PIXELS) fraction++
            decoder.setTargetSampleSize(fraction)
        }

    /** The pixels of a bitmap as RGB. */
    fun fromBitmap(bitmap: Bitmap): RawImage {
        val argb = IntArray(bitmap.width * bitmap.height)
        bitmap.getPixels(argb, 0, bitmap.width, 0, 0, bitmap.width, bitmap.height)
        return RawImage.fromArgb(bitmap.width, bitmap.height, argb)
    }

    /** A bitmap of raw pixels. */
    fun toBitmap(image: RawImage): Bitmap {
        val rgb = image.withChannels(3).pixels
        val argb = IntArray(image.width * image.height) {
            Color.rgb(rgb[3 * it].toInt() and 255, rgb[3 * it + 1].toInt() and 255, rgb[3 * it + 2].toInt() and 255)
        }
        return Bitmap.createBitmap(argb, image.width, image.height, Bitmap.Config.ARGB_8888)
    }

    /** Copies a YUV_420_888 frame; call it before the frame is closed. */
    fun copyYuv(frame: Image): Yuv = Yuv(
        frame.width,
        frame.height,
        frame.planes.map { Yuv.Plane(copy(it.buffer), it.rowStride, it.pixelStride) },
    )

    private fun copy(buffer: ByteBuffer) = ByteArray(buffer.remaining()).also { buffer.duplicate().get(it) }
}

/** A frame in YUV 4:2:0: full-range luma, and two planes of colour at half its size (JFIF, as Android's cameras give it). */
class Yuv(private val width: Int, private val height: Int, private val planes: List<Plane>) {
    /** One plane, values [pixelStride] bytes apart in rows [rowStride] bytes apart. */
    class Plane(val bytes: ByteArray, val rowStride: Int, val pixelStride: Int)

    /** The frame as RGB, turned clockwise by [degrees], a multiple of 90. */
    fun toRgb(degrees: Int): RawImage {
        val turned = degrees % 180 != 0
        val outWidth = if (turned) height else width
        val outHeight = if (turned) width else height
        val out = ByteArray(width * height * 3)
        for (y in 0 until height) {
            for (x in 0 until width) {
                val to = when ((degrees % 360 + 360) % 360) {
                    90 -> x * outWidth + (height - 1 - y)
                    180 -> (height - 1 - y) * outWidth + (width - 1 - x)
                    270 -> (width - 1 - x) * outWidth + y
                    else -> y * outWidth + x
                }
                put(out, 3 * to, value(planes[0], x, y), value(planes[1], x / 2, y / 2) - 128, value(planes[2], x / 2, y / 2) - 128)
            }
        }
        return RawImage(outWidth, outHeight, 3, out)
    }

    private fun value(plane: Plane, x: Int, y: Int) = plane.bytes[y * plane.rowStride + x * plane.pixelStride].toInt() and 255

    // ITU-R 601 with weights of 16 bits.
    private fun put(out: ByteArray, at: Int, luma: Int, blue: Int, red: Int) {
        val base = (luma shl 16) + (1 shl 15)
        out[at] = byte(base + 91881 * red)
        out[at + 1] = byte(base - 22554 * blue - 46802 * red)
        out[at + 2] = byte(base + 116130 * blue)
    }

    private fun byte(value: Int) = (value shr 16).coerceIn(0, 255).toByte()
}
