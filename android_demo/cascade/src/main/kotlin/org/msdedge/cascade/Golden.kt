package org.msdedge.cascade

import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.math.abs

/**
 * How near the outputs here are to those stored at export.
 *
 * @property maxDifference the largest difference of a logit: in steps where the files give integers, else in logits.
 * @property top1Agreement the share of images and exits with the same class on top.
 */
class GoldenComparison(val images: Int, val maxDifference: Double, val top1Agreement: Double, val bitEqual: Boolean) {
    /**
     * Passes when every class is the same and no logit differs by more than [steps] (files that give floats:
     * [rangeShare] of the logits' range).
     *
     * @throws ParityError it does not.
     */
    fun require(chain: Chain, steps: Double = STEPS, rangeShare: Double = RANGE_SHARE) {
        val variant = chain.variant
        val whole = variant.segments.all { it.logits.dtype != DType.FLOAT32 }
        val limit = if (whole) steps else rangeShare * variant.segments.maxOf { it.logitRange }
        if (top1Agreement >= 1 && maxDifference <= limit) return
        val by = "${chain.runtime.name} ${chain.runtime.version}${if (chain.options.gpu) " on the GPU" else ""}"
        throw ParityError(
            "${chain.bundle.files.name}: ${variant.name} by $by does not compute what it computed at export: " +
                "${"%.1f".format(java.util.Locale.ROOT, 100 * top1Agreement)} % of the golden samples get the same class, " +
                "and logits differ by up to $maxDifference${if (whole) " steps" else ""} (limit $limit); it is not used.",
        )
    }

    companion object {
        /** What other processors and releases of a runtime may round differently, as on the Python side. */
        const val STEPS = 4.0
        const val RANGE_SHARE = 1e-3
    }
}

/** Golden samples of one variant: raw images, and for each the expected logits of every exit as the files give them. */
class Golden private constructor(val images: List<RawImage>, val labels: List<Int>, private val expected: ByteArray, private val dtype: DType) {
    /** Runs every image through all segments. @param keep is given every byte of the outputs, in order. */
    fun compare(chain: Chain, keep: (ByteArray) -> Unit = {}): GoldenComparison {
        val classes = chain.bundle.manifest.classes.size
        val row = ByteArray(classes * dtype.bytes)
        val wanted = ByteBuffer.wrap(expected).order(ByteOrder.LITTLE_ENDIAN)
        var at = 0
        var largest = 0.0
        var agreeing = 0
        var equal = true
        for ((number, image) in images.withIndex()) {
            chain.enter(image)
            for (exit in 0 until chain.size) {
                chain.run(exit)
                copyRaw(chain.rawLogits[exit], dtype, row)
                keep(row)
                val found = ByteBuffer.wrap(row).order(ByteOrder.LITTLE_ENDIAN)
                var best = 0
                var bestWanted = 0
                for (i in 0 until classes) {
                    val here = value(found, i)
                    if (here.isNaN() || here.isInfinite()) {
                        throw ParityError(
                            "${chain.bundle.files.name}: ${chain.variant.name}: exit ${exit + 1} gives a logit that is no " +
                                "finite number for golden image ${number + 1}.",
                        )
                    }
                    largest = maxOf(largest, abs(here - value(wanted, at + i)))
                    if (here > value(found, best)) best = i
                    if (value(wanted, at + i) > value(wanted, at + bestWanted)) bestWanted = i
                }
                if (best == bestWanted) agreeing++
                equal = equal && row.indices.all { row[it] == expected[at * dtype.bytes + it] }
                at += classes
            }
        }
        return GoldenComparison(images.size, largest, agreeing.toDouble() / (images.size * chain.size), equal)
    }

    /** The expected logits of one image and exit (both from 0), as stored: integers are not dequantized. */
    fun expected(image: Int, exit: Int, exits: Int, classes: Int): DoubleArray {
        val stored = ByteBuffer.wrap(expected).order(ByteOrder.LITTLE_ENDIAN)
        return DoubleArray(classes) { value(stored, (image * exits + exit) * classes + it) }
    }

    private fun value(from: ByteBuffer, index: Int): Double = when (dtype) {
        DType.FLOAT32 -> from.getFloat(index * 4).toDouble()
        DType.INT8 -> from.get(index).toDouble()
        DType.UINT8 -> (from.get(index).toInt() and 255).toDouble()
    }

    companion object {
        /** @throws BundleError there are none for this variant, or a file is not the one that was exported. */
        fun read(bundle: Bundle, variant: Variant): Golden {
            val manifest = bundle.manifest
            val golden = manifest.golden
            val input = manifest.input
            val output = golden.outputs.first { it.variant == variant.name }
            if (variant.segments.any { it.logits.dtype != output.dtype }) {
                throw BundleError("${bundle.files.name}: the golden outputs of ${variant.name} are of another type than its files'.")
            }
            val images = readImages(bundle)
            val count = 1L * golden.images * manifest.exits.size * manifest.classes.size
            val expected = bundle.readExact(output.path, output.sha256, count * output.dtype.bytes)
            val size = input.height * input.width * input.channels
            return Golden(
                List(golden.images) { cut(images, it, size, input) },
                golden.labels,
                expected,
                output.dtype,
            )
        }

        /** The golden images alone, for an app's pictures to try. @throws BundleError as [read]. */
        fun images(bundle: Bundle): List<RawImage> {
            val input = bundle.manifest.input
            val pixels = readImages(bundle)
            return List(bundle.manifest.golden.images) { cut(pixels, it, input.height * input.width * input.channels, input) }
        }

        private fun readImages(bundle: Bundle): ByteArray {
            val golden = bundle.manifest.golden
            val input = bundle.manifest.input
            return bundle.readExact(golden.path, golden.sha256, 1L * golden.images * input.height * input.width * input.channels)
        }

        private fun cut(pixels: ByteArray, index: Int, size: Int, input: InputSpec) =
            RawImage(input.width, input.height, input.channels, pixels.copyOfRange(index * size, (index + 1) * size))
    }
}

/** Copies logits as a file gives them into [into], little-endian. */
internal fun copyRaw(from: ByteBuffer, dtype: DType, into: ByteArray) {
    for (i in into.indices) into[i] = from.get(i)
    if (dtype == DType.FLOAT32 && ByteOrder.nativeOrder() == ByteOrder.BIG_ENDIAN) {
        for (i in into.indices step 4) into.reverse(i, i + 4)
    }
}
