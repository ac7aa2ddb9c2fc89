package org.msdedge.runners

import ai.onnxruntime.NodeInfo
import ai.onnxruntime.OnnxJavaType
import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtException
import ai.onnxruntime.OrtSession
import java.nio.ByteBuffer
import org.msdedge.cascade.BundleError
import org.msdedge.cascade.DType
import org.msdedge.cascade.Model
import org.msdedge.cascade.RunOptions
import org.msdedge.cascade.Runtime
import org.msdedge.cascade.RuntimeUnavailable
import org.msdedge.cascade.SegmentRunner
import org.msdedge.cascade.Target
import org.msdedge.cascade.TensorInfo

/** ONNX files by ONNX Runtime's CPU provider. */
class OnnxRuntime : Runtime {
    override val target = Target.ONNX
    override val name = "onnxruntime"
    override val version: String get() = environment.version
    override val hasGpu = false
    private val environment: OrtEnvironment by lazy { starting { OrtEnvironment.getEnvironment() } }

    override fun load(model: ByteArray, options: RunOptions): Model {
        if (options.gpu) throw RuntimeUnavailable("this app runs ONNX files on the CPU alone; switch the GPU off.")
        val started = environment
        try {
            OrtSession.SessionOptions().use {
                it.setIntraOpNumThreads(options.threads)
                it.setInterOpNumThreads(1)
                it.setExecutionMode(OrtSession.SessionOptions.ExecutionMode.SEQUENTIAL)
                return OnnxModel(started, started.createSession(model, it))
            }
        } catch (problem: OrtException) {
            throw BundleError("$name $version cannot load this ONNX file: ${oneLine(problem)}.")
        }
    }
}

private class OnnxModel(private val environment: OrtEnvironment, private val session: OrtSession) : Model {
    override fun runner(signature: String?): SegmentRunner {
        if (signature != null) throw BundleError("signature $signature: ONNX files have no signatures.")
        return OnnxRunner(environment, session)
    }

    override fun close() = session.close()
}

private class OnnxRunner(private val environment: OrtEnvironment, private val session: OrtSession) : SegmentRunner {
    override val inputs = session.inputInfo.mapValues { describe(it.value) }
    override val outputs = session.outputInfo.mapValues { describe(it.value) }
    private var given: Map<String, OnnxTensor> = emptyMap()
    private var taken: Map<String, OnnxTensor> = emptyMap()

    override fun bind(inputs: Map<String, ByteBuffer>, outputs: Map<String, ByteBuffer>) {
        close()
        given = inputs.mapValues { over(it.value, this.inputs.getValue(it.key)) }
        taken = outputs.mapValues { over(it.value, this.outputs.getValue(it.key)) }
    }

    override fun run() {
        // Closing the result leaves the bound tensors alone: they are ours.
        session.run(given, taken).close()
    }

    override fun close() {
        (given.values + taken.values).forEach { it.close() }
        given = emptyMap()
        taken = emptyMap()
    }

    /** A tensor over the buffer's own memory. */
    private fun over(buffer: ByteBuffer, info: TensorInfo): OnnxTensor {
        val shape = LongArray(info.shape.size) { info.shape[it].toLong() }
        val type = when (info.dtype) {
            DType.INT8 -> OnnxJavaType.INT8
            DType.UINT8 -> OnnxJavaType.UINT8
            else -> OnnxJavaType.FLOAT
        }
        return OnnxTensor.createTensor(environment, buffer, shape, type)
    }

    private fun describe(node: NodeInfo): TensorInfo {
        val info = node.info as? ai.onnxruntime.TensorInfo ?: return TensorInfo(emptyList(), null)
        val dtype = when (info.type) {
            OnnxJavaType.FLOAT -> DType.FLOAT32
            OnnxJavaType.INT8 -> DType.INT8
            OnnxJavaType.UINT8 -> DType.UINT8
            else -> null
        }
        return TensorInfo(info.shape.map { it.toInt() }, dtype)
    }
}
