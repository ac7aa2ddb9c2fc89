package org.msdedge.runners

import java.nio.ByteBuffer
import java.nio.ByteOrder
import org.msdedge.cascade.BundleError
import org.msdedge.cascade.DType
import org.msdedge.cascade.Model
import org.msdedge.cascade.RunOptions
import org.msdedge.cascade.Runtime
import org.msdedge.cascade.RuntimeUnavailable
import org.msdedge.cascade.SegmentRunner
import org.msdedge.cascade.Target
import org.msdedge.cascade.TensorInfo
import org.tensorflow.lite.DataType
import org.tensorflow.lite.Delegate
import org.tensorflow.lite.Interpreter
import org.tensorflow.lite.Tensor
import org.tensorflow.lite.TensorFlowLite

private const val GPU_DELEGATE = "org.tensorflow.lite.gpu.GpuDelegate"

/** TFLite files by TensorFlow Lite or LiteRT 1.x, which share one Java interface. XNNPACK is on. */
class TfliteRuntime : Runtime {
    override val target = Target.TFLITE
    override val name = "litert"
    override val version: String by lazy { starting { TensorFlowLite.runtimeVersion() } }
    override val hasGpu: Boolean get() = isPresent(GPU_DELEGATE)

    override fun load(model: ByteArray, options: RunOptions): Model {
        version // the first use loads the library, and tells in a sentence where there is none
        // The interpreter reads from the buffer as long as it lives.
        val content = ByteBuffer.allocateDirect(model.size).order(ByteOrder.nativeOrder())
        content.put(model).rewind()
        val delegate = if (options.gpu) newGpuDelegate() else null
        val settings = Interpreter.Options().setNumThreads(options.threads).setUseXNNPACK(true)
        if (delegate != null) settings.addDelegate(delegate)
        try {
            return TfliteModel(Interpreter(content, settings), delegate)
        } catch (problem: RuntimeException) {
            delegate?.close()
            throw if (delegate == null) BundleError("$name $version cannot load this TFLite file: ${oneLine(problem)}.")
            else RuntimeUnavailable("the GPU cannot run this TFLite file: ${oneLine(problem)}; switch the GPU off.")
        }
    }

    // By name: an app without the GPU library has no such class.
    private fun newGpuDelegate(): Delegate = try {
        Class.forName(GPU_DELEGATE).getConstructor().newInstance() as Delegate
    } catch (problem: ReflectiveOperationException) {
        val reason = if (hasGpu) "does not start: ${oneLine(problem.cause ?: problem)}" else "is not part of this app"
        throw RuntimeUnavailable("the GPU delegate $reason; switch the GPU off.")
    } catch (problem: LinkageError) {
        throw RuntimeUnavailable("the GPU delegate does not start: ${oneLine(problem)}; switch the GPU off.")
    }
}

private class TfliteModel(private val interpreter: Interpreter, private val delegate: Delegate?) : Model {
    override fun runner(signature: String?): SegmentRunner {
        val known = interpreter.signatureKeys
        val key = signature ?: known.singleOrNull()
            ?: throw BundleError("this TFLite file has ${known.size} signatures, and none is named.")
        if (key !in known) throw BundleError("this TFLite file has no signature $key, it has ${known.joinToString()}.")
        return TfliteRunner(interpreter, key)
    }

    override fun close() {
        interpreter.close()
        delegate?.close()
    }
}

private class TfliteRunner(private val interpreter: Interpreter, private val signature: String) : SegmentRunner {
    override val inputs = interpreter.getSignatureInputs(signature)
        .associateWith { describe(interpreter.getInputTensorFromSignature(it, signature)) }
    override val outputs = interpreter.getSignatureOutputs(signature)
        .associateWith { describe(interpreter.getOutputTensorFromSignature(it, signature)) }
    private var given: Map<String, Any> = emptyMap()
    private var taken: Map<String, Any> = emptyMap()
    private var buffers: Array<ByteBuffer> = emptyArray()

    override fun bind(inputs: Map<String, ByteBuffer>, outputs: Map<String, ByteBuffer>) {
        // Views of one's own, whose positions nobody else moves.
        given = inputs.mapValues { it.value.duplicate().order(ByteOrder.nativeOrder()) }
        taken = outputs.mapValues { it.value.duplicate().order(ByteOrder.nativeOrder()) }
        buffers = (given.values + taken.values).map { it as ByteBuffer }.toTypedArray()
    }

    override fun run() {
        for (buffer in buffers) buffer.rewind()
        interpreter.runSignature(given, taken, signature)
    }

    override fun close() = Unit

    private fun describe(tensor: Tensor): TensorInfo {
        val dtype = when (tensor.dataType()) {
            DataType.FLOAT32 -> DType.FLOAT32
            DataType.INT8 -> DType.INT8
            DataType.UINT8 -> DType.UINT8
            else -> null
        }
        val quantization = tensor.quantizationParams()
        val quantized = quantization.scale != 0f
        return TensorInfo(
            tensor.shape().toList(),
            dtype,
            if (quantized) quantization.scale else null,
            if (quantized) quantization.zeroPoint else null,
        )
    }
}
