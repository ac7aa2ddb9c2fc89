package org.msdedge.cascade

/** The file format of a variant's files. */
enum class Target(val text: String) { TFLITE("tflite"), ONNX("onnx") }

/** How the dimensions of a tensor are ordered. */
enum class Layout { NHWC, NCHW, NC }

/** The type of a tensor's values; `bytes` of one value. */
enum class DType(val text: String, val bytes: Int) { FLOAT32("float32", 4), INT8("int8", 1), UINT8("uint8", 1) }

/** The kind of an exit rule, see [ExitRule]. */
enum class RuleName(val text: String) { MAX_SOFTMAX("max-softmax"), ENTROPY("entropy"), PATIENCE("patience"), AVERAGED("averaged") }

/** A named tensor of a file; a quantized value q stands for `scale * (q - zeroPoint)`. [shape] starts with the batch, 1. */
data class TensorSpec(
    val name: String,
    val shape: List<Int>,
    val layout: Layout,
    val dtype: DType,
    val scale: Double?,
    val zeroPoint: Int?,
) {
    /** The number of values. */
    val elements: Int get() = shape.fold(1) { product, length -> Math.multiplyExact(product, length) }

    /** The size in memory. */
    val bytes: Int get() = Math.multiplyExact(elements, dtype.bytes)
}

/** A file of the bundle, with what proves that it is the one that was exported. */
data class FileEntry(val path: String, val sha256: String, val bytes: Long)

/** Segment [index] (from 1) of the chain; the last one hands no features on. */
class Segment(
    val index: Int,
    val file: FileEntry,
    val inputs: List<TensorSpec>,
    val logits: TensorSpec,
    val features: List<TensorSpec>,
    val logitRange: Double,
)

/** Exit [index] (from 1) alone: image in, its logits out. */
class StandAloneExit(val index: Int, val file: FileEntry, val image: TensorSpec, val logits: TensorSpec)

/** One TFLite file with signatures `segment_1`, … that share weights. */
class MultiSignature(val file: FileEntry, val signatures: List<String>)

/** A setting of the exit rule, with what the calibration split promises for it. */
class OperatingPoint(
    val name: String,
    val thresholds: List<Double>,
    val accuracy: Double,
    val expectedMs: Double,
    val exitShares: List<Double>,
)

/** What `msd-edge calibrate` fitted; [points] are the named ones, [front] the best trade-offs from fast to accurate. */
class Calibration(
    val rule: RuleName,
    val temperatures: List<Double>,
    /** For every exit those of the logits of all exits up to it; empty but for the rule `averaged`. */
    val weights: List<List<Double>>,
    val points: List<OperatingPoint>,
    val front: List<OperatingPoint>,
    val budgeted: List<OperatingPoint>,
    val segmentMs: List<Double>,
)

/** All files of one target and precision; [name] is `tflite-int8` and the like. */
class Variant(
    val target: Target,
    val precision: String,
    val segments: List<Segment>,
    val exits: List<StandAloneExit>,
    val multiSignature: MultiSignature?,
    val calibration: Calibration?,
) {
    val name: String get() = "${target.text}-$precision"
}

/** The image a bundle takes: [channels] 1 (grey) or 3 (RGB). */
class InputSpec(val height: Int, val width: Int, val channels: Int)

/** An exit of the network; [chainMacs] multiply-accumulates until it, with the branches passed. */
class ExitInfo(val index: Int, val place: String, val macs: Long, val chainMacs: Long)

/** Expected outputs of one variant: values of [dtype], (images, exits, classes). */
class GoldenOutputs(val variant: String, val path: String, val sha256: String, val dtype: DType)

/** Real images, uint8 (images, H, W, C), with the logits that the files gave for them at export. */
class GoldenEntry(
    val images: Int,
    val path: String,
    val sha256: String,
    val labels: List<Int>,
    val outputs: List<GoldenOutputs>,
)

/** `manifest.json`: all that a runner needs to know of a bundle. */
class Manifest(
    val name: String,
    val classes: List<String>,
    val input: InputSpec,
    val exits: List<ExitInfo>,
    val variants: List<Variant>,
    val golden: GoldenEntry,
) {
    companion object {
        /** The newest schema this code reads. */
        const val SCHEMA_VERSION = 1

        /**
         * Reads a manifest: the published schema first, then what it cannot say (seams, shapes, counts).
         *
         * @param where names the file in messages.
         * @throws BundleError it is no manifest, contradicts itself, or is of a newer schema.
         */
        fun parse(bytes: ByteArray, where: String): Manifest = readManifest(bytes, where)
    }
}
