package org.msdedge.cascade

import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.FloatBuffer

/**
 * All segments of one variant, loaded, checked against the manifest and wired: the buffer that a segment fills is the
 * buffer that the next one reads, so that features are handed on as they came out and nothing is made per image.
 *
 * Not for use by several threads at once.
 */
class Chain private constructor(
    val bundle: Bundle,
    val variant: Variant,
    val runtime: Runtime,
    val options: RunOptions,
    private val opened: List<AutoCloseable>,
    private val runners: List<SegmentRunner>,
    /** Milliseconds to read, verify and load each file; with a multi-signature file all of it is in the first. */
    val initMs: DoubleArray,
) : AutoCloseable {
    private val image = variant.segments[0].inputs[0]

    /** The first segment's input. */
    val entry: ByteBuffer = directBuffer(image.bytes)
    private val entryFloats: FloatBuffer = entry.asFloatBuffer()

    /** For each segment but the last the buffers of its features, which are the inputs of the next. */
    val seams: List<List<ByteBuffer>> = variant.segments.map { segment -> segment.features.map { directBuffer(it.bytes) } }

    /** For each segment the buffer of its logits, as the file gives them. */
    val rawLogits: List<ByteBuffer> = variant.segments.map { directBuffer(it.logits.bytes) }
    private val floatLogits = rawLogits.map { it.asFloatBuffer() }

    init {
        for ((place, segment) in variant.segments.withIndex()) {
            val taken = if (place == 0) listOf(entry) else seams[place - 1]
            val given = listOf(rawLogits[place]) + seams[place]
            runners[place].bind(
                segment.inputs.map { it.name }.zip(taken).toMap(),
                (listOf(segment.logits) + segment.features).map { it.name }.zip(given).toMap(),
            )
        }
    }

    /** The number of segments. */
    val size: Int get() = runners.size

    /** Puts a raw image of the bundle's size into the first segment's input. @throws ImageError it is of another size. */
    fun enter(image: RawImage) = putImage(image, this.image, bundle.manifest.input, entry, entryFloats)

    /** Runs one segment (from 0) on what lies in its input buffers. */
    fun run(segment: Int) = runners[segment].run()

    /** Writes the logits of a segment (from 0) that has run as float32 into [into]. */
    fun logits(segment: Int, into: FloatArray) = dequantize(variant.segments[segment].logits, rawLogits[segment], floatLogits[segment], into)

    override fun close() = opened.asReversed().forEach { it.close() }

    companion object {
        /**
         * Loads every segment of a variant.
         *
         * @param multiSignature from the variant's one file of all segments instead of a file each.
         * @throws BundleError a file is not as the manifest says, or there is no multi-signature file.
         * @throws RuntimeUnavailable the app has no runtime for it, or it cannot run a file.
         */
        fun load(
            bundle: Bundle,
            variant: Variant,
            runtimes: Runtimes,
            options: RunOptions = RunOptions(),
            runtimeName: String? = null,
            multiSignature: Boolean = false,
        ): Chain {
            if (options.threads < 1) throw ConfigError("${options.threads} threads: at least 1 is needed.")
            val runtime = runtimes.of(variant.target, runtimeName)
            val opened = ArrayList<AutoCloseable>()
            try {
                val initMs = DoubleArray(variant.segments.size)
                val runners = if (multiSignature) {
                    val multi = variant.multiSignature
                        ?: throw BundleError("${bundle.files.name}: ${variant.name} has no multi-signature file.")
                    val start = System.nanoTime()
                    val model = runtime.load(bundle.read(multi.file), options).also { opened.add(it) }
                    initMs[0] = (System.nanoTime() - start) / 1e6
                    variant.segments.map { model.runner("segment_${it.index}").also { runner -> opened.add(runner) } }
                } else {
                    variant.segments.map {
                        val start = System.nanoTime()
                        val model = runtime.load(bundle.read(it.file), options).also { model -> opened.add(model) }
                        val runner = model.runner().also { runner -> opened.add(runner) }
                        initMs[it.index - 1] = (System.nanoTime() - start) / 1e6
                        runner
                    }
                }
                for ((segment, runner) in variant.segments.zip(runners)) {
                    val where = "${bundle.files.name}/${segment.file.path}"
                    checkTensors(where, "input", runner.inputs, segment.inputs)
                    checkTensors(where, "output", runner.outputs, listOf(segment.logits) + segment.features)
                }
                return Chain(bundle, variant, runtime, options, opened, runners, initMs)
            } catch (problem: Throwable) {
                opened.asReversed().forEach { it.close() }
                throw problem
            }
        }
    }
}

/** A direct buffer of native order. */
internal fun directBuffer(bytes: Int): ByteBuffer = ByteBuffer.allocateDirect(bytes).order(ByteOrder.nativeOrder())

/** Raw pixels in the layout and dtype of a file's input: `uint8` and `float32` take the value 0..255, `int8` minus 128. */
internal fun putImage(image: RawImage, spec: TensorSpec, input: InputSpec, into: ByteBuffer, floats: FloatBuffer) {
    if (image.width != input.width || image.height != input.height || image.channels != input.channels) {
        throw ImageError(
            "the image has ${image.width}×${image.height} pixels and ${image.channels} channels; " +
                "this bundle takes ${input.width}×${input.height} and ${input.channels}.",
        )
    }
    val pixels = image.pixels
    val area = image.width * image.height
    val channels = image.channels
    val planes = spec.layout == Layout.NCHW && channels > 1
    val flip = if (spec.dtype == DType.INT8) 0x80 else 0
    for (i in pixels.indices) {
        val from = if (planes) i % area * channels + i / area else i
        if (spec.dtype == DType.FLOAT32) floats.put(i, (pixels[from].toInt() and 255).toFloat())
        else into.put(i, (pixels[from].toInt() xor flip).toByte())
    }
}

internal fun dequantize(spec: TensorSpec, raw: ByteBuffer, floats: FloatBuffer, into: FloatArray) {
    if (spec.scale == null || spec.zeroPoint == null) {
        for (i in into.indices) into[i] = floats.get(i)
        return
    }
    val scale = spec.scale.toFloat()
    val zero = spec.zeroPoint.toFloat()
    val mask = if (spec.dtype == DType.UINT8) 255 else -1
    for (i in into.indices) into[i] = ((raw.get(i).toInt() and mask).toFloat() - zero) * scale
}

internal fun checkTensors(where: String, kind: String, found: Map<String, TensorInfo>, specs: List<TensorSpec>) {
    for (spec in specs) {
        val info = found[spec.name]
            ?: throw BundleError("$where: the file has no $kind '${spec.name}', it has ${found.keys.joinToString()}.")
        if (info.shape != spec.shape || info.dtype != spec.dtype) {
            throw BundleError(
                "$where: $kind '${spec.name}' is ${info.dtype?.text ?: "of another type"} ${info.shape} in the file, " +
                    "${spec.dtype.text} ${spec.shape} in the manifest.",
            )
        }
        // ONNX files hold the scale in their nodes; the manifest's hash vouches for it.
        if (info.scale == null || spec.scale == null) continue
        if (info.scale != spec.scale.toFloat() || info.zeroPoint != spec.zeroPoint) {
            throw BundleError(
                "$where: $kind '${spec.name}' has scale ${info.scale} and zero point ${info.zeroPoint} in the file, " +
                    "${spec.scale} and ${spec.zeroPoint} in the manifest.",
            )
        }
    }
    if (found.size != specs.size) {
        val extra = found.keys - specs.map { it.name }.toSet()
        throw BundleError("$where: the file has ${kind}s that the manifest does not know: ${extra.joinToString()}.")
    }
}
