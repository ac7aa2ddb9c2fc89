package org.msdedge.runners

import java.nio.ByteBuffer
import kotlin.math.abs
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertTrue
import org.msdedge.cascade.Cascade
import org.msdedge.cascade.Chain
import org.msdedge.cascade.DType
import org.msdedge.cascade.ExitRule
import org.msdedge.cascade.Golden
import org.msdedge.cascade.RuleName
import org.msdedge.cascade.RunOptions
import org.msdedge.cascade.Target
import org.msdedge.cascade.Variant

/**
 * The app's own classes against Python, on bundles exported in this build: every variant, exit and operating point.
 *
 * Integer logits are to be equal, float logits within 1e-5 of the largest (they were equal too with every release tried).
 * Exits and classes are to be equal for every image whose score does not lie within 6 units in the last place of a
 * threshold, where the last bits of an exponential decide; how many that leaves out is asserted to be few.
 */
class ParityTest {
    private val runtimes = presentRuntimes()

    @Test
    fun `logits of TFLite files`() = Expected.names.forEach { logits(it, Target.TFLITE) }

    @Test
    fun `logits of ONNX files`() = Expected.names.forEach { logits(it, Target.ONNX) }

    @Test
    fun `the multi-signature file gives the same`() {
        for (name in listOf("digits", "colour", "scales")) {
            val expected = Expected(name)
            for (variant in expected.bundle.manifest.variants.filter { it.multiSignature != null }) {
                Chain.load(expected.bundle, variant, runtimes, multiSignature = true).use { compare(expected, variant, it) }
            }
        }
    }

    @Test
    fun `several threads give the same`() {
        val expected = Expected("digits")
        for (variant in expected.bundle.manifest.variants) {
            Chain.load(expected.bundle, variant, runtimes, RunOptions(threads = 2)).use { compare(expected, variant, it, 30) }
        }
    }

    @Test
    fun `golden samples match`() {
        for (name in Expected.names) {
            val bundle = Expected(name).bundle
            for (variant in bundle.manifest.variants) {
                Chain.load(bundle, variant, runtimes).use { chain ->
                    val found = Golden.read(bundle, variant).compare(chain)
                    found.require(chain)
                    println("$name ${variant.name}: golden samples differ by ${found.maxDifference}, bit equal ${found.bitEqual}")
                }
            }
        }
    }

    @Test
    fun `exits and classes at every operating point`() {
        var points = 0
        for (name in Expected.names) {
            val expected = Expected(name)
            for (variant in expected.bundle.manifest.variants) {
                Cascade.open(expected.bundle, runtimes, variant.name).use { cascade -> points += answers(expected, variant, cascade) }
            }
        }
        println("$points operating points")
        assertTrue(points > 300, "$points operating points")
    }

    @Test
    fun `segments after the exit taken do not run`() {
        val expected = Expected("digits")
        Cascade.open(expected.bundle, runtimes, "onnx-int8").use { cascade ->
            cascade.rule = ExitRule.forced(2, cascade.rule.temperatures)
            cascade.predict(expected.images[0])
            val before = bytes(cascade.chain.rawLogits[2])
            cascade.rule = ExitRule.forced(0, cascade.rule.temperatures)
            val answer = cascade.predict(expected.images[1])
            assertEquals(1, answer.exit)
            assertEquals(1, answer.segmentMs.size)
            assertEquals(before, bytes(cascade.chain.rawLogits[2]))
        }
    }

    private fun logits(name: String, target: Target) {
        val expected = Expected(name)
        for (variant in expected.bundle.manifest.variants.filter { it.target == target }) {
            Chain.load(expected.bundle, variant, runtimes).use { compare(expected, variant, it) }
        }
    }

    private fun compare(expected: Expected, variant: Variant, chain: Chain, most: Int = Int.MAX_VALUE) {
        var worst = 0.0
        var different = 0
        var range = 0.0
        val images = expected.images.take(most)
        for ((number, image) in images.withIndex()) {
            chain.enter(image)
            for (exit in 0 until chain.size) {
                chain.run(exit)
                val spec = variant.segments[exit].logits
                for ((i, wanted) in expected.raw(variant.name, number, exit).withIndex()) {
                    val difference = abs(rawValue(chain.rawLogits[exit], spec.dtype, i) - wanted)
                    worst = maxOf(worst, difference)
                    range = maxOf(range, abs(wanted))
                    if (difference > 0) different++
                }
            }
        }
        val whole = variant.segments[0].logits.dtype != DType.FLOAT32
        val files = expected.bundle.files.name
        println("$files ${variant.name}: ${images.size} images, largest difference $worst, $different logits differ")
        assertTrue(worst <= if (whole) STEPS else FLOAT_SHARE * range, "$files ${variant.name}: $worst")
    }

    private fun answers(expected: Expected, variant: Variant, cascade: Cascade): Int {
        val calibration = Cascade.calibrationOf(expected.bundle, variant)
        val points = calibration.points + calibration.front + calibration.budgeted
        val chain = cascade.chain
        var skipped = 0
        var seen = 0
        for ((number, image) in expected.images.take(ANSWERED).withIndex()) {
            chain.enter(image)
            val logits = Array(chain.size) { FloatArray(expected.bundle.manifest.classes.size) }
            for (exit in logits.indices) {
                chain.run(exit)
                chain.logits(exit, logits[exit])
            }
            for (point in points) {
                cascade.rule = ExitRule.of(calibration, point)
                seen++
                if (onTheEdge(cascade.rule, logits)) {
                    skipped++
                    continue
                }
                val answer = cascade.predict(image)
                val where = "${expected.bundle.files.name} ${variant.name} ${point.name} image $number"
                assertEquals(expected.point(variant.name, point.name, "exits")[number].toInt(), answer.exit, where)
                assertEquals(expected.point(variant.name, point.name, "classes")[number].toInt(), answer.index, where)
                val probability = expected.point(variant.name, point.name, "probabilities")[number].toFloat()
                assertEquals(probability, answer.probability, PROBABILITY, where)
            }
        }
        println("${expected.bundle.files.name} ${variant.name}: $seen answers, $skipped left out: scores on the edge")
        assertTrue(skipped <= seen / 20, "$skipped of $seen")
        return points.size
    }

    /** Whether a score lies so near a threshold that the last bits of an exponential decide. */
    private fun onTheEdge(rule: ExitRule, logits: Array<FloatArray>): Boolean {
        if (rule.name == RuleName.PATIENCE) return false
        val slack = 6 * Math.ulp(1f)
        return rule.thresholds.indices.any { abs(rule.score(it, logits) - rule.thresholds[it].toFloat()) <= slack }
    }

    private fun rawValue(from: ByteBuffer, dtype: DType, index: Int): Double = when (dtype) {
        DType.FLOAT32 -> from.getFloat(index * 4).toDouble()
        DType.INT8 -> from.get(index).toDouble()
        DType.UINT8 -> (from.get(index).toInt() and 255).toDouble()
    }

    private fun bytes(buffer: ByteBuffer) = List(buffer.capacity()) { buffer.get(it) }

    private companion object {
        const val STEPS = 0.0
        const val FLOAT_SHARE = 1e-5
        const val PROBABILITY = 1e-6f
        const val ANSWERED = 60
    }
}
