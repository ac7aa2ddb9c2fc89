package org.msdedge.demo

import org.msdedge.cascade.Bundle
import org.msdedge.cascade.BundleFiles
import org.msdedge.cascade.Cascade
import org.msdedge.cascade.ExitRule
import org.msdedge.cascade.Golden
import org.msdedge.cascade.OperatingPoint
import org.msdedge.cascade.RawImage
import org.msdedge.cascade.RunOptions
import org.msdedge.cascade.Runtimes
import org.msdedge.cascade.Target
import org.msdedge.cascade.Variant
import org.msdedge.cascade.percentile

/** What the user has chosen; null: the app chooses. [point] is the name of an operating point. */
data class Choice(
    val bundle: String? = null,
    val variant: String? = null,
    val point: String? = null,
    val threads: Int = 1,
    val gpu: Boolean = false,
)

/** A loaded variant of a bundle, ready to classify. Used by one thread at a time. */
class Model private constructor(val bundle: Bundle, val variant: Variant, val cascade: Cascade) : AutoCloseable {
    private val calibration = Cascade.calibrationOf(bundle, variant)

    /** The operating points from fast to accurate. */
    val points: List<OperatingPoint> = Cascade.slider(calibration)

    /** Pictures to try: the bundle's golden images. */
    val samples: List<RawImage> = Golden.images(bundle)

    /** Milliseconds of each segment when all of them run: what an answer's cost is held against. */
    val fullMs: DoubleArray

    init {
        val forced = ExitRule.forced(variant.segments.size - 1, calibration.temperatures)
        val own = cascade.rule
        cascade.rule = forced
        val runs = List(WARM + KEPT) { cascade.predict(samples[it % samples.size]).segmentMs }.drop(WARM)
        fullMs = DoubleArray(variant.segments.size) { k -> percentile(DoubleArray(KEPT) { runs[it][k] }.sortedArray(), 0.5) }
        cascade.rule = own
    }

    /** The place among [points] of a named one; of the default point where there is none of that name. */
    fun place(name: String?): Int {
        val named = points.indexOfFirst { it.name == name }
        val default = Cascade.findPoint(bundle, variant, null)
        return if (named >= 0) named else points.indexOfFirst { it.thresholds == default.thresholds }
    }

    /** Sets the operating point at [place]. */
    fun select(place: Int) {
        cascade.rule = ExitRule.of(calibration, points[place])
    }

    override fun close() = cascade.close()

    companion object {
        private const val WARM = 2
        private const val KEPT = 5

        /** @throws org.msdedge.cascade.CascadeError the bundle or the choice does not work here. */
        fun open(files: BundleFiles, choice: Choice, runtimes: Runtimes): Model {
            val bundle = Bundle.open(files)
            val name = choice.variant.takeIf { wanted -> bundle.manifest.variants.any { it.name == wanted } }
            val options = RunOptions(choice.threads, choice.gpu)
            val cascade = Cascade.open(bundle, runtimes, name, options = options)
            try {
                return Model(bundle, cascade.chain.variant, cascade)
            } catch (problem: Throwable) {
                cascade.close()
                throw problem
            }
        }

        /** Whether [target]'s runtime here has a GPU delegate. */
        fun hasGpu(runtimes: Runtimes, target: Target): Boolean = runCatching { runtimes.of(target).hasGpu }.getOrDefault(false)
    }
}
