package org.msdedge.cascade

/**
 * What the cascade says of one image and what it cost; times in milliseconds.
 *
 * @property exit the exit taken, from 1; only the segments up to it have run.
 * @property probabilities those that the exit rule answers by at that exit, (classes).
 * @property segmentMs inference time of each segment that ran.
 * @property preprocessMs raw image to the input tensor.
 * @property decisionMs dequantize, softmax, compare; of all exits passed together.
 * @property totalMs all of it.
 */
class Answer(
    val label: String,
    val index: Int,
    val probabilities: FloatArray,
    val exit: Int,
    val segmentMs: DoubleArray,
    val preprocessMs: Double,
    val decisionMs: Double,
    val totalMs: Double,
) {
    val probability: Float get() = probabilities[index]

    /** The [count] most likely classes, most likely first. */
    fun top(count: Int): List<Int> = probabilities.indices.sortedByDescending { probabilities[it] }.take(count)
}

/**
 * Runs the segments of a bundle one after the other and stops at the first exit that is sure enough.
 *
 * Not for use by several threads at once.
 *
 * @property rule may be changed between images: another operating point costs nothing.
 */
class Cascade(val chain: Chain, rule: ExitRule) : AutoCloseable {
    var rule: ExitRule = rule
        set(value) {
            checkFits(value)
            field = value
        }

    private val classes = chain.bundle.manifest.classes
    private val logits = Array(chain.size) { FloatArray(classes.size) }
    private val probabilities = FloatArray(classes.size)
    private val segmentMs = DoubleArray(chain.size)

    init {
        checkFits(rule)
    }

    /** Classifies one raw image of the bundle's size, with no more segments than it takes. @throws ImageError another size. */
    fun predict(image: RawImage): Answer {
        val start = System.nanoTime()
        chain.enter(image)
        val first = System.nanoTime()
        var before = first
        var decision = 0L
        var place = 0
        while (true) {
            chain.run(place)
            val ran = System.nanoTime()
            chain.logits(place, logits[place])
            val leaves = rule.decide(place, logits, probabilities)
            segmentMs[place] = (ran - before) / 1e6
            before = System.nanoTime()
            decision += before - ran
            if (leaves) break
            place++
        }
        val index = argmax(probabilities)
        return Answer(
            classes[index],
            index,
            probabilities.copyOf(),
            place + 1,
            segmentMs.copyOf(place + 1),
            (first - start) / 1e6,
            decision / 1e6,
            (before - start) / 1e6,
        )
    }

    override fun close() = chain.close()

    private fun checkFits(rule: ExitRule) {
        if (rule.exits != chain.size) {
            throw ConfigError("the ${rule.name.text} rule is for ${rule.exits} exits, ${chain.bundle.files.name} has ${chain.size}.")
        }
    }

    companion object {
        /** The operating point taken when none is named. */
        const val DEFAULT_POINT = "lossless"

        /**
         * Opens a bundle's variant at an operating point. With the GPU delegate the golden samples must match before
         * anything else may run.
         *
         * @param variant its name; null: `tflite-int8`, else `onnx-int8`, else the first.
         * @param point an operating point of its calibration; null: `lossless`, or the first if there is none so named.
         * @throws BundleError the variant is unknown or not calibrated, or a file is not as described.
         * @throws RuntimeUnavailable the app cannot run it.
         * @throws ParityError the GPU computes something else.
         */
        fun open(
            bundle: Bundle,
            runtimes: Runtimes,
            variant: String? = null,
            point: String? = null,
            options: RunOptions = RunOptions(),
        ): Cascade {
            val found = bundle.variant(variant)
            val calibration = calibrationOf(bundle, found)
            val rule = ExitRule.of(calibration, findPoint(bundle, found, point))
            val chain = Chain.load(bundle, found, runtimes, options)
            try {
                if (options.gpu) Golden.read(bundle, found).compare(chain).require(chain)
                return Cascade(chain, rule)
            } catch (problem: Throwable) {
                chain.close()
                throw problem
            }
        }

        /** @throws BundleError the variant is not calibrated. */
        fun calibrationOf(bundle: Bundle, variant: Variant): Calibration = variant.calibration
            ?: throw BundleError(
                "${bundle.files.name}: ${variant.name} is not calibrated, so that nobody knows when to leave; " +
                    "run `msd-edge calibrate` and bring the bundle again.",
            )

        /** Returns an operating point by name, as [open] takes it. @throws BundleError there is none. */
        fun findPoint(bundle: Bundle, variant: Variant, name: String?): OperatingPoint {
            val calibration = calibrationOf(bundle, variant)
            if (name == null) return calibration.points.firstOrNull { it.name == DEFAULT_POINT } ?: calibration.points[0]
            return (calibration.points + calibration.front + calibration.budgeted).firstOrNull { it.name == name }
                ?: throw BundleError(
                    "${bundle.files.name}: ${variant.name} has no operating point $name; " +
                        "it has ${calibration.points.joinToString { it.name }}.",
                )
        }

        /** The operating points of a calibration for a slider: from fast to accurate, none twice. */
        fun slider(calibration: Calibration): List<OperatingPoint> = (calibration.points + calibration.front)
            .distinctBy { it.thresholds }
            .sortedWith(compareBy({ it.expectedMs }, { it.accuracy }))
    }
}
